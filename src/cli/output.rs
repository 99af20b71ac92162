//! What commands print: aligned tables for people, JSON for programs.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};

use chrono::Local;
use comfy_table::{ContentArrangement, Row, Table, presets};
use serde::Serialize;

use crate::clock::Timestamp;

/// Prints one line on stdout.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Says something on stderr. That nobody can read it is no failure, and `eprintln!` would panic.
pub(super) fn message(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints `value` as indented JSON on stdout.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)
}

/// Prints rows under their headings on stdout, nothing cut.
pub(super) fn table(head: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A time for people: the machine's zone, whole seconds.
pub(super) fn local(time: Timestamp) -> String {
    time.to_utc().with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time that may not be there.
pub(super) fn local_or_dash(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), local)
}

/// A duration for people: two units at the most.
pub(super) fn duration(ms: u64) -> String {
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let seconds = ms / 1_000;
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown = parts.iter().skip_while(|(count, _)| *count == 0).take(2);
    let words: Vec<_> = shown.filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    words.join(" ")
}

/// A text of a plugin's without what a terminal would obey: control characters are shown, not sent.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return text.into();
    }
    let show = |c: char| if is_control(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect::<String>().into()
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t' && c != '\n'
}

/// The first line of a text, with a mark when there is more.
pub(super) fn first_line(text: &str) -> String {
    let text = &*printable(text);
    match text.split_once('\n') {
        Some((line, rest)) if !rest.trim().is_empty() => format!("{} ...", line.trim_end()),
        Some((line, _)) => line.trim_end().to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_the_most() {
        let cases =
            [(0, "0ms"), (999, "999ms"), (1_000, "1s"), (61_000, "1m 1s"), (3_600_000, "1h"), (90_061_000, "1d 1h")];
        for (ms, text) in cases {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn only_the_first_line_is_shown() {
        assert_eq!(first_line("a"), "a");
        assert_eq!(first_line("a\n"), "a");
        assert_eq!(first_line("a\nb"), "a ...");
        assert_eq!(first_line("\u{1b}[2Ja\tb"), "\\u{1b}[2Ja\tb");
    }
}
