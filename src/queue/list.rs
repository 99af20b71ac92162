//! Reading the queue and the log, for commands that show them. Everything is found by an index.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::job::{Job, JobLogStatus, Status};
use super::log;
use super::store::{self, columns, live};
use crate::clock::Timestamp;
use crate::state::{Error, Text};

/// Which jobs to show.
#[derive(Debug, Clone)]
pub struct Filter {
    pub statuses: Vec<Status>,
    pub plugin: Option<String>,
    /// The most rows of each status.
    pub limit: u32,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    /// All that are queued.
    pub queued: u64,
    /// Those among them that wait for their retry.
    pub waiting: u64,
    pub running: u64,
    pub dead: u64,
}

/// A row of `job_log`.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    #[serde(skip)]
    pub id: i64,
    pub job_id: Uuid,
    pub attempt: u32,
    pub plugin: String,
    pub command: String,
    pub submitted_by: String,
    #[serde(serialize_with = "as_text")]
    pub status: JobLogStatus,
    pub started_at: Timestamp,
    pub completed_at: Timestamp,
    pub duration_ms: u64,
    pub exit_code: Option<i32>,
    pub error: Option<String>,
    /// What its response says in words, or without that what the plugin printed.
    pub result: Option<String>,
    /// What the plugin printed, if `result` is from its response.
    pub response: Option<String>,
    /// The plugin's log lines, a JSON array.
    pub logs: Option<Box<RawValue>>,
    pub stderr: Option<String>,
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

macro_rules! attempt_columns {
    () => {
        "id, job_id, attempt, plugin, command, submitted_by, status, started_at, completed_at, duration_ms, \
         exit_code, error, result, response, logs, stderr"
    };
}

/// Jobs in the order of the queue. Of a plugin's that have succeeded it is those that were over last, of others that are
/// over the last of the queue, of the rest those that come first.
///
/// # Errors
/// When the database cannot be read.
pub fn jobs(connection: &Connection, filter: &Filter) -> Result<Vec<Job>, Error> {
    let mut jobs = Vec::new();
    for sql in filter.statuses.iter().flat_map(|status| jobs_sql(*status, filter.plugin.is_some())) {
        let mut values = vec![Value::from(filter.limit)];
        values.extend(filter.plugin.clone().map(Value::from));
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), store::job)?;
        jobs.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    jobs.sort_by_key(|job| job.seq);
    Ok(jobs)
}

/// The jobs of a state, perhaps of one plugin: a statement for each part of an index that is in order by itself.
pub(super) fn jobs_sql(status: Status, of_plugin: bool) -> Vec<String> {
    let (parts, order): (&[&str], _) = match status {
        Status::Queued => (&[live!(ready), live!(waiting)], live!(order)),
        // There is but one.
        Status::Running => (&[live!(running)], "status"),
        Status::Succeeded if of_plugin => (&["status = 'succeeded'"], "completed_at DESC"),
        Status::Succeeded => (&["status = 'succeeded'"], "seq DESC"),
        Status::Dead => (&["status = 'dead'"], "seq DESC"),
    };
    let plugin = if of_plugin { "AND plugin = ?2" } else { "" };
    let sql = |part| format!("SELECT {} FROM job_queue WHERE {part} {plugin} ORDER BY {order} LIMIT ?1", columns!());
    parts.iter().map(sql).collect()
}

/// One job by its id.
///
/// # Errors
/// When the database cannot be read.
pub fn job(connection: &Connection, id: Uuid) -> Result<Option<Job>, Error> {
    let mut statement = connection.prepare_cached(concat!("SELECT ", columns!(), " FROM job_queue WHERE id = ?1"))?;
    Ok(statement.query_row([Text(id)], store::job).optional()?)
}

pub(super) const BY_ID_RANGE: &str =
    concat!("SELECT ", columns!(), " FROM job_queue WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3");

/// As many jobs that share the beginning of their ids are told apart.
const CANDIDATES: u32 = 10;

/// The jobs whose ids begin with `prefix`, up to a few more than one; their ids are lower-case hexadecimal.
///
/// # Errors
/// When the database cannot be read.
pub fn jobs_by_prefix(connection: &Connection, prefix: &str) -> Result<Vec<Job>, Error> {
    let mut statement = connection.prepare_cached(BY_ID_RANGE)?;
    let rows = statement.query_map((prefix, end_of_range(prefix), CANDIDATES), store::job)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The ids beginning with `prefix` of jobs that have attempts in the log, whether or not the jobs are still there.
///
/// # Errors
/// When the database cannot be read.
pub fn logged_by_prefix(connection: &Connection, prefix: &str) -> Result<Vec<Uuid>, Error> {
    log::ids_in_range(connection, prefix, &end_of_range(prefix), CANDIDATES)
}

/// What comes after everything that begins with `prefix`: no id has a letter behind `f`.
fn end_of_range(prefix: &str) -> String {
    format!("{prefix}g")
}

/// What the job was given, JSON text.
///
/// # Errors
/// When the database cannot be read.
pub fn payload(connection: &Connection, job: &Job) -> Result<Option<String>, Error> {
    store::payload(connection, job.seq)
}

/// One job with its attempts, both of the same moment.
///
/// # Errors
/// When the database cannot be read.
pub fn job_with_attempts(connection: &Connection, id: Uuid) -> Result<Option<(Job, Vec<Attempt>)>, Error> {
    let snapshot = connection.unchecked_transaction()?;
    match job(&snapshot, id)? {
        Some(job) => Ok(Some((job, attempts(&snapshot, id)?))),
        None => Ok(None),
    }
}

/// How many jobs a job has caused.
///
/// # Errors
/// When the database cannot be read.
pub fn children(connection: &Connection, parent: Uuid) -> Result<u64, Error> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM job_queue WHERE parent_job_id = ?1")?;
    Ok(statement.query_row([Text(parent)], |row| row.get(0))?)
}

