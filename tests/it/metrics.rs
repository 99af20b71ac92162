//! What Prometheus is told.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::support::{Answer, Daemon, OK, Plugin, SECRET, SIGNATURE, Site, exchange, wait_for, wait_until};

const LISTEN: &str = "metrics: {listen: '127.0.0.1:0'}\n";

/// Metrics, and webhooks with an endpoint for each of these plugins.
fn with_webhooks(plugins: &[&str]) -> String {
    let endpoint = |plugin: &&str| {
        format!("{{path: /hooks/{plugin}, plugin: {plugin}, secret: \"{SECRET}\", signature_header: {SIGNATURE}}}")
    };
    let endpoints: Vec<_> = plugins.iter().map(endpoint).collect();
    format!("{LISTEN}webhooks: {{listen: '127.0.0.1:0', endpoints: [{}]}}\n", endpoints.join(", "))
}

/// Everything that one scrape gave: each series, as it is written, with its value.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    #[track_caller]
    fn of(daemon: &Daemon) -> Self {
        let answer = get(daemon, "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let samples = answer.body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error}: {line}")))
        });
        let mut series = BTreeMap::new();
        for (name, value) in samples {
            assert_eq!(series.insert(name.clone(), value), None, "{name} is there twice");
        }
        Self(series)
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    fn mentions(&self, text: &str) -> bool {
        self.0.keys().any(|series| series.contains(text))
    }
}

fn get(daemon: &Daemon, path: &str) -> Answer {
    request(daemon, &format!("GET {path} HTTP/1.1\r\nHost: ductile\r\n\r\n"))
}

#[track_caller]
fn request(daemon: &Daemon, request: &str) -> Answer {
    exchange(daemon.metrics_address(), request.as_bytes()).expect("an answer")
}

/// Scrapes until the series has this value; whatever moves it is not told when.
#[track_caller]
fn wait_value(daemon: &Daemon, series: &str, value: f64) {
    let context = || format!("{:#?}", Scrape::of(daemon));
    let reached = || (Scrape::of(daemon).0.get(series) == Some(&value)).then_some(());
    wait_for(&format!("{series} {value}"), context, reached);
}

