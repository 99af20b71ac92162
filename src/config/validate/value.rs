//! Reads single values: each answer is what the schema wants, or nothing and a problem noted.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::problem::{hint, quote};
use super::super::raw::Node;
use super::super::units::{self, UnitError};
use super::reader::{Item, Reader, Scalar, kind};

impl<'a> Reader<'a> {
    /// A text that is not empty.
    pub(super) fn text(&mut self, item: &Item<'a>) -> Option<Scalar<'a>> {
        let scalar = self.scalar(item, "text")?;
        if scalar.value.is_empty() {
            self.refuse(item, "may not be empty");
            return None;
        }
        Some(scalar)
    }

    /// A text, perhaps empty, that may be a secret and so is never shown.
    pub(super) fn secret(&mut self, item: &Item<'a>) -> Option<Scalar<'a>> {
        match item.node {
            Node::Text(_) => self.scalar(item, "text"),
            Node::Tagged(_) => None,
            other => {
                self.refuse(item, format!("expected text, found {}; put it in quotes", kind(other)));
                None
            }
        }
    }

    /// Any scalar as text, the way it is written.
    pub(super) fn any_scalar(&mut self, item: &Item<'a>) -> Option<String> {
        match item.node {
            Node::Bool(_, written) | Node::Integer(_, written) | Node::Float(_, written) => Some(written.clone()),
            Node::Null => {
                self.refuse(item, "expected text, found nothing; write `\"\"` for an empty text");
                None
            }
            _ => self.scalar(item, "text").map(|scalar| scalar.value.into_owned()),
        }
    }

    pub(super) fn boolean(&mut self, item: Option<Item<'a>>) -> Option<bool> {
        let item = item?;
        if let Node::Bool(value, _) = item.node {
            return Some(*value);
        }
        let value = self.interpolated(&item, "`true` or `false`")?;
        match value.value.as_ref() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.refuse(&item, format!("{value} is neither `true` nor `false`"));
                None
            }
        }
    }

    pub(super) fn integer(&mut self, item: Option<Item<'a>>, range: RangeInclusive<u32>) -> Option<u32> {
        let item = item?;
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let (value, shown) = match item.node {
            Node::Integer(value, written) => (Some(*value), quote(written)),
            _ => {
                let scalar = self.interpolated(&item, &wanted)?;
                (scalar.value.parse().ok(), scalar.to_string())
            }
        };
        let in_range = value.and_then(|value| u32::try_from(value).ok()).filter(|value| range.contains(value));
        if in_range.is_none() {
            self.refuse(&item, format!("{shown} is not {wanted}"));
        }
        in_range
    }

    /// A duration of at least `least`.
    pub(super) fn duration(&mut self, item: Option<Item<'a>>, least: Duration) -> Option<Duration> {
        let item = item?;
        let (duration, scalar) = self.unit(&item, "a duration such as `30s` or `5m`", units::duration)?;
        if duration < least {
            self.refuse(&item, format!("{scalar} is too short: at least `{}` is wanted", units::show(least)));
            return None;
        }
        Some(duration)
    }

    /// Bytes, at least one.
    pub(super) fn size(&mut self, item: Option<Item<'a>>) -> Option<u64> {
        let item = item?;
        let bytes = match item.node {
            Node::Integer(bytes, written) => match units::size(&bytes.to_string()) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.refuse(&item, format!("{} {error}", quote(written)));
                    return None;
                }
            },
            _ => self.unit(&item, "a size such as `64KB` or `1MB`", units::size)?.0,
        };
        if bytes == 0 {
            self.refuse(&item, "must be at least 1 byte");
            return None;
        }
        Some(bytes)
    }

    /// A scalar in a grammar of its own.
    pub(super) fn unit<T>(
        &mut self,
        item: &Item<'a>,
        wanted: &str,
        parse: impl Fn(&str) -> Result<T, UnitError>,
    ) -> Option<(T, Scalar<'a>)> {
        let scalar = self.scalar(item, wanted)?;
        match parse(&scalar.value) {
            Ok(value) => Some((value, scalar)),
            Err(error) => {
                self.refuse(item, format!("{scalar} {error}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, item: Option<Item<'a>>, choices: &[(&str, T)]) -> Option<T> {
        let item = item?;
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let scalar = self.text(&item)?;
        let chosen = choices.iter().find(|(word, _)| *word == scalar.value).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let hint = hint(&scalar.value, &words, "the choices are");
            self.refuse(&item, format!("{scalar} is not one of the choices{hint}"));
        }
        chosen
    }

    /// Where to listen, `IP:PORT`; of names only `localhost`, which is 127.0.0.1: a name with several addresses would be a guess.
    pub(super) fn address(&mut self, item: &Item<'a>) -> Option<SocketAddr> {
        let scalar = self.text(item)?;
        let address = match scalar.value.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => scalar.value.parse().ok(),
        };
        if address.is_none() {
            self.refuse(
                item,
                format!("{scalar} is not an address to listen on: `IP:PORT` is, such as `127.0.0.1:8080`"),
            );
        }
        address
    }
}
