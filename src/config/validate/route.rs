//! `routes`.

use super::super::problem::hint;
use super::super::{CORE_EVENTS, CORE_SOURCE, Route};
use super::PluginNames;
use super::reader::{Item, Reader, Section};

/// Each route once, in the order of the file.
pub(super) fn read_all<'a>(reader: &mut Reader<'a>, root: &Section<'a>, plugins: &PluginNames<'a>) -> Vec<Route> {
    let mut routes = Vec::new();
    for item in reader.list(root.get("routes")) {
        if let Some(route) = read(reader, &item, plugins)
            && !routes.contains(&route)
        {
            routes.push(route);
        }
    }
    routes
}

fn read<'a>(reader: &mut Reader<'a>, item: &Item<'a>, plugins: &PluginNames<'a>) -> Option<Route> {
    let section = reader.map(item, &["from", "event_type", "to"])?;
    let from = reader.required(&section, "from").and_then(|item| source(reader, &item, plugins));
    let event_type = reader.required(&section, "event_type").and_then(|item| {
        let event_type = reader.text(&item)?;
        if from.as_deref() == Some(CORE_SOURCE) && !CORE_EVENTS.contains(&event_type.value.as_ref()) {
            let hint = hint(&event_type.value, &CORE_EVENTS, "the core events are");
            reader.refuse(&item, format!("{event_type} is not a core event{hint}"));
        }
        Some(event_type.value.into_owned())
    });
    let to = reader.required(&section, "to").and_then(|item| target(reader, &item, plugins));
    Some(Route { from: from?, event_type: event_type?, to: to? })
}

fn source<'a>(reader: &mut Reader<'a>, item: &Item<'a>, plugins: &PluginNames<'a>) -> Option<String> {
    let scalar = reader.text(item)?;
    if scalar.value == CORE_SOURCE { Some(CORE_SOURCE.to_owned()) } else { plugins.check(reader, item, scalar) }
}

fn target<'a>(reader: &mut Reader<'a>, item: &Item<'a>, plugins: &PluginNames<'a>) -> Option<String> {
    let scalar = reader.text(item)?;
    if scalar.value == CORE_SOURCE {
        reader.refuse(item, format!("`{CORE_SOURCE}` is where core events come from; nothing can be sent to it"));
        return None;
    }
    plugins.check(reader, item, scalar)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems, validate};
    use super::*;

    const PLUGINS: &str = "plugins: {echo: , notify: {enabled: false}}\nroutes:\n";

    #[test]
    fn routes_keep_their_order_and_count_once() {
        let yaml = format!(
            "{PLUGINS}  - {{from: echo, event_type: b, to: notify}}
  - {{from: ductile, event_type: job.dead, to: notify}}
  - {{from: echo, event_type: b, to: notify}}
  - {{from: echo, event_type: b, to: echo}}"
        );
        let route = |from: &str, event_type: &str, to: &str| Route {
            from: from.into(),
            event_type: event_type.into(),
            to: to.into(),
        };
        assert_eq!(
            validate(&yaml).map_err(|problems| panic!("{problems}")).unwrap().routes,
            [route("echo", "b", "notify"), route("ductile", "job.dead", "notify"), route("echo", "b", "echo")]
        );
    }

    #[test]
    fn wrong_routes() {
        for (route, expected) in [
            ("{event_type: x, to: echo}", "c.yaml:3:5: routes[0]: `from` is missing"),
            ("echo", "c.yaml:3:5: routes[0]: expected a map, found the text `echo`"),
            (
                "{from: ecko, event_type: x, to: webhook}",
                "c.yaml:3:12: routes[0].from: `ecko` is not a configured plugin; did you mean `echo`?\n\
                 c.yaml:3:37: routes[0].to: `webhook` is not a configured plugin; the plugins are `echo` and `notify`",
            ),
            (
                "{from: echo, event_type: '', to: ductile}",
                "c.yaml:3:30: routes[0].event_type: may not be empty\n\
                 c.yaml:3:38: routes[0].to: `ductile` is where core events come from; nothing can be sent to it",
            ),
            (
                "{from: ductile, event_type: job.ded, to: echo}",
                "c.yaml:3:33: routes[0].event_type: `job.ded` is not a core event; did you mean `job.dead`?",
            ),
            (
                "{from: echo, event: x, event_type: true, to: echo}",
                "c.yaml:3:18: routes[0].event: unknown key `event`; \
                 the keys here are `from`, `event_type` and `to`\n\
                 c.yaml:3:40: routes[0].event_type: expected text, found the boolean `true`; put it in quotes",
            ),
        ] {
            assert_eq!(problems(&format!("{PLUGINS}  - {route}")), expected);
        }
        assert_eq!(problems("routes: {}"), "c.yaml:1:9: routes: expected a list, found a map");
    }
}
