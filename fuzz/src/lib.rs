//! What the fuzz targets check: one function each, that fails when ductile breaks its promise about some input.
//!
//! They use the public interface only, so what is fuzzed is what runs. README.md says what is promised; `tests/seeds.rs`
//! replays all seeds on any toolchain.

#![forbid(unsafe_code)]

mod canonical;
pub mod config;
mod json;
pub mod manifest;
pub mod response;
pub mod webhook;

/// A folder for what has to be a file, in memory where the system offers that.
fn in_memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder can be made")
}
