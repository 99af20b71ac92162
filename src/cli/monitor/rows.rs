//! The rows of the lists: which pass the filter, and which one is chosen.

use super::model::{Model, PANELS, Panel};
use crate::cli::status::{PluginStatus, print};
use crate::queue::Job;

/// The chosen row of a list: by name or id, so that it stays the same one while the list moves.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// `None` for the first row, whichever that is.
    key: Option<String>,
    /// Where it was, for when it is gone.
    index: usize,
}

impl Model {
    /// The plugins that pass the filter.
    pub(super) fn plugins(&self) -> Vec<&PluginStatus> {
        let words = self.words();
        let passes = |plugin: &&PluginStatus| {
            let text = [&plugin.published.name, print::state(plugin), &print::breaker(plugin, self.now)].join(" ");
            all_in(&words, &text)
        };
        self.snapshot.status.plugins.iter().filter(passes).collect()
    }

    /// The jobs of a list that pass the filter.
    pub(super) fn jobs(&self, panel: Panel) -> Vec<&Job> {
        let all = match panel {
            Panel::Plugins => return Vec::new(),
            Panel::Queue => &self.snapshot.waiting,
            Panel::History if self.only_dead => &self.snapshot.dead,
            Panel::History => &self.snapshot.ended,
        };
        let words = self.words();
        let passes = |job: &&Job| {
            let text = format!("{} {} {} {}", job.plugin, job.command, job.status, job.id);
            all_in(&words, &text)
        };
        all.iter().filter(passes).collect()
    }

    fn words(&self) -> Vec<String> {
        self.filter.split_whitespace().map(str::to_lowercase).collect()
    }

    fn keys(&self, panel: Panel) -> Vec<String> {
        match panel {
            Panel::Plugins => self.plugins().iter().map(|plugin| plugin.published.name.clone()).collect(),
            Panel::Queue | Panel::History => self.jobs(panel).iter().map(|job| job.id.to_string()).collect(),
        }
    }

    /// Which row is chosen; `None` when there is none.
    pub(super) fn index(&self, panel: Panel) -> Option<usize> {
        let last = self.keys(panel).len().checked_sub(1)?;
        Some(self.chosen[panel as usize].index.min(last))
    }

    pub(super) fn chosen_job(&self) -> Option<&Job> {
        Some(self.jobs(self.focus)[self.index(self.focus).filter(|_| self.focus != Panel::Plugins)?])
    }

    /// The chosen plugin, while keys are about plugins.
    pub(super) fn plugin(&self) -> Option<&PluginStatus> {
        let index = self.index(Panel::Plugins).filter(|_| self.focus == Panel::Plugins && self.detail.is_none())?;
        Some(self.plugins()[index])
    }

    /// Moves the choice.
    pub(super) fn choose(&mut self, by: i64) {
        let keys = self.keys(self.focus);
        let Some(last) = keys.len().checked_sub(1) else { return };
        let chosen = &mut self.chosen[self.focus as usize];
        let moved = i64::try_from(chosen.index.min(last)).unwrap_or(i64::MAX).saturating_add(by).max(0);
        chosen.index = usize::try_from(moved).unwrap_or(last).min(last);
        chosen.key = keys.into_iter().nth(chosen.index).filter(|_| chosen.index > 0);
    }

    /// Finds the chosen rows again after the lists have changed.
    pub(super) fn settle(&mut self) {
        for panel in PANELS {
            let keys = self.keys(panel);
            let chosen = &mut self.chosen[panel as usize];
            chosen.index = match &chosen.key {
                None => 0,
                Some(key) => {
                    keys.iter().position(|found| found == key).unwrap_or(chosen.index.min(keys.len().saturating_sub(1)))
                }
            };
        }
    }
}

fn all_in(words: &[String], text: &str) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word))
}
