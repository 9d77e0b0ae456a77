//! Packs the plugins for krew. Data flows one way: a [`target`] is built with the
//! right [`tools`] ([`compile`]), what goes with it is gathered ([`contents`],
//! [`licences`]), packed ([`archive`]), accounted for ([`bill`]) and listed beside what is
//! there ([`release`]) in krew's [`manifest`]s.

mod archive;
mod bill;
mod cli;
mod compile;
mod contents;
mod licences;
mod manifest;
mod release;
mod target;
mod tools;
mod workspace;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser as _;

use crate::{
    bill::Packed,
    cli::{Cli, Command, PackageArgs},
    target::Target,
    tools::Tools,
    workspace::PLUGINS,
};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Tools => Tools::install().map(|tools| vec![tools.directory().to_owned()]),
        Command::Package(args) => package(&args),
        Command::Manifests { out, origin } => release::complete(&out, &origin),
    };
    match ended {
        Ok(paths) => {
            for path in paths {
                let _ = writeln!(io::stdout(), "{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(err) => {
            let _ = writeln!(io::stderr(), "error: {err}");
            ExitCode::FAILURE
        }
    }
}

/// What is shipped should be at most this large, in bytes: everybody downloads it, on
/// every machine.
const PROGRAM_SIZE: u64 = 7_000_000;
const ARCHIVE_SIZE: u64 = 3_000_000;

/// Builds, packs and lists; returns the paths of what was written.
fn package(args: &PackageArgs) -> Result<Vec<PathBuf>, String> {
    let PackageArgs {
        out,
        target,
        profile,
        origin,
    } = args;
    let target = target.map_or_else(|| Target::parse(&workspace::host()?), Ok)?;
    let tools = Tools::find(target)?;
    let time = workspace::time()?;
    let built = compile::programs(&tools, target, profile)?;

    let packages = licences::packages()?;
    let compiled = compile::packages(target)?;
    let mut written = Vec::new();
    for plugin in PLUGINS {
        let program = built.join(target.program(&workspace::program(plugin)));
        note_size(args, &program, PROGRAM_SIZE);
        let runnable = compile::runnable(&program, target, plugin)?;
        let used = contents::built_from(&program, &compiled)?;
        let entries = contents::entries(target, plugin, &packages, &used, &program, &runnable)?;
        let archive = archive::pack(target, &entries, time)
            .map_err(|err| format!("failed to pack {plugin} for {target}: {err}"))?;
        let packed = Packed {
            plugin,
            stem: &release::stem(plugin, target),
            name: &release::archive_name(plugin, target),
            content: &archive,
            entries: &entries,
            used: &used,
        };
        let path = release::put(out, packed.name, &archive)?;
        note_size(args, &path, ARCHIVE_SIZE);
        written.push(path);

        let bill = bill::of(&tools, &packed, time)?;
        written.push(release::put(out, &release::bill_name(plugin, target), &bill)?);
    }
    written.extend(release::complete(out, origin)?);
    Ok(written)
}

/// Says of what is shipped that it is larger than it should be.
fn note_size(args: &PackageArgs, path: &Path, limit: u64) {
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if args.profile == cli::SHIPPED && size > limit {
        let _ = writeln!(
            io::stderr(),
            "note: `{}` has {size} bytes, more than {limit}",
            path.display()
        );
    }
}
