//! The manual page of a plugin: one page, with a section for each command.

use std::io::{self, Write as _};

use clap::{Command, builder::StyledStr};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// The page of a plugin in roff, as `man` shows it.
///
/// clap_mangen would have a page for every command, and refer to pages that an
/// archive for krew has no place for.
pub(crate) fn page(command: Command) -> io::Result<Vec<u8>> {
    let name = command.get_bin_name().unwrap_or_default().replace(' ', "-");
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).title(&name);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    write_body(command.clone(), "SH", &mut page)?;
    write_commands(&command, &mut page)?;
    man.render_version_section(&mut page)?;
    Ok(page)
}

/// Writes a section for each command below `above`, and for those below it.
fn write_commands(above: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for command in above.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_bin_name().unwrap_or_default().to_uppercase();
        Roff::new().control("SH", [name.as_str()]).to_writer(page)?;
        // What all of them take stands at the beginning of the page.
        let own = command.clone().mut_args(|arg| {
            let is_common = arg.is_global_set() || arg.get_id() == "help";
            let is_hidden = is_common || arg.is_hide_set();
            arg.hide(is_hidden)
        });
        write_body(own, "SS", page)?;
        write_commands(command, page)?;
    }
    Ok(())
}

/// Writes how a command is called, what it does and takes, and its examples,
/// each under a heading of the level `SH` or `SS`.
fn write_body(command: Command, level: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let command = with_short_usage(command);
    let takes_any = command.get_arguments().any(|arg| !arg.is_hide_set());
    let notes = command.get_after_help().map(StyledStr::to_string);
    let man = Man::new(command);
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    if takes_any {
        man.render_options_section(&mut parts)?;
    }
    for line in String::from_utf8_lossy(&parts).lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) => writeln!(page, ".{level} {heading}")?,
            None => writeln!(page, "{line}")?,
        }
    }
    let Some(notes) = notes else { return Ok(()) };
    let (heading, text) = match notes.strip_prefix("Examples:\n") {
        Some(examples) => ("EXAMPLES", examples),
        None => ("NOTES", notes.as_str()),
    };
    let mut section = Roff::new();
    section.control(level, [heading]).control("nf", []);
    for line in text.lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []).to_writer(page)
}

/// Every flag is described: the synopsis need not list them, and what the short
/// help leaves out has its description, too.
fn with_short_usage(mut command: Command) -> Command {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command
        .override_usage(usage)
        .mut_args(|arg| arg.hide_short_help(false))
}
