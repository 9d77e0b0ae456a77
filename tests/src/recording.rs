//! Draws what was shown on a terminal as an SVG, for the README.

use std::fmt::Write as _;

/// Columns of the terminal: as many as the longest command that is shown.
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

/// Draws lines in order, wrapped as a terminal wraps them.
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

fn wrapped(line: &str) -> Vec<String> {
    let characters: Vec<_> = line.chars().collect();
    match characters.is_empty() {
        true => vec![String::new()],
        false => characters
            .chunks(COLUMNS)
            .map(|row| row.iter().collect::<String>().trim_end().to_owned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_wrap_as_in_a_terminal_and_text_stays_text() {
        assert_eq!(wrapped(""), [""]);
        assert_eq!(
            wrapped(&"x".repeat(COLUMNS + 1)),
            ["x".repeat(COLUMNS), "x".to_owned()]
        );
        let svg = svg(&[(Kind::Output, "a <b> & c".to_owned())]);
        assert!(svg.contains(">a &lt;b&gt; &amp; c</text>"), "{svg}");
        assert!(svg.contains("viewBox=\"0 0 808.8 55\""), "{svg}");
    }
}
