//! Which job is meant by an id, or by the beginning of one.

use std::str::FromStr;

use rusqlite::Connection;
use uuid::Uuid;

use crate::cli::error::CliError;
use crate::cli::output;
use crate::queue::Job;
use crate::queue::list;

/// A job's id or the beginning of one: lower case, as ids are stored.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Prefix(String);

impl From<Uuid> for Prefix {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

/// Shorter ones could mean anything: the beginning of an id is the time at which it was made.
const SHORTEST: usize = 4;
/// 8-4-4-4-12.
const ID: usize = 36;

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |(at, c): (usize, char)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        };
        if text.len() > ID || !text.chars().enumerate().all(known) {
            return Err("an id has 36 characters, such as `0199f3c2-7d4e-7cc3-98c4-dc0c0c07398f`".to_owned());
        }
        if text.len() < SHORTEST {
            return Err(format!("at least {SHORTEST} characters of an id are needed"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// What an id leads to.
pub(super) enum Found {
    Job(Box<Job>),
    /// The job itself was deleted; its attempts are still in the log.
    Attempts(Uuid),
}

/// The one job that `prefix` means.
pub(super) fn job(connection: &Connection, prefix: &Prefix) -> Result<Job, CliError> {
    match job_or_attempts(connection, prefix)? {
        Found::Job(job) => Ok(*job),
        Found::Attempts(id) => Err(CliError::Failed(format!(
            "job {id} was deleted when its time was over; `ductile queue show {id}` has what the log still knows"
        ))),
    }
}

/// The one job that `prefix` means, also when only its attempts are left.
pub(super) fn job_or_attempts(connection: &Connection, Prefix(prefix): &Prefix) -> Result<Found, CliError> {
    let mut jobs = list::jobs_by_prefix(connection, prefix)?;
    if jobs.len() > 1 {
        return Err(ambiguous(prefix, jobs.iter().map(describe)));
    }
    if let Some(job) = jobs.pop() {
        return Ok(Found::Job(Box::new(job)));
    }
    let logged = list::logged_by_prefix(connection, prefix)?;
    match logged[..] {
        [] => Err(CliError::Failed(match prefix.len() {
            ID => format!("there is no job `{prefix}`"),
            _ => format!("there is no job whose id begins with `{prefix}`"),
        })),
        [id] => Ok(Found::Attempts(id)),
        _ => Err(ambiguous(prefix, logged.iter().map(Uuid::to_string))),
    }
}

fn ambiguous(prefix: &str, candidates: impl Iterator<Item = String>) -> CliError {
    let list: Vec<_> = candidates.map(|candidate| format!("\n  {candidate}")).collect();
    CliError::Failed(format!("more than one job has an id that begins with `{prefix}`:{}", list.concat()))
}

/// A job in one line.
pub(super) fn describe(job: &Job) -> String {
    let Job { id, plugin, command, status, created_at, .. } = job;
    format!("{id}  {plugin} {command}  {status}  {}", output::local(*created_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beginnings_of_ids_are_taken() {
        let id = "0199f3c2-7d4e-7cc3-98c4-dc0c0c07398f";
        for length in SHORTEST..=ID {
            assert_eq!(id[..length].parse::<Prefix>().unwrap().0, id[..length]);
        }
        assert_eq!("0199F3C2".parse::<Prefix>().unwrap().0, "0199f3c2");
        for text in
            ["", "019", "0199g", "0199f3c27", "0199f3c2_", "0199%", "ä199", "0199f3c2-7d4e-7cc3-98c4-dc0c0c07398f0"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
