use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use std::time::Duration;
use uuid::Uuid;

use super::action::Action;
use super::detail::Detail;
use super::draw::draw;
use super::model::{Model, Panel, Wish};
use super::source::Snapshot;
use crate::cli::status::{Breaker, PluginStatus, Queue, Status as Service};
use crate::clock::Timestamp;
use crate::command::Command;
use crate::queue::list::Counts;
use crate::queue::{Job, Status, SubmittedBy};
use crate::scheduler::BreakerState;
use crate::state::publish::{self, Published};

const NOW: &str = "2026-11-21T12:00:00.000Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn ago(seconds: u64) -> Timestamp {
    now().before(Duration::from_secs(seconds))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_f3c2_7d00_7cc3_98c4_dc0c_0c07_0000 + (number << 64) * 0x1_0000 + number)
}

fn job(number: u128, plugin: &str, command: Command, status: Status) -> Job {
    let over = matches!(status, Status::Succeeded | Status::Dead);
    let at = ago(u64::try_from(number).unwrap());
    Job {
        seq: 0,
        id: id(number),
        plugin: plugin.to_owned(),
        command,
        status,
        attempt: 1,
        max_attempts: 4,
        submitted_by: SubmittedBy::Scheduler,
        schedule: None,
        dedupe_key: None,
        parent_job_id: None,
        source_event_id: None,
        hops: 0,
        from_core: false,
        created_at: at,
        started_at: (status != Status::Queued).then_some(at.before(Duration::from_millis(250))),
        completed_at: over.then_some(at),
        next_retry_at: None,
        last_error: (status == Status::Dead)
            .then(|| "exit code 7 after the connection to the server was lost".to_owned()),
    }
}

fn plugin(name: &str) -> PluginStatus {
    PluginStatus {
        published: Published {
            name: name.to_owned(),
            enabled: true,
            loaded: true,
            error: None,
            protocol: Some(1),
            manifest: None,
            version: Some("1.0.0".to_owned()),
            commands: vec!["poll".to_owned(), "handle".to_owned()],
            max_attempts: 4,
            schedule_every_ms: Some(10_000),
            schedules: Vec::new(),
            uses: None,
            folder: None,
            warnings: Vec::new(),
        },
        paused_since: None,
        init_pending: false,
        unhealthy: None,
        last_run_at: Some(ago(5)),
        last_status: Some("succeeded".to_owned()),
        last_error: None,
        next_run: Some(now().after(Duration::from_secs(65))),
        breaker: Breaker { state: BreakerState::Closed, command: None, failures: 0, opened_at: None },
        last_24h: None,
        health: None,
    }
}

fn snapshot() -> Snapshot {
    let service = publish::Service {
        instance: Uuid::nil(),
        name: Some("home".to_owned()),
        pid: Some(4711),
        version: Some("0.1.0".to_owned()),
        started_at: Some(ago(3_700)),
        stopped_at: None,
        config_path: None,
        config_hash: None,
        listen: None,
        metrics_listen: None,
        last_reload: None,
        limits: None,
    };
    let mut feed = plugin("feed");
    feed.breaker = Breaker { state: BreakerState::Open, command: None, failures: 3, opened_at: Some(ago(90)) };
    feed.last_status = Some("failed".to_owned());
    feed.last_error = Some("exit code 7".to_owned());
    let mut waits = job(31, "feed", Command::Poll, Status::Queued);
    waits.next_retry_at = Some(now().after(Duration::from_secs(12)));
    let dead = job(40, "feed", Command::Poll, Status::Dead);
    Snapshot {
        status: Service {
            at: now(),
            running: true,
            holder_pid: Some(4711),
            service,
            state_path: "data/ductile.db".to_owned(),
            queue: Queue {
                counts: Counts { queued: 2, waiting: 1, running: 1, dead: 1 },
                paused_since: None,
                oldest_waits_since: Some(ago(2)),
                running_job: None,
            },
            plugins: vec![plugin("echo"), feed],
        },
        waiting: vec![
            job(3, "echo", Command::Poll, Status::Running),
            job(2, "echo", Command::Handle, Status::Queued),
            waits,
        ],
        ended: vec![job(20, "echo", Command::Poll, Status::Succeeded), dead.clone()],
        dead: vec![dead],
    }
}