/// How many jobs are in each state, but for the succeeded ones, which nobody wants to count.
///
/// # Errors
/// When the database cannot be read.
pub fn counts(connection: &Connection) -> Result<Counts, Error> {
    let count = |condition: &str| -> Result<u64, Error> {
        let sql = format!("SELECT count(*) FROM job_queue WHERE {condition}");
        Ok(connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)
    };
    Ok(Counts {
        queued: store::depth(connection)?,
        waiting: count("next_retry_at IS NOT NULL")?,
        running: count(live!(running))?,
        dead: count("status = 'dead'")?,
    })
}

/// The attempts of a job, the first one first.
///
/// # Errors
/// When the database cannot be read.
pub fn attempts(connection: &Connection, job: Uuid) -> Result<Vec<Attempt>, Error> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        attempt_columns!(),
        " FROM job_log WHERE job_id = ?1 ORDER BY attempt"
    ))?;
    let rows = statement.query_map([Text(job)], attempt)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How long the last ended attempt of a job took, milliseconds.
///
/// # Errors
/// When the database cannot be read.
pub fn last_duration(connection: &Connection, job: Uuid) -> Result<Option<u64>, Error> {
    log::last_duration(connection, job)
}

/// Which attempts to show.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    pub plugin: Option<String>,
    /// Only attempts that did not succeed.
    pub failed: bool,
    /// Only attempts that ended then or later.
    pub since: Option<Timestamp>,
    /// Only attempts with a higher number.
    pub after: i64,
}

/// The newest `limit` attempts, the oldest of them first.
///
/// # Errors
/// When the database cannot be read.
pub fn log(connection: &Connection, plugin: Option<&str>, failed: bool, limit: u32) -> Result<Vec<Attempt>, Error> {
    log_newest(connection, &LogFilter { plugin: plugin.map(str::to_owned), failed, ..LogFilter::default() }, limit)
}

/// The newest `limit` attempts that pass the filter, the oldest of them first.
///
/// # Errors
/// When the database cannot be read.
pub fn log_newest(connection: &Connection, filter: &LogFilter, limit: u32) -> Result<Vec<Attempt>, Error> {
    let mut filter = filter.clone();
    if let Some(since) = filter.since {
        // Attempts are numbered as they end, so what is older is not looked at; but for a clock that was set back.
        match log::first_since(connection, since)? {
            Some(first) => filter.after = filter.after.max(first - 1),
            None => return Ok(Vec::new()),
        }
    }
    let mut attempts = select_log(connection, &filter, "DESC", limit)?;
    attempts.reverse();
    Ok(attempts)
}

/// The first `limit` attempts that pass the filter.
///
/// # Errors
/// When the database cannot be read.
pub fn log_following(connection: &Connection, filter: &LogFilter, limit: u32) -> Result<Vec<Attempt>, Error> {
    select_log(connection, filter, "ASC", limit)
}

/// The number of the newest attempt, 0 when there is none.
///
/// # Errors
/// When the database cannot be read.
pub fn log_end(connection: &Connection) -> Result<i64, Error> {
    log::newest(connection)
}

fn select_log(connection: &Connection, filter: &LogFilter, order: &str, limit: u32) -> Result<Vec<Attempt>, Error> {
    let mut statement = connection.prepare_cached(&log_sql(filter, order))?;
    let since = filter.since.map(|since| since.to_string());
    let rows = statement.query_map((limit, filter.after, &filter.plugin, since), attempt)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All four parameters are in each statement, so that they are bound alike.
pub(super) fn log_sql(filter: &LogFilter, order: &str) -> String {
    // Left to itself, SQLite would look for a plugin's few failures among all its attempts.
    let index = match (filter.failed, &filter.plugin) {
        (true, Some(_)) => "INDEXED BY job_log_failed_plugin",
        (true, None) => "INDEXED BY job_log_failed",
        (false, _) => "",
    };
    let failed = if filter.failed { "AND status != 'succeeded'" } else { "" };
    let plugin = if filter.plugin.is_some() { "plugin = ?3" } else { "?3 IS NULL" };
    let since = if filter.since.is_some() { "completed_at >= ?4" } else { "?4 IS NULL" };
    format!(
        "SELECT {} FROM job_log {index} WHERE id > ?2 {failed} AND {plugin} AND {since} ORDER BY id {order} LIMIT ?1",
        attempt_columns!()
    )
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let logs: Option<String> = row.get(14)?;
    Ok(Attempt {
        id: row.get(0)?,
        job_id: row.get::<_, Text<_>>(1)?.0,
        attempt: row.get(2)?,
        plugin: row.get(3)?,
        command: row.get(4)?,
        submitted_by: row.get(5)?,
        status: row.get::<_, Text<_>>(6)?.0,
        started_at: row.get::<_, Text<_>>(7)?.0,
        completed_at: row.get::<_, Text<_>>(8)?.0,
        duration_ms: row.get(9)?,
        exit_code: row.get(10)?,
        error: row.get(11)?,
        result: row.get(12)?,
        response: row.get(13)?,
        logs: logs.and_then(|logs| RawValue::from_string(logs).ok()),
        stderr: row.get(15)?,
    })
}
