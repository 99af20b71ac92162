//! `ductile monitor`, on a terminal of its own.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

use crate::support::{OK, Plugin, Site, wait_for};

/// A program on a pseudo terminal, and what its screen shows. Killed when dropped.
struct Terminal {
    child: Child,
    ours: File,
    theirs: OwnedFd,
    screen: vt100::Parser,
    /// All that was sent to the terminal.
    sent: Vec<u8>,
    before: Termios,
}

impl Terminal {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut command = site.command(arguments);
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let screen = vt100::Parser::new(24, 80, 0);
        Self { child, ours: pty.master.into(), theirs: pty.slave, screen, sent: Vec::new(), before }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.ours.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    self.screen.process(&bytes[..count]);
                    self.sent.extend(&bytes[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// Waits until the screen shows all of these.
    #[track_caller]
    fn wait(&mut self, parts: &[&str]) {
        let shown = RefCell::new(String::new());
        let look = || {
            self.read();
            shown.replace(self.screen.screen().contents());
            parts.iter().all(|part| shown.borrow().contains(part)).then_some(())
        };
        wait_for(&format!("{parts:?}"), || shown.borrow().clone(), look);
    }

    fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end, and that it has left the terminal as it was.
    #[track_caller]
    fn expect_end(&mut self) -> ExitStatus {
        let status = wait_for("the end of the monitor", String::new, || {
            // It may have more to say than fits into the line.
            self.read();
            self.child.try_wait().unwrap()
        });
        self.read();
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        assert_eq!(tcgetattr(&self.theirs).unwrap(), self.before);
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site whose `work` fails as long as there is a file `sick`, for good.
fn site() -> Site {
    let script = format!("test -e \"$IT/sick\" && exit 78\n{OK}");
    let mut site = Site::with(Plugin::sh("work", &script).set("retry: {max_attempts: 1}"));
    site.plugin(Plugin::sh("idle", OK));
    site.touch("sick");
    site
}

#[test]
fn it_shows_the_gateway_and_leaves_the_terminal_as_it_was() {
    let site = site();
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(1);
    for arguments in [&["monitor"] as &[&str], &["system", "monitor"]] {
        let mut terminal = Terminal::start(&site, arguments);
        terminal.wait(&["running for", "1 dead", "plugins (2)", "work", "queue (0)", "history (1", "q quit"]);
        assert!(terminal.screen.screen().alternate_screen());
        terminal.press("\r");
        terminal.wait(&["does        work poll", "exit code 78"]);
        terminal.press("q");
        assert!(terminal.expect_end().success());
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::start(&site, &["monitor"]);
        terminal.wait(&["history (1"]);
        terminal.signal(signal);
        assert!(terminal.expect_end().success(), "{signal}");
    }
    daemon.stop();
}

#[test]
fn a_dead_job_is_retried_once_it_is_confirmed() {
    let site = site();
    let daemon = site.start();
    site.cli(["run", "work"]).expect_code(1);
    std::fs::remove_file(site.path("sick")).unwrap();
    let mut terminal = Terminal::start(&site, &["monitor"]);
    terminal.wait(&["history (1"]);
    terminal.press("r");
    terminal.wait(&["retry work poll, job", "y/n"]);
    terminal.press("n");
    terminal.wait(&["nothing was done"]);
    terminal.press("r");
    terminal.wait(&["y/n"]);
    terminal.press("y");
    terminal.wait(&["stays dead; the new one does the same:", "history (2", "succeeded"]);
    terminal.press("\u{1b}[A\t");
    terminal.wait(&["> plugins"]);
    terminal.press("p");
    terminal.wait(&["pause plugin `idle`? y/n"]);
    terminal.press("y");
    terminal.wait(&["done: plugin `idle` is paused"]);
    site.cli(["resume", "idle"]).expect_code(0).expect_stdout("goes on");
    terminal.press("q");
    assert!(terminal.expect_end().success());
    daemon.stop();
    assert_eq!(site.rows("SELECT 1 FROM job_queue", ()).len(), 2);
}

#[test]
fn without_a_daemon_it_shows_the_last_state_and_can_change_it() {
    let mut site = site();
    site.start().stop();
    // Whoever looks needs no secrets.
    site.plugin(Plugin::sh("work", OK).env("KEY", "\"${KEY}\""));
    let mut terminal = Terminal::start(&site, &["monitor"]);
    terminal.wait(&["no daemon is running (stopped", "its last state", "nothing has ended yet"]);
    terminal.press("\t");
    terminal.wait(&["> plugins"]);
    terminal.press("r");
    terminal.wait(&["run `idle` now (poll)? y/n"]);
    terminal.press("y");
    terminal.wait(&["queue (1)", "job waits on the queue until `ductile start`", "1 queued"]);
    terminal.press("\t");
    terminal.wait(&["> queue"]);
    terminal.press("c");
    terminal.wait(&["cancel idle poll"]);
    terminal.press("y");
    terminal.wait(&["done: cancelled", "1 dead", "cancelled by"]);
    terminal.press("\u{3}");
    assert!(terminal.expect_end().success());
    assert_eq!(site.rows("SELECT 1 FROM job_queue WHERE last_error LIKE '%`ductile monitor`'", ()).len(), 1);
}

#[test]
fn it_takes_no_lock_and_follows_the_size() {
    let site = site();
    site.start().stop();
    let writer = rusqlite::Connection::open(site.database()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE service SET name = name").unwrap();
    let mut terminal = Terminal::start(&site, &["monitor"]);
    terminal.wait(&["plugins (2)", "history"]);
    writer.execute_batch("UPDATE service SET name = 'renamed'; COMMIT").unwrap();
    terminal.wait(&["renamed"]);
    // No terminal has it as its own, so nobody tells it.
    let theirs = terminal.theirs.try_clone().unwrap();
    let stty = Command::new("stty").args(["rows", "5", "cols", "20"]).stdin(theirs).status().unwrap();
    assert!(stty.success());
    terminal.screen.screen_mut().set_size(5, 20);
    terminal.signal(Signal::SIGWINCH);
    wait_for("a small screen", String::new, || {
        terminal.read();
        let keys = terminal.screen.screen().rows(0, 20).last().unwrap();
        (keys.trim_end() == "Tab list  Enter job").then_some(())
    });
    terminal.press("q");
    assert!(terminal.expect_end().success());
}

#[test]
fn what_plugins_say_is_shown_and_not_obeyed() {
    let mut site = Site::with(Plugin::sh("evil", r"printf '\033]0;owned\007\033[2J' >&2; exit 78"));
    site.plugin(Plugin::python(
        "liar",
        "print(json.dumps({'status': 'error', 'retry': False, 'error': '\\x1b]0;owned\\x07'}))",
    ));
    let daemon = site.start();
    site.cli(["run", "evil"]).expect_code(1);
    site.cli(["run", "liar"]).expect_code(1);
    let mut terminal = Terminal::start(&site, &["monitor"]);
    terminal.wait(&["history (2"]);
    terminal.press("\r");
    terminal.wait(&["does        liar poll", "\\u{1b}]0;owned"]);
    terminal.press("\u{1b}");
    terminal.wait(&["history (2"]);
    terminal.press("j\r");
    terminal.wait(&["does        evil poll", "stderr  \\u{1b}]0;owned"]);
    terminal.press("q");
    terminal.expect_end();
    assert!(!terminal.sent.windows(3).any(|bytes| bytes == b"\x1b]0"));
    daemon.stop();
}

#[test]
fn it_needs_a_terminal() {
    let site = site();
    site.start().stop();
    site.cli(["monitor"]).expect_code(1).expect_stderr("needs a terminal").expect_stderr("ductile status");
}
