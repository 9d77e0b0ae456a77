//! Completion: scripts for shells, and the answers to kubectl's own question
//! what could come next.
//!
//! kubectl asks the program `kubectl_complete-NAME` on the `PATH`, which hands its
//! words to ours as `__complete WORD…` and prints what cobra would: a candidate a
//! line, and a directive (cobra, `completions.go`, `ShellCompDirective`).

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
    time::Duration,
};

use clap::{Command, CommandFactory as _, Parser, ValueEnum, ValueHint};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};
use k8s_openapi::{
    Metadata,
    api::core::v1::{Namespace, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{args::ClusterArgs, cluster::Cluster, error::Result, escape, remotes::RemoteArgs, terminal};

/// The first word of kubectl's question.
pub(crate) const QUESTION: &str = "__complete";

/// Who asks for completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// For `kubectl NAME`, in every shell that completes kubectl
    Kubectl,
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
    /// PowerShell
    Powershell,
}

/// The script that makes a shell, or kubectl, complete a plugin's commands.
pub(crate) fn script(mut command: Command, shell: Shell) -> String {
    let program = program(&command);
    let shell = match shell {
        Shell::Kubectl => return format!("#!/bin/sh\nexec {program} {QUESTION} \"$@\"\n"),
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::Powershell => clap_complete::Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// `kubectl-relay_address`, for the command that is called `kubectl relay-address`.
fn program(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    match name.split_once(' ') {
        Some((kubectl, plugin)) => format!("{kubectl}-{}", plugin.replace('-', "_")),
        None => name.to_owned(),
    }
}

/// Answers kubectl's question; `words` are those that were typed, the last of
/// them perhaps not to its end.
pub(crate) fn answer(command: Command, words: Vec<OsString>) -> ExitCode {
    let mut command = with_completers(command);
    let mut text = String::new();
    let directive = match wants_path(&command, &words) {
        Some(directive) => directive,
        None => {
            let words: Vec<_> = std::iter::once(OsString::from("kubectl")).chain(words).collect();
            let last = words.len() - 1;
            let candidates = engine::complete(&mut command, words, last, None).unwrap_or_default();
            for candidate in candidates.iter().filter(|candidate| !candidate.is_hide_set()) {
                text.push_str(&line(candidate));
            }
            NO_FILES
        }
    };
    let _ = terminal::data(&format!("{text}:{directive}\n"));
    ExitCode::SUCCESS
}

/// A command of which the flags know what is there to be named. They are found by name,
/// as what is there depends on other flags.
fn with_completers(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let completer = match arg.get_long() {
            Some("context") => contexts,
            Some("remote-context") => remotes,
            Some("service") => services,
            Some(flag) if flag.rsplit('-').next() == Some("namespace") => namespaces,
            _ => return arg,
        };
        arg.add(ArgValueCompleter::new(completer))
    });
    command.mut_subcommands(with_completers)
}

/// Cobra's `ShellCompDirectiveNoFileComp`.
const NO_FILES: u8 = 4;
/// Cobra's `ShellCompDirectiveDefault`: the shell completes files by itself.
const FILES: u8 = 0;
/// Cobra's `ShellCompDirectiveFilterDirs`.
const DIRECTORIES: u8 = 16;

/// The directive for a flag whose value is a path, if that is what comes next.
fn wants_path(command: &Command, words: &[OsString]) -> Option<u8> {
    let [.., flag, _] = words else { return None };
    let flag = flag.to_str()?.strip_prefix("--")?;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag));
        match arg.map(clap::Arg::get_value_hint) {
            Some(ValueHint::FilePath) => return Some(FILES),
            Some(ValueHint::DirPath) => return Some(DIRECTORIES),
            _ => commands.extend(command.get_subcommands()),
        }
    }
    None
}

/// `VALUE<TAB>HELP`, with nothing in it that a shell or a terminal would obey.
fn line(candidate: &CompletionCandidate) -> String {
    let plain = |text: &str| escape::printable(text).replace('\n', " ");
    let value = plain(&candidate.get_value().to_string_lossy());
    match candidate.get_help() {
        Some(help) => format!("{value}\t{}\n", plain(&help.to_string())),
        None => format!("{value}\n"),
    }
}

