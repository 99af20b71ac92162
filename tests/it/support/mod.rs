//! What every test uses: a [`Site`] (a folder with configuration, plugins and state), the processes that run in it, and
//! waiting for conditions.
//!
//! ```ignore
//! let mut site = Site::new();
//! site.plugin(Plugin::sh("work", "echo '{\"status\": \"ok\"}'"));
//! let daemon = site.start();
//! site.cli(["run", "work"]).expect_code(0);
//! daemon.stop();
//! ```
//!
//! Rules: never sleep to let something happen, wait for it (`wait_until`, `Site::wait_rows`, `Daemon::wait_log`); each
//! test has its own site; whatever a site's processes leave behind is killed when it goes.

mod daemon;
mod db;
mod http;
mod plugin;
mod process;
mod site;
mod wait;

pub(crate) use daemon::{Daemon, find_line, log_lines};
pub(crate) use http::{Answer, SECRET, SIGNATURE, delivery, exchange, post, read_answer, sign};
pub(crate) use plugin::{OK, Plugin};
pub(crate) use process::{Process, Ran};
pub(crate) use site::{Site, mode, set_mode};
pub(crate) use wait::{wait_for, wait_until};
