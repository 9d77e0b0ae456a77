//! Which remote clusters a command works on: contexts by name or pattern, from the
//! kubeconfig that leads to the management cluster and from files of their own.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use glob::Pattern;

use crate::{
    args::ClusterArgs,
    cluster::Cluster,
    error::{Error, Result},
    kubeconfig::{Kubeconfig, unknown_context},
    terminal,
};

/// Which remote clusters. Flattened into every command that works on several.
#[derive(Debug, Args)]
#[command(next_help_heading = "Remote clusters")]
pub struct RemoteArgs {
    /// Context of a remote cluster, or a pattern such as 'prod-*'; repeatable, or with commas
    ///
    /// Contexts that lead to the same API server are worked on once, and the
    /// management cluster's may be among them.
    #[arg(long = "remote-context", value_name = "CONTEXT")]
    pub(crate) contexts: Vec<String>,

    /// Kubeconfig file with contexts of remote clusters; repeatable
    ///
    /// Each is loaded by itself and never merged with another, so that the names in
    /// it may be in others, too. A context that is in several files is named
    /// FILE:CONTEXT. Without --remote-context, each file's current context is meant.
    #[arg(long = "remote-kubeconfig", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfigs: Vec<PathBuf>,

    /// How many clusters to work on at once
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = parallel, hide_short_help = true)]
    pub parallel: usize,
}

impl RemoteArgs {
    /// Whether no remote cluster is named.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty() && self.kubeconfigs.is_empty()
    }

    /// Finds the remote clusters, in the order of the flags, each once and none that
    /// is the management cluster. No request is sent yet.
    ///
    /// # Errors
    /// If a file cannot be loaded, or a name or pattern means no context or several.
    /// What else is wrong with a context is told for each.
    pub fn connect(
        &self,
        kubeconfig: &Kubeconfig,
        flags: &ClusterArgs,
        management: Option<&Cluster>,
    ) -> Result<Remotes> {
        let files: Result<Vec<_>> = self
            .kubeconfigs
            .iter()
            .map(|file| kubeconfig.beside(file))
            .collect();
        let files = files?;
        let sources: Vec<_> = std::iter::once(kubeconfig).chain(&files).collect();
        let overrides = flags.overrides_everywhere();
        let mut clusters: Vec<Result<Cluster>> = Vec::new();
        let mut hosts_agent = false;
        for chosen in choose(&self.contexts, &sources)? {
            let cluster = Cluster::connect(sources[chosen.source], Some(chosen.context), &overrides)
                .map(|cluster| cluster.called(&chosen.label(&sources)));
            if let Ok(cluster) = &cluster {
                let known = clusters.iter().filter_map(|known| known.as_ref().ok());
                let mut known = management.into_iter().chain(known);
                if let Some(same) = known.find(|known| known.is_same_server(cluster)) {
                    if same.context() != cluster.context() {
                        terminal::story(&format!(
                            "context {:?} leads to the same server as {:?}: worked on once",
                            cluster.context(),
                            same.context()
                        ));
                    }
                    hosts_agent |= management.is_some_and(|management| management.is_same_server(cluster));
                    continue;
                }
            }
            clusters.push(cluster);
        }
        Ok(Remotes {
            clusters,
            hosts_agent,
        })
    }
}

/// The remote clusters of a command.
#[derive(Debug)]
pub struct Remotes {
    /// Each once, and none that is the management cluster.
    pub clusters: Vec<Result<Cluster>>,
    /// Whether the management cluster was named among them: an agent runs in it, too.
    pub hosts_agent: bool,
}

/// One context of one of several kubeconfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen<'a> {
    /// Which kubeconfig, counted from the management cluster's.
    source: usize,
    context: &'a str,
}

impl Chosen<'_> {
    /// What messages call it: its name, and its file where that is not enough.
    fn label(&self, sources: &[&Kubeconfig]) -> String {
        match with_context(self.context, sources).len() {
            0 | 1 => self.context.to_owned(),
            _ => format!("{}:{}", name(sources[self.source]), self.context),
        }
    }
}

