//! `GET /metrics`: how the gateway is and what it has done, for Prometheus. It reads, and never writes.
//!
//! Counters are in memory and begin at 0 with each start; gauges are read when they are asked for, by indexed reads of a
//! connection of its own. Labels have few values: plugins and endpoints that are configured and enabled, commands,
//! outcomes, status codes.

mod families;
mod text;
mod turn;

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::sync::watch;

use crate::active::Active;
use crate::clock::{Clock, Timestamp};
use crate::counters::Counters;
use crate::http::{Connection, Respond, refuse, refuse_method};
use crate::state::{Db, Reader};
use crate::vitals::Vitals;
use families::Sources;
pub use turn::Turn;

/// Where they are.
const PATH: &str = "/metrics";

/// As many connections at once: a scraper has one.
pub const MOST_CONNECTIONS: usize = 16;

/// What is told.
#[derive(Debug)]
pub struct Metrics {
    pub db: Db,
    pub reader: Mutex<Reader>,
    pub active: watch::Receiver<Arc<Active>>,
    pub clock: Clock,
    pub vitals: Arc<Vitals>,
    pub counters: Arc<Counters>,
    pub started_at: Timestamp,
    pub turn: Turn,
}

impl Respond for Metrics {
    async fn respond(&self, _: &Connection, request: Request) -> Response {
        let (head, _body) = request.into_parts();
        self.turn.take(|| self.answer(&head)).await
    }
}

impl Metrics {
    fn answer(&self, request: &Parts) -> Response {
        if request.uri.path() != PATH {
            return refuse(StatusCode::NOT_FOUND);
        }
        if request.method != Method::GET {
            return refuse_method("GET");
        }
        let mut response = Response::new(Body::from(self.text()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(text::CONTENT_TYPE));
        response
    }

    fn text(&self) -> String {
        let active = Arc::clone(&self.active.borrow());
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = self.counters.lock();
        counts.retain(|plugin| active.is_enabled(plugin), |path| active.endpoint(path).is_some());
        let sources = Sources {
            db: &self.db,
            reader: &reader,
            active: &active,
            clock: &self.clock,
            vitals: &self.vitals,
            started_at: self.started_at,
        };
        families::all(&sources, &counts)
    }
}
