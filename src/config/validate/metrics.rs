//! `metrics`.

use std::net::SocketAddr;

use super::super::{Metrics, Webhooks};
use super::reader::{Reader, Section};

pub(super) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>, webhooks: Option<&Webhooks>) -> Option<Metrics> {
    let section = reader.map(&root.get("metrics")?, &["listen"])?;
    let item = reader.required(&section, "listen")?;
    let listen = reader.address(&item)?;
    if let Some(webhooks) = webhooks.filter(|webhooks| overlap(webhooks.listen, listen)) {
        let taken = webhooks.listen;
        reader.refuse(
            &item,
            format!("`{taken}` is for webhooks (`webhooks.listen`); metrics need an address of their own"),
        );
    }
    Some(Metrics { listen })
}

/// Whether only one of them could be bound. Port 0 is any that is free.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let anywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || anywhere)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};
    use super::*;

    fn listen(yaml: &str) -> Option<SocketAddr> {
        validate(yaml).map_err(|problems| panic!("{problems}")).unwrap().metrics.map(|metrics| metrics.listen)
    }

    #[test]
    fn metrics_are_off_unless_they_have_an_address() {
        assert_eq!(listen("routes: []"), None);
        assert_eq!(listen("metrics:\nroutes: []"), None);
        assert_eq!(listen("metrics: {listen: 'localhost:9464'}"), Some("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(problems("metrics: {}"), "c.yaml:1:1: metrics: `listen` is missing");
        assert_eq!(
            problems("metrics: {listen: '9464'}"),
            "c.yaml:1:19: metrics.listen: `9464` is not an address to listen on: `IP:PORT` is, such as `127.0.0.1:8080`"
        );
        assert_eq!(
            problems("metrics: {lisen: 'localhost:9464'}"),
            "c.yaml:1:1: metrics: `listen` is missing\n\
             c.yaml:1:11: metrics.lisen: unknown key `lisen`; did you mean `listen`?"
        );
    }

    #[test]
    fn the_address_is_not_that_of_the_webhooks() {
        let both = |webhooks: &str, metrics: &str| {
            format!("webhooks: {{listen: '{webhooks}'}}\nmetrics: {{listen: '{metrics}'}}")
        };
        for (webhooks, metrics) in
            [("127.0.0.1:80", "127.0.0.1:80"), ("0.0.0.0:80", "127.0.0.1:80"), ("[::1]:80", "[::]:80")]
        {
            let expected = format!(
                "c.yaml:2:19: metrics.listen: `{webhooks}` is for webhooks (`webhooks.listen`); \
                 metrics need an address of their own"
            );
            assert_eq!(problems(&both(webhooks, metrics)), expected);
        }
        for (webhooks, metrics) in
            [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:80", "127.0.0.2:80"), ("0.0.0.0:80", "127.0.0.1:81")]
        {
            assert_eq!(listen(&both(webhooks, metrics)), Some(metrics.parse().unwrap()));
        }
    }
}
