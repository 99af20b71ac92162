//! The format of systemd's `EnvironmentFile=`, read the way systemd reads it.
//!
//! Its quirks are kept, so that a check with the service's own file says what the service will see: a
//! quote opens only at the start of a value, text after a closing quote is appended, a backslash outside
//! quotes takes the next character as it is (a newline: nothing), a line without `=` and a name that no
//! shell would take are ignored, and of two equal names the last counts.

use super::interpolate::is_variable_name;

#[derive(Clone, Copy, PartialEq)]
enum State {
    BeforeName,
    Name,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

/// Names and values, in the order of the file.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    use State::*;

    let mut assignments = Vec::new();
    let mut name = String::new();
    let mut value = String::new();
    // Up to here white space belongs to the value even at its end, because it was quoted or escaped.
    let mut kept = 0;
    let mut state = BeforeName;
    let mut assign = |name: &mut String, value: &mut String, kept: usize| {
        let end = value[kept..].trim_end_matches([' ', '\t', '\r']).len() + kept;
        if is_variable_name(name.trim_end()) {
            assignments.push((name.trim_end().to_owned(), value[..end].to_owned()));
        }
        name.clear();
        value.clear();
    };

    for c in text.chars() {
        state = match (state, c) {
            (BeforeName, '#' | ';') => Comment,
            (BeforeName, ' ' | '\t' | '\r' | '\n') => BeforeName,
            (BeforeName, _) => {
                name.push(c);
                Name
            }

            (Name, '\n') => {
                name.clear();
                BeforeName
            }
            (Name, '=') => {
                kept = 0;
                BeforeValue
            }
            (Name, _) => {
                name.push(c);
                Name
            }

            (BeforeValue | Value, '\n') => {
                assign(&mut name, &mut value, kept);
                BeforeName
            }
            (BeforeValue, '\'') => SingleQuoted,
            (BeforeValue, '"') => DoubleQuoted,
            (BeforeValue | Value, '\\') => ValueEscape,
            (BeforeValue, ' ' | '\t' | '\r') => BeforeValue,
            (BeforeValue | Value, _) => {
                value.push(c);
                Value
            }
            (ValueEscape, _) => {
                if c != '\n' {
                    value.push(c);
                }
                kept = value.len();
                Value
            }

            (SingleQuoted, '\'') | (DoubleQuoted, '"') => {
                kept = value.len();
                BeforeValue
            }
            (DoubleQuoted, '\\') => DoubleQuotedEscape,
            (SingleQuoted | DoubleQuoted, _) => {
                value.push(c);
                state
            }
            (DoubleQuotedEscape, '\n') => DoubleQuoted,
            (DoubleQuotedEscape, _) => {
                if !matches!(c, '"' | '\\' | '`' | '$') {
                    value.push('\\');
                }
                value.push(c);
                DoubleQuoted
            }

            (Comment, '\\') => CommentEscape,
            (Comment | CommentEscape, '\n') => BeforeName,
            (Comment | CommentEscape, _) => Comment,
        };
    }
    match state {
        BeforeValue | Value | ValueEscape => assign(&mut name, &mut value, kept),
        SingleQuoted | DoubleQuoted | DoubleQuotedEscape => {
            kept = value.len();
            assign(&mut name, &mut value, kept);
        }
        BeforeName | Name | Comment | CommentEscape => {}
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_systemd_reads_them() {
        for (text, expected) in [
            ("", vec![]),
            ("A=b", vec![("A", "b")]),
            ("A=b\n", vec![("A", "b")]),
            ("A=\nB= \n", vec![("A", ""), ("B", "")]),
            ("  A = b c  \r\n", vec![("A", "b c")]),
            ("# A=1\n; B=2\n  # C=3\nD=4 # kept\n", vec![("D", "4 # kept")]),
            ("# comment \\\nA=1\n", vec![("A", "1")]),
            ("no assignment\nA=1\n", vec![("A", "1")]),
            ("1A=x\nA-B=x\nexport C=x\nD=1\n", vec![("D", "1")]),
            ("A='it # is; \"so\" \\ $x'\n", vec![("A", "it # is; \"so\" \\ $x")]),
            (r#"A="q \" \\ \$ \` \n z""#, vec![("A", r#"q " \ $ ` \n z"#)]),
            ("A=\"two\nlines\"\n", vec![("A", "two\nlines")]),
            ("A=\"joined \\\nlines\"\n", vec![("A", "joined lines")]),
            ("A=one \\\n  two\n", vec![("A", "one   two")]),
            ("A=a\\ \\#\\\\b\\ \n", vec![("A", "a #\\b ")]),
            ("A=\"b\" 'c' d\n", vec![("A", "bcd")]),
            ("A=' x '\n", vec![("A", " x ")]),
            ("A=b\"c\"\n", vec![("A", "b\"c\"")]),
            ("A=x=y=z\n", vec![("A", "x=y=z")]),
            ("A=1\nA=2\n", vec![("A", "1"), ("A", "2")]),
            ("A=\"never closed\nB=1\n", vec![("A", "never closed\nB=1\n")]),
            ("A=é\n", vec![("A", "é")]),
        ] {
            let assignments = parse(text);
            let read: Vec<_> = assignments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
