//! Everything about one job, as text.

use ratatui::text::Span;
use uuid::Uuid;

use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::queue::{show, trace};
use crate::queue::Job;
use crate::state::Reader;

/// The most lines, and the most characters of one; `ductile queue show` has all.
const MOST_LINES: usize = 5_000;
const MOST_COLUMNS: usize = 8_000;
/// The most jobs of the tree.
const MOST_JOBS: u32 = 100;

/// One job, its attempts, its payload, and the tree that it is in.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) id: Uuid,
    /// `None` when it was deleted meanwhile.
    pub(super) job: Option<Job>,
    lines: Vec<String>,
}

impl Detail {
    pub(super) fn read(reader: &Reader, id: Uuid) -> Result<Self, CliError> {
        let known = show::read(reader, &id.into())?;
        let mut text = Vec::new();
        show::write(&mut text, &known, false)?;
        let job = known.job;
        let tree = job.clone().map(|job| trace::lines(reader, job, MOST_JOBS)).transpose()?;
        Ok(Self::new(id, job, &String::from_utf8_lossy(&text), tree.unwrap_or_default()))
    }

    pub(super) fn new(id: Uuid, job: Option<Job>, text: &str, tree: Vec<String>) -> Self {
        let mut lines = Vec::new();
        // A job on its own is no tree.
        if tree.len() > 2 {
            lines.push("trace".to_owned());
            lines.extend(tree);
            lines.push(String::new());
        }
        // What it is comes before the tree, what it did behind.
        let (head, rest) = text.split_once("\n\n").map_or((text, ""), |(head, rest)| (head, rest));
        let mut all: Vec<String> = head.lines().map(str::to_owned).chain([String::new()]).collect();
        all.append(&mut lines);
        all.extend(rest.lines().map(str::to_owned));
        let cut = all.len() > MOST_LINES;
        all.truncate(MOST_LINES);
        let mut lines: Vec<_> = all.iter().map(|line| clean(line)).collect();
        if cut {
            lines.push(format!("... `ductile queue show {id}` has the rest"));
        }
        Self { id, job, lines }
    }

    /// Its lines as they fit into `width` columns.
    pub(super) fn wrapped(&self, width: u16) -> Vec<&str> {
        self.lines.iter().flat_map(|line| wrapped(line, width)).collect()
    }
}

/// A line without what a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    let text: String = text.chars().take(MOST_COLUMNS).collect();
    output::printable(&text).replace('\t', "    ").replace('\n', " ")
}

/// One line in pieces that fit into `width` columns.
pub(super) fn wrapped(line: &str, width: u16) -> Vec<&str> {
    let width = usize::from(width.max(1));
    let (mut pieces, mut begin, mut used) = (Vec::new(), 0, 0);
    // Behind the last space: where, and after how many columns.
    let mut word = (0, 0);
    for (at, c) in line.char_indices() {
        let wide = if c.is_ascii() { 1 } else { Span::raw(c.encode_utf8(&mut [0; 4]) as &str).width() };
        if used + wide > width && used > 0 {
            // A long word is cut, or much would stay empty.
            let (end, columns) = if word.1 > width / 2 { word } else { (at, used) };
            pieces.push(&line[begin..end]);
            (begin, used, word) = (end, used - columns, (end, 0));
        }
        used += wide;
        if c == ' ' {
            word = (at + 1, used);
        }
    }
    pieces.push(&line[begin..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_in_the_next_and_nothing_is_lost() {
        let cases: [(&str, u16, &[&str]); 8] = [
            ("", 5, &[""]),
            ("abcde", 5, &["abcde"]),
            ("abcdef", 5, &["abcde", "f"]),
            ("abc de", 5, &["abc ", "de"]),
            ("a bcdefg h", 5, &["a bcd", "efg h"]),
            ("abcd efgh ijkl", 10, &["abcd efgh ", "ijkl"]),
            ("日本語", 5, &["日本", "語"]),
            ("日本", 1, &["日", "本"]),
        ];
        for (line, width, pieces) in cases {
            assert_eq!(wrapped(line, width), pieces, "{line}");
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let detail = Detail::new(Uuid::nil(), None, "job  x\u{1b}[2J\u{7}\n\nstderr\tred\u{9b}31m", Vec::new());
        let text = detail.wrapped(80).concat();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.contains("\\u{1b}[2J") && text.contains("stderr    red"), "{text}");
    }
}
