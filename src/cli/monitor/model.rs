//! What the screen is about, and what keys do to it. Nothing here reads, writes or draws.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use uuid::Uuid;

use super::action::Action;
use super::detail::Detail;
use super::rows::Chosen;
use super::source::Snapshot;
use crate::clock::Timestamp;
use crate::command::Command;
use crate::queue::{Job, Status};

/// The three lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Plugins,
    Queue,
    History,
}

pub(super) const PANELS: [Panel; 3] = [Panel::Plugins, Panel::Queue, Panel::History];

/// Everything that decides what is on the screen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) snapshot: Snapshot,
    pub(super) now: Timestamp,
    /// Columns and lines.
    pub(super) size: (u16, u16),
    pub(super) colours: bool,
    /// Why the snapshot may be old.
    pub(super) trouble: Option<String>,
    pub(super) focus: Panel,
    pub(super) chosen: [Chosen; 3],
    /// The history has the dead only.
    pub(super) only_dead: bool,
    /// Words that a row must have, all of them.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) detail: Option<Detail>,
    /// The first line of the detail that is shown.
    pub(super) top: usize,
    pub(super) help: bool,
    /// What waits to be confirmed.
    pub(super) asking: Option<Action>,
    /// What is being done.
    pub(super) acting: Option<Action>,
    /// What came of the last action, until the next key.
    pub(super) said: Option<Message>,
}

/// A line for the person.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) bad: bool,
}

/// What a key asks of those who can do it.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    /// Show this job.
    Open(Uuid),
    Do(Action),
}

/// Lines around the detail's text: the header, its title, the footer.
pub(super) const AROUND: u16 = 5;

impl Model {
    pub(super) fn new(snapshot: Snapshot, now: Timestamp, size: (u16, u16), colours: bool) -> Self {
        Self {
            snapshot,
            now,
            size,
            colours,
            trouble: None,
            focus: Panel::History,
            chosen: Default::default(),
            only_dead: false,
            filter: String::new(),
            typing: false,
            detail: None,
            top: 0,
            help: false,
            asking: None,
            acting: None,
            said: None,
        }
    }

    /// Shows what there is now; who was chosen stays chosen.
    pub(super) fn take(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
        self.settle();
    }

    pub(super) fn show(&mut self, detail: Detail) {
        if self.detail.as_ref().is_none_or(|shown| shown.id != detail.id) {
            self.top = 0;
        }
        self.detail = Some(detail);
        self.scroll(0);
    }

    pub(super) fn resized(&mut self, columns: u16, lines: u16) {
        self.size = (columns, lines);
        self.scroll(0);
    }

