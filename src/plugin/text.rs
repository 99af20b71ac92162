//! Cutting texts to what is worth storing, always between two characters.

/// How much of stdout, stderr and the logs of an attempt is kept.
pub(crate) const STORED_BYTES: usize = 65_536;

/// How long an error may be.
const ERROR_BYTES: usize = 4_096;

/// The beginning of `text`, at most `limit` bytes.
pub(crate) fn head(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// An error as it is stored.
pub(crate) fn error(text: String) -> String {
    if text.len() <= ERROR_BYTES { text } else { head(&text, ERROR_BYTES).to_owned() }
}

/// What a process printed, as it is stored: `text` is the beginning of `total` bytes, a note says what is missing.
pub(crate) fn stored(text: String, total: u64) -> String {
    let complete = text.len() as u64 == total;
    cut(text, complete, total)
}

/// [`stored`] for bytes that need not be UTF-8.
pub(crate) fn stored_lossy(bytes: &[u8], total: u64) -> String {
    let mut kept = &bytes[..bytes.len().min(STORED_BYTES)];
    let complete = kept.len() as u64 == total;
    if !complete {
        // A character that was cut through must not look like invalid output.
        kept = &kept[..kept.len() - incomplete_tail(kept)];
    }
    cut(String::from_utf8_lossy(kept).into_owned(), complete, total)
}

fn cut(text: String, complete: bool, total: u64) -> String {
    if complete && text.len() <= STORED_BYTES {
        return text;
    }
    let kept = head(&text, STORED_BYTES);
    format!("{kept}\n[cut: {} of {total} bytes kept]", kept.len())
}

/// How many bytes at the end begin a character and do not finish it.
fn incomplete_tail(bytes: &[u8]) -> usize {
    let invalid = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let unfinished = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
    if unfinished { invalid.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["", "a", "é", &"x".repeat(STORED_BYTES)] {
            assert_eq!(stored(text.to_owned(), text.len() as u64), text);
            assert_eq!(stored_lossy(text.as_bytes(), text.len() as u64), text);
        }
        assert_eq!(stored_lossy(b"a\xffb\xc3", 4), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn what_does_not_fit_is_cut_between_characters_with_a_note() {
        let text = "é".repeat(STORED_BYTES);
        let odd = format!("a{text}");
        let total = odd.len() as u64;
        let expected = format!("a{}\n[cut: 65535 of 131073 bytes kept]", "é".repeat(32_767));
        assert_eq!(stored(odd.clone(), total), expected);
        assert_eq!(stored_lossy(odd.as_bytes(), total), expected);
        assert!(stored_lossy(&odd.as_bytes()[..100], 5_000).ends_with("bytes kept]"));
        assert_eq!(error(odd).len(), 4_095);
    }

    #[test]
    fn invalid_bytes_do_not_grow_past_the_limit() {
        let text = stored_lossy(&[0xff; STORED_BYTES], STORED_BYTES as u64);
        assert!(text.len() < STORED_BYTES + 64 && text.ends_with("[cut: 65535 of 65536 bytes kept]"), "{}", text.len());
    }
}
