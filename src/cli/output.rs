//! What commands print: aligned tables for people, JSON for programs.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

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
    painted_table(head, rows.into_iter().map(|row| (Paint::Plain, row)))
}

/// As [`table`], each row in its colour; no cell may have more than one line.
pub(super) fn painted_table(
    head: impl Into<Row>,
    rows: impl IntoIterator<Item = (Paint, impl Into<Row>)>,
) -> io::Result<()> {
    let (mut out, colours) = (io::stdout().lock(), colours());
    for (paint, line) in table_lines(head, rows) {
        writeln!(out, "{}", paint.on(&line, colours))?;
    }
    Ok(())
}

/// The lines of [`painted_table`].
pub(super) fn table_lines(
    head: impl Into<Row>,
    rows: impl IntoIterator<Item = (Paint, impl Into<Row>)>,
) -> Vec<(Paint, String)> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    let mut paints = vec![Paint::Head];
    for (paint, row) in rows {
        table.add_row(row);
        paints.push(paint);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    paints.into_iter().zip(table.lines().map(|line| line.trim_end().to_owned())).collect()
}

/// What a line means to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Head,
    /// It goes on right now.
    Busy,
    /// It needs somebody.
    Bad,
    /// It is over, or switched off.
    Dim,
}

impl Paint {
    /// The text in its colour, if there are colours.
    pub(super) fn on(self, text: &str, colours: bool) -> Cow<'_, str> {
        let code = match self {
            _ if !colours => return text.into(),
            Self::Plain => return text.into(),
            Self::Head => "1",
            Self::Busy => "36",
            Self::Bad => "31",
            Self::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m").into()
    }
}

/// Whether stdout is a terminal whose user wants colours.
pub(super) fn colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
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

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
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

/// JSON text with each value on a line of its own; no value is changed. Text that is no JSON comes out as some text.
pub(super) fn indented_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut rest = text.trim().chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            out.push(c);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|next| matches!((c, next), ('{', '}') | ('[', ']'))) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
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
    fn sizes_have_one_digit_more() {
        let cases =
            [(0, "0 bytes"), (1_023, "1023 bytes"), (1_536, "1.5 KB"), (5 << 20, "5.0 MB"), (3 << 30, "3.0 GB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn indented_json_has_the_same_values() {
        let cases = [
            ("{}", "{}"),
            (" [ ] ", "[]"),
            (r#"{"a":1.50,"b":[true , {}]}"#, "{\n  \"a\": 1.50,\n  \"b\": [\n    true,\n    {}\n  ]\n}"),
            (r#"["{\"a\": [,]}\\", ":"]"#, "[\n  \"{\\\"a\\\": [,]}\\\\\",\n  \":\"\n]"),
            ("12345678901234567890123.10", "12345678901234567890123.10"),
        ];
        for (text, indented) in cases {
            assert_eq!(indented_json(text), indented);
        }
        for broken in ["]]", "{\"a", "{[", ""] {
            indented_json(broken);
        }
    }

    #[test]
    fn colours_are_left_out_without_a_terminal() {
        assert_eq!(Paint::Bad.on("x", false), "x");
        assert_eq!(Paint::Bad.on("x", true), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn only_the_first_line_is_shown() {
        assert_eq!(first_line("a"), "a");
        assert_eq!(first_line("a\n"), "a");
        assert_eq!(first_line("a\nb"), "a ...");
        assert_eq!(first_line("\u{1b}[2Ja\tb"), "\\u{1b}[2Ja\tb");
    }
}
