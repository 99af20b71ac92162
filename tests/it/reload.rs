//! `reload` and SIGHUP: the new configuration whole, or the old one whole; jobs go on as they were claimed.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, OK, Plugin, Site, delivery, wait_for};

/// Says when it runs, waits for a file `go`, and says what its room is.
const WORK: &str = "open(os.environ['IT'] + '/started', 'a').write('x\\n')
while not os.path.exists(os.environ['IT'] + '/go'):
    time.sleep(0.01)
print(json.dumps({'status': 'ok', 'state_updates': {'room': request['config'].get('room')}, 'events': [{'type': 'done'}]}))";

fn work(room: u32) -> Plugin {
    Plugin::python("work", WORK).set(&format!("config: {{room: {room}}}"))
}

/// What `reload` said, with this exit code.
#[track_caller]
fn reload(site: &Site, code: i32) -> String {
    let ran = site.cli(["reload"]).expect_code(code);
    ran.stdout + &ran.stderr
}

/// O_NONBLOCK.
fn nonblock() -> i32 {
    nix::fcntl::OFlag::O_NONBLOCK.bits()
}

fn stop_well(daemon: Daemon) {
    let log = daemon.stop().stdout;
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}

#[test]
fn it_says_what_has_changed_and_status_remembers() {
    let mut site = Site::with(work(1));
    site.touch("go");
    site.cli(["reload"]).expect_code(1).expect_stderr("no database");
    let daemon = site.start();
    assert_eq!(site.cli(["status", "--json"]).json()["service"]["last_reload"], Value::Null);
    assert_eq!(reload(&site, 0), "reloaded: nothing has changed\n");
    site.plugin(work(2)).plugin(Plugin::sh("new", OK)).service("dedupe_ttl", "2h");
    assert_eq!(reload(&site, 0), "reloaded\n  plugin `new`: added\n  plugin `work`: changed\n  service: changed\n");
    let last = site.cli(["status", "--json"]).json()["service"]["last_reload"].clone();
    assert_eq!(
        (&last["number"], &last["error"], &last["changes"][0]),
        (&json!(2), &Value::Null, &json!("plugin `new`: added"))
    );
    site.cli(["run", "new"]).expect_code(0);
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.state("work")["room"], 2);
    stop_well(daemon);
    site.cli(["reload"]).expect_code(1).expect_stderr("no daemon is running");
}

#[test]
fn a_job_keeps_what_it_was_claimed_with_and_is_not_run_again() {
    let mut site = Site::with(work(1));
    site.plugin(Plugin::sh("next", OK)).route("work", "done", "next");
    let daemon = site.start();
    let running = site.detach(["work"]);
    site.wait_file("started");
    site.plugin(work(2));
    reload(&site, 0);
    let later = site.detach(["work"]);
    site.touch("go");
    site.wait_job(&running, "succeeded");
    assert_eq!(site.attempts(&running).len(), 1);
    site.wait_job(&later, "succeeded");
    site.wait_rows(
        "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE plugin = 'next' AND status = 'succeeded') = 2",
    );
    let result = site.attempts(&running)[0]["result"].as_str().unwrap().to_owned();
    assert!(result.contains("\"room\": 1"), "{result}");
    assert_eq!(site.state("work")["room"], 2);
    stop_well(daemon);
    assert_eq!(site.read("started").lines().count(), 2);
}

#[test]
fn ten_in_a_row_are_harmless() {
    let mut site = Site::with(work(1));
    let daemon = site.start();
    let running = site.detach(["work"]);
    site.wait_file("started");
    for hours in 2..12 {
        site.service("dedupe_ttl", &format!("{hours}h")).write_config();
        daemon.signal(Signal::SIGHUP);
    }
    reload(&site, 0);
    site.touch("go");
    site.wait_job(&running, "succeeded");
    assert_eq!(site.attempts(&running).len(), 1);
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.count("SELECT dedupe_ttl_ms FROM service"), 11 * 3_600_000);
    stop_well(daemon);
}

#[test]
fn what_is_invalid_is_refused_and_told_and_the_old_one_stays_whole() {
    let mut site = Site::with(work(1));
    site.plugin(Plugin::sh("note", OK)).route("ductile", "reload.refused", "note").touch("go");
    let daemon = site.start();
    site.plugin(work(2).set("retry: {max_attempts: none}"));
    let said = reload(&site, 1);
    assert!(said.contains("reload refused") && said.contains("max_attempts"), "{said}");
    daemon.wait_log("ERROR", "reload refused");
    let told = site.wait_rows("SELECT * FROM jobs WHERE plugin = 'note' AND status = 'succeeded'").remove(0);
    let event: Value = serde_json::from_str(told["payload"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&event["type"], &event["source"], &told["parent_job_id"]),
        (&json!("reload.refused"), &json!("ductile"), &Value::Null)
    );
    assert!(event["payload"]["error"].as_str().unwrap().contains("max_attempts"), "{event}");

    site.plugin(work(2)).more("webhooks: {listen: '127.0.0.1:0', endpoints: []}");
    assert!(reload(&site, 1).contains("`webhooks.listen` cannot be changed by a reload"));
    site.more("").raw("state: {path: other/ductile.db}\nplugins: {}\n");
    site.write_config();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log("ERROR", "reload refused");
    site.wait_rows("SELECT 1 FROM service WHERE reload_error LIKE '%state.path%'");

    site.raw(&format!(
        "state: {{path: state/ductile.db}}\nplugins: {{work: {{config: {{room: 1}}, env: {{IT: '{}'}}}}}}\n",
        site.path("").display()
    ));
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.state("work")["room"], 1, "the old one");
    daemon.stop();
}