/// The contexts that names and patterns mean, in their order, none twice.
fn choose<'a>(wanted: &[String], sources: &[&'a Kubeconfig]) -> Result<Vec<Chosen<'a>>> {
    let mut chosen: Vec<Chosen<'a>> = Vec::new();
    let found = match wanted {
        [] => sources
            .iter()
            .enumerate()
            .skip(1)
            .map(|(source, kubeconfig)| match kubeconfig.current_context() {
                Some(context) => Ok(Chosen { source, context }),
                None => Err(kubeconfig.no_context()),
            })
            .collect::<Result<Vec<_>>>()?,
        wanted => {
            let mut found = Vec::new();
            for list in wanted {
                let words = words(list, sources);
                // As from a variable that is not set: fewer clusters than were meant.
                if words.is_empty() {
                    return Err(Error::usage(format!(
                        "--remote-context {list:?} names no context"
                    )));
                }
                for word in words {
                    found.extend(matches(word, sources)?);
                }
            }
            found
        }
    };
    for one in found {
        if !chosen.contains(&one) {
            chosen.push(one);
        }
    }
    Ok(chosen)
}

/// The parts of a list with commas, unless there is a context of that very name.
fn words<'w>(list: &'w str, sources: &[&Kubeconfig]) -> Vec<&'w str> {
    match with_context(list, sources).is_empty() {
        false => vec![list],
        true => list
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect(),
    }
}

/// What one word means: a context, else a context of a file that is named before a
/// colon, either of them perhaps a pattern.
fn matches<'a>(word: &str, sources: &[&'a Kubeconfig]) -> Result<Vec<Chosen<'a>>> {
    let everywhere: Vec<_> = (0..sources.len()).collect();
    let found = in_sources(word, &everywhere, sources)?;
    if !found.is_empty() {
        return unambiguous(found, sources);
    }
    for (index, source) in sources.iter().enumerate() {
        let files = source.files().iter().map(|file| file.to_string_lossy());
        for file in files {
            let context = word.strip_prefix(&*file).and_then(|rest| rest.strip_prefix(':'));
            let Some(context) = context else { continue };
            let found = in_sources(context, &[index], sources)?;
            return match found.is_empty() {
                false => Ok(found),
                true => Err(nothing(context, source.contexts()).object(format!("kubeconfig {file}"))),
            };
        }
    }
    Err(nothing(word, sources.iter().flat_map(|source| source.contexts())))
}

/// The contexts of some sources that a name or pattern means.
fn in_sources<'a>(word: &str, within: &[usize], sources: &[&'a Kubeconfig]) -> Result<Vec<Chosen<'a>>> {
    let all = within.iter().flat_map(|&source| {
        let contexts = sources[source].contexts();
        contexts.map(move |context| Chosen { source, context })
    });
    let all: Vec<_> = all.collect();
    let exact: Vec<_> = all
        .iter()
        .copied()
        .filter(|chosen| chosen.context == word)
        .collect();
    if !exact.is_empty() || !is_pattern(word) {
        return Ok(exact);
    }
    let pattern = Pattern::new(word)
        .map_err(|e| Error::usage(format!("{word:?} is not a pattern: {}", e.msg.to_lowercase())))?;
    let matching = all.into_iter().filter(|chosen| pattern.matches(chosen.context));
    Ok(matching.collect())
}

/// Refuses a name that two files have: they are hardly ever the same cluster.
fn unambiguous<'a>(found: Vec<Chosen<'a>>, sources: &[&'a Kubeconfig]) -> Result<Vec<Chosen<'a>>> {
    let twice = found.iter().find(|one| {
        found
            .iter()
            .any(|other| other.context == one.context && other != *one)
    });
    let Some(Chosen { context, .. }) = twice else {
        return Ok(found);
    };
    let choices: Vec<_> = with_context(context, sources)
        .iter()
        .map(|chosen| chosen.label(sources))
        .collect();
    Err(
        Error::usage(format!("context {context:?} is in several kubeconfig files"))
            .hint(format!("say which: {}", choices.join(" or "))),
    )
}

fn with_context<'a>(context: &str, sources: &[&'a Kubeconfig]) -> Vec<Chosen<'a>> {
    let sources = sources.iter().enumerate();
    sources
        .filter_map(|(source, kubeconfig)| {
            let context = kubeconfig.contexts().find(|known| *known == context)?;
            Some(Chosen { source, context })
        })
        .collect()
}

