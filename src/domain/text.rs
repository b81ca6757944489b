//! Text from outside (spec, servers, files) on its way to a human: one line, no control characters, bounded.

use std::time::Duration;

use jiff::SignedDuration;

/// Longest text from outside that we show, in characters.
pub const LIMIT: usize = 600;

/// Makes a text harmless for terminals and log lines: control characters, line breaks and bidirectional overrides become
/// visible escapes; anything beyond [`LIMIT`] characters is cut.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LIMIT + 8));
    for (n, c) in text.chars().enumerate() {
        if n >= LIMIT {
            out.push('…');
            break;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if hidden {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for a text that may be longer: nothing is cut.
pub fn clean_whole(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(LIMIT).map(|part| clean(&part.iter().collect::<String>())).collect()
}

/// A duration as people write it (`90s`, `15m`, `1h30m`, ISO 8601); never negative.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("{:?} is no duration like 90s, 15m or 1h30m: {why}", clean(text));
    let given: SignedDuration = text.parse().map_err(|e: jiff::Error| wrong(&e.to_string()))?;
    Duration::try_from(given).map_err(|_| wrong("it is negative"))
}

/// The first eight bytes of a digest as hexadecimal text: enough to tell apart, short enough to read aloud.
pub(crate) fn short(digest: &[u8]) -> String {
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("90s", 90), ("15m", 900), ("1h30m", 5400), ("PT2M", 120), ("1 hour 5 minutes", 3900), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "-5s", "5s ago", "1d", "a while", "99999999999999999999h", "1s\u{1b}[2J"] {
            let told = duration(text);
            assert!(told.as_ref().is_err_and(|e| !e.contains('\u{1b}')), "{text:?}: {told:?}");
        }
    }

    #[test]
    fn nothing_that_moves_a_cursor_or_forges_a_line_passes() {
        let hostile = "ok\u{1b}[2J\r\n2026 ERROR forged\u{202e}txt.\u{7f}\u{9b}31m";
        let shown = clean(hostile);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(!shown.contains('\u{202e}'));
        assert!(shown.starts_with("ok\\u{1b}[2J\\u{d}\\u{a}2026"));
        assert!(clean(&"x".repeat(10_000)).chars().count() <= LIMIT + 1);
    }
}
