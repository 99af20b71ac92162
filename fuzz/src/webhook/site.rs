//! The server with its database, and a client: all on one thread but for the database's own.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ductile::active::Active;
use ductile::clock::Clock;
use ductile::command::Command;
use ductile::config::{self, Variables};
use ductile::http::{self, Server};
use ductile::plugin::Registry;
use ductile::queue::{self, Limits, NewJob, SubmittedBy};
use ductile::state::{Db, Reader};
use ductile::vitals::Vitals;
use ductile::webhook::{Budget, Gateway};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::now;

pub(super) const FIRST_SECRET: &str = "It's a Secret to Everybody";
pub(super) const SECOND_SECRET: &str = "the one before";

/// Beyond it nothing is accepted.
pub(super) const MOST_QUEUED: usize = 3;

/// No answer takes longer, unless the server hangs; its own limits are below.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
service: {max_queue_depth: 3}
plugins: {echo: {}, off: {enabled: false}}
webhooks:
  listen: 127.0.0.1:0
  endpoints:
    - path: /hooks/a
      plugin: echo
      secret: ["It's a Secret to Everybody", the one before]
      signature_header: X-Hub-Signature-256
      max_body_size: 256
      dedupe_header: X-GitHub-Delivery
      event_header: X-GitHub-Event
    - {path: /, plugin: echo, secret: the one before, signature_header: Sig, max_body_size: 4KB}
    - {path: /off, plugin: off, secret: s, signature_header: Sig}
"#;

/// An endpoint of [`CONFIG`] whose plugin is enabled.
pub(super) struct Endpoint {
    path: &'static [u8],
    pub(super) secrets: &'static [&'static str],
    pub(super) signature_header: &'static str,
    pub(super) max_body_size: usize,
    pub(super) dedupe_header: Option<&'static str>,
    pub(super) event_header: Option<&'static str>,
}

const ENDPOINTS: [Endpoint; 2] = [
    Endpoint {
        path: b"/hooks/a",
        secrets: &[FIRST_SECRET, SECOND_SECRET],
        signature_header: "x-hub-signature-256",
        max_body_size: 256,
        dedupe_header: Some("x-github-delivery"),
        event_header: Some("x-github-event"),
    },
    Endpoint {
        path: b"/",
        secrets: &[SECOND_SECRET],
        signature_header: "sig",
        max_body_size: 4_096,
        dedupe_header: None,
        event_header: None,
    },
];

impl Endpoint {
    pub(super) fn at(path: &[u8]) -> Option<&'static Self> {
        ENDPOINTS.iter().find(|endpoint| endpoint.path == path)
    }
}

/// An answer, its header names in lower case.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// A row of the view `jobs`.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) plugin: String,
    pub(super) command: String,
    pub(super) status: String,
    pub(super) submitted_by: String,
    pub(super) dedupe_key: Option<String>,
    pub(super) source_event_id: Option<Uuid>,
    pub(super) hops: u32,
    pub(super) payload: Option<String>,
}

pub(super) struct Site {
    runtime: Runtime,
    address: SocketAddr,
    db: Db,
    reader: Reader,
    vitals: Arc<Vitals>,
    /// Whether there may be jobs.
    used: Cell<bool>,
    _active: watch::Sender<Arc<Active>>,
    _folder: TempDir,
}