const SCREEN: &str = "\
home  running for 1h 1m, PID 4711, ductile 0.1.0
2 queued (1 waiting for a retry), 1 running, 1 dead; the first waits for 2s
- plugins (2) ──────────────────────────────────────────────────────────────────
PLUGIN  STATE        LAST RUN            NEXT RUN  BREAKER       REASON
echo    loaded       succeeded 5s        in 1m 5s  closed        -
feed    loaded       failed 5s           in 1m 5s  open 1m 30s   exit code 7
- queue (3) ────────────────────────────────────────────────────────────────────
ID            PLUGIN  COMMAND STATUS    TRY   WAITS        LAST ERROR
0199f3c2-7d03 echo    poll    running   1/4   runs 3s      -
0199f3c2-7d02 echo    handle  queued    1/4   2s           -
0199f3c2-7d1f feed    poll    queued    1/4   retry in 12s -
> history (2, the newest first) ────────────────────────────────────────────────
ID            PLUGIN  COMMAND STATUS    TRY   ENDED    TOOK   LAST ERROR
0199f3c2-7d14 echo    poll    succeeded 1/4   20s ago  250ms  -
0199f3c2-7d28 feed    poll    dead      1/4   40s ago  250ms  exit code 7 after








Tab list  Enter job  r retry  d dead  P pause all  / find  ? help  q quit";

fn model() -> Model {
    Model::new(snapshot(), now(), (80, 24), true)
}

fn picture(model: &Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    buffer.content.chunks(width).map(|cells| line(cells).trim_end().to_owned()).collect()
}

fn text(model: &Model, width: u16, height: u16) -> String {
    lines(&picture(model, width, height)).join("\n")
}

