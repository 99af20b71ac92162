//! `GET /healthz`: whether the daemon does what it is there for. It reads, and never writes.

use std::net::IpAddr;
use std::sync::PoisonError;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::Gateway;
use crate::health::Reading;
use crate::http::{Connection, answer, refuse, refuse_method};

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    uptime_seconds: u64,
    /// Jobs that are queued, those that wait for a retry included.
    queue_depth: u64,
    plugins_loaded: usize,
    /// Whose breaker is open or half open.
    plugins_circuit_open: usize,
    /// Why it is degraded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// Answers loopback peers; for others the path does not exist.
pub(super) fn respond(gateway: &Gateway, connection: &Connection, method: &Method) -> Response {
    if !may_ask(connection.peer) {
        return refuse(StatusCode::NOT_FOUND);
    }
    if method != Method::GET {
        return refuse_method("GET");
    }
    let health = health(gateway);
    let status = if health.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &health)
}

/// Whether it is this machine, also when it is reached as an IPv4 address through an IPv6 socket.
fn may_ask(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

fn health(gateway: &Gateway) -> Health {
    let active = gateway.active.borrow();
    let reader = gateway.reader.lock().unwrap_or_else(PoisonError::into_inner);
    let reading = Reading::take(&gateway.db, &reader, &active, &gateway.clock, &gateway.vitals);
    let reasons: Vec<_> = reading.troubles().iter().map(ToString::to_string).collect();
    Health {
        status: if reasons.is_empty() { "ok" } else { "degraded" },
        uptime_seconds: reading.signs.started.elapsed().as_secs(),
        queue_depth: reading.queue.as_ref().map_or(0, |queue| queue.depth),
        plugins_loaded: active.registry.entries().filter(|entry| active.may_run(&entry.name)).count(),
        plugins_circuit_open: reading.queue.as_ref().map_or(0, |queue| queue.open_breakers),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_ask() {
        for own in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert!(may_ask(own.parse().unwrap()), "{own}");
        }
        for other in ["10.0.0.1", "192.168.1.1", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.1", "::127.0.0.1"] {
            assert!(!may_ask(other.parse().unwrap()), "{other}");
        }
    }
}
