//! One delivery: what SPEC section 5 checks, in its order, until the job is on disk.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::{Gateway, body, event, signature};
use crate::active::Active;
use crate::config::Endpoint;
use crate::fault::crash_point;
use crate::http::{Connection, answer, refuse, refuse_method};
use crate::log::chain;
use crate::queue::{self, Enqueued};
use crate::state::{Error, Tx};

/// A sender is not kept waiting longer for the disk. What is stored afterwards is a job all the same.
const STORE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
struct Accepted {
    job_id: Uuid,
}

/// Answers a request to anything but the health check.
pub(super) async fn receive(gateway: &Gateway, connection: &Connection, request: Request) -> Response {
    let active = Arc::clone(&gateway.active.borrow());
    let endpoint = active.endpoint(request.uri().path());
    let response = match endpoint {
        Some(endpoint) => take(gateway, connection, &active, endpoint, request).await,
        None => refuse(StatusCode::NOT_FOUND),
    };
    gateway.counters.answered(endpoint.map(|endpoint| endpoint.path.as_str()), response.status().as_u16());
    response
}

async fn take(
    gateway: &Gateway,
    connection: &Connection,
    active: &Active,
    endpoint: &Endpoint,
    request: Request,
) -> Response {
    if request.method() != Method::POST {
        return refuse_method("POST");
    }
    let (head, body) = request.into_parts();
    // Until the job is stored: also what waits for the disk is in memory.
    let mut share = gateway.budget.share();
    let path = &endpoint.path;
    let body = match body::read(body, endpoint.max_body_size, &mut share).await {
        Ok(body) => body,
        Err(body::Refused::TooLarge) => {
            let most = endpoint.max_body_size;
            tracing::warn!(path, peer = %connection.peer, "webhook refused: its body is over {most} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Err(body::Refused::NoRoom) => {
            tracing::error!(path, peer = %connection.peer, "webhook refused: too many bodies are in memory");
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        }
        Err(body::Refused::Broken) => return refuse(StatusCode::BAD_REQUEST),
    };
    connection.request_received();
    if !signature::is_valid(&head.headers, &endpoint.signature_header, &endpoint.secrets, &body) {
        tracing::warn!(path, peer = %connection.peer, "webhook refused: its signature is missing or wrong");
        return refuse(StatusCode::FORBIDDEN);
    }
    let now = gateway.clock.now();
    let job = event::job(endpoint, &head.headers, &body, active.max_attempts(&endpoint.plugin), now);
    // The job has a copy.
    drop(body);
    let job_id = job.id;
    let in_force = gateway.active.clone();
    let enqueue = move |tx: &Tx<'_>| {
        // A reload may have been written since the endpoint was found.
        let newest = Arc::clone(&in_force.borrow());
        if !newest.is_enabled(&job.plugin) {
            return Ok(None);
        }
        let enqueued = queue::enqueue(tx, &job, newest.limits, now)?;
        crash_point!("webhook.uncommitted");
        Ok(Some(enqueued))
    };
    // In a task of its own: who goes away before the answer has a job all the same, and the dispatcher hears of it.
    let (db, wake) = (gateway.db.clone(), Arc::clone(&gateway.wake));
    let storing = tokio::spawn(async move {
        let _share = share;
        let stored = db.write(enqueue).await;
        if matches!(stored, Ok(Some(Enqueued::Inserted))) {
            crash_point!("webhook.committed");
            wake.notify_one();
        }
        stored
    });
    let stored = tokio::time::timeout(STORE_PATIENCE, storing);
    match stored.await.map(|joined| joined.unwrap_or_else(|panic| Err(Error::Panicked(panic.to_string())))) {
        Ok(Ok(Some(Enqueued::Inserted))) => {
            tracing::info!(plugin = endpoint.plugin, %job_id, path, "webhook accepted");
            answer(StatusCode::ACCEPTED, &Accepted { job_id })
        }
        Ok(Ok(None)) => refuse(StatusCode::NOT_FOUND),
        Ok(Ok(Some(Enqueued::Duplicate(existing)))) => answer(StatusCode::OK, &Accepted { job_id: existing }),
        Ok(Ok(Some(Enqueued::QueueFull))) => {
            let most = gateway.active.borrow().limits.max_queue_depth;
            tracing::error!(path, "webhook refused: the queue is full (`service.max_queue_depth` is {most})");
            refuse(StatusCode::SERVICE_UNAVAILABLE)
        }
        Ok(Err(error)) => {
            tracing::error!(path, error = chain(&error), "webhook refused: it could not be stored");
            refuse(StatusCode::SERVICE_UNAVAILABLE)
        }
        Err(_) => {
            tracing::error!(path, "webhook refused: the disk took over {} s", STORE_PATIENCE.as_secs());
            refuse(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}
