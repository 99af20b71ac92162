//! Plugins: finding them, deciding which may run, and running one attempt of one as a process.
//!
//! A [`Registry`] holds what one configuration makes of the plugin roots; [`run`] takes a plugin from it through one
//! attempt and says how that ended. Nothing here knows jobs, queues or SQL, nothing decides about retries,
//! and nothing is remembered between two attempts.
//!
//! | module | owns |
//! |---|---|
//! | `root` | in which folder a plugin is |
//! | `registry`, `conflict` | what was found, and what of the configuration contradicts it |
//! | `loaded`, `manifest`, `trust`, `environment`, `interpreter` | one plugin: what it declares, whether it may and can run, what it sees |
//! | `protocol` | the bytes on stdin and stdout |
//! | `spawn`, `process` | one child, from start to reap |
//! | `outcome`, `attempt` | what came of it |
//! | `trial` | the same for a plugin's author, who wants to see more |
//! | `stray` | what a killed daemon has left running |

mod attempt;
mod conflict;
mod environment;
mod interpreter;
mod loaded;
mod manifest;
mod outcome;
mod process;
mod protocol;
mod registry;
mod root;
mod spawn;
pub mod stray;
mod text;
mod trial;
mod trust;

pub use attempt::{Attempt, Call, run};
pub use conflict::{Conflict, PathPart};
pub use interpreter::InterpreterError;
pub use loaded::{LoadError, Plugin};
pub use manifest::{Access, ConfigKeys, Declared, FactOutput, FactSource, FactView, FactWhen, Manifest};
pub use outcome::Outcome;
pub use process::Cancel;
pub use protocol::{Effects, Envelope, Event, MAX_EVENTS, Protocol, ProtocolError, Response, Status, unknown_fields};
pub use registry::{Entry, Registry};
pub use trial::{Leftover, STDERR_LIMIT, STDOUT_LIMIT, Trial, load_folder, try_out};
pub use trust::TrustError;
