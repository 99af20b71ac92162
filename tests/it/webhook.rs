//! Webhooks: from the request to the job.

use crate::support::{OK, Plugin, SECRET, Site, sign};

mod connections;
mod crowd;
mod events;
mod health;
mod refused;
mod requests;
mod stopping;

#[test]
fn a_signed_delivery_becomes_a_job_that_its_plugin_runs() {
    let mut site = Site::with(Plugin::sh("work", &format!("cat > request; {OK}")));
    site.webhook_with(&["work"], ", event_header: X-GitHub-Event, dedupe_header: X-GitHub-Delivery");
    let daemon = site.start();
    let headers = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "72d3162e")];
    let answer = daemon.deliver("/hooks/work?x=1", &headers, br#"{"n": 1.10}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = site.wait_job(&answer.job_id(), "succeeded");
    assert_eq!(job["submitted_by"], "webhook");
    let request = site.read("plugins/work/request");
    assert!(request.contains(r#""type":"webhook.push","payload":{"n": 1.10},"dedupe_key":"72d3162e""#), "{request}");
    let again = daemon.deliver("/hooks/work", &headers, br#"{"n": 1.10}"#);
    assert_eq!((again.status, again.job_id()), (200, answer.job_id()), "it was handled already");

    let wrong = daemon.post("/hooks/work", &[("X-Hub-Signature-256", &sign("another", b"{}"))], b"{}");
    assert_eq!(wrong.status, 403);
    let unsigned = daemon.post("/hooks/work", &[], b"{}");
    assert_eq!((unsigned.status, unsigned.body.as_str()), (403, r#"{"error":"Forbidden"}"#));
    assert_eq!(site.count("SELECT count(*) FROM job_queue"), 1);
    let log = daemon.stop().stdout;
    assert!(!log.contains(SECRET) && !log.contains("1.10"), "neither secrets nor bodies: {log}");
}

#[test]
fn all_is_well_on_the_health_path() {
    let mut site = Site::with(Plugin::sh("work", OK));
    site.webhook(&[]);
    let daemon = site.start();
    let answer = daemon.get("/healthz");
    assert_eq!(answer.status, 200, "{answer:?}");
    let health = answer.json();
    assert_eq!((&health["status"], &health["plugins_loaded"]), (&"ok".into(), &1.into()));
    assert_eq!(daemon.post("/healthz", &[], b"").status, 405);
    let listen = site.row("SELECT listen FROM service", []);
    assert_eq!(listen["listen"], daemon.address().to_string());
    daemon.stop();
}