fn nothing<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Error {
    let mut names: Vec<_> = Vec::new();
    for name in known {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match is_pattern(word) {
        true => unknown_context(&format!("no context matches {word:?}"), None, &names),
        false => unknown_context(&format!("context {word:?} does not exist"), Some(word), &names),
    }
}

fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// What messages call a kubeconfig.
fn name(kubeconfig: &Kubeconfig) -> Cow<'_, str> {
    let file = kubeconfig.files().first().map(PathBuf::as_path);
    file.map_or(Cow::Borrowed(""), Path::to_string_lossy)
}

fn parallel(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number, at least 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeconfig::tests::read;

    const HOME: &str = "
contexts:
- {name: mgmt, context: {cluster: c}}
- {name: prod-east, context: {cluster: c}}
- {name: prod-west, context: {cluster: c}}
- {name: 'arn:aws:eks:eu-1:7:cluster/one', context: {cluster: c}}
- {name: 'a,b', context: {cluster: c}}
current-context: mgmt
";
    const K3S: &str = "
contexts:
- {name: default, context: {cluster: c}}
current-context: default
";
    const MORE: &str = "
contexts:
- {name: default, context: {cluster: c}}
- {name: prod-north, context: {cluster: c}}
";

    #[test]
    fn names_and_patterns_mean_contexts() {
        let [(_h, home), (_k, k3s), (_m, more)] = [HOME, K3S, MORE].map(|text| read(&[text]));
        let sources = [&home, &k3s, &more];
        let check = |wanted: &[&str], want: &str| {
            let wanted: Vec<_> = wanted
                .iter()
                .map(|word| word.replace("K3S", &name(&k3s)).replace("MORE", &name(&more)))
                .collect();
            let got = match choose(&wanted, &sources) {
                Err(error) => error.to_string(),
                Ok(chosen) => {
                    let labels: Vec<_> = chosen.iter().map(|chosen| chosen.label(&sources)).collect();
                    labels.join(" ")
                }
            };
            let got = got.replace(&*name(&k3s), "K3S").replace(&*name(&more), "MORE");
            assert_eq!(got, want, "{wanted:?}");
        };
        check(&["prod-west", "mgmt"], "prod-west mgmt");
        check(&["prod-west,mgmt", "prod-west"], "prod-west mgmt");
        check(&["prod-west, mgmt,"], "prod-west mgmt");
        check(&["a,b"], "a,b");
        check(&["prod-*"], "prod-east prod-west prod-north");
        check(&["prod-?est,prod-*"], "prod-west prod-east prod-north");
        check(
            &["arn:aws:eks:eu-1:7:cluster/one"],
            "arn:aws:eks:eu-1:7:cluster/one",
        );
        check(&["arn:*"], "arn:aws:eks:eu-1:7:cluster/one");
        check(&["K3S:default,MORE:*"], "K3S:default MORE:default prod-north");
        check(&["MORE:prod-[n]*"], "prod-north");

        let choices = "K3S:default or MORE:default";
        let ambiguous = format!(
            "error: context \"default\" is in several kubeconfig files\n  hint: say which: {choices}"
        );
        check(&["default"], &ambiguous);
        check(&["prod-east,*"], &ambiguous);
        let known = "mgmt, prod-east, prod-west, arn:aws:eks:eu-1:7:cluster/one, a,b, default, prod-north";
        check(
            &["prod-esat"],
            &format!(
                "error: context \"prod-esat\" does not exist\n  \
                 hint: did you mean \"prod-east\"? known contexts: {known}"
            ),
        );
        check(
            &["stage-*"],
            &format!("error: no context matches \"stage-*\"\n  hint: known contexts: {known}"),
        );
        check(
            &["K3S:x"],
            "error: context \"x\" does not exist\n  where: kubeconfig K3S\n  hint: known contexts: default",
        );
        check(
            &["prod-[*"],
            "error: \"prod-[*\" is not a pattern: invalid range pattern",
        );

        check(&["mgmt", ""], "error: --remote-context \"\" names no context");
        check(&[" ,"], "error: --remote-context \" ,\" names no context");

        assert_eq!(choose(&[], &sources[..1]).expect("is nothing"), []);
        let current = choose(&[], &sources[..2]).expect("has a current context");
        assert_eq!(
            current,
            [Chosen {
                source: 1,
                context: "default"
            }]
        );
        let error = choose(&[], &sources).expect_err("has none");
        assert!(
            error.to_string().contains("no current context is set in "),
            "{error}"
        );
    }
}
