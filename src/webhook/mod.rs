//! The webhook server: signed requests become jobs that are on disk before they are answered.

mod body;
mod delivery;
mod event;
mod health;
mod signature;

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::response::Response;
use tokio::sync::{Notify, watch};

use crate::active::Active;
use crate::clock::Clock;
use crate::config::HEALTH_PATH;
use crate::counters::Counters;
use crate::http::{Connection, Respond};
use crate::state::{Db, Reader};
use crate::vitals::Vitals;
pub use body::Budget;

/// What requests are answered from.
#[derive(Debug)]
pub struct Gateway {
    pub db: Db,
    pub reader: Mutex<Reader>,
    pub active: watch::Receiver<Arc<Active>>,
    pub clock: Clock,
    /// The dispatcher's.
    pub wake: Arc<Notify>,
    pub vitals: Arc<Vitals>,
    pub counters: Arc<Counters>,
    pub budget: Budget,
}

impl Respond for Gateway {
    async fn respond(&self, connection: &Connection, request: Request) -> Response {
        if request.uri().path() == HEALTH_PATH {
            health::respond(self, connection, request.method())
        } else {
            delivery::receive(self, connection, request).await
        }
    }
}
