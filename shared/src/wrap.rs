//! Breaks what is said to people into lines at words, and never inside a command that
//! somebody may copy.

/// Programs whose commands are shown to be copied, also without backticks.
const PROGRAMS: [&str; 6] = ["kubectl", "helm", "meshctl", "istioctl", "openssl", "chmod"];

/// Lines that fit so many columns, those that a line goes on in further in than it begins.
/// A line of a command that goes on in the next one stays as it is.
pub(crate) fn story(text: &str, columns: usize) -> String {
    let mut goes_on = false;
    let lines = text.split('\n').map(|text| {
        let is_command = goes_on || text.ends_with('\\');
        goes_on = text.ends_with('\\');
        let words = text.trim_start();
        let label = if words.starts_with("hint: ") { 6 } else { 2 };
        match is_command {
            true => text.to_owned(),
            false => line(text, columns, text.len() - words.len() + label),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line as lines of at most so many columns, all but the first so far in. What is too
/// long for any line stays whole.
pub fn line(text: &str, columns: usize, indent: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let words = text.trim_start();
    let mut lines = Vec::new();
    let mut current = text[..text.len() - words.len()].to_owned();
    let mut is_begun = false;
    for unit in units(words) {
        let fits = width(&current) + 1 + width(&unit) <= columns;
        // A command that fits nowhere is easier to copy from a line of its own.
        let is_better_below = indent + width(&unit) <= columns || unit.contains(' ');
        if is_begun && !fits && is_better_below {
            lines.push(current.trim_end().to_owned());
            current = " ".repeat(indent);
        } else if is_begun {
            current.push(' ');
        }
        current += &unit;
        // The empty words of wide gaps are not carried into the next line.
        is_begun = !current.trim().is_empty();
    }
    lines.push(current.trim_end().to_owned());
    lines.join("\n")
}

/// Words, and what is not to be torn apart: what is in backticks, what looks like a
/// command, to the end of its clause, and a flag and what comes after it.
fn units(text: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    let (mut is_quoted, mut is_command, mut is_flag) = (false, false, false);
    for word in text.split(' ') {
        match units.last_mut().filter(|_| is_quoted || is_command || is_flag) {
            Some(unit) => {
                unit.push(' ');
                unit.push_str(word);
            }
            None => {
                is_command = PROGRAMS.contains(&word) || word.contains("$(");
                units.push(word.to_owned());
            }
        }
        is_quoted ^= word.matches('`').count() % 2 == 1;
        let ends = word.ends_with([',', ';']);
        is_command &= !ends;
        is_flag = word.starts_with("--") && !ends;
    }
    units
}

fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_words_and_never_inside_commands() {
        #[track_caller]
        fn check(text: &str, want: &[&str]) {
            assert_eq!(story(text, 20), want.join("\n"));
        }
        check("", &[""]);
        check("it all fits into one", &["it all fits into one"]);
        check("it all fits not in one", &["it all fits not in", "  one"]);
        check(
            "  hint: say it another way",
            &["  hint: say it", "        another way"],
        );
        check("  where: here, there", &["  where: here, there"]);
        check("  where: here, or there", &["  where: here, or", "    there"]);
        check(
            "one\n\n  two that is too long",
            &["one", "", "  two that is too", "    long"],
        );

        // Commands.
        check(
            "run `kubectl get pods` now",
            &["run", "  `kubectl get pods`", "  now"],
        );
        check(
            "run `kubectl get pods -A` now",
            &["run", "  `kubectl get pods -A`", "  now"],
        );
        check(
            "run it: kubectl get pods -A",
            &["run it:", "  kubectl get pods -A"],
        );
        check(
            "as kubectl apply, which all may",
            &["as kubectl apply,", "  which all may"],
        );
        check(
            "  kubectl delete pods --all -n a",
            &["  kubectl delete pods --all -n a"],
        );
        check("A=$(kubectl relay-address) b", &["A=$(kubectl relay-address) b"]);
        check(
            "  meshctl cluster register \\\n    --remote-context east a",
            &["  meshctl cluster register \\", "    --remote-context east a"],
        );

        check("say it so: --via nodeport", &["say it so:", "  --via nodeport"]);
        check(
            "by way of --port-name, or not",
            &["by way of", "  --port-name, or", "  not"],
        );

        // What is too long, and what is of several columns.
        check(
            "a word-that-is-longer-than-all b",
            &["a word-that-is-longer-than-all", "  b"],
        );
        check(
            "  spec.type   from \"some\"",
            &["  spec.type   from", "    \"some\""],
        );
        check("ß ß ß ß ß ß ß ß ß ß", &["ß ß ß ß ß ß ß ß ß ß"]);
        check("界 界 界 界 界 界 界 界", &["界 界 界 界 界 界 界", "  界"]);
    }
}
