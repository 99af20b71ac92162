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

fn insert(x: i64) -> impl Fn(&Tx<'_>) -> Result<(), Error> + Send + 'static {
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
        let mut started = Some(started);
        db.write(move |_| {
            started.take().unwrap().send(()).unwrap();
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
async fn beside_one_that_fails_the_others_run_again_from_nothing() {
    let Fixture { db, _dir, .. } = fixture().await;
    let (release, held) = hold(&db).await;
    let mut runs = 0;
    let counts = move |tx: &Tx<'_>| {
        runs += 1;
        insert(7)(tx)?;
        Ok((runs, tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?))
    };
    let fails = |_: &Tx<'_>| -> Result<(), Error> { Err(Error::Conflict("on purpose".to_owned())) };
    let (counted, failed, ()) = tokio::join!(db.write(counts), db.write(fails), async { release.send(()).unwrap() });
    held.await.unwrap().unwrap();
    assert!(matches!(failed, Err(Error::Conflict(_))));
    assert_eq!(counted.unwrap(), (2, 1), "its second run saw nothing of the first");
    assert_eq!(all(&db), [7]);
}

#[tokio::test]
async fn what_a_failed_one_has_taken_back_was_not_written() {
    let Fixture { db, _dir, .. } = fixture().await;
    let timed = || db.commit_durations().count();
    let changes_and_fails = |tx: &Tx<'_>| -> Result<(), Error> {
        insert(1)(tx)?;
        Err(Error::Conflict("on purpose".to_owned()))
    };
    for (other, written) in [(None, 0), (Some(2), 1)] {
        let (release, held) = hold(&db).await;
        let before = timed();
        let beside = move |tx: &Tx<'_>| other.map_or(Ok(()), |x| insert(x)(tx));
        let (failed, done, ()) =
            tokio::join!(db.write(changes_and_fails), db.write(beside), async { release.send(()).unwrap() });
        held.await.unwrap().unwrap();
        assert!(matches!(failed, Err(Error::Conflict(_))));
        done.unwrap();
        assert_eq!(timed() - before, written);
    }
    assert_eq!(all(&db), [2]);
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
async fn a_write_that_is_kept_in_memory_is_known_while_others_succeed() {
    let Fixture { db, _dir, .. } = fixture().await;
    let never = CancellationToken::new();
    let room = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let large = db.write_until_done("test", &never, || {
        let room = room.clone();
        move |tx: &Tx<'_>| match room.load(Ordering::SeqCst) {
            true => insert(1)(tx),
            false => {
                Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None).into())
            }
        }
    });
    let small = async {
        while !db.health().retrying {
            tokio::task::yield_now().await;
        }
        db.write(insert(2)).await.unwrap();
        let health = db.health();
        assert!(!health.failed && health.retrying, "{health:?}");
        room.store(true, Ordering::SeqCst);
    };
    let (result, ()) = tokio::join!(large, small);
    result.unwrap();
    assert!(!db.health().retrying);
    assert_eq!(all(&db), [1, 2]);
}

/// A write that answers with the thread it ran on.
fn runs_on(_: &Tx<'_>) -> Result<std::thread::ThreadId, Error> {
    Ok(std::thread::current().id())
}

#[tokio::test]
async fn a_write_in_place_runs_here_unless_the_connection_is_in_use() {
    let Fixture { db, path, _dir } = fixture().await;
    let here = std::thread::current().id();
    assert_eq!(db.write_in_place(runs_on).await.unwrap(), here);
    assert_ne!(db.write(runs_on).await.unwrap(), here);

    let (release, held) = hold(&db).await;
    let (ran_on, ()) = tokio::join!(db.write_in_place(runs_on), async { release.send(()).unwrap() });
    assert_ne!(ran_on.unwrap(), here, "the writer thread was at work");
    held.await.unwrap().unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = async { other.execute_batch("COMMIT").unwrap() };
    let (ran_on, ()) = tokio::join!(db.write_in_place(runs_on), release);
    assert_ne!(ran_on.unwrap(), here, "another process was at work");
}

#[tokio::test]
async fn while_others_share_commits_a_write_in_place_goes_with_them() {
    let Fixture { db, _dir, .. } = fixture().await;
    let here = std::thread::current().id();
    let (release, held) = hold(&db).await;
    let (a, b, ()) = tokio::join!(db.write(insert(1)), db.write(insert(2)), async { release.send(()).unwrap() });
    held.await.unwrap().unwrap();
    a.and(b).unwrap();
    assert_ne!(db.write_in_place(runs_on).await.unwrap(), here, "two have just shared one");
    assert_eq!(db.write_in_place(runs_on).await.unwrap(), here, "it was alone");
}

#[tokio::test]
async fn a_write_in_place_that_fails_or_panics_leaves_nothing() {
    let Fixture { db, _dir, .. } = fixture().await;
    let panics = |tx: &Tx<'_>| -> Result<(), Error> {
        insert(1)(tx)?;
        panic!("on purpose")
    };
    assert!(matches!(db.write_in_place(panics).await, Err(Error::Panicked(_))));
    db.write_in_place(insert(2)).await.unwrap();
    assert!(matches!(db.write_in_place(insert(2)).await, Err(Error::Refused(_))));
    assert_eq!(all(&db), [2]);
    let clone = db.clone();
    db.close().await;
    assert!(matches!(clone.write_in_place(insert(3)).await, Err(Error::Closed)));
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

