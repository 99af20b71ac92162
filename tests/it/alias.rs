//! `uses`: a plugin under a second name, with state, schedule and settings of its own.

use serde_json::{Value, json};

use crate::support::{OK, Plugin, Site, find_line, log_lines};

/// Counts its runs in its state, and says who it is told to be.
const COUNT: &str = "who = request['config'].get('who')
runs = request['state'].get('runs', 0) + 1
print(json.dumps({'status': 'ok', 'state_updates': {'runs': runs, 'who': who, 'env': os.environ.get('WHO'),
    'command': request['command'], 'event': request.get('event')}, 'events': [{'type': 'counted'}]}))";

fn counter() -> Plugin {
    Plugin::python("counter", COUNT).set("config: {who: base}")
}

/// An alias of it.
fn second() -> Plugin {
    Plugin::sh("second", "").set("uses: counter").set("config: {who: alias}").env("WHO", "second")
}

#[test]
fn an_alias_has_state_schedule_and_settings_of_its_own_beside_its_base() {
    let mut site = Site::with(counter());
    site.settings(second().set("schedule: {every: 1h}"));
    site.cli(["check"]).expect_code(0).expect_stdout("plugins enabled: 2");
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM job_log WHERE plugin = 'second' AND status = 'succeeded'");
    for plugin in ["counter", "second", "second"] {
        site.cli(["run", plugin]).expect_code(0);
    }
    let state = |plugin| site.state(plugin);
    assert_eq!((&state("counter")["runs"], &state("second")["runs"]), (&json!(1), &json!(3)));
    assert_eq!((&state("counter")["who"], &state("second")["who"]), (&json!("base"), &json!("alias")));
    assert_eq!((&state("counter")["env"], &state("second")["env"]), (&Value::Null, &json!("second")));
    assert_eq!(site.rows("SELECT plugin FROM schedule", ()), [json!({"plugin": "second"})]);

    let plugins = site.cli(["plugins", "--json"]).expect_code(0).json();
    let uses: Vec<_> = plugins.as_array().unwrap().iter().map(|plugin| (&plugin["name"], &plugin["uses"])).collect();
    assert_eq!(uses, [(&json!("counter"), &Value::Null), (&json!("second"), &json!("counter"))]);
    site.cli(["plugins", "second"]).expect_code(0).expect_stdout("uses      counter").expect_stdout("plugins/counter");
    site.cli(["status", "second"]).expect_code(0).expect_stdout("uses      counter");
    site.cli(["pause", "second"]).expect_code(0);
    site.cli(["run", "counter"]).expect_code(0);
    site.cli(["reset", "second"]).expect_code(0);
    let log = log_lines(&daemon.stop().stdout);
    assert!(log.iter().any(|line| line["message"] == "job succeeded" && line["plugin"] == "second"), "{log:#?}");
}

#[test]
fn an_alias_is_the_target_of_webhooks_and_the_source_and_target_of_routes() {
    let mut site = Site::with(counter());
    site.settings(second()).plugin(Plugin::sh("last", &format!("cat > \"$IT/last.json\"; {OK}")));
    site.webhook(&["second"]).route("second", "counted", "last").route("last", "x", "second");
    let daemon = site.start();
    // The base emits the same event, and nothing is routed from it.
    site.cli(["run", "counter"]).expect_code(0);
    let answer = daemon.deliver("/hooks/second", &[], b"{\"n\": 1}");
    assert_eq!(answer.status, 202, "{answer:?}");
    site.wait_rows("SELECT 1 FROM job_queue WHERE plugin = 'last' AND status = 'succeeded'");
    daemon.stop();
    assert_eq!(site.state("second")["event"]["payload"], json!({"n": 1}));
    assert_eq!(site.state("counter")["runs"], 1);
    let request: Value = serde_json::from_str(&site.read("last.json")).unwrap();
    assert_eq!((&request["event"]["source"], &request["event"]["type"]), (&json!("second"), &json!("counted")));
    let parent = site
        .row("SELECT plugin FROM job_queue WHERE id = (SELECT parent_job_id FROM job_queue WHERE plugin = 'last')", ());
    assert_eq!(parent, json!({"plugin": "second"}));
    assert_eq!(site.count("SELECT count(*) FROM job_queue WHERE plugin = 'last'"), 1);
}

#[test]
fn each_name_has_its_own_init_and_its_own_breaker() {
    let script = "if request['config'].get('bad'):\n    sys.exit(1)\nprint('{\"status\": \"ok\"}')";
    let base = Plugin::python("base", script).commands("poll, init");
    let mut site = Site::new();
    site.files("plugins", &base);
    site.settings(Plugin::sh("good", "").set("uses: base"));
    let bad = Plugin::sh("bad", "").set("uses: base").set("config: {bad: true}");
    site.settings(bad.set("schedule: {every: 1h}"));
    let daemon = site.start();
    site.wait_rows("SELECT 1 FROM plugin_init WHERE plugin = 'bad' AND failed_at IS NOT NULL");
    site.cli(["run", "good"]).expect_code(0);
    site.cli(["status", "bad"]).expect_code(0).expect_stdout("unhealthy");
    let done = site.rows("SELECT plugin FROM plugin_init WHERE done_hash IS NOT NULL", ());
    assert_eq!(done, [json!({"plugin": "good"})], "its base is not configured");
    daemon.stop();
}

#[test]
fn a_reload_adds_and_removes_an_alias() {
    let mut site = Site::with(counter());
    let daemon = site.start();
    site.settings(second());
    site.cli(["reload"]).expect_code(0).expect_stdout("plugin `second`: added");
    site.cli(["run", "second"]).expect_code(0);
    site.cli(["pause"]).expect_code(0);
    let waiting = site.detach(["second"]);
    site.remove("second");
    site.cli(["reload"]).expect_code(0).expect_stdout("plugin `second`: removed");
    let job = site.wait_job(&waiting, "dead");
    assert_eq!(job["last_error"], "plugin `second` is not configured any more");
    site.cli(["run", "second"]).expect_code(2).expect_stderr("is not configured");
    daemon.stop();
}

#[test]
fn what_is_not_there_is_a_load_error_and_a_folder_of_the_aliass_own_name_is_warned_of() {
    let mut site = Site::with(counter());
    site.settings(Plugin::sh("second", "").set("uses: nobody"));
    site.cli(["check"])
        .expect_code(1)
        .expect_stderr("plugin `second` is not loaded: folder missing")
        .expect_stderr("plugins/nobody");
    let daemon = site.start();
    assert!(find_line(&daemon.log(), "ERROR", "plugin is not loaded").is_some());
    site.cli(["run", "counter"]).expect_code(0);
    daemon.stop();

    site.settings(second());
    site.files("plugins", &Plugin::sh("second", "exit 1"));
    let warning = "plugin `second`: it is `counter`, as `uses` says, and not the plugin in the folder `second`";
    site.cli(["check"]).expect_code(0).expect_stderr(warning);
    site.cli(["run", "second"]).expect_code(0);
    assert_eq!(site.state("second")["who"], "alias");
}
