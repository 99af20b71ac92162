//! `webhooks`.

use std::collections::BTreeMap;

use super::super::raw::Node;
use super::super::{Endpoint, HEALTH_PATH, Webhooks};
use super::PluginNames;
use super::reader::{Item, Reader, Section};

const DEFAULT_MAX_BODY_SIZE: u64 = 1 << 20;

pub(super) fn read<'a>(reader: &mut Reader<'a>, root: &Section<'a>, plugins: &PluginNames<'a>) -> Option<Webhooks> {
    let section = reader.map(&root.get("webhooks")?, &["listen", "endpoints"])?;
    let listen = reader.required(&section, "listen").and_then(|item| reader.address(&item));
    let mut endpoints = Vec::new();
    let mut taken = BTreeMap::new();
    for item in reader.list(section.get("endpoints")) {
        let Some((path_item, endpoint)) = endpoint(reader, &item, plugins) else { continue };
        if let Some(first) = taken.get(&endpoint.path) {
            reader.refuse(&path_item, format!("`{first}` has the same path"));
            continue;
        }
        taken.insert(endpoint.path.clone(), item.path);
        endpoints.push(endpoint);
    }
    Some(Webhooks { listen: listen?, endpoints })
}

fn endpoint<'a>(reader: &mut Reader<'a>, item: &Item<'a>, plugins: &PluginNames<'a>) -> Option<(Item<'a>, Endpoint)> {
    const KEYS: [&str; 7] =
        ["path", "plugin", "secret", "signature_header", "max_body_size", "dedupe_header", "event_header"];
    let section = reader.map(item, &KEYS)?;
    let path_item = reader.required(&section, "path");
    let path = path_item.as_ref().and_then(|item| path(reader, item));
    let plugin = reader.required(&section, "plugin").and_then(|item| {
        let scalar = reader.text(&item)?;
        plugins.check(reader, &item, scalar)
    });
    let secrets = reader.required(&section, "secret").and_then(|item| secrets(reader, &item));
    let signature_header = reader.required(&section, "signature_header").and_then(|item| header(reader, &item));
    let max_body_size = reader.size(section.get("max_body_size")).unwrap_or(DEFAULT_MAX_BODY_SIZE);
    let dedupe_header = section.get("dedupe_header").and_then(|item| header(reader, &item));
    let event_header = section.get("event_header").and_then(|item| header(reader, &item));
    let endpoint = Endpoint {
        path: path?,
        plugin: plugin?,
        secrets: secrets?,
        signature_header: signature_header?,
        max_body_size,
        dedupe_header,
        event_header,
    };
    Some((path_item?, endpoint))
}

fn path<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<String> {
    let scalar = reader.text(item)?;
    let wrong = if !scalar.value.starts_with('/') {
        "does not start with `/`"
    } else if scalar.value == HEALTH_PATH {
        "is the path of the health check"
    } else if !scalar.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
        "holds what cannot be in a path: white space, `?`, `#` or a character that is not ASCII"
    } else {
        return Some(scalar.value.into_owned());
    };
    reader.refuse(item, format!("{scalar} {wrong}"));
    None
}

/// One secret, or a list of them while one replaces the other.
fn secrets<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<Vec<String>> {
    if !matches!(item.node, Node::List(_)) {
        return secret(reader, item).map(|secret| vec![secret]);
    }
    let items = reader.list(Some(item.clone()));
    if items.is_empty() {
        reader.refuse(item, "at least one secret is needed");
        return None;
    }
    // All are read before any is missed, so that each gets its own problem.
    let secrets: Vec<Option<String>> = items.iter().map(|item| secret(reader, item)).collect();
    secrets.into_iter().collect()
}

fn secret<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<String> {
    let scalar = reader.secret(item)?;
    if scalar.value.is_empty() {
        reader.refuse(item, "the secret is empty");
        return None;
    }
    Some(scalar.value.into_owned())
}

