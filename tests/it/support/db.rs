//! Looking into a site's database with SQL, read-only, as an operator would.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Params};
use serde_json::Value;

use super::site::Site;
use super::wait::wait_for;

impl Site {
    /// The rows of a query, each an object by column name; JSON columns are text.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str, parameters: impl Params) -> Vec<Value> {
        self.try_rows(sql, parameters).unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The only row of a query.
    #[track_caller]
    pub(crate) fn row(&self, sql: &str, parameters: impl Params) -> Value {
        let mut rows = self.rows(sql, parameters);
        assert_eq!(rows.len(), 1, "one row wanted of {sql}: {rows:#?}");
        rows.remove(0)
    }

    /// The number that a query gives.
    #[track_caller]
    pub(crate) fn count(&self, sql: &str) -> i64 {
        let row = self.row(sql, ());
        row.as_object().unwrap().values().next().unwrap().as_i64().unwrap()
    }

    /// One job with its payload.
    #[track_caller]
    pub(crate) fn job(&self, id: &str) -> Value {
        self.row("SELECT * FROM jobs WHERE id = ?1", [id])
    }

    /// The attempts of one job, the first one first.
    #[track_caller]
    pub(crate) fn attempts(&self, id: &str) -> Vec<Value> {
        self.rows("SELECT * FROM job_log WHERE job_id = ?1 ORDER BY attempt", [id])
    }

    /// What a plugin remembers.
    #[track_caller]
    pub(crate) fn state(&self, plugin: &str) -> Value {
        let row = self.row("SELECT state FROM plugin_state WHERE plugin_name = ?1", [plugin]);
        serde_json::from_str(row["state"].as_str().unwrap()).unwrap()
    }

    /// Waits until a query has rows; also while there is no database yet.
    #[track_caller]
    pub(crate) fn wait_rows(&self, sql: &str) -> Vec<Value> {
        let context = || {
            let newest = self.try_rows("SELECT * FROM job_queue ORDER BY seq DESC LIMIT 20", ());
            format!("the query: {:?}\nthe newest jobs: {newest:#?}", self.try_rows(sql, ()))
        };
        wait_for(&format!("rows of {sql}"), context, || self.try_rows(sql, ()).ok().filter(|rows| !rows.is_empty()))
    }

    /// Waits until the job has this status.
    #[track_caller]
    pub(crate) fn wait_job(&self, id: &str, status: &str) -> Value {
        self.wait_rows(&format!("SELECT * FROM jobs WHERE id = '{id}' AND status = '{status}'")).remove(0)
    }

    fn try_rows(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<Vec<Value>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.database(), flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        let mut statement = connection.prepare(sql)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let rows = statement.query_map(parameters, |row| {
            let cell = |(index, name): (usize, &String)| Ok((name.clone(), json(row.get_ref(index)?)));
            Ok(Value::Object(columns.iter().enumerate().map(cell).collect::<rusqlite::Result<_>>()?))
        })?;
        rows.collect()
    }
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned().into(),
    }
}
