//! Sending webhooks, byte by byte where that matters.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::daemon::Daemon;
use super::site::Site;

/// The secret of [`Site::webhook`]'s endpoints.
pub(crate) const SECRET: &str = "It's a Secret to Everybody";

/// The signature header of [`Site::webhook`]'s endpoints.
pub(crate) const SIGNATURE: &str = "X-Hub-Signature-256";

/// No answer takes longer, unless the daemon hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, its header names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Of a 202 or 200.
    #[track_caller]
    pub(crate) fn job_id(&self) -> String {
        self.json()["job_id"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

/// The signature header's value for a body.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

impl Daemon {
    /// Where it takes webhooks.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        let started = self.wait_log("INFO", "ductile started");
        started["listen"].as_str().expect("it listens").parse().unwrap()
    }

    /// Where it tells metrics.
    #[track_caller]
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        let started = self.wait_log("INFO", "ductile started");
        started["metrics_listen"].as_str().expect("it tells metrics").parse().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address()).unwrap()
    }

    /// Sends these bytes on a connection of their own. The answer.
    #[track_caller]
    pub(crate) fn exchange(&self, request: &[u8]) -> Answer {
        exchange(self.address(), request).expect("an answer")
    }

    /// A POST with these headers besides `Content-Length`.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.exchange(&post(path, headers, body))
    }

    /// A POST that is signed.
    #[track_caller]
    pub(crate) fn deliver(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.exchange(&delivery(path, headers, body))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: ductile\r\n\r\n").as_bytes())
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends these bytes on a connection of their own. The answer; `None` when there was none, since nobody is there (any more).
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(address).ok()?;
    // A daemon that has refused does not read the rest.
    let _ = stream.write_all(request);
    read_answer(&mut stream)
}

/// The bytes of a POST that is signed.
pub(crate) fn delivery(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let signature = sign(SECRET, body);
    let headers: Vec<_> = headers.iter().copied().chain([(SIGNATURE, signature.as_str())]).collect();
    post(path, &headers, body)
}

/// The bytes of a POST.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: ductile\r\nContent-Length: {length}\r\n").into_bytes();
    for (name, value) in headers {
        request.extend(format!("{name}: {value}\r\n").bytes());
    }
    request.extend(b"\r\n");
    request.extend(body);
    request
}

/// One answer with a `Content-Length`; `None` when the connection ended instead.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        return read_answer(stream);
    }
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    answer.body = String::from_utf8(body).unwrap();
    Some(answer)
}

impl Site {
    /// A webhook server on any free port with one endpoint, `/hooks/<plugin>`, for each of these plugins.
    pub(crate) fn webhook(&mut self, plugins: &[&str]) -> &mut Self {
        self.webhook_with(plugins, "")
    }

    /// As [`Site::webhook`], with more settings for each endpoint: `, key: value, ...`.
    pub(crate) fn webhook_with(&mut self, plugins: &[&str], more: &str) -> &mut Self {
        let mut yaml = "webhooks:\n  listen: 127.0.0.1:0\n  endpoints:\n".to_owned();
        for plugin in plugins {
            yaml += &format!(
                "    - {{path: /hooks/{plugin}, plugin: {plugin}, secret: \"{SECRET}\", signature_header: {SIGNATURE}{more}}}\n"
            );
        }
        self.more(&yaml)
    }
}