impl Site {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let folder = crate::in_memory_folder();
        let path = folder.path().join("config.yaml");
        fs::write(&path, CONFIG).unwrap();
        let config = Arc::new(config::load(&path, &Variables::from_iter([("", ""); 0])).unwrap().config);
        let listen = config.webhooks.as_ref().expect("it has some").listen;
        let (sender, active) = watch::channel(Arc::new(Active::new(Registry::discover(config))));
        let db = Db::open(&folder.path().join("ductile.db")).unwrap();
        let vitals = Arc::new(Vitals::default());
        let gateway = Gateway {
            db: db.clone(),
            reader: Mutex::new(db.reader().unwrap()),
            active,
            clock: Clock::manual(now()),
            wake: Arc::new(Notify::new()),
            vitals: Arc::clone(&vitals),
            counters: Arc::default(),
            budget: Budget::default(),
        };
        let server = runtime.block_on(Server::bind(listen)).unwrap();
        let address = server.address();
        runtime.spawn(server.serve(gateway, http::most_connections(), CancellationToken::new()));
        let (reader, used) = (db.reader().unwrap(), Cell::new(false));
        Self { runtime, address, db, reader, vitals, used, _active: sender, _folder: folder }
    }

    /// Leaves these jobs, so many queued ones and one that succeeded for each key, and no others.
    pub(super) fn prepare(&self, queued: usize, done: &[String]) {
        // The scheduler, which is not there, would tell.
        self.vitals.ticked();
        if !self.used.replace(true) && queued == 0 && done.is_empty() {
            return;
        }
        let job = || NewJob::new("echo", Command::Handle, SubmittedBy::Webhook, 4);
        let jobs: Vec<_> = (0..queued)
            .map(|_| job())
            .chain(done.iter().map(|key| NewJob { dedupe_key: Some(key.clone()), ..job() }))
            .collect();
        let work = move |tx: &ductile::state::Tx<'_>| {
            tx.execute("DELETE FROM job_queue", ())?;
            let limits = Limits { dedupe_ttl: Duration::ZERO, max_queue_depth: u64::MAX };
            for job in &jobs {
                let _ = queue::enqueue(tx, job, limits, now())?;
                tx.execute(
                    "UPDATE job_queue SET status = 'succeeded', started_at = created_at, completed_at = created_at \
                     WHERE id = ?1 AND dedupe_key IS NOT NULL",
                    (job.id.to_string(),),
                )?;
            }
            Ok(())
        };
        self.runtime.block_on(self.db.write(work)).unwrap();
    }

    /// How many there are.
    pub(super) fn jobs(&self) -> usize {
        self.reader.query_row("SELECT count(*) FROM job_queue", (), |row| row.get(0)).unwrap()
    }

    pub(super) fn job(&self, id: &str) -> Option<Job> {
        let sql = "SELECT plugin, command, status, submitted_by, dedupe_key, source_event_id, hops, payload FROM jobs \
                   WHERE id = ?1";
        let job = self.reader.query_row(sql, (id,), |row| {
            Ok(Job {
                plugin: row.get(0)?,
                command: row.get(1)?,
                status: row.get(2)?,
                submitted_by: row.get(3)?,
                dedupe_key: row.get(4)?,
                source_event_id: row.get::<_, Option<String>>(5)?.and_then(|id| id.parse().ok()),
                hops: row.get(6)?,
                payload: row.get(7)?,
            })
        });
        job.ok()
    }

    /// Sends these pieces on a connection of their own, and reads so many answers, or as many as there are. `end`: the sender
    /// says that nothing more comes.
    pub(super) fn converse(&self, pieces: &[&[u8]], end: bool, answers: usize, is_head: bool) -> Vec<Answer> {
        let conversation = async {
            let mut stream = TcpStream::connect(self.address).await.expect("it listens");
            stream.set_nodelay(true).unwrap();
            // Or else the port would be taken for a minute, and soon all of them.
            stream.set_zero_linger().unwrap();
            let (mut reader, mut writer) = stream.split();
            let send = async {
                for piece in pieces {
                    // A server that has refused does not read the rest.
                    if writer.write_all(piece).await.is_err() {
                        return;
                    }
                    if pieces.len() > 1 {
                        tokio::task::yield_now().await;
                    }
                }
                if end {
                    let _ = writer.shutdown().await;
                }
            };
            let receive = async {
                let mut received = Vec::new();
                let mut read = Vec::new();
                while read.len() < answers {
                    if let Some((answer, rest)) = parse(&received, is_head) {
                        received.drain(..received.len() - rest);
                        read.extend(answer);
                        continue;
                    }
                    // A reset is the end as well: what is not read of a request leads to one.
                    if !matches!(reader.read_buf(&mut received).await, Ok(1..)) {
                        break;
                    }
                }
                read
            };
            tokio::join!(send, receive).1
        };
        let patient = async { tokio::time::timeout(PATIENCE, conversation).await };
        self.runtime.block_on(patient).expect("the server hangs")
    }
}

/// The answer at the beginning, unless it is only an invitation to go on, and how many bytes are behind it; `None` when it is
/// not there to its end.
fn parse(bytes: &[u8], is_head: bool) -> Option<(Option<Answer>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = str::from_utf8(&bytes[..end]).expect("the server's headers are text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    if status == 100 {
        return Some((None, rest.len()));
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    let length = if is_head { 0 } else { length };
    answer.body = String::from_utf8(rest.get(..length)?.to_owned()).expect("answers are text");
    Some((Some(answer), rest.len() - length))
}