/// The name of an HTTP header, in lower case.
fn header<'a>(reader: &mut Reader<'a>, item: &Item<'a>) -> Option<String> {
    let scalar = reader.text(item)?;
    if !scalar.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        reader.refuse(item, format!("{scalar} is not the name of an HTTP header"));
        return None;
    }
    Some(scalar.value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};
    use super::*;

    fn with_endpoint(endpoint: &str) -> String {
        format!("plugins: {{echo: }}\nwebhooks:\n  listen: 127.0.0.1:0\n  endpoints:\n    - {{{endpoint}}}")
    }

    fn webhooks(yaml: &str) -> Option<Webhooks> {
        validate(yaml).map_err(|problems| panic!("{problems}")).unwrap().webhooks
    }

    #[test]
    fn an_endpoint_and_its_defaults() {
        let yaml = with_endpoint("path: /gh, plugin: echo, secret: '${NASTY}', signature_header: X-Hub-Signature-256");
        let endpoint = &webhooks(&yaml).unwrap().endpoints[0];
        assert_eq!((endpoint.path.as_str(), endpoint.plugin.as_str()), ("/gh", "echo"));
        assert_eq!(endpoint.secrets, ["a # b: 'c' \"d\"\n- e"]);
        assert_eq!(endpoint.signature_header, "x-hub-signature-256");
        assert_eq!(endpoint.max_body_size, 1 << 20);
        assert_eq!((&endpoint.dedupe_header, &endpoint.event_header), (&None, &None));

        let yaml = with_endpoint(
            "path: /, plugin: echo, secret: [a, '${SECRET}'], signature_header: s, max_body_size: 64kb, \
             dedupe_header: X-GitHub-Delivery, event_header: X-GitHub-Event",
        );
        let endpoint = &webhooks(&yaml).unwrap().endpoints[0];
        assert_eq!(endpoint.secrets, ["a", "hunter2"]);
        assert_eq!(endpoint.max_body_size, 65_536);
        assert_eq!(endpoint.dedupe_header.as_deref(), Some("x-github-delivery"));
        assert_eq!(endpoint.event_header.as_deref(), Some("x-github-event"));
    }

    #[test]
    fn where_to_listen() {
        for (listen, expected) in
            [("0.0.0.0:80", "0.0.0.0:80"), ("localhost:8080", "127.0.0.1:8080"), ("'[::1]:9'", "[::1]:9")]
        {
            let webhooks = webhooks(&format!("webhooks: {{listen: {listen}}}")).unwrap();
            assert_eq!(webhooks.listen, expected.parse().unwrap());
            assert!(webhooks.endpoints.is_empty());
        }
        assert!(webhooks("webhooks:\nroutes: []").is_none());
        for (yaml, expected) in [
            ("{}", "c.yaml:1:1: webhooks: `listen` is missing"),
            (
                "{listen: 8080}",
                "c.yaml:1:20: webhooks.listen: expected text, found the number `8080`; put it in quotes",
            ),
            (
                "{listen: 'example.org:80'}",
                "c.yaml:1:20: webhooks.listen: `example.org:80` is not an address to listen on: \
                 `IP:PORT` is, such as `127.0.0.1:8080`",
            ),
        ] {
            assert_eq!(problems(&format!("webhooks: {yaml}")), expected);
        }
    }

    #[test]
    fn wrong_endpoints() {
        let rest = "plugin: echo, secret: s, signature_header: x";
        let at = |column: usize, key: &str| format!("c.yaml:5:{column}: webhooks.endpoints[0].{key}: ");
        for (endpoint, expected) in [
            (format!("path: gh, {rest}"), at(14, "path") + "`gh` does not start with `/`"),
            (format!("path: /healthz, {rest}"), at(14, "path") + "`/healthz` is the path of the health check"),
            (
                format!("path: '/a?b', {rest}"),
                at(14, "path")
                    + "`/a?b` holds what cannot be in a path: white space, `?`, `#` or a character that is not ASCII",
            ),
            (
                "path: /, plugin: eco, secret: s, signature_header: x".into(),
                at(25, "plugin") + "`eco` is not a configured plugin; did you mean `echo`?",
            ),
            (
                "path: /, plugin: echo, signature_header: x".into(),
                "c.yaml:5:7: webhooks.endpoints[0]: `secret` is missing".into(),
            ),
            (format!("path: /, max_body_size: 0, {rest}"), at(32, "max_body_size") + "must be at least 1 byte"),
            (format!("path: /, max_body_size: 2GB, {rest}"), at(32, "max_body_size") + "`2GB` is more than 1 GB"),
            (format!("path: /, max_body_size: -1, {rest}"), {
                at(32, "max_body_size")
                    + "`-1` is not a size: a whole number and a unit (`B`, `KB`, `MB` or `GB`) is, such as `64KB` or `1MB`"
            }),
            (
                format!("path: /, event_header: 'X Y', {rest}"),
                at(31, "event_header") + "`X Y` is not the name of an HTTP header",
            ),
        ] {
            assert_eq!(problems(&with_endpoint(&endpoint)), expected);
        }
        let twice = format!("{}\n    - {{path: /a, {rest}}}", with_endpoint(&format!("path: /a, {rest}")));
        let expected = "c.yaml:6:14: webhooks.endpoints[1].path: `webhooks.endpoints[0]` has the same path";
        assert_eq!(problems(&twice), expected);
    }

    #[test]
    fn secrets_are_never_shown_and_never_empty() {
        let rest = "path: /, plugin: echo, signature_header: x";
        for (secret, expected) in [
            ("''", "secret: the secret is empty"),
            ("'${EMPTY}'", "secret: `${EMPTY}` is set, but empty"),
            ("[]", "secret: at least one secret is needed"),
            ("123456", "secret: expected text, found a number; put it in quotes"),
            ("{a: b}", "secret: expected text, found a map; put it in quotes"),
            ("'pass${NO}word'", "secret: `${NO}` is not set"),
        ] {
            let problems = problems(&with_endpoint(&format!("secret: {secret}, {rest}")));
            assert_eq!(problems, format!("c.yaml:5:16: webhooks.endpoints[0].{expected}"));
        }
        let problems = problems(&with_endpoint(&format!("secret: ['', 5, ok], {rest}")));
        assert_eq!(
            problems,
            "c.yaml:5:17: webhooks.endpoints[0].secret[0]: the secret is empty\n\
             c.yaml:5:21: webhooks.endpoints[0].secret[1]: expected text, found a number; put it in quotes"
        );
    }
}
