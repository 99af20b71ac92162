//! A request's body, whole, with what it may take of memory bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;

/// All bodies that are being received or stored at once, bytes.
const MOST_BUFFERED: u64 = 64 << 20;

/// Reserved for a body of known length before any of it is there, bytes.
const MOST_RESERVED: u64 = 64 << 10;

/// Why a body was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLarge,
    /// There are too many others in memory.
    NoRoom,
    /// It ended early, or was not what its headers promised.
    Broken,
}

/// How much of the memory for bodies is in use.
#[derive(Debug, Default)]
pub struct Budget(Arc<AtomicU64>);

/// A share of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<AtomicU64>,
    bytes: u64,
}

impl Budget {
    pub(super) fn share(&self) -> Share {
        Share { budget: Arc::clone(&self.0), bytes: 0 }
    }
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), Refused> {
        self.bytes += bytes;
        let used = self.budget.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > MOST_BUFFERED { Err(Refused::NoRoom) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads all of a body of at most `limit` bytes, which count in `share` as long as that lives.
pub(super) async fn read(mut body: Body, limit: u64, share: &mut Share) -> Result<Vec<u8>, Refused> {
    let announced = body.size_hint().lower();
    if announced > limit {
        return Err(Refused::TooLarge);
    }
    let mut whole = Vec::with_capacity(announced.min(MOST_RESERVED) as usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
        if whole.len() as u64 + data.len() as u64 > limit {
            return Err(Refused::TooLarge);
        }
        share.grow(data.len() as u64)?;
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_shares_of_all_bodies_are_bounded_together() {
        let budget = Budget::default();
        let mut taken = budget.share();
        assert_eq!(read(Body::from("ten bytes!"), 10, &mut taken).await.as_deref(), Ok(&b"ten bytes!"[..]));
        taken.grow(MOST_BUFFERED - 12).unwrap();
        assert_eq!(read(Body::from("abc"), 10, &mut budget.share()).await, Err(Refused::NoRoom));
        assert_eq!(read(Body::from("ab"), 10, &mut budget.share()).await.as_deref(), Ok(&b"ab"[..]));
        drop(taken);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0, "what was refused, too, is given back");
    }
}
