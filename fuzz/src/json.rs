//! A JSON reader of our own (RFC 8259), so that the oracles do not ask the library under test.
//!
//! Values stay text: [`whole`] and [`value_end`] say where they end, however deep; [`members`] and [`elements`] take one
//! level apart.

/// The text of the one value in `text`, without the white space around it; `None` when it is not exactly one value.
pub(crate) fn whole(text: &str) -> Option<&str> {
    let start = skip_space(text, 0);
    let end = value_end(text, start)?;
    (skip_space(text, end) == text.len()).then(|| &text[start..end])
}

/// Names, decoded, and values of an object; `None` when `value`, which must be JSON, is none.
pub(crate) fn members(value: &str) -> Option<Vec<(Text, &str)>> {
    let mut members = Vec::new();
    let mut at = skip_space(value, 1);
    if !value.starts_with('{') {
        return None;
    }
    while byte(value, at) == Some(b'"') {
        let name_end = string_end(value, at)?;
        let start = skip_space(value, skip_space(value, name_end) + 1);
        let end = value_end(value, start)?;
        members.push((decoded(&value[at..name_end]), &value[start..end]));
        at = skip_space(value, skip_space(value, end) + 1);
    }
    Some(members)
}

/// The elements of an array; `None` when `value`, which must be JSON, is none.
pub(crate) fn elements(value: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let mut at = skip_space(value, 1);
    if !value.starts_with('[') {
        return None;
    }
    while byte(value, at).is_some_and(|byte| byte != b']') {
        let end = value_end(value, at)?;
        elements.push(&value[at..end]);
        at = skip_space(value, skip_space(value, end) + 1);
    }
    Some(elements)
}

/// A string, decoded; `None` when `value`, which must be JSON, is none.
pub(crate) fn string(value: &str) -> Option<Text> {
    value.starts_with('"').then(|| decoded(value))
}

/// What a JSON string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Each half of a surrogate pair is one U+FFFD.
    pub(crate) text: String,
    /// Whether there are no such halves.
    pub(crate) sound: bool,
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

fn skip_space(text: &str, mut at: usize) -> usize {
    while matches!(byte(text, at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the value that begins at `at` ends.
fn value_end(text: &str, mut at: usize) -> Option<usize> {
    // Of each array or object around: the bracket that closes it.
    let mut open = Vec::new();
    loop {
        match byte(text, at)? {
            bracket @ (b'{' | b'[') => {
                let closing = bracket + 2;
                at = skip_space(text, at + 1);
                if byte(text, at)? != closing {
                    open.push(closing);
                    at = if closing == b'}' { name_end(text, at)? } else { at };
                    continue;
                }
                at += 1;
            }
            b'"' => at = string_end(text, at)?,
            b'-' | b'0'..=b'9' => at = number_end(text, at)?,
            _ => {
                let word = ["null", "true", "false"].into_iter().find(|word| text[at..].starts_with(word))?;
                at += word.len();
            }
        }
        // Behind a value: more in the same array or object, or its end.
        loop {
            let Some(closing) = open.last().copied() else { return Some(at) };
            at = skip_space(text, at);
            match byte(text, at)? {
                b',' => {
                    at = skip_space(text, at + 1);
                    at = if closing == b'}' { name_end(text, at)? } else { at };
                    break;
                }
                bracket if bracket == closing => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

/// Behind a name and its colon.
fn name_end(text: &str, at: usize) -> Option<usize> {
    let colon = skip_space(text, string_end(text, at)?);
    (byte(text, colon)? == b':').then(|| skip_space(text, colon + 1))
}

fn string_end(text: &str, mut at: usize) -> Option<usize> {
    if byte(text, at)? != b'"' {
        return None;
    }
    loop {
        at += 1;
        match byte(text, at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                at += 1;
                match byte(text, at)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        unit(text, at + 1)?;
                        at += 4;
                    }
                    _ => return None,
                }
            }
            0..0x20 => return None,
            _ => {}
        }
    }
}

/// The four hexadecimal digits at `at`.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.as_bytes().get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

fn number_end(text: &str, start: usize) -> Option<usize> {
    let digits = |mut at: usize| {
        let from = at;
        while byte(text, at).is_some_and(|byte| byte.is_ascii_digit()) {
            at += 1;
        }
        (at > from).then_some(at)
    };
    let integer = start + usize::from(byte(text, start)? == b'-');
    let mut at = if byte(text, integer)? == b'0' { integer + 1 } else { digits(integer)? };
    if byte(text, at) == Some(b'.') {
        at = digits(at + 1)?;
    }
    if matches!(byte(text, at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(byte(text, at + 1), Some(b'+' | b'-')));
        at = digits(at + 1 + sign)?;
    }
    Some(at)
}

/// A string with its quotes, which must be JSON.
fn decoded(quoted: &str) -> Text {
    let inside = &quoted[1..quoted.len() - 1];
    let mut units: Vec<u16> = Vec::with_capacity(inside.len());
    let mut at = 0;
    while let Some(c) = inside[at..].chars().next() {
        at += c.len_utf8();
        let escape = if c == '\\' { byte(inside, at) } else { None };
        at += usize::from(escape.is_some());
        match escape {
            None => units.extend(c.encode_utf16(&mut [0; 2]).iter()),
            Some(b'u') => {
                units.extend(unit(inside, at));
                at += 4;
            }
            Some(b'b') => units.push(8),
            Some(b'f') => units.push(12),
            Some(b'n') => units.push(10),
            Some(b'r') => units.push(13),
            Some(b't') => units.push(9),
            Some(other) => units.push(other.into()),
        }
    }
    let sound = char::decode_utf16(units.iter().copied()).all(|unit| unit.is_ok());
    Text { text: String::from_utf16_lossy(&units), sound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_none() {
        for json in [
            "null",
            " [ ] ",
            "{}",
            "-0.5e+10",
            r#""\u00e9\\\" é""#,
            r#"[1, {"a" : [true, false]}, "x"]"#,
            "\t{\"a\":{}}\r\n",
            "[[[]],[{}]]",
            r#""\ud800""#,
        ] {
            assert_eq!(whole(json), Some(json.trim()), "{json}");
        }
        for other in [
            "",
            " ",
            "[",
            "[1,]",
            "[,]",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{1:2}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "nul",
            "nullx",
            r#"""#,
            "\"\n\"",
            r#""\x""#,
            r#""\u00g0""#,
            "[1}",
            "[] []",
            "\u{feff}{}",
            "\u{c}1",
            "NaN",
            "'a'",
        ] {
            assert_eq!(whole(other), None, "{other}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(whole(&deep), Some(deep.as_str()));
    }

    #[test]
    fn one_level_is_taken_apart() {
        let members = members(r#"{ "a" : [1, 2] ,"\u0062":{"c":3}, "a": "\ud83d\ude00\ud83d\n" }"#).unwrap();
        let named: Vec<_> = members.iter().map(|(name, value)| (name.text.as_str(), *value)).collect();
        assert_eq!(named, [("a", "[1, 2]"), ("b", r#"{"c":3}"#), ("a", r#""\ud83d\ude00\ud83d\n""#)]);
        assert_eq!(elements(members[0].1).unwrap(), ["1", "2"]);
        assert_eq!(string(members[2].1), Some(Text { text: "😀\u{fffd}\n".to_owned(), sound: false }));
        assert_eq!((elements("{}"), string("1")), (None, None));
        assert_eq!(elements("[ ]").unwrap(), [""; 0]);
    }
}
