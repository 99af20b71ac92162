//! Where events go: a pure function from routes, a job and its events to the jobs they cause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::command::Command;
use crate::config::{CORE_SOURCE, Route};
use crate::plugin::{Envelope, Event};
use crate::queue::{NewJob, SubmittedBy};

/// A chain of routed jobs ends here: a job with more hops is entered as `dead`.
pub const MAX_HOPS: u32 = 32;

/// The job whose events are routed.
#[derive(Debug, Clone, Copy)]
pub struct Producer<'a> {
    pub job_id: Uuid,
    pub plugin: &'a str,
    pub hops: u32,
    /// It descends from a core event: so do the jobs that it causes.
    pub from_core: bool,
}

/// The jobs that `events` cause, in the order of the events, then of the routes.
///
/// Each event is dropped when its jobs are made: ten megabytes are not held twice. Event ids are UUIDv5 of the job's id
/// and the event's index, so that they are the same whenever they are made.
pub fn route<'r>(
    routes: impl Iterator<Item = &'r Route> + Clone,
    producer: Producer<'_>,
    events: Vec<Event>,
    max_attempts: impl Fn(&str) -> u32,
    now: Timestamp,
) -> Vec<NewJob> {
    let origin =
        Origin { parent: Some(producer.job_id), hops: producer.hops.saturating_add(1), from_core: producer.from_core };
    let mut jobs = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        let event_id = Uuid::new_v5(&producer.job_id, index.to_string().as_bytes());
        jobs.extend(deliver(routes.clone(), producer.plugin, &event, event_id, origin, &max_attempts, now));
    }
    jobs
}

/// The jobs that a core event causes. `cause` is the job that it tells of, if it tells of one: its parent then.
///
/// They begin a lineage of their own, of jobs that cause no core event themselves. Otherwise a job that is dead for its
/// many hops could not be told of, and a failing messenger would tell of itself for ever.
pub fn route_core_event<'r>(
    routes: impl Iterator<Item = &'r Route>,
    event: &Event,
    cause: Option<Uuid>,
    max_attempts: impl Fn(&str) -> u32,
    now: Timestamp,
) -> Vec<NewJob> {
    // Not an index, which a routed event of the same job may have.
    let event_id = cause.map_or_else(Uuid::now_v7, |job_id| Uuid::new_v5(&job_id, event.kind.as_bytes()));
    let origin = Origin { parent: cause, hops: 0, from_core: true };
    deliver(routes, CORE_SOURCE, event, event_id, origin, &max_attempts, now)
}

/// Where a routed job comes from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    parent: Option<Uuid>,
    hops: u32,
    from_core: bool,
}

/// One job for each route that matches.
fn deliver<'r>(
    routes: impl Iterator<Item = &'r Route>,
    source: &str,
    event: &Event,
    event_id: Uuid,
    origin: Origin,
    max_attempts: &impl Fn(&str) -> u32,
    now: Timestamp,
) -> Vec<NewJob> {
    // No two of them are identical: a configuration counts those once.
    let matching = |route: &&Route| route.from == source && route.event_type == event.kind;
    let mut targets = routes.filter(matching).map(|route| route.to.as_str()).peekable();
    if targets.peek().is_none() {
        tracing::debug!(plugin = source, event_type = event.kind, "event has no route, dropped");
        return Vec::new();
    }
    let payload: Arc<RawValue> = Envelope {
        kind: &event.kind,
        payload: &event.payload,
        dedupe_key: event.dedupe_key.as_deref(),
        source,
        timestamp: now,
        event_id,
    }
    .to_json()
    .into();
    let Origin { parent, hops, from_core } = origin;
    let job = |target: &str| NewJob {
        payload: Some(Arc::clone(&payload)),
        dedupe_key: event.dedupe_key.clone(),
        parent_job_id: parent,
        source_event_id: Some(event_id),
        hops,
        from_core,
        stillborn: (hops > MAX_HOPS)
            .then(|| format!("more than {MAX_HOPS} hops from its root job; is there a cycle of routes?")),
        ..NewJob::new(target, Command::Handle, SubmittedBy::Route, max_attempts(target))
    };
    targets.map(job).collect()
}

/// The cycles that routes make, whatever the events' types: the shortest through each plugin, each once, beginning and
/// ending with its first plugin by name.
pub fn cycles(routes: &[Route]) -> Vec<Vec<&str>> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in routes {
        edges.entry(&route.from).or_default().insert(&route.to);
    }
    let cycles: BTreeSet<_> = edges.keys().filter_map(|start| shortest_cycle(&edges, start)).collect();
    cycles.into_iter().collect()
}

fn shortest_cycle<'r>(edges: &BTreeMap<&'r str, BTreeSet<&'r str>>, start: &'r str) -> Option<Vec<&'r str>> {
    let mut paths = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let last = path.last().expect("every path has its start");
        for &next in edges.get(last).into_iter().flatten() {
            if next == start {
                return Some(closed(path));
            }
            if seen.insert(next) {
                paths.push_back(path.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

/// The cycle of these plugins, from its first by name back to it.
fn closed(mut path: Vec<&str>) -> Vec<&str> {
    let first = (0..path.len()).min_by_key(|at| path[*at]).unwrap_or_default();
    path.rotate_left(first);
    path.push(path[0]);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cycles of routes `from event to`, as `a>b>a`.
    fn cycles_of(routes: &[&str]) -> Vec<String> {
        let route = |text: &&str| {
            let [from, event_type, to] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
            Route { from: from.to_owned(), event_type: event_type.to_owned(), to: to.to_owned() }
        };
        let routes: Vec<_> = routes.iter().map(route).collect();
        cycles(&routes).iter().map(|cycle| cycle.join(">")).collect()
    }

    #[test]
    fn without_a_way_back_there_is_no_cycle() {
        assert!(cycles_of(&[]).is_empty());
        assert!(cycles_of(&["a e b", "a e c", "b e d", "c e d", "d e f"]).is_empty(), "two ways to one end");
        assert!(cycles_of(&["a e b", "a f b", "a g b"]).is_empty(), "parallel routes");
    }

    #[test]
    fn each_cycle_is_told_once_from_its_first_plugin_by_name() {
        assert_eq!(cycles_of(&["a e a"]), ["a>a"]);
        assert_eq!(cycles_of(&["b e a", "a e b"]), ["a>b>a"]);
        assert_eq!(
            cycles_of(&["c e a", "b e c", "a e b", "x e a", "c e y"]),
            ["a>b>c>a"],
            "what leads there is not part of it"
        );
        assert_eq!(cycles_of(&["a e b", "a f b", "b e a", "b g a"]), ["a>b>a"], "whatever the types");
    }

    #[test]
    fn cycles_that_share_a_plugin_are_both_told() {
        assert_eq!(cycles_of(&["a e hub", "hub e a", "b e hub", "hub f b"]), ["a>hub>a", "b>hub>b"]);
        assert_eq!(cycles_of(&["a e b", "b e a", "b e b"]), ["a>b>a", "b>b"]);
        assert_eq!(cycles_of(&["a e b", "b e a", "c e d", "d e c"]), ["a>b>a", "c>d>c"], "apart");
    }

    #[test]
    fn a_long_way_round_is_told_by_whom_no_shorter_one_goes_through() {
        assert_eq!(cycles_of(&["a e b", "b e c", "c e a", "b e a"]), ["a>b>a", "a>b>c>a"]);
    }
}
