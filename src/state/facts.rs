//! `plugin_facts`: the snapshots that plugins state as facts, in their order; only added to, but for retention.

use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::db::Tx;
use super::error::Error;
use super::plugin_state::Merged;
use super::sql::Text;
use crate::clock::Timestamp;
use crate::command::Command;

/// A row of `plugin_facts`.
#[derive(Debug, Serialize)]
pub struct Fact {
    /// Later facts have greater numbers.
    pub seq: i64,
    pub plugin_name: String,
    pub fact_type: String,
    pub job_id: Uuid,
    pub command: String,
    /// A JSON object; a text that somebody has written by hand may be anything, here a string.
    #[serde(rename = "fact_json")]
    pub json: Box<RawValue>,
    pub created_at: Timestamp,
}

const INSERT: &str = "INSERT INTO plugin_facts (plugin_name, fact_type, job_id, command, fact_json, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const NEWEST: &str = "SELECT seq, plugin_name, fact_type, job_id, command, fact_json, created_at FROM plugin_facts \
     WHERE plugin_name = ?1 ORDER BY seq DESC LIMIT ?2";
/// Not the newest of its type, which is where the plugin's state began.
const EXPIRED: &str = "SELECT seq FROM plugin_facts AS old WHERE created_at < ?1 AND EXISTS \
     (SELECT 1 FROM plugin_facts AS newer WHERE newer.plugin_name = old.plugin_name \
     AND newer.fact_type = old.fact_type AND newer.seq > old.seq) ORDER BY created_at LIMIT ?2";
const DELETE: &str = "DELETE FROM plugin_facts WHERE seq = ?1";

/// Adds the plugin's next state as a fact of this type.
///
/// # Errors
/// When the database cannot be written.
pub fn append(
    tx: &Tx<'_>,
    state: &Merged<'_>,
    fact_type: &str,
    (job_id, command): (Uuid, &Command),
    now: Timestamp,
) -> Result<(), Error> {
    let row = (state.plugin(), fact_type, Text(job_id), command.as_str(), state.json(), Text(now));
    tx.prepare_cached(INSERT)?.execute(row)?;
    Ok(())
}

/// The newest `limit` facts of a plugin, the oldest of them first.
///
/// # Errors
/// When the database cannot be read.
pub fn newest(connection: &Connection, plugin: &str, limit: u32) -> Result<Vec<Fact>, Error> {
    let mut statement = connection.prepare_cached(NEWEST)?;
    let rows = statement.query_map((plugin, limit), |row| {
        let json: String = row.get(5)?;
        let json = RawValue::from_string(json.clone()).or_else(|_| to_raw_value(&json));
        Ok(Fact {
            seq: row.get(0)?,
            plugin_name: row.get(1)?,
            fact_type: row.get(2)?,
            job_id: row.get::<_, Text<_>>(3)?.0,
            command: row.get(4)?,
            json: json.expect("a text can be written as JSON"),
            created_at: row.get::<_, Text<_>>(6)?.0,
        })
    })?;
    let mut facts = rows.collect::<Result<Vec<_>, _>>()?;
    facts.reverse();
    Ok(facts)
}

/// Whether there are facts from before `before` that have a successor.
///
/// # Errors
/// When the database cannot be read.
pub fn any_expired(connection: &Connection, before: Timestamp) -> Result<bool, Error> {
    Ok(connection.prepare_cached(EXPIRED)?.exists((Text(before), 1))?)
}

/// Deletes up to `limit` facts from before `before`, never the newest of a plugin's type. How many it were.
///
/// # Errors
/// When the database cannot be written.
pub fn delete_expired(tx: &Tx<'_>, before: Timestamp, limit: u32) -> Result<usize, Error> {
    let mut statement = tx.prepare_cached(EXPIRED)?;
    let rows = statement.query_map((Text(before), limit), |row| row.get(0))?;
    let expired = rows.collect::<Result<Vec<i64>, _>>()?;
    for seq in &expired {
        tx.prepare_cached(DELETE)?.execute([seq])?;
    }
    Ok(expired.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{in_memory, plugin_state};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn state(connection: &Connection, plugin: &str, fact_type: &str, seconds: i64) {
        let snapshot = RawValue::from_string(format!(r#"{{ "at" : {seconds} }}"#)).unwrap();
        let next = plugin_state::replace(plugin, &snapshot).unwrap();
        append(&Tx::over(connection), &next, fact_type, (Uuid::nil(), &Command::Poll), at(seconds)).unwrap();
    }

    fn shown(connection: &Connection, plugin: &str) -> Vec<String> {
        let facts = newest(connection, plugin, 100).unwrap();
        facts.iter().map(|fact| format!("{} {}", fact.fact_type, fact.json.get())).collect()
    }

    #[test]
    fn facts_are_kept_in_their_order() {
        let connection = in_memory();
        for seconds in [3, 1, 2] {
            state(&connection, "a", "a.seen", seconds);
        }
        state(&connection, "b", "b.seen", 9);
        assert_eq!(shown(&connection, "a"), [r#"a.seen {"at":3}"#, r#"a.seen {"at":1}"#, r#"a.seen {"at":2}"#]);
        let last = newest(&connection, "a", 1).unwrap().pop().unwrap();
        assert_eq!((last.seq, last.command.as_str(), last.created_at), (3, "poll", at(2)));
        connection.execute("UPDATE plugin_facts SET fact_json = 'by hand' WHERE plugin_name = 'b'", []).unwrap();
        assert_eq!(shown(&connection, "b"), [r#"b.seen "by hand""#]);
    }

    #[test]
    fn retention_keeps_the_newest_fact_of_each_type_and_is_bounded() {
        let connection = in_memory();
        for seconds in 0..10 {
            state(&connection, "a", "a.seen", seconds);
        }
        state(&connection, "a", "a.list", 3);
        state(&connection, "b", "a.seen", 4);
        let tx = Tx::over(&connection);
        assert!(!any_expired(&connection, at(0)).unwrap());
        assert_eq!(delete_expired(&tx, at(5), 3).unwrap(), 3);
        assert_eq!(delete_expired(&tx, at(5), 3).unwrap(), 2);
        assert!(!any_expired(&connection, at(5)).unwrap());
        assert_eq!(delete_expired(&tx, at(5), 3).unwrap(), 0);
        assert_eq!(shown(&connection, "a").len(), 6);
        assert_eq!(delete_expired(&tx, at(1_000), 100).unwrap(), 4);
        assert_eq!(shown(&connection, "a"), [r#"a.seen {"at":9}"#, r#"a.list {"at":3}"#]);
        assert_eq!(shown(&connection, "b"), [r#"a.seen {"at":4}"#]);
        // No number is given twice: the greatest is never deleted.
        state(&connection, "a", "a.seen", 11);
        assert_eq!(newest(&connection, "a", 1).unwrap()[0].seq, 13);
    }

    #[test]
    fn every_statement_finds_its_rows_by_an_index() {
        let connection = in_memory();
        for sql in [INSERT, NEWEST, EXPIRED, DELETE] {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nulls = rusqlite::params_from_iter(vec![rusqlite::types::Null; explain.parameter_count()]);
            let plan: Vec<String> =
                explain.query_map(nulls, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
            for bad in ["SCAN", "TEMP B-TREE", "AUTOMATIC"] {
                assert!(!plan.iter().any(|step| step.contains(bad)), "{sql}\n{plan:#?}");
            }
        }
    }
}