/// The contexts of the kubeconfig that the typed flags name.
fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let contexts = typed().and_then(|flags| {
        let kubeconfig = flags.cluster.load().ok()?;
        Some(kubeconfig.contexts().map(str::to_owned).collect())
    });
    candidates(current, contexts.unwrap_or_default())
}

/// The contexts of all kubeconfigs that the typed flags name, the last of a list
/// being typed.
fn remotes(current: &OsStr) -> Vec<CompletionCandidate> {
    let contexts = typed().and_then(|flags| {
        let kubeconfig = flags.cluster.load().ok()?;
        let files = flags.remotes.kubeconfigs.iter();
        let files: Vec<_> = files.filter_map(|file| kubeconfig.beside(file).ok()).collect();
        let all = std::iter::once(&kubeconfig).chain(&files);
        let contexts = all.flat_map(|kubeconfig| kubeconfig.contexts());
        Some(contexts.map(str::to_owned).collect::<Vec<_>>())
    });
    let current = current.to_string_lossy();
    let (before, last) = match current.rsplit_once(',') {
        Some((before, last)) => (format!("{before},"), last),
        None => (String::new(), &*current),
    };
    let contexts = contexts.unwrap_or_default().into_iter();
    let contexts = contexts.filter(|context| context.starts_with(last));
    contexts
        .map(|context| CompletionCandidate::new(format!("{before}{context}")))
        .collect()
}

/// The namespaces of the cluster that the typed flags name.
fn namespaces(current: &OsStr) -> Vec<CompletionCandidate> {
    let namespaces = ask(async |cluster, _| cluster.list::<Namespace>(None, "").await);
    candidates(current, names(namespaces))
}

/// The services of the namespace that the typed flags name.
fn services(current: &OsStr) -> Vec<CompletionCandidate> {
    let services = ask(async |cluster, namespace| cluster.list::<Service>(Some(&namespace), "").await);
    candidates(current, names(services))
}

fn candidates(current: &OsStr, mut values: Vec<String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    values.retain(|value| value.starts_with(&*current));
    values.into_iter().map(CompletionCandidate::new).collect()
}

fn names<K: Metadata<Ty = ObjectMeta>>(objects: Option<Vec<K>>) -> Vec<String> {
    let objects = objects.into_iter().flatten();
    objects
        .filter_map(|object| object.metadata().name.clone())
        .collect()
}

/// Asks the management cluster for something, without a word if it does not
/// answer at once: somebody is typing.
fn ask<T>(question: impl AsyncFnOnce(Cluster, String) -> Result<T>) -> Option<T> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let flags = typed()?.cluster;
        let answer = async {
            let cluster = Cluster::management(&flags.load()?, &flags)?;
            question(cluster, flags.namespace.clone()).await
        };
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    })
}

/// The flags that say which clusters.
#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    remotes: RemoteArgs,
}

/// Those flags among the words on our command line.
fn typed() -> Option<Flags> {
    let command = Flags::command();
    // Whether a word is one of these flags, and if so, whether a value follows it.
    let takes_value = |word: &str| {
        let arg = command.get_arguments().find(|arg| {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            let short = arg.get_short().map(|letter| format!("-{letter}"));
            short.as_deref() == Some(word) || word.strip_prefix("--").is_some_and(|name| long.contains(&name))
        });
        arg.map(|arg| arg.get_num_args().is_none_or(|n| n.min_values() > 0))
    };
    let mut flags = vec![OsString::from("kubectl")];
    let words: Vec<_> = std::env::args_os().skip(2).collect();
    let mut words = words.iter().take(words.len().saturating_sub(1));
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        match takes_value(text.split('=').next().unwrap_or_default()) {
            // The flag whose value is being typed has none yet.
            Some(true) if !text.contains('=') => {
                if let Some(value) = words.next() {
                    flags.extend([word.clone(), value.clone()]);
                }
            }
            Some(_) => flags.push(word.clone()),
            None => {}
        }
    }
    Flags::try_parse_from(flags).ok()
}