#[test]
fn jobs_of_plugins_that_are_removed_or_disabled_end_dead_with_the_reason() {
    let mut site = Site::with(work(1).set("retry: {backoff_base: 1h}"));
    site.plugin(Plugin::sh("gone", "exit 1")).plugin(Plugin::sh("off", OK)).plugin(Plugin::sh("stays", OK));
    site.route("work", "done", "gone").route("work", "done", "stays").webhook(&["gone"]);
    let daemon = site.start();
    let (address, hook) = (daemon.address(), delivery("/hooks/gone", &[], b"{}"));
    let running = site.detach(["work"]);
    site.wait_file("started");
    let [gone, off, stays] = ["gone", "off", "stays"].map(|plugin| site.detach([plugin]));
    site.remove("gone").plugin(Plugin::sh("off", OK).set("enabled: false"));
    site.clear_routes().route("work", "done", "stays").more("webhooks: {listen: '127.0.0.1:0', endpoints: []}");
    let said = reload(&site, 0);
    assert!(said.contains("plugin `gone`: removed") && said.contains("plugin `off`: disabled"), "{said}");
    let reason = |id: &str| site.job(id)["last_error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(reason(&gone), "plugin `gone` is not configured any more");
    assert_eq!(reason(&off), "plugin `off` is disabled");
    assert_eq!(crate::support::exchange(address, &hook).expect("an answer").status, 404);
    site.cli(["run", "gone"]).expect_code(2).expect_stderr("not configured");

    // The job in flight routes by the configuration that it was claimed with: nothing is dropped, nothing waits for ever.
    site.touch("go");
    site.wait_job(&running, "succeeded");
    site.wait_job(&stays, "succeeded");
    let child = site.row("SELECT * FROM job_queue WHERE parent_job_id = ?1 AND plugin = 'gone'", [&running]);
    assert_eq!(
        (&child["status"], &child["last_error"]),
        (&json!("dead"), &json!("plugin `gone` is not configured any more"))
    );
    site.wait_rows("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM job_queue WHERE completed_at IS NULL)");
    daemon.stop();
}

#[test]
fn a_plugin_that_is_removed_while_its_job_fails_is_not_tried_again() {
    let script = "echo >> \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.01; done; exit 1";
    let mut site = Site::with(Plugin::sh("gone", script).set("retry: {backoff_base: 1h}"));
    let daemon = site.start();
    let running = site.detach(["gone"]);
    site.wait_file("started");
    site.remove("gone");
    reload(&site, 0);
    site.touch("go");
    let dead = site.wait_job(&running, "dead");
    assert_eq!(dead["last_error"], "plugin `gone` is not configured any more");
    assert_eq!(site.attempts(&running).len(), 1);
    daemon.wait_log("ERROR", "job is dead: it would have run again");
    daemon.stop();
}

#[test]
fn a_changed_schedule_and_a_new_plugin_with_init_take_effect_at_once() {
    let mut site = Site::with(work(1).set("schedule: {every: 1h}"));
    site.touch("go");
    let daemon = site.start();
    let polls = "SELECT count(*) FROM job_queue WHERE plugin = 'work' AND status = 'succeeded'";
    site.wait_rows(&format!("SELECT 1 WHERE ({polls}) = 1"));
    site.plugin(work(1).set("schedule: {every: 1s}"));
    site.plugin(Plugin::sh("new", OK).commands("poll, init").set("schedule: {every: 1h}"));
    reload(&site, 0);
    site.wait_rows(&format!("SELECT 1 WHERE ({polls}) >= 3"));
    let ran = "SELECT command FROM job_log WHERE plugin = 'new' ORDER BY id";
    site.wait_rows("SELECT 1 FROM job_log WHERE plugin = 'new' AND command = 'poll'");
    assert_eq!(site.rows(ran, ()), [json!({"command": "init"}), json!({"command": "poll"})]);
    site.plugin(work(1)).service("log_level", "debug").service("tick_interval", "1h");
    reload(&site, 0);
    assert_eq!(site.count("SELECT count(*) FROM schedule WHERE plugin = 'work'"), 0);
    stop_well(daemon);
}

#[test]
fn a_reload_while_an_init_waits_runs_it_once_with_the_newest_configuration() {
    let init = |room: u32| work(room).commands("poll, handle, init");
    let mut site = Site::with(init(1));
    site.plugin(Plugin::sh(
        "a-blocker",
        "echo >> \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.01; done; exit 78",
    ));
    site.detach(["a-blocker"]);
    let daemon = site.start();
    site.wait_file("started");
    site.plugin(init(2));
    reload(&site, 0);
    site.touch("go");
    site.wait_rows("SELECT 1 FROM job_queue WHERE command = 'init' AND status = 'succeeded'");
    assert_eq!(
        (site.state("work")["room"].clone(), site.count("SELECT count(*) FROM job_queue WHERE command = 'init'")),
        (json!(2), 1)
    );
    daemon.stop();
}

#[test]
fn a_changed_plugin_is_initialized_anew_though_nothing_else_runs() {
    let init = |room: u32| work(room).commands("poll, handle, init");
    let mut site = Site::with(init(1));
    site.touch("go");
    let daemon = site.start();
    let done = "SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE command = 'init' AND status = 'succeeded')";
    site.wait_rows(&format!("{done} = 1"));
    site.plugin(init(2));
    reload(&site, 0);
    site.wait_rows(&format!("{done} = 2"));
    assert_eq!(site.state("work")["room"], 2, "with the newest configuration");
    assert_eq!(reload(&site, 0), "reloaded: nothing has changed\n");
    stop_well(daemon);
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    stop_well(daemon);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE command = 'init'"), 2);
}

#[test]
fn a_schedule_that_changes_while_its_poll_runs_is_not_put_back() {
    let mut site = Site::with(work(1).set("schedule: {every: 30d}"));
    let daemon = site.start();
    site.wait_file("started");
    site.plugin(work(1).set("schedule: {every: 2h}"));
    reload(&site, 0);
    site.touch("go");
    site.wait_rows("SELECT 1 FROM job_queue WHERE status = 'succeeded'");
    let every = "SELECT unixepoch(next_run) - unixepoch(anchor) AS s FROM schedule";
    assert_eq!(site.row(every, ())["s"], 7_200);
    std::fs::remove_file(site.path("go")).unwrap();
    std::fs::remove_file(site.path("started")).unwrap();
    site.plugin(work(1).set("schedule: {every: 1s}"));
    reload(&site, 0);
    site.wait_file("started");
    site.plugin(work(1));
    reload(&site, 0);
    site.touch("go");
    site.wait_rows("SELECT 1 WHERE (SELECT count(*) FROM job_queue WHERE status = 'succeeded') = 2");
    assert_eq!(site.count("SELECT count(*) FROM schedule"), 0);
    stop_well(daemon);
}

#[test]
fn calls_for_help_go_where_the_newest_configuration_says() {
    let mut site = Site::with(Plugin::python("work", WORK.replace("'ok'", "'error', 'retry': False").as_str()));
    site.plugin(Plugin::sh("old", OK)).plugin(Plugin::sh("new", OK)).route("ductile", "job.dead", "old");
    let daemon = site.start();
    let running = site.detach(["work"]);
    site.wait_file("started");
    site.remove("old").clear_routes().route("ductile", "job.dead", "new");
    reload(&site, 0);
    site.touch("go");
    site.wait_job(&running, "dead");
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'new' AND status = 'succeeded'");
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'old'"), 0);
    daemon.stop();
}

#[test]
fn a_file_that_never_opens_keeps_neither_the_jobs_nor_the_end_waiting() {
    let mut site = Site::with(Plugin::sh("work", OK));
    let daemon = site.start();
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    site.plugin(Plugin::sh("work", OK).env("KEY", "\"${file:pipe}\"")).write_config();
    daemon.signal(Signal::SIGHUP);
    // Opens only once there is a reader, which then waits for what is never written.
    let pipe = site.path("pipe");
    let open = || OpenOptions::new().write(true).custom_flags(nonblock()).open(&pipe).ok();
    let _writer = wait_for("a reader of the pipe", String::new, open);
    site.raw("state: {path: state/ductile.db}");
    site.cli(["run", "work"]).expect_code(0);
    assert_eq!(site.row("SELECT reload_tried_at FROM service", ())["reload_tried_at"], Value::Null);
    stop_well(daemon);
}

#[test]
fn a_plugin_that_is_removed_while_its_job_runs_is_told_of_as_its_owner_did_it() {
    let mut site = Site::with(work(1));
    site.plugin(Plugin::sh("gone", OK)).plugin(Plugin::sh("note", OK)).route("work", "done", "gone");
    site.route("ductile", "job.dead", "note");
    let daemon = site.start();
    let running = site.detach(["work"]);
    site.wait_file("started");
    site.remove("gone").clear_routes().route("ductile", "job.dead", "note");
    reload(&site, 0);
    site.touch("go");
    site.wait_job(&running, "succeeded");
    daemon.stop();
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'gone' AND status = 'dead'"), 1);
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'note'"), 0, "nobody is called for that");
}
