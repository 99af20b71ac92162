//! The keys: the lines at the bottom, and the overlay.

use super::model::{Model, Panel};

/// What the overlay says.
pub(super) const HELP: &[(&str, &str)] = &[
    ("Tab, Left, Right", "the next list: plugins, queue, history"),
    ("Up, Down, j, k", "choose a row; also PgUp, PgDn, Home, End"),
    ("Enter", "all about the job: attempts, logs, stderr, payload,"),
    ("", "and the tree of jobs; on a plugin: its jobs"),
    ("Esc", "back; in the lists: show everything again"),
    ("/", "show only rows with these words, of plugin, command,"),
    ("", "status, breaker or id; Enter keeps them, Esc drops them"),
    ("d", "the history: all jobs, or the dead ones only"),
    ("", ""),
    ("r", "run the plugin; retry the dead job"),
    ("c", "cancel the queued job"),
    ("b", "close the circuit breaker of the plugin"),
    ("p", "pause the plugin, or go on"),
    ("P", "pause the whole queue, or go on"),
    ("", "each asks once more; `y` does it"),
    ("", ""),
    ("q, Ctrl-C", "quit"),
];

/// The keys that make sense now, the more important ones first.
pub(super) fn keys(model: &Model) -> &'static str {
    if model.acting.is_some() {
        return "Ctrl-C quit";
    }
    if model.asking.is_some() {
        return "y yes  any other key no";
    }
    if model.typing {
        return "Enter keep  Esc show everything";
    }
    if model.help {
        return "any key goes back";
    }
    if model.detail.is_some() {
        return "Esc back  Up/Down/PgUp/PgDn scroll  r retry  c cancel  ? help  q quit";
    }
    match model.focus {
        Panel::Plugins => "Tab list  Enter jobs  r run  b breaker  p pause  P all  / find  ? help  q quit",
        Panel::Queue => "Tab list  Enter job  c cancel  p pause  P pause all  / find  ? help  q quit",
        Panel::History => "Tab list  Enter job  r retry  d dead  P pause all  / find  ? help  q quit",
    }
}
