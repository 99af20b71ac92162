use super::*;

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
    db: Db,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ductile.db");
    let db = Db::open(&path).unwrap();
    db.write(|tx| Ok(tx.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY)")?)).await.unwrap();
    Fixture { _dir: dir, path, db }
}

fn insert(x: i64) -> impl FnOnce(&Tx<'_>) -> Result<(), Error> + Send + 'static {
    move |tx| {
        tx.execute("INSERT INTO t VALUES (?1)", [x])?;
        Ok(())
    }
}

fn all(db: &Db) -> Vec<i64> {
    let reader = db.reader().unwrap();
    let mut statement = reader.prepare("SELECT x FROM t ORDER BY x").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Occupies the writer until the sender is used, so that writes wait together.
async fn hold(db: &Db) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
    let (started, has_started) = oneshot::channel();
    let (release, held) = mpsc::channel();
    let db = db.clone();
    let write = tokio::spawn(async move {
        db.write(move |_| {
            started.send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        })
        .await
    });
    has_started.await.unwrap();
    (release, write)
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit_and_fail_alone() {
    let Fixture { db, _dir, .. } = fixture().await;
    let (release, held) = hold(&db).await;
    let duplicate = |tx: &Tx<'_>| {
        insert(2)(tx)?;
        insert(1)(tx)
    };
    let panics = |tx: &Tx<'_>| -> Result<(), Error> {
        insert(3)(tx)?;
        panic!("on purpose")
    };
    let commits = db.commits();
    // `join!` polls in order: all of them are in the channel when the writer is released.
    let (a, b, c, d, ()) =
        tokio::join!(db.write(insert(1)), db.write(duplicate), db.write(panics), db.write(insert(4)), async {
            release.send(()).unwrap()
        },);
    held.await.unwrap().unwrap();
    assert_eq!(db.commits() - commits, 2, "one for the writer's own, one for all that waited");
    assert!(a.is_ok() && d.is_ok());
    assert!(matches!(b, Err(Error::Refused(_))), "{b:?}");
    assert!(matches!(&c, Err(Error::Panicked(reason)) if reason == "on purpose"), "{c:?}");
    assert_eq!(all(&db), [1, 4]);
}

#[tokio::test]
async fn an_error_of_the_transaction_itself_fails_the_whole_batch() {
    let Fixture { db, _dir, .. } = fixture().await;
    let (release, held) = hold(&db).await;
    let breaks = |tx: &Tx<'_>| Ok(tx.execute_batch("ROLLBACK")?);
    let (a, b, c, ()) =
        tokio::join!(db.write(insert(1)), db.write(breaks), db.write(insert(2)), async { release.send(()).unwrap() },);
    held.await.unwrap().unwrap();
    for result in [a, b, c] {
        assert!(result.unwrap_err().is_transient());
    }
    assert_eq!(all(&db), Vec::<i64>::new(), "nothing of the batch is left");
    db.write(insert(9)).await.unwrap();
    assert_eq!(all(&db), [9]);
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_waited_for() {
    let Fixture { db, path, _dir } = fixture().await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut tries = 0;
    let never = CancellationToken::new();
    let write = db.write_until_done("test", &never, || {
        tries += 1;
        |tx: &Tx<'_>| -> Result<i32, Error> { Ok(tx.query_row("SELECT 1", [], |row| row.get(0))?) }
    });
    let release = async { other.execute_batch("COMMIT").unwrap() };
    let (result, ()) = tokio::join!(write, release);
    assert_eq!(result.unwrap(), 1);
    assert!(tries >= 1);
}

#[tokio::test]
async fn closing_empties_the_write_ahead_log() {
    let Fixture { db, path, _dir } = fixture().await;
    db.write(insert(1)).await.unwrap();
    let clone = db.clone();
    db.close().await;
    let wal = path.with_file_name("ductile.db-wal");
    assert_eq!(std::fs::metadata(&wal).map_or(0, |wal| wal.len()), 0);
    assert!(matches!(clone.write(insert(2)).await, Err(Error::Closed)));
    assert_eq!(all(&Db::open(&path).unwrap()), [1]);
}

#[tokio::test]
async fn every_writer_is_durable() {
    let Fixture { db, path, _dir } = fixture().await;
    for db in [db, Db::attach(&path).unwrap()] {
        let journal = |tx: &Tx<'_>| Ok(tx.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))?);
        let synchronous = |tx: &Tx<'_>| Ok(tx.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(db.write(journal).await.unwrap(), "wal");
        assert_eq!(db.write(synchronous).await.unwrap(), 2, "FULL");
    }
}
