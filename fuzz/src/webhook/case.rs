//! One case as its seed writes it: a request line, headers and directives, an empty line, the body.
//!
//! | directive | meaning |
//! |---|---|
//! | `@sign STYLE WHOSE` | a signature header; STYLE `prefix`, `bare`, `upper` or `cut`, WHOSE `first`, `second` or `nobody` |
//! | `@chunk N` | the body in chunks of N bytes, without a length |
//! | `@split N` | everything in writes of N bytes |
//! | `@short N` | N bytes of the body are announced and not sent |
//! | `@expect`, `@http10` | with `Expect: 100-continue`; as HTTP/1.0 |
//! | `@again` | on the same connection once more, without waiting |
//! | `@queued N`, `@done KEY` | so many jobs are queued; one with this dedupe key has succeeded |

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::site::{Endpoint, FIRST_SECRET, MOST_QUEUED, SECOND_SECRET};

#[derive(Debug, Default)]
pub(super) struct Case<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    lines: Vec<&'a [u8]>,
    signatures: Vec<Signature>,
    pub(super) body: &'a [u8],
    pub(super) chunk: Option<usize>,
    pub(super) split: Option<usize>,
    short: usize,
    expect: bool,
    http10: bool,
    pub(super) again: bool,
    pub(super) queued: usize,
    pub(super) done: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Signature {
    style: Style,
    secret: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Prefix,
    Bare,
    Upper,
    Cut,
}

/// As the server sees it.
#[derive(Debug)]
pub(super) struct Header {
    /// Lower case.
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

impl<'a> Case<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Option<Self> {
        let end = data.windows(2).position(|two| two == b"\n\n")?;
        let mut lines = data[..end].split(|byte| *byte == b'\n');
        let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
        let mut case = Self { method: first.next()?, target: first.next()?, body: &data[end + 2..], ..Self::default() };
        for line in lines {
            match line.strip_prefix(b"@") {
                None => case.lines.push(line),
                Some(directive) => case.direct(str::from_utf8(directive).ok()?)?,
            }
        }
        case.short = case.short.min(case.body.len());
        // It would be answered, and then wait for more.
        case.again &= case.short == 0 && !case.http10;
        Some(case)
    }

    fn direct(&mut self, directive: &str) -> Option<()> {
        let (name, value) = directive.split_once(' ').unwrap_or((directive, ""));
        let number = || value.parse::<usize>().ok();
        match name {
            "sign" => {
                let (style, whose) = value.split_once(' ')?;
                let style = match style {
                    "prefix" => Style::Prefix,
                    "bare" => Style::Bare,
                    "upper" => Style::Upper,
                    "cut" => Style::Cut,
                    _ => return None,
                };
                let secret = match whose {
                    "first" => FIRST_SECRET,
                    "second" => SECOND_SECRET,
                    "nobody" => "nobody's",
                    _ => return None,
                };
                self.signatures.push(Signature { style, secret });
            }
            "chunk" => self.chunk = Some(number()?.max(1)),
            "split" => self.split = Some(number()?.max(1)),
            "short" => self.short = number()?,
            "queued" => self.queued = number()?.min(MOST_QUEUED + 1),
            "done" if !value.is_empty() && !value.contains('\0') => self.done.push(value.to_owned()),
            "expect" => self.expect = true,
            "http10" => self.http10 = true,
            "again" => self.again = true,
            _ => return None,
        }
        Some(())
    }

    /// Whether it is HTTP without finesse, so that SPEC's table says what to expect.
    pub(super) fn is_plain(&self) -> bool {
        /// They decide where the body ends or what the connection is for.
        const FRAMING: [&str; 8] =
            ["connection", "content-length", "expect", "host", "http2-settings", "te", "transfer-encoding", "upgrade"];
        let is_token =
            |text: &[u8]| !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.!".contains(b));
        let is_target = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~%:@!$&'()*+,;=?".contains(byte);
        let header = |line: &&[u8]| {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
            let (name, value) = line.split_at(colon);
            is_token(name)
                && !FRAMING.contains(&String::from_utf8_lossy(name).to_ascii_lowercase().as_str())
                && value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f)
        };
        let size: usize = self.target.len() + self.lines.iter().map(|line| line.len() + 2).sum::<usize>();
        is_token(self.method)
            && self.method != b"CONNECT"
            && self.target.starts_with(b"/")
            && self.target.iter().all(is_target)
            && self.lines.iter().all(header)
            && self.lines.len() + self.signatures.len() < 90
            && size < 16 << 10
    }

    /// Whether the sender stops within the body.
    pub(super) fn is_broken_off(&self) -> bool {
        self.short > 0
    }

    /// The part of the body that is sent.
    pub(super) fn sent(&self) -> &'a [u8] {
        &self.body[..self.body.len() - self.short]
    }

    /// The headers that matter, in their order, if it is plain.
    pub(super) fn headers(&self, endpoint: &Endpoint) -> Vec<Header> {
        let written = self.lines.iter().filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
            let value = &line[colon + 1..];
            let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
            let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
            Some(Header { name, value: value[start..end].to_owned() })
        });
        let signatures = self.signatures.iter().map(|signature| Header {
            name: endpoint.signature_header.to_owned(),
            value: signature.of(self.body).into_bytes(),
        });
        written.chain(signatures).collect()
    }

    /// All of it as it is sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let path = self.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let signature_header = Endpoint::at(path).map_or("X-Hub-Signature-256", |endpoint| endpoint.signature_header);
        let version: &[u8] = if self.http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" };
        let mut bytes = [self.method, b" ", self.target, version, b"Host: x\r\n"].concat();
        for line in &self.lines {
            bytes.extend([line, &b"\r\n"[..]].concat());
        }
        for signature in &self.signatures {
            bytes.extend(format!("{signature_header}: {}\r\n", signature.of(self.body)).bytes());
        }
        if self.expect {
            bytes.extend(b"Expect: 100-continue\r\n");
        }
        match self.chunk.filter(|_| !self.http10) {
            Some(size) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in self.sent().chunks(size) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend([chunk, b"\r\n"].concat());
                }
                if !self.is_broken_off() {
                    bytes.extend(b"0\r\n\r\n");
                }
            }
            None => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).bytes());
                bytes.extend(self.sent());
            }
        }
        bytes
    }
}

impl Signature {
    fn of(self, body: &[u8]) -> String {
        let hex = hmac(self.secret, body);
        match self.style {
            Style::Prefix => format!("sha256={hex}"),
            Style::Bare => hex,
            Style::Upper => format!("sha256={}", hex.to_ascii_uppercase()),
            Style::Cut => hex[..62].to_owned(),
        }
    }
}

/// In lower-case hexadecimal.
pub(super) fn hmac(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
