//! An HTTP server: who may connect, for how long, and how an answer looks. It knows no paths.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use connection::{Admitted, Connections, Watched};
pub use connection::{Connection, most_connections};

/// How long a sender is asked to wait before it tries again after a 503, seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");

/// When no more connections are taken, those with a request may go on for this long.
const CLOSING: Duration = Duration::from_secs(5);

/// After the system has refused to accept a connection, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most bytes of a request's headers, and of what is read at once.
const BUFFER: usize = 32 << 10;

/// What answers requests.
pub trait Respond: Send + Sync + 'static {
    /// The answer to a request, whatever its path. It tells the connection when it has read a body to its end.
    fn respond(&self, connection: &Connection, request: Request) -> impl Future<Output = Response> + Send;
}

/// A bound address.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `listen`; port 0 is any free one.
    ///
    /// # Errors
    /// When the address is in use, or not of this machine.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves at most so many connections at once until `stop`; then requests that have begun may end.
    pub async fn serve<R: Respond>(self, responder: R, most_connections: usize, stop: CancellationToken) {
        let router = Router::new().fallback(respond::<R>).with_state(Arc::new(responder));
        let connections = Arc::new(Connections::at_most(most_connections));
        let mut serving = JoinSet::new();
        loop {
            let accept = async {
                let (stream, peer) = self.listener.accept().await?;
                Ok::<_, io::Error>((stream, connections.admit(peer.ip()).await))
            };
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept => match accepted {
                    Ok((stream, admitted)) => {
                        serving.spawn(serve_one(stream, admitted, router.clone(), stop.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(error = crate::log::chain(&error), "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            // Not in the `select!`: it would drop a connection that waits to be admitted.
            while serving.try_join_next().is_some() {}
        }
        drop(self.listener);
        let _ = tokio::time::timeout(CLOSING, async { while serving.join_next().await.is_some() {} }).await;
    }
}

/// One connection, to its end.
async fn serve_one(stream: TcpStream, admitted: Admitted, router: Router, stop: CancellationToken) {
    // Without it a small answer may wait for an acknowledgement; a failure costs only that.
    let _ = stream.set_nodelay(true);
    let connection = Arc::clone(&admitted.connection);
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&connection)));
    let service = TowerToHyperService::new(router.layer(Extension(Arc::clone(&connection))));
    let mut http = http1::Builder::new();
    // A sender may be done with sending before it has its answer.
    http.half_close(true).max_buf_size(BUFFER);
    let mut serving = pin!(http.serve_connection(io, service));
    let mut timer = connection.timer();
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            // An error is the peer's: it went away, or did not speak HTTP.
            _ = &mut serving => return,
            () = connection.over(&mut timer) => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond<R: Respond>(
    State(responder): State<Arc<R>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
) -> Response {
    connection.head_received();
    if request.body().is_end_stream() {
        connection.request_received();
    }
    let response = responder.respond(&connection, request).await;
    connection.answered();
    response
}

/// An answer in JSON.
pub fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let json = serde_json::to_vec(body).expect("texts and numbers can be written as JSON");
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[derive(Debug, Serialize)]
struct Refusal {
    error: &'static str,
}

/// An answer that says no more than its status.
pub fn refuse(status: StatusCode) -> Response {
    let mut response = answer(status, &Refusal { error: status.canonical_reason().unwrap_or_default() });
    let headers = response.headers_mut();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

/// The path exists, for another method.
pub fn refuse_method(allowed: &'static str) -> Response {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
