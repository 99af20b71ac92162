use std::os::unix::fs::PermissionsExt;

use rusqlite::types::Value;

use super::*;
use crate::state::{Db, Reader};

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ductile.db");
    (dir, path)
}

/// A closed, current database, with nothing left in the write-ahead log.
fn existing() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = fresh();
    owned(&path).unwrap();
    (dir, path)
}

fn refusal(path: &Path) -> OpenError {
    let before = std::fs::read(path).unwrap();
    let error = Db::open(path).unwrap_err();
    assert_eq!(std::fs::read(path).unwrap(), before, "a refusal changes nothing");
    error
}

#[test]
fn a_new_database_is_private_and_has_an_identity_that_stays() {
    let (_dir, path) = existing();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let instance = |connection: &Connection| -> String {
        connection.query_row("SELECT instance FROM service", [], |row| row.get(0)).unwrap()
    };
    let connection = owned(&path).unwrap();
    connection.execute("UPDATE service SET name = 'x'", []).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&companion(&path, "-wal")), 0o600);
    let first = instance(&connection);
    drop(connection);
    assert_eq!(instance(&owned(&path).unwrap()), first);
}

#[test]
fn a_missing_database_is_not_made_by_a_reader() {
    let (_dir, path) = fresh();
    assert!(matches!(Reader::open(&path).unwrap_err(), OpenError::Missing { .. }));
    assert!(matches!(Db::attach(&path).unwrap_err(), OpenError::Missing { .. }));
    assert!(!path.exists());
}

#[test]
fn a_newer_database_is_refused() {
    let (_dir, path) = existing();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", KNOWN + 1).unwrap();
    assert!(matches!(refusal(&path), OpenError::Newer { found, .. } if found == KNOWN + 1));
}

#[test]
fn an_older_database_is_migrated_by_the_lock_holder_only() {
    let (_dir, path) = fresh();
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(Reader::open(&path).unwrap_err(), OpenError::Older { found: 0, .. }));
    assert!(matches!(Db::attach(&path).unwrap_err(), OpenError::Older { found: 0, .. }));
    drop(Db::open(&path).unwrap());
    Reader::open(&path).unwrap();
}

/// A database of each released schema, as `tests/schema/make.py` has printed it.
const RELEASED: &[&str] = &[include_str!("../../../tests/schema/1.sql"), include_str!("../../../tests/schema/2.sql")];

#[test]
fn a_database_of_each_released_schema_becomes_what_a_new_one_is_and_keeps_its_rows() {
    assert_eq!(RELEASED.len(), MIGRATIONS.len());
    let (_dir, new) = existing();
    for dump in RELEASED {
        let (_dir, path) = fresh();
        Connection::open(&path).unwrap().execute_batch(dump).unwrap();
        let tables = rows(&path, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
        let of = |table: &Vec<Value>| rows(&path, &format!("SELECT * FROM {} ORDER BY 1", text(&table[0])));
        let before: Vec<_> = tables.iter().map(of).collect();
        assert!(before.iter().flatten().count() > 40, "rows to be kept");
        drop(owned(&path).unwrap());
        for (table, before) in tables.iter().zip(before) {
            assert_eq!(of(table), before, "{table:?}");
        }
        for schema in ["SELECT type, name, sql FROM sqlite_schema ORDER BY type, name", "PRAGMA user_version"] {
            assert_eq!(rows(&path, schema), rows(&new, schema));
        }
    }
}

fn rows(path: &Path, sql: &str) -> Vec<Vec<Value>> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let (_dir, path) = fresh();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(refusal(&path), OpenError::Foreign { .. }));
}

#[test]
fn a_damaged_database_is_refused() {
    let (_dir, path) = existing();
    let good = std::fs::read(&path).unwrap();

    std::fs::write(&path, b"this is no database, and long enough not to be taken for an empty one").unwrap();
    assert!(matches!(refusal(&path), OpenError::Damaged { .. }));

    std::fs::write(&path, &good[..good.len() - 4096]).unwrap();
    assert!(matches!(refusal(&path), OpenError::Damaged { .. }), "cut short");

    let mut overwritten = good.clone();
    overwritten[100..200].fill(0xff);
    std::fs::write(&path, overwritten).unwrap();
    assert!(matches!(refusal(&path), OpenError::Damaged { .. }), "schema overwritten");
}

#[test]
fn network_file_systems_are_known_by_their_numbers() {
    for (magic, expected) in [
        (0x6969, Some("NFS")),
        (0xff53_4d42, Some("CIFS")),
        (0xfe53_4d42, Some("SMB2")),
        // As a 32-bit signed number, the way some platforms give it.
        (i64::from(0xfe53_4d42_u32 as i32), Some("SMB2")),
        (0x0102_1997, Some("9P")),
        (0x00c3_6400, Some("Ceph")),
        (0xef53, None),
        (0x0102_1994, None),
        (0x9123_683e, None),
        (0x794c_7630, None),
    ] {
        assert_eq!(network_file_system(magic), expected, "{magic:#x}");
    }
}
