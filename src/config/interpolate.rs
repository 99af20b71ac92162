//! `${VAR}`, `${file:PATH}` and `${credential:NAME}` inside one scalar that YAML has already taken apart.
//!
//! Text that is put in is never looked at again, so no value can change anything but itself.

use std::path::Path;

use super::problem::quote;
use super::variables::{Unresolved, Variables};

/// A scalar taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template<'a>(Vec<Piece<'a>>);

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Reference(Reference<'a>),
}

/// One `${...}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// All of it, for messages.
    pub(super) written: &'a str,
    pub(super) origin: Origin<'a>,
}

/// Where the text for a reference comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin<'a> {
    Variable(&'a str),
    File(&'a Path),
    /// A plain file name.
    Credential(&'a str),
}

/// What is wrong with the writing of a reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("`${{` is never closed; write `$${{` for a literal `${{`")]
    Unclosed,
    #[error(
        "{} is malformed: the forms are `${{VAR}}`, `${{file:PATH}}` and `${{credential:NAME}}`; write `$${{` for a literal `${{`",
        quote(.0)
    )]
    Reference(String),
}

/// A template with everything put in.
#[derive(PartialEq, Eq)]
pub(super) struct Resolved<'a> {
    pub(super) text: String,
    /// References whose variable is set, but to nothing.
    pub(super) empty: Vec<&'a str>,
}

impl<'a> Template<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            let (before, from) = rest.split_at(dollar);
            pieces.push(Piece::Literal(before));
            if let Some(after) = from.strip_prefix("$${") {
                pieces.push(Piece::Literal("${"));
                rest = after;
            } else if let Some(inside) = from.strip_prefix("${") {
                let length = inside.find('}').ok_or(Malformed::Unclosed)?;
                let written = &from[..length + "${}".len()];
                let origin = origin(&inside[..length]).ok_or_else(|| Malformed::Reference(written.to_owned()))?;
                pieces.push(Piece::Reference(Reference { written, origin }));
                rest = &from[written.len()..];
            } else {
                pieces.push(Piece::Literal("$"));
                rest = &from[1..];
            }
        }
        pieces.push(Piece::Literal(rest));
        Ok(Self(pieces))
    }

    pub(super) fn has_references(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Reference(_)))
    }

    /// Puts everything in, or lists all that cannot be.
    pub(super) fn resolve(&self, variables: &Variables, folder: &Path) -> Result<Resolved<'a>, Vec<Unresolved>> {
        let mut resolved = Resolved { text: String::new(), empty: Vec::new() };
        let mut missing = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => resolved.text.push_str(text),
                Piece::Reference(reference) => match variables.resolve(*reference, folder) {
                    Ok(text) => {
                        if text.is_empty() {
                            resolved.empty.push(reference.written);
                        }
                        resolved.text.push_str(&text);
                    }
                    Err(error) => missing.push(error),
                },
            }
        }
        if missing.is_empty() { Ok(resolved) } else { Err(missing) }
    }
}

/// Reads what is between the braces.
fn origin(inside: &str) -> Option<Origin<'_>> {
    match inside.split_once(':') {
        None => is_variable_name(inside).then_some(Origin::Variable(inside)),
        Some(("file", path)) => (!path.is_empty()).then(|| Origin::File(Path::new(path))),
        Some(("credential", name)) => {
            let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
            plain.then_some(Origin::Credential(name))
        }
        Some(_) => None,
    }
}

/// Whether a shell would take it as the name of a variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<String, String> {
        let variables = Variables::from_iter([
            ("A", "alpha"),
            ("NASTY", "a # b: 'c' \"d\"\n${A} {x}"),
            ("EMPTY", ""),
            ("_x1", "underscore"),
        ]);
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let resolved = template.resolve(&variables, Path::new("/nowhere"));
        resolved
            .map(|resolved| resolved.text)
            .map_err(|errors| errors.iter().map(Unresolved::to_string).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn references_are_replaced_and_all_else_is_kept() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("<${A}${_x1}>", "<alphaunderscore>"),
            ("$", "$"),
            ("$5 $A a$", "$5 $A a$"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$$", "$$"),
            ("}{", "}{"),
            ("é${A}é", "éalphaé"),
            ("[${EMPTY}]", "[]"),
            // Neither taken apart nor put in twice.
            ("${NASTY}", "a # b: 'c' \"d\"\n${A} {x}"),
        ] {
            assert_eq!(resolve(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        for text in [
            "${}",
            "${1A}",
            "${A-B}",
            "${A:-x}",
            "${ A }",
            "${$A}",
            "${A${A}}",
            "${é}",
            "${file:}",
            "${credential:}",
            "${credential:..}",
            "${credential:a/b}",
            "${env:A}",
        ] {
            assert!(matches!(Template::parse(text), Err(Malformed::Reference(_))), "{text}");
        }
        for text in ["${", "a ${A", "${A} ${file:x"] {
            assert_eq!(Template::parse(text), Err(Malformed::Unclosed), "{text}");
        }
        assert_eq!(
            resolve("${A:-x}").unwrap_err(),
            "`${A:-x}` is malformed: the forms are `${VAR}`, `${file:PATH}` and `${credential:NAME}`; \
             write `$${` for a literal `${`"
        );
    }

    #[test]
    fn all_that_is_missing_is_listed() {
        assert_eq!(
            resolve("${B} ${A} ${C} ${credential:d}").unwrap_err(),
            "`${B}` is not set, `${C}` is not set, \
             `${credential:d}` needs the variable `CREDENTIALS_DIRECTORY`, which is not set"
        );
    }
}
