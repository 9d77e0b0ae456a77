//! Draws what was shown on a terminal as an SVG, for the README.

use std::fmt::Write as _;

/// Columns of the picture: as many as the longest command that is shown.
pub const COLUMNS: usize = 92;

// Pixels. The width of a character is said to the reader's font, whatever it is.
const CHARACTER: f64 = 8.4;
const LINE: f64 = 19.0;
const MARGIN: f64 = 18.0;

/// Its own background, so that it reads the same on a light page and a dark one.
const STYLE: &str = "\
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; \
fill: #d8dee9; white-space: pre }
.remark { fill: #8f9bb3 }
.command { fill: #a3d9a5; font-weight: bold }
.failure { fill: #f2a6a0 }";

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Said by whoever shows it.
    Remark,
    /// Typed.
    Command,
    /// Printed.
    Output,
    /// Printed by a command that failed.
    Failure,
}

/// Draws lines in order, long ones in rows that end between words.
pub fn svg(lines: &[(Kind, String)]) -> String {
    let rows: Vec<_> = lines
        .iter()
        .skip_while(|(_, line)| line.is_empty())
        .flat_map(|(kind, line)| wrapped(line).into_iter().map(|row| (*kind, row)))
        .collect();
    let width = 2.0 * MARGIN + COLUMNS as f64 * CHARACTER;
    let height = 2.0 * MARGIN + rows.len() as f64 * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height}\" width=\"{width:.1}\" \
         height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1d2230\"/>\n"
    );
    for (number, (kind, row)) in rows.iter().enumerate() {
        if row.is_empty() {
            continue;
        }
        let class = match kind {
            Kind::Remark => " class=\"remark\"",
            Kind::Command => " class=\"command\"",
            Kind::Output => "",
            Kind::Failure => " class=\"failure\"",
        };
        let y = MARGIN + (number as f64 + 0.75) * LINE;
        let length = row.chars().count() as f64 * CHARACTER;
        let text = row
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = writeln!(
            svg,
            "<text{class} x=\"{MARGIN}\" y=\"{y:.1}\" textLength=\"{length:.1}\" xml:space=\"preserve\">{text}</text>"
        );
    }
    svg + "</svg>\n"
}

/// The rows of a line, all as far from the margin as the first; only a word that is
/// longer than a row is broken.
fn wrapped(line: &str) -> Vec<String> {
    let mut rest: Vec<_> = line.chars().collect();
    let indent = rest.iter().take(COLUMNS / 2).take_while(|c| **c == ' ').count();
    let mut rows = Vec::new();
    while rest.len() > COLUMNS {
        let space = rest[..=COLUMNS].iter().rposition(|c| *c == ' ');
        let end = space.filter(|space| *space > indent).unwrap_or(COLUMNS);
        let next = rest[end..].iter().skip_while(|c| **c == ' ');
        let next = [' '].iter().cycle().take(indent).chain(next).copied().collect();
        rest.truncate(end);
        rows.push(rest);
        rest = next;
    }
    rows.push(rest);
    let rows = rows.into_iter().map(|row| row.into_iter().collect::<String>());
    rows.map(|row| row.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wrapped(line: &str, want: &[&str]) {
        let rows = wrapped(line);
        assert_eq!(rows, want);
        assert!(rows.iter().all(|row| row.chars().count() <= COLUMNS));
    }

    #[test]
    fn long_lines_end_between_words() {
        let full = "x".repeat(COLUMNS);
        let less = "x".repeat(COLUMNS - 3);
        check_wrapped("", &[""]);
        check_wrapped(&full, &[&full]);
        check_wrapped(&format!("{full} y"), &[&full, "y"]);
        check_wrapped(&format!("{less} yyy  z"), &[&less, "yyy  z"]);
        check_wrapped(&format!("{full}yyy z"), &[&full, "yyy z"]);
        // An indented line stays one, whatever its first word is like.
        let less = &less[2..];
        check_wrapped(
            &format!("  {less} é  yyy z"),
            &[&format!("  {less} é"), "  yyy z"],
        );
        check_wrapped(&format!("  {full}"), &[&format!("  {}", &full[2..]), "  xx"]);
        check_wrapped(
            &format!("{} x", " ".repeat(COLUMNS)),
            &["", &format!("{}x", " ".repeat(COLUMNS / 2))],
        );
    }

    #[test]
    fn text_stays_text() {
        let svg = svg(&[(Kind::Output, "a <b> & c".to_owned())]);
        assert!(svg.contains(">a &lt;b&gt; &amp; c</text>"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 808.8 55\""), "{svg}");
    }
}