    pub(super) fn say(&mut self, text: impl Into<String>, bad: bool) {
        self.said = Some(Message { text: text.into(), bad });
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        // It is done or not done whole, but there is nothing to be asked for until it is known which.
        if control || self.acting.is_some() {
            return Wish::Nothing;
        }
        self.said = None;
        if let Some(action) = self.asking.take() {
            if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                self.acting = Some(action.clone());
                return Wish::Do(action);
            }
            self.say("nothing was done", false);
            return Wish::Nothing;
        }
        if self.typing {
            self.type_filter(key.code);
            return Wish::Nothing;
        }
        if self.help {
            self.help = false;
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?') => self.help = true,
            KeyCode::Char(letter @ ('r' | 'c' | 'b' | 'p' | 'P')) => self.ask(letter),
            code if self.detail.is_some() => self.press_in_detail(code),
            code => return self.press_in_lists(code),
        }
        Wish::Nothing
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if !c.is_control() => self.filter.push(c),
            _ => {}
        }
        self.settle();
    }

    fn press_in_detail(&mut self, code: KeyCode) {
        let page = i64::from(self.detail_lines());
        match code {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Left | KeyCode::Backspace => self.detail = None,
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageUp => self.scroll(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(page),
            KeyCode::Home | KeyCode::Char('g') => self.scroll(i64::MIN),
            KeyCode::End | KeyCode::Char('G') => self.scroll(i64::MAX),
            _ => {}
        }
    }

    /// How many lines of a detail are on the screen.
    pub(super) fn detail_lines(&self) -> u16 {
        self.size.1.saturating_sub(AROUND).max(1)
    }

    fn scroll(&mut self, by: i64) {
        let Some(detail) = &self.detail else { return };
        let lines = detail.wrapped(self.size.0).len();
        let last = lines.saturating_sub(usize::from(self.detail_lines()));
        let moved = i64::try_from(self.top).unwrap_or(i64::MAX).saturating_add(by).max(0);
        self.top = usize::try_from(moved).unwrap_or(last).min(last);
    }

    fn press_in_lists(&mut self, code: KeyCode) -> Wish {
        let page = i64::from((self.size.1 / 3).max(1));
        match code {
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(PANELS.len() - 1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::PageUp => self.choose(-page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.choose(page),
            KeyCode::Home | KeyCode::Char('g') => self.choose(i64::MIN),
            KeyCode::End | KeyCode::Char('G') => self.choose(i64::MAX),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => {
                self.filter.clear();
                self.settle();
            }
            KeyCode::Char('d') => {
                self.only_dead = !self.only_dead;
                self.focus = Panel::History;
                self.settle();
            }
            KeyCode::Enter => return self.enter(),
            _ => {}
        }
        Wish::Nothing
    }

    fn enter(&mut self) -> Wish {
        if let Some(job) = self.job() {
            return Wish::Open(job.id);
        }
        if let Some(plugin) = self.plugin() {
            self.filter = plugin.published.name.clone();
            self.focus = Panel::History;
            self.settle();
        }
        Wish::Nothing
    }

    fn turn(&mut self, by: usize) {
        let at = PANELS.iter().position(|panel| *panel == self.focus).expect("each panel is in the list");
        self.focus = PANELS[(at + by) % PANELS.len()];
    }

    /// The job that keys are about.
    fn job(&self) -> Option<&Job> {
        match &self.detail {
            Some(detail) => detail.job.as_ref(),
            None => self.chosen_job(),
        }
    }

    /// Asks whether to do what `letter` stands for, or says why it makes no sense.
    fn ask(&mut self, letter: char) {
        match self.meant(letter) {
            Ok(action) => self.asking = Some(action),
            Err(refusal) => self.say(refusal, true),
        }
    }

    fn meant(&self, letter: char) -> Result<Action, &'static str> {
        let what = |job: &Job| format!("{} {}", job.plugin, job.command);
        let pauses = |name: &str| {
            let plugins = &self.snapshot.status.plugins;
            plugins.iter().any(|plugin| plugin.published.name == name && plugin.paused_since.is_some())
        };
        match (letter, self.job(), self.plugin()) {
            ('P', ..) if self.snapshot.status.queue.paused_since.is_some() => Ok(Action::Resume(None)),
            ('P', ..) => Ok(Action::Pause(None)),
            ('r', Some(job), _) if job.status == Status::Dead => Ok(Action::Retry { job: job.id, what: what(job) }),
            ('r', Some(_), _) => Err("only a dead job can be retried"),
            ('r', None, Some(plugin)) => {
                let declared = &plugin.published.commands;
                let command = [Command::Poll, Command::Handle]
                    .into_iter()
                    .find(|command| declared.iter().any(|declared| declared == command.as_str()));
                let command = command.ok_or("it declares neither `poll` nor `handle`")?;
                Ok(Action::Run { plugin: plugin.published.name.clone(), command })
            }
            ('c', Some(job), _) if job.status == Status::Queued => Ok(Action::Cancel { job: job.id, what: what(job) }),
            ('c', ..) => Err("only a queued job can be cancelled"),
            ('b', None, Some(plugin)) => Ok(Action::Reset { plugin: plugin.published.name.clone() }),
            ('b', Some(job), _) => Ok(Action::Reset { plugin: job.plugin.clone() }),
            ('p', Some(Job { plugin: name, .. }), _) if pauses(name) => Ok(Action::Resume(Some(name.clone()))),
            ('p', Some(job), _) => Ok(Action::Pause(Some(job.plugin.clone()))),
            ('p', None, Some(plugin)) if plugin.paused_since.is_some() => {
                Ok(Action::Resume(Some(plugin.published.name.clone())))
            }
            ('p', None, Some(plugin)) => Ok(Action::Pause(Some(plugin.published.name.clone()))),
            _ => Err("nothing is chosen"),
        }
    }
}
