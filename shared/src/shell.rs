//! Words as a POSIX shell takes them, for what users paste or `eval`.

use std::borrow::Cow;

/// A word that a shell takes as it is, in quotes only where it has to be.
pub fn word(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(quoted(word)),
    }
}

/// A word in quotes.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            assert_eq!(word(text), want);
        }
        check("kind-mgmt", "kind-mgmt");
        check("arn:aws:eks:eu-1:1:cluster/a", "arn:aws:eks:eu-1:1:cluster/a");
        check("", "''");
        check("my east", "'my east'");
        check("it's", r"'it'\''s'");
        check("$(reboot)", "'$(reboot)'");
        check("~", "'~'");
    }
}
