//! What comes from servers and files, made harmless for a terminal.

use std::borrow::Cow;

/// What may go to a terminal: every character that it would obey, but for the
/// newline, is shown as an escape.
///
/// Those are the control characters, and what turns the direction of a text around,
/// so that it reads otherwise than it is ([Unicode TR 36], "Bidirectional Text
/// Spoofing").
///
/// [Unicode TR 36]: https://www.unicode.org/reports/tr36/
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_obeyed(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || c.is_control() && c != '\n'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_terminal_would_obey() {
        assert_eq!(printable("plain\nüñí, עברית"), "plain\nüñí, עברית");
        assert_eq!(printable("\x1b[2J\r\u{9b}1m"), "\\u{1b}[2J\\r\\u{9b}1m");
        assert_eq!(printable("\u{202e}0099\u{2069}"), "\\u{202e}0099\\u{2069}");
    }
}
