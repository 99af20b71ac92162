//! `status` of one plugin, and what plugins say of their health.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site};

const HEALTH: &str = "commands_are = request['command']
if request['command'] == 'health':
    open(os.environ['IT'] + '/asked', 'a').write(json.dumps(request) + '\\n')
    if os.path.exists(os.environ['IT'] + '/sick'):
        print(json.dumps({'status': 'error', 'error': 'no route to host'}))
        sys.exit()
print(json.dumps({'status': 'ok', 'state_updates': {'n': 1}, 'events': [{'type': 'seen'}]}))";

fn site() -> Site {
    let mut site = Site::with(Plugin::python("probe", HEALTH).commands("poll, health").set("config: {room: 7}"));
    site.plugin(Plugin::sh("plain", OK)).route("probe", "seen", "plain");
    site
}

fn of<'a>(status: &'a Value, plugin: &str) -> &'a Value {
    status["plugins"].as_array().unwrap().iter().find(|found| found["name"] == plugin).unwrap()
}

#[test]
fn health_is_asked_for_outside_of_the_queue_and_changes_nothing() {
    let site = site();
    let daemon = site.start();
    site.cli(["run", "probe"]).expect_code(0);
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'plain' AND status = 'succeeded'");
    let jobs =
        || (site.rows("SELECT * FROM job_queue", ()), site.rows("SELECT * FROM job_log", ()), site.state("probe"));
    let before = jobs();
    let well = site.cli(["status", "--health", "--json"]).expect_code(0).json();
    assert_eq!((&of(&well, "probe")["health"]["ok"], &of(&well, "plain")["health"]), (&json!(true), &Value::Null));
    site.touch("sick");
    let sick = site.cli(["status", "--health", "--json"]).expect_code(1).json();
    assert_eq!(of(&sick, "probe")["health"]["error"], "no route to host");
    site.cli(["status", "probe", "--health"]).expect_code(1).expect_stdout("no route to host");
    site.cli(["status", "plain", "--health"]).expect_code(0);
    daemon.stop();
    assert_eq!(jobs(), before);
    let asked: Vec<Value> = site.read("asked").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(asked.len(), 3);
    assert_eq!((&asked[0]["config"], &asked[0]["state"]), (&json!({"room": 7}), &json!({"n": 1})));
    site.cli(["run", "probe", "--command", "health"]).expect_code(2).expect_stderr("ductile status probe --health");
}

#[test]
fn health_needs_the_secrets_and_status_does_not() {
    let mut site = site();
    site.plugin(Plugin::python("probe", HEALTH).commands("poll, health").env("KEY", "\"${KEY}\"")).env("KEY", "secret");
    let daemon = site.start();
    site.clear_env();
    site.cli(["status"]).expect_code(0);
    site.cli(["status", "--health"]).expect_code(78).expect_stderr("`${KEY}` is not set");
    daemon.stop();
}

#[test]
fn one_plugin_is_shown_with_its_last_day() {
    let mut site = Site::with(Plugin::sh("work", "exit 1").set("retry: {max_attempts: 1}"));
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(1);
    site.plugin(Plugin::sh("work", OK).set("retry: {max_attempts: 1}"));
    for _ in 0..3 {
        site.cli(["run", "work"]).expect_code(0);
    }
    let work = of(&site.cli(["status", "work", "--json"]).expect_code(0).json(), "work").clone();
    daemon.stop();
    let lately = &work["last_24h"];
    assert_eq!((&lately["attempts"], &lately["succeeded"]), (&json!(4), &json!(3)), "{work:#}");
    assert!(lately["p50_ms"].as_u64().unwrap() <= lately["p95_ms"].as_u64().unwrap());
    site.cli(["status", "work"]).expect_code(0).expect_stdout("75% of 4");
    site.cli(["status", "wrok"]).expect_code(2).expect_stderr("configured are: work");
}

#[test]
fn the_table_has_a_line_for_each_plugin_and_says_what_is_not_as_it_should_be() {
    let mut site =
        Site::with(Plugin::sh("a-fails", "exit 3").set("schedule: {every: 1h}").set("retry: {max_attempts: 1}"));
    site.plugin(Plugin::sh("b-paused", OK)).plugin(Plugin::sh("c-off", OK).set("enabled: false"));
    site.plugin(Plugin::sh("d-broken", OK));
    std::fs::write(site.path("plugins/d-broken/manifest.yaml"), "name: d-broken").unwrap();
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_queue WHERE status = 'dead'");
    site.cli(["pause", "b-paused"]).expect_code(0);
    site.detach(["b-paused"]);
    let shown = site.cli(["status"]).expect_code(0).stdout;
    daemon.stop();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&regex_of(&site), "DIR");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME");
    settings.add_filter(r"PID \d+ for \S+", "PID N for TIME");
    settings.add_filter(r"waits for \S+", "waits for TIME");
    settings.add_filter(r"\d+ms/\d+ms", "MS/MS");
    settings.add_filter(r"  +", "  ");
    settings.bind(|| {
        insta::assert_snapshot!(shown, @r"
        service  ductile, ductile 0.1.0, running as PID N for TIME
        config  DIR/config.yaml
        state  DIR/state/ductile.db
        queue  1 queued (0 waiting for a retry), 0 running, 1 dead; the first waits for TIME

        PLUGIN  STATE  EVERY  LAST RUN  RESULT  NEXT RUN  BREAKER  RATE  P50/P95  REASON
        a-fails  loaded  1h  TIME  failed  TIME  closed  0% of 1  MS/MS  exit code 3
        b-paused  paused  -  -  -  -  -  -  -  -
        c-off  disabled  -  -  -  -  -  -  -  -
        d-broken  not loaded  -  -  -  -  -  -  -  invalid manifest `DIR/plugins/d-broken/manifest.yaml`: missing field `protocol`
        ");
    });
}

fn regex_of(site: &Site) -> String {
    site.path("").display().to_string().trim_end_matches('/').replace('.', r"\.")
}