#[tokio::test]
async fn writes_that_change_nothing_do_not_put_off_the_folding_of_the_log() {
    let fixture = fixture().await;
    fixture.db.write_in_place(insert(1)).await.unwrap();
    let path = fixture.db.path.clone();
    let folded = || {
        // The database file without its log.
        let uri = format!("file:{}?immutable=1", path.display());
        let alone = Connection::open(uri).unwrap();
        alone.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).is_ok_and(|rows| rows == 1)
    };
    assert!(!folded());
    let started = std::time::Instant::now();
    while !folded() {
        assert!(started.elapsed() < Duration::from_secs(30), "the log is folded after two quiet seconds");
        fixture.db.write_in_place(|_| Ok(())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_probe_changes_nothing_and_still_has_to_be_written() {
    let Fixture { db, path, _dir } = fixture().await;
    // As while a daemon runs.
    db.write(|tx| Ok(tx.execute("UPDATE service SET pid = 7", [])?)).await.unwrap();
    let before = crate::state::publish::service(&db.reader().unwrap()).unwrap();
    let log = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let length = log();
    db.write(crate::state::publish::probe).await.unwrap();
    assert!(log() > length, "a page went to the log");
    let after = crate::state::publish::service(&db.reader().unwrap()).unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}

#[tokio::test]
async fn a_write_that_joins_the_next_one_needs_no_commit_of_its_own() {
    let Fixture { db, _dir, .. } = fixture().await;
    let (joined, written) = {
        let (joining, other) = (db.clone(), db.clone());
        let joining = tokio::spawn(async move {
            let sees = |tx: &Tx<'_>| Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?);
            joining.write_with_next(sees, std::future::pending()).await
        });
        // It waits by now, as there is one thread.
        tokio::task::yield_now().await;
        let commits = db.commits();
        other.write(insert(1)).await.unwrap();
        (joining.await.unwrap(), db.commits() - commits)
    };
    assert_eq!((joined.unwrap().unwrap(), written), (1, 1), "it saw what it has joined");
}

#[tokio::test]
async fn a_write_that_has_not_joined_anything_can_be_given_up() {
    let Fixture { db, _dir, .. } = fixture().await;
    assert!(db.write_with_next(insert(1), async {}).await.is_none());
    db.write(insert(2)).await.unwrap();
    assert_eq!(all(&db), [2]);
    {
        let mut dropped = std::pin::pin!(db.write_with_next(insert(3), std::future::pending()));
        assert!(tokio::time::timeout(Duration::ZERO, &mut dropped).await.is_err());
    }
    db.write(insert(4)).await.unwrap();
    assert_eq!(all(&db), [2, 4]);
}

#[tokio::test]
async fn one_that_is_given_up_too_late_is_answered_all_the_same() {
    let Fixture { db, _dir, .. } = fixture().await;
    let (taken, was_taken) = oneshot::channel();
    let (release, held) = mpsc::channel();
    let joining = {
        let db = db.clone();
        tokio::spawn(async move {
            let mut taken = Some(taken);
            let work = move |tx: &Tx<'_>| {
                taken.take().unwrap().send(()).unwrap();
                held.recv().unwrap();
                insert(1)(tx)
            };
            let give_up = async {
                was_taken.await.unwrap();
            };
            db.write_with_next(work, give_up).await
        })
    };
    tokio::task::yield_now().await;
    let other = tokio::spawn({
        let db = db.clone();
        async move { db.write(insert(2)).await }
    });
    // Not before it runs: it is given up while it does.
    while !joining.is_finished() && release.send(()).is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(joining.await.unwrap(), Some(Ok(()))));
    other.await.unwrap().unwrap();
    assert_eq!(all(&db), [1, 2]);
}

#[tokio::test]
async fn one_that_fails_leaves_what_it_has_joined_alone() {
    let Fixture { db, _dir, .. } = fixture().await;
    for panics in [false, true] {
        let work = move |tx: &Tx<'_>| -> Result<(), Error> {
            insert(9)(tx)?;
            if panics { panic!("on purpose") } else { Err(Error::Conflict("on purpose".to_owned())) }
        };
        let joining = tokio::spawn({
            let db = db.clone();
            async move { db.write_with_next(work, std::future::pending()).await }
        });
        tokio::task::yield_now().await;
        db.write(insert(i64::from(panics))).await.unwrap();
        assert!(matches!(joining.await.unwrap(), Some(Err(Error::Conflict(_) | Error::Panicked(_)))));
    }
    assert_eq!(all(&db), [0, 1]);
}

#[tokio::test]
async fn commits_that_change_something_are_timed() {
    let Fixture { db, _dir, .. } = fixture().await;
    let timed = || db.commit_durations().count();
    let before = timed();
    db.write(|_| Ok(())).await.unwrap();
    db.write(|tx| Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?)).await.unwrap();
    db.write(insert(1)).await.unwrap();
    db.write_in_place(insert(2)).await.unwrap();
    db.write(insert(2)).await.unwrap_err();
    assert_eq!((timed() - before, db.failed_writes()), (2, 0), "a bug is no failure of the disk");
    assert!(db.commit_durations().sum() > Duration::ZERO);
}