#[test]
fn counters_move_with_jobs_and_deliveries() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("bad", "exit 1").set("retry: {max_attempts: 2, backoff_base: 10ms}"));
    site.plugin(Plugin::sh("slow", "sleep 60").set("retry: {max_attempts: 1}").set("timeouts: {poll: 100ms}"));
    site.more(&with_webhooks(&["work"]));
    let daemon = site.start();
    let before = Scrape::of(&daemon);
    let zero = [
        r#"ductile_jobs_ended_total{plugin="work",command="poll",outcome="succeeded"}"#,
        r#"ductile_jobs_ended_total{plugin="bad",command="poll",outcome="dead"}"#,
        r#"ductile_attempts_ended_total{plugin="bad",command="handle",outcome="failed"}"#,
        r#"ductile_webhook_answers_total{path="/hooks/work",code="202"}"#,
        r#"ductile_webhook_answers_total{path="other",code="404"}"#,
        r#"ductile_queue_wait_seconds_count{plugin="work"}"#,
        "ductile_write_failures_total",
        "ductile_log_lines_dropped_total",
        "ductile_queue_depth",
        "ductile_jobs_running",
    ];
    for series in zero {
        assert_eq!(before.value(series), 0.0, "{series}");
    }
    assert!(!before.mentions("command=\"health\""), "it is no job: {before:#?}");

    site.cli(["run", "work"]).expect_code(0);
    site.cli(["run", "bad", "--wait"]).expect_code(1);
    site.cli(["run", "slow"]).expect_code(1);
    site.wait_job(&daemon.deliver("/hooks/work", &[], b"{}").job_id(), "succeeded");
    assert_eq!(daemon.post("/hooks/work", &[], b"{}").status, 403);
    for path in ["/nowhere", "/hooks/works", "/hooks/work/"] {
        assert_eq!(daemon.post(path, &[], b"{}").status, 404);
    }
    assert_eq!(daemon.get("/hooks/work").status, 405);
    assert_eq!(daemon.get("/healthz").status, 200);
    // The last is counted when it is on disk, which the database tells a moment before.
    wait_value(&daemon, r#"ductile_jobs_ended_total{plugin="work",command="handle",outcome="succeeded"}"#, 1.0);
    let after = Scrape::of(&daemon);
    for (series, value) in [
        (r#"ductile_jobs_ended_total{plugin="work",command="poll",outcome="succeeded"}"#, 1.0),
        (r#"ductile_jobs_ended_total{plugin="work",command="poll",outcome="dead"}"#, 0.0),
        (r#"ductile_jobs_ended_total{plugin="bad",command="poll",outcome="dead"}"#, 1.0),
        (r#"ductile_jobs_ended_total{plugin="slow",command="poll",outcome="dead"}"#, 1.0),
        (r#"ductile_attempts_ended_total{plugin="bad",command="poll",outcome="failed"}"#, 2.0),
        (r#"ductile_attempts_ended_total{plugin="slow",command="poll",outcome="timed_out"}"#, 1.0),
        (r#"ductile_attempts_ended_total{plugin="work",command="handle",outcome="succeeded"}"#, 1.0),
        (r#"ductile_attempt_duration_seconds_count{plugin="bad",command="poll"}"#, 2.0),
        (r#"ductile_attempt_duration_seconds_bucket{plugin="slow",command="poll",le="0.05"}"#, 0.0),
        (r#"ductile_attempt_duration_seconds_bucket{plugin="slow",command="poll",le="+Inf"}"#, 1.0),
        (r#"ductile_queue_wait_seconds_count{plugin="bad"}"#, 1.0),
        (r#"ductile_queue_wait_seconds_count{plugin="work"}"#, 2.0),
        (r#"ductile_webhook_answers_total{path="/hooks/work",code="202"}"#, 1.0),
        (r#"ductile_webhook_answers_total{path="/hooks/work",code="403"}"#, 1.0),
        (r#"ductile_webhook_answers_total{path="/hooks/work",code="405"}"#, 1.0),
        (r#"ductile_webhook_answers_total{path="other",code="404"}"#, 3.0),
        (r#"ductile_plugin_loaded{plugin="work"}"#, 1.0),
        ("ductile_healthy", 1.0),
        ("ductile_tick_interval_seconds", 1.0),
        ("ductile_queue_depth_limit", 100_000.0),
        (concat!("ductile_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(after.value(series), value, "{series}");
    }
    assert!(!after.mentions("nowhere") && !after.mentions("works"), "strangers choose no labels: {after:#?}");
    assert!(!after.mentions("breaker"), "nothing is polled: {after:#?}");
    let commits = after.value("ductile_commit_duration_seconds_count");
    assert!(commits >= before.value("ductile_commit_duration_seconds_count") + 7.0, "{commits}");
    let success = after.value(r#"ductile_plugin_last_success_timestamp_seconds{plugin="work"}"#);
    let started = after.value("ductile_start_time_seconds");
    let ticked = after.value("ductile_last_tick_timestamp_seconds");
    assert!(success >= started && ticked >= started && success < started + 3600.0, "{after:#?}");
    assert!(!after.mentions(r#"last_success_timestamp_seconds{plugin="bad"}"#));
    daemon.stop();
}

#[test]
fn gauges_say_what_holds_the_queue_up() {
    let script = format!("echo x > \"$IT/started\"; while [ ! -e \"$IT/go\" ]; do sleep 0.02; done; {OK}");
    let mut site = Site::with(Plugin::sh("work", &script));
    site.plugin(Plugin::sh("broken", OK)).plugin(Plugin::sh("sick", "exit 1").commands("poll, init"));
    site.plugin(
        Plugin::sh("ill", "exit 1")
            .set("schedule: {every: 1h}")
            .set("retry: {max_attempts: 1}")
            .set("circuit_breaker: {threshold: 1}"),
    );
    site.more(LISTEN);
    fs::remove_file(site.path("plugins/broken/run")).unwrap();
    let daemon = site.start();
    wait_value(&daemon, r#"ductile_breaker_state{plugin="ill",command="poll",state="open"}"#, 1.0);
    wait_value(&daemon, r#"ductile_plugin_unhealthy{plugin="sick"}"#, 1.0);
    let scrape = Scrape::of(&daemon);
    assert_eq!(scrape.value(r#"ductile_breaker_state{plugin="ill",command="poll",state="closed"}"#), 0.0);
    assert_eq!(scrape.value(r#"ductile_breaker_state{plugin="ill",command="poll",state="half_open"}"#), 0.0);
    assert!(
        scrape.value(r#"ductile_plugin_next_run_timestamp_seconds{plugin="ill",schedule="default"}"#)
            > scrape.value("ductile_start_time_seconds")
    );
    assert_eq!(scrape.value(r#"ductile_plugin_loaded{plugin="broken"}"#), 0.0);
    assert_eq!(scrape.value(r#"ductile_plugin_unhealthy{plugin="work"}"#), 0.0);
    assert!(!scrape.mentions(r#"ductile_breaker_state{plugin="work""#), "it is not polled");
    site.cli(["reset", "ill"]).expect_code(0);
    wait_value(&daemon, r#"ductile_breaker_state{plugin="ill",command="poll",state="closed"}"#, 1.0);

    site.detach(["work"]);
    site.wait_file("started");
    site.detach(["work"]);
    wait_value(&daemon, "ductile_jobs_running", 1.0);
    let scrape = Scrape::of(&daemon);
    assert_eq!(scrape.value("ductile_queue_depth"), 1.0);
    let waited = scrape.value("ductile_queue_oldest_wait_seconds");
    wait_until("a longer wait", || Scrape::of(&daemon).value("ductile_queue_oldest_wait_seconds") > waited);
    site.cli(["pause", "work"]).expect_code(0);
    site.cli(["pause"]).expect_code(0);
    let scrape = Scrape::of(&daemon);
    assert_eq!(scrape.value(r#"ductile_plugin_paused{plugin="work"}"#), 1.0);
    assert_eq!(
        (scrape.value("ductile_queue_paused"), scrape.value(r#"ductile_plugin_paused{plugin="ill"}"#)),
        (1.0, 0.0)
    );
    assert_eq!(scrape.value("ductile_queue_oldest_wait_seconds"), 0.0, "nothing may run");
    site.touch("go");
    wait_value(&daemon, "ductile_jobs_running", 0.0);
    assert_eq!(Scrape::of(&daemon).value("ductile_queue_depth"), 1.0);
    daemon.stop();
}

#[test]
fn a_chain_that_ends_for_its_hops_ends_with_a_dead_job() {
    let again = r#"echo '{"status": "ok", "events": [{"type": "again"}]}'"#;
    let mut site = Site::with(Plugin::sh("loop", again));
    site.route("loop", "again", "loop").more(LISTEN);
    let daemon = site.start();
    site.cli(["run", "loop"]).expect_code(0);
    wait_value(&daemon, r#"ductile_jobs_ended_total{plugin="loop",command="handle",outcome="dead"}"#, 1.0);
    let scrape = Scrape::of(&daemon);
    let value = |name: &str, outcome: &str| {
        scrape.value(&format!("{name}{{plugin=\"loop\",command=\"handle\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(value("ductile_jobs_ended_total", "succeeded"), 32.0);
    assert_eq!(value("ductile_attempts_ended_total", "failed"), 0.0, "it has never run");
    daemon.stop();
}

#[test]
fn a_restart_begins_counting_and_remembers_successes() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(LISTEN);
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    let jobs = r#"ductile_jobs_ended_total{plugin="work",command="poll",outcome="succeeded"}"#;
    wait_value(&daemon, jobs, 1.0);
    let success = r#"ductile_plugin_last_success_timestamp_seconds{plugin="work"}"#;
    let before = Scrape::of(&daemon);
    daemon.stop();
    let daemon = site.start();
    let after = Scrape::of(&daemon);
    assert_eq!((after.value(jobs), after.value(success)), (0.0, before.value(success)));
    assert!(after.value("ductile_start_time_seconds") > before.value("ductile_start_time_seconds"));
    daemon.stop();
}

#[test]
fn failing_writes_are_told_while_they_fail() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(LISTEN);
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(0);
    let other = Connection::open(site.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    daemon.signal(Signal::SIGHUP);
    wait_value(&daemon, "ductile_writes_failing", 1.0);
    let scrape = Scrape::of(&daemon);
    assert_eq!(scrape.value("ductile_healthy"), 0.0);
    assert!(scrape.value("ductile_write_failures_total") >= 1.0);
    other.execute_batch("ROLLBACK").unwrap();
    wait_value(&daemon, "ductile_writes_failing", 0.0);
    wait_value(&daemon, "ductile_healthy", 1.0);
    daemon.stop();
}

#[test]
fn a_reload_takes_series_away_and_keeps_the_address() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.plugin(Plugin::sh("gone", OK)).more(&with_webhooks(&["gone"]));
    let daemon = site.start();
    site.cli(["run", "gone"]).expect_code(0);
    assert_eq!(daemon.post("/hooks/gone", &[], b"").status, 403);
    let scrape = Scrape::of(&daemon);
    assert!(scrape.mentions(r#"plugin="gone""#) && scrape.mentions(r#"path="/hooks/gone""#), "{scrape:#?}");

    site.plugin(Plugin::sh("gone", OK).set("enabled: false")).plugin(Plugin::sh("new", OK));
    site.cli(["reload"]).expect_code(0);
    let scrape = Scrape::of(&daemon);
    assert!(!scrape.mentions("gone"), "{scrape:#?}");
    assert_eq!(scrape.value(r#"ductile_jobs_ended_total{plugin="new",command="poll",outcome="succeeded"}"#), 0.0);

    for changed in ["metrics: {listen: '127.0.0.2:0'}\n", ""] {
        site.more(&with_webhooks(&["gone"]).replace(LISTEN, changed));
        site.cli(["reload"]).expect_code(1).expect_stderr("`metrics.listen` cannot be changed by a reload");
    }
    Scrape::of(&daemon);
    daemon.stop();
}

#[test]
fn it_has_one_path_one_method_and_an_address_of_its_own() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(&with_webhooks(&[]));
    let daemon = site.start();
    let address = daemon.metrics_address();
    assert_eq!(get(&daemon, "/metrics?name[]=x").status, 200);
    for path in ["/", "/metrics/", "/Metrics", "/healthz", "/metricsx"] {
        assert_eq!(get(&daemon, path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = request(&daemon, &format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}");
    }
    assert_eq!(daemon.get("/metrics").status, 404, "not where strangers deliver");
    assert_eq!(site.row("SELECT metrics_listen FROM service", [])["metrics_listen"], address.to_string());
    site.cli(["status"]).expect_code(0).expect_stdout(&format!("metrics   http://{address}/metrics"));
    assert_eq!(site.cli(["status", "--json"]).json()["service"]["metrics_listen"], address.to_string());
    site.cli(["check", "--deep"]).expect_code(0).expect_stdout("held by the daemon");
    daemon.stop();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    site.more(&format!("metrics: {{listen: '{address}'}}"));
    let refused = format!("cannot listen on {address} (`metrics.listen`)");
    site.cli(["start"]).expect_code(1).expect_stderr(&refused);
    site.cli(["check", "--deep"]).expect_code(1).expect_stdout(&refused);
    site.more("");
    let daemon = site.start();
    let started = daemon.wait_log("INFO", "ductile started");
    assert_eq!(started.get("metrics_listen"), None, "off unless it is asked for");
    assert!(!site.cli(["status"]).expect_code(0).stdout.contains("metrics"));
    daemon.stop();
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.more(LISTEN);
    let daemon = site.start();
    let address = daemon.metrics_address();
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(Scrape::of(&daemon).value("ductile_healthy"), 1.0);
    site.cli(["run", "work"]).expect_code(0);
    drop(silent);
    daemon.stop();
}