fn press(model: &mut Model, code: KeyCode) -> Wish {
    model.press(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Presses one key after the other; what the last one wished.
fn keys(model: &mut Model, keys: &str) -> Wish {
    keys.chars().map(|c| press(model, KeyCode::Char(c))).last().unwrap()
}

#[test]
fn everything_fits_into_80_by_24() {
    assert_eq!(text(&model(), 80, 24), SCREEN);
}

#[test]
fn more_room_shows_whole_errors() {
    let text = text(&model(), 120, 40);
    assert!(text.contains("exit code 7 after the connection to the server was lost"), "{text}");
}

#[test]
fn the_keys_fit_into_80_columns() {
    let mut model = model();
    for _ in 0..3 {
        press(&mut model, KeyCode::Tab);
        let last = lines(&picture(&model, 80, 24)).pop().unwrap();
        assert!(last.ends_with("q quit"), "{last}");
    }
    keys(&mut model, "?");
    let help = text(&model, 80, 24);
    assert!(help.contains("close the circuit breaker") && help.contains("Ctrl-C"), "{help}");
}

#[test]
fn no_size_is_too_small() {
    let (mut lists, mut help, mut asks, mut shows) = (model(), model(), model(), model());
    keys(&mut lists, "/");
    keys(&mut help, "?");
    keys(&mut asks, "P");
    shows.show(Detail::new(id(1), None, "job  x\n\n日本語 and more", Vec::new()));
    for model in [&mut lists, &mut help, &mut asks, &mut shows] {
        for (width, height) in
            [0, 1, 2, 13, 20, 40].into_iter().flat_map(|width| [0, 1, 2, 3, 4, 5, 8, 15].map(|height| (width, height)))
        {
            model.resized(width, height);
            picture(model, width, height);
        }
    }
    lists.resized(20, 5);
    assert!(text(&lists, 20, 5).starts_with("home  running for 1h"), "{}", text(&lists, 20, 5));
}

#[test]
fn colours_are_left_out_on_request() {
    let coloured = |model: &Model| picture(model, 80, 24).content.iter().any(|cell| cell.fg != Color::Reset);
    let mut model = model();
    assert!(coloured(&model));
    model.colours = false;
    assert!(!coloured(&model));
}

#[test]
fn nothing_that_a_plugin_says_reaches_the_terminal_as_it_is() {
    let evil = "\u{1b}]0;owned\u{7}\u{9b}2J\r\n\t\u{8}";
    let mut model = model();
    let status = &mut model.snapshot.status;
    status.service.name = Some(evil.to_owned());
    status.plugins[1].last_error = Some(evil.to_owned());
    status.plugins[1].published.name = evil.to_owned();
    for job in model.snapshot.waiting.iter_mut().chain(&mut model.snapshot.ended) {
        (job.plugin, job.last_error) = (evil.to_owned(), Some(evil.to_owned()));
    }
    model.trouble = Some(evil.to_owned());
    let cells = picture(&model, 200, 40).content;
    assert!(!cells.iter().any(|cell| cell.symbol().contains(char::is_control)));
    assert!(text(&model, 200, 40).contains("\\u{1b}]0;owned"), "{}", text(&model, 200, 40));
    model.trouble = None;
    model.say(evil, true);
    assert!(!picture(&model, 200, 40).content.iter().any(|cell| cell.symbol().contains(char::is_control)));
}

#[test]
fn without_a_daemon_it_says_so() {
    let mut model = model();
    let status = &mut model.snapshot.status;
    (status.running, status.holder_pid) = (false, None);
    let killed = text(&model, 80, 24);
    assert!(killed.contains("no daemon is running (PID 4711 was killed); this is its last state"), "{killed}");
    let service = &mut model.snapshot.status.service;
    (service.pid, service.stopped_at) = (None, Some(ago(60)));
    let stopped = text(&model, 80, 24);
    assert!(stopped.contains("no daemon is running (stopped 1m ago)"), "{stopped}");
    model.snapshot.status.holder_pid = Some(9);
    assert!(text(&model, 80, 24).contains("no daemon; `ductile run` (PID 9) holds the state dir"));
}

#[test]
fn who_is_chosen_stays_chosen_while_the_list_moves() {
    let mut model = model();
    let first = |model: &Model| model.chosen_job().unwrap().id;
    // Nobody was chosen: the newest is.
    let grown = |model: &mut Model, number: u128| {
        let mut new = snapshot();
        new.ended.insert(0, job(number, "echo", Command::Poll, Status::Succeeded));
        model.take(new);
    };
    grown(&mut model, 9);
    assert_eq!(first(&model), id(9));
    press(&mut model, KeyCode::Down);
    assert_eq!(first(&model), id(20));
    model.take(snapshot());
    assert_eq!(first(&model), id(20));
    grown(&mut model, 8);
    assert_eq!(first(&model), id(20));
    // It is gone: whoever is in its place.
    let mut new = snapshot();
    new.ended.remove(0);
    model.take(new);
    assert_eq!(first(&model), id(40));
    model.snapshot.ended.clear();
    model.settle();
    assert!(model.chosen_job().is_none());
    assert!(matches!(press(&mut model, KeyCode::Enter), Wish::Nothing));
}

#[test]
fn a_row_passes_the_filter_with_all_words_and_escape_shows_everything() {
    let mut model = model();
    let cases = [("dead", 1), ("POLL", 2), ("echo poll", 1), ("echo dead", 0), ("0199f3c2", 2), ("nobody", 0)];
    for (words, left) in cases {
        keys(&mut model, "/");
        for c in words.chars() {
            press(&mut model, KeyCode::Char(c));
        }
        press(&mut model, KeyCode::Enter);
        assert_eq!(model.jobs(Panel::History).len(), left, "{words}");
        press(&mut model, KeyCode::Esc);
        assert_eq!(model.jobs(Panel::History).len(), 2);
    }
    keys(&mut model, "/open");
    assert_eq!(model.plugins().len(), 1);
    press(&mut model, KeyCode::Backspace);
    press(&mut model, KeyCode::Esc);
    assert_eq!((model.filter.as_str(), model.typing), ("", false));
    keys(&mut model, "d");
    assert_eq!(model.jobs(Panel::History).len(), 1);
}

#[test]
fn everything_that_changes_something_is_asked_for_once_more() {
    let feed = || "feed".to_owned();
    let retry = Action::Retry { job: id(40), what: "feed poll".to_owned() };
    let cancel = Action::Cancel { job: id(2), what: "echo handle".to_owned() };
    let run = Action::Run { plugin: feed(), command: Command::Poll };
    // The list, how far down, the key.
    let cases = [
        (Panel::History, 1, 'r', retry),
        (Panel::Queue, 1, 'c', cancel),
        (Panel::Plugins, 1, 'r', run),
        (Panel::Plugins, 1, 'b', Action::Reset { plugin: feed() }),
        (Panel::Plugins, 1, 'p', Action::Pause(Some(feed()))),
        (Panel::History, 1, 'p', Action::Pause(Some(feed()))),
        (Panel::Queue, 0, 'P', Action::Pause(None)),
    ];
    for (panel, down, letter, action) in cases {
        for (answer, done) in [('n', false), ('\u{1b}', false), ('y', true)] {
            let mut model = model();
            model.focus = panel;
            for _ in 0..down {
                press(&mut model, KeyCode::Down);
            }
            assert_eq!(press(&mut model, KeyCode::Char(letter)), Wish::Nothing);
            let asked = text(&model, 80, 24);
            assert!(asked.contains(&format!("{}? y/n", action.question())), "{asked}");
            let wish = press(&mut model, KeyCode::Char(answer));
            assert_eq!(wish, if done { Wish::Do(action.clone()) } else { Wish::Nothing });
            assert_eq!(model.acting.is_some(), done);
            if done {
                // Until it is known what came of it.
                assert_eq!((keys(&mut model, "Py"), keys(&mut model, "q")), (Wish::Nothing, Wish::Nothing));
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    let cases = [
        (Panel::History, 'r', "only a dead job can be retried"),
        (Panel::History, 'c', "only a queued job can be cancelled"),
        (Panel::Queue, 'c', "only a queued job can be cancelled"),
        (Panel::Plugins, 'c', "only a queued job can be cancelled"),
    ];
    for (panel, letter, refusal) in cases {
        let mut model = model();
        model.focus = panel;
        press(&mut model, KeyCode::Char(letter));
        assert!(model.asking.is_none());
        assert!(text(&model, 80, 24).contains(refusal));
    }
}

#[test]
fn what_is_paused_goes_on_by_the_same_key() {
    let mut model = model();
    model.snapshot.status.queue.paused_since = Some(ago(5));
    model.snapshot.status.plugins[0].paused_since = Some(ago(5));
    assert_eq!(keys(&mut model, "Py"), Wish::Do(Action::Resume(None)));
    model.acting = None;
    assert!(text(&model, 80, 24).contains("PAUSED for 5s"));
    assert_eq!(keys(&mut model, "py"), Wish::Do(Action::Resume(Some("echo".to_owned()))));
}

#[test]
fn a_detail_scrolls_to_its_ends_and_not_beyond() {
    let mut model = model();
    assert_eq!(press(&mut model, KeyCode::Enter), Wish::Open(id(20)));
    let body: String = (1..100).map(|number| format!("line {number}\n")).collect();
    model.show(Detail::new(id(20), None, &format!("job  x\n\n{body}"), Vec::new()));
    press(&mut model, KeyCode::End);
    let end = text(&model, 80, 24);
    assert!(end.contains("line 99") && !end.contains("line 80\n"), "{end}");
    press(&mut model, KeyCode::PageDown);
    assert_eq!(text(&model, 80, 24), end);
    press(&mut model, KeyCode::Up);
    assert!(!text(&model, 80, 24).contains("line 99"));
    press(&mut model, KeyCode::Home);
    press(&mut model, KeyCode::PageUp);
    assert!(text(&model, 80, 24).contains("job  x"));
    press(&mut model, KeyCode::Esc);
    assert!(model.detail.is_none() && text(&model, 80, 24).contains("history"));
}

#[test]
fn the_tree_comes_behind_what_the_job_is() {
    let tree = ["  JOB", "* a poll", "    b handle"].map(str::to_owned).to_vec();
    let detail = Detail::new(id(1), None, "job  x\n\nattempt 1", tree);
    assert_eq!(detail.wrapped(80), ["job  x", "", "trace", "  JOB", "* a poll", "    b handle", "", "attempt 1"]);
    let alone = Detail::new(id(1), None, "job  x\n\nattempt 1", vec!["  JOB".to_owned(), "* a poll".to_owned()]);
    assert_eq!(alone.wrapped(80), ["job  x", "", "attempt 1"]);
}

#[test]
fn control_c_always_quits() {
    let mut model = model();
    keys(&mut model, "Py");
    assert_eq!(model.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
}
