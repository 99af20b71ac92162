//! The terminal: taken and given back, whatever happens; and the loop that waits for keys, signals and time.

use std::io;
use std::os::fd::AsFd;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{DefaultTerminal, Terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::action::Action;
use super::draw::draw;
use super::model::{Model, Wish};
use super::source::Source;
use crate::cli::change::Said;
use crate::cli::error::CliError;
use crate::cli::{output, runtime};
use crate::clock::Clock;
use crate::log::chain;

/// How often it is looked whether anything has changed; times on the screen have whole seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shows the gateway until somebody quits.
pub(super) fn run(mut source: Source, config: Option<PathBuf>) -> Result<ExitCode, CliError> {
    runtime()?.block_on(async {
        let mut signals = Signals::install().map_err(CliError::Runtime)?;
        let snapshot = source.look()?.expect("the first look sees everything");
        let colours = output::colours();
        let mut screen = Screen::take()?;
        let size = screen.0.size()?;
        let model = Model::new(snapshot, Clock::System.now(), (size.width, size.height), colours);
        let keys = keys().map_err(CliError::Runtime)?;
        let mut monitor = Monitor { source, config, model, acting: None };
        monitor.run(&mut screen.0, keys, &mut signals).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The terminal in our hands: raw, on its other screen. Dropping it gives it back as it was; so does a panic, before its
/// message is printed.
struct Screen(DefaultTerminal);

/// Whether the terminal is in our hands: given back twice, it would put the cursor onto what was printed in between.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Screen {
    fn take() -> io::Result<Self> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            hook(panic);
        }));
        TAKEN.store(true, Ordering::SeqCst);
        let taken = || {
            enable_raw_mode()?;
            execute!(io::stdout(), EnterAlternateScreen)?;
            Terminal::new(CrosstermBackend::new(io::stdout()))
        };
        taken().map(Self).inspect_err(|_| give_back())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Does what it can: a terminal that is gone needs nothing.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    }
}

/// What asks it to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// As many events wait: more are not lost, the terminal keeps them.
const EVENTS: usize = 64;

/// What the terminal tells, read by a thread of its own, which ends with the process.
fn keys() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(EVENTS);
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = event::read();
            let ended = event.is_err();
            if sender.blocking_send(event).is_err() || ended {
                break;
            }
        }
    })?;
    Ok(receiver)
}

type Outcome = Result<Said, CliError>;

struct Monitor {
    source: Source,
    config: Option<PathBuf>,
    model: Model,
    /// What is being done, by a thread of its own: a daemon that just starts is waited for.
    acting: Option<oneshot::Receiver<Outcome>>,
}

impl Monitor {
    async fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        mut keys: mpsc::Receiver<io::Result<Event>>,
        signals: &mut Signals,
    ) -> Result<(), CliError> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            terminal.draw(|frame| draw(frame, &self.model))?;
            tokio::select! {
                () = signals.any() => return Ok(()),
                event = keys.recv() => match event {
                    Some(event) => if !self.handle(event?)? { return Ok(()) },
                    None => return Ok(()),
                },
                outcome = done(&mut self.acting) => {
                    self.done(outcome)?;
                    self.look();
                }
                _ = ticks.tick() => {
                    if hung_up() {
                        return Ok(());
                    }
                    self.look();
                }
            }
            // Times go on also while nothing else does.
            self.model.now = Clock::System.now();
        }
    }

    /// Takes one event; false when that was the last.
    fn handle(&mut self, event: Event) -> Result<bool, CliError> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => match self.model.press(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(false),
                Wish::Open(id) => match self.source.detail(id) {
                    Ok(detail) => self.model.show(detail),
                    Err(error) => self.model.say(chain(&error), true),
                },
                Wish::Do(action) => self.act(action)?,
            },
            Event::Resize(columns, lines) => self.model.resized(columns, lines),
            _ => {}
        }
        Ok(true)
    }

    fn act(&mut self, action: Action) -> Result<(), CliError> {
        self.source.close();
        let (path, config) = (self.source.path().to_owned(), self.config.clone());
        let (reply, outcome) = oneshot::channel();
        let work = move || {
            // Nobody waits any more: the program ends.
            let _ = reply.send(action.perform(&path, config.as_deref()));
        };
        std::thread::Builder::new().name("action".to_owned()).spawn(work).map_err(CliError::Runtime)?;
        self.acting = Some(outcome);
        Ok(())
    }

    fn done(&mut self, outcome: Option<Outcome>) -> Result<(), CliError> {
        (self.acting, self.model.acting) = (None, None);
        match outcome {
            Some(Ok(said)) => {
                let text = [vec![format!("done: {}", said.result)], said.notes].concat().join("; ");
                self.model.say(text, false);
            }
            Some(Err(error)) => self.model.say(chain(&error), true),
            None => return Err(CliError::Failed("the change was not made: a bug in ductile".to_owned())),
        }
        Ok(())
    }

    /// Reads what has changed; nothing is read while something is written.
    fn look(&mut self) {
        if self.acting.is_some() {
            return;
        }
        let looked = self.source.look().and_then(|snapshot| {
            let Some(snapshot) = snapshot else { return Ok(()) };
            self.model.take(snapshot);
            let shown = self.model.detail.as_ref().map(|detail| detail.id);
            if let Some(id) = shown {
                self.model.show(self.source.detail(id)?);
            }
            Ok(())
        });
        self.model.trouble = looked.err().map(|error| chain(&error));
    }
}

/// What came of the action; never, while there is none.
async fn done(acting: &mut Option<oneshot::Receiver<Outcome>>) -> Option<Outcome> {
    match acting {
        Some(outcome) => outcome.await.ok(),
        None => std::future::pending().await,
    }
}

/// Whether the terminal is gone: crossterm would go on reading from it as fast as it can.
fn hung_up() -> bool {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
