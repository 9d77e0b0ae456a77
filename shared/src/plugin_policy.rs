//! Which credential plugins may run at all: what the user's kuberc says for kubectl
//! (kubectl, `pkg/kuberc`; client-go, `plugin/pkg/client/auth/exec/exec.go`).

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Whether plugins may run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Policy {
    All,
    None,
    /// Those of these names or paths.
    Listed(Vec<PathBuf>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preference {
    kind: Option<String>,
    credential_plugin_policy: Option<String>,
    credential_plugin_allowlist: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    /// The older name of `command`.
    name: Option<PathBuf>,
    command: Option<PathBuf>,
}

/// Makes sure that a command may run. `resolved` is where it was found, if it was.
///
/// # Errors
/// In client-go's words, or if the kuberc cannot be read.
pub(crate) fn check(command: &Path, resolved: Option<&Path>) -> Result<(), String> {
    let Some(file) = kuberc(|name| env::var(name).ok(), env::home_dir()) else {
        return Ok(());
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("cannot read {}: {e}", file.display())),
    };
    let policy = policy(&text).map_err(|problem| format!("{}: {problem}", file.display()))?;
    policy.check(command, resolved)
}

/// The file to look in; none where that is switched off.
fn kuberc(variable: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Option<PathBuf> {
    let named = variable("KUBERC").filter(|file| !file.is_empty());
    if named.as_deref() == Some("off") || variable("KUBECTL_KUBERC").as_deref() == Some("false") {
        return None;
    }
    named
        .map(PathBuf::from)
        .or_else(|| Some(home?.join(".kube/kuberc")))
}

fn policy(text: &str) -> Result<Policy, String> {
    let documents: Vec<Preference> =
        serde_saphyr::from_multiple(text).map_err(|_| "it is not a kuberc".to_owned())?;
    let mut documents = documents.into_iter();
    let Some(preference) = documents.find(|document| document.kind.as_deref() == Some("Preference")) else {
        return Ok(Policy::All);
    };
    let list = preference.credential_plugin_allowlist;
    match (
        preference.credential_plugin_policy.as_deref().unwrap_or_default(),
        list,
    ) {
        ("" | "AllowAll", None) => Ok(Policy::All),
        ("DenyAll", None) => Ok(Policy::None),
        ("Allowlist", Some(list)) if !list.is_empty() => {
            let commands: Option<_> = list
                .into_iter()
                .map(|entry| entry.command.or(entry.name))
                .collect();
            commands
                .map(Policy::Listed)
                .ok_or_else(|| "misconfigured credential plugin allowlist: empty allowlist entry".to_owned())
        }
        ("Allowlist", _) => Err(
            "credential plugin policy set to \"Allowlist\", but allowlist is unspecified or empty".to_owned(),
        ),
        (policy @ ("" | "AllowAll" | "DenyAll"), Some(_)) => Err(format!(
            "misconfigured credential plugin allowlist: plugin policy is {policy:?} but allowlist is non-nil"
        )),
        (policy, _) => Err(format!("unknown plugin policy: {policy:?}")),
    }
}

impl Policy {
    fn check(&self, command: &Path, resolved: Option<&Path>) -> Result<(), String> {
        match self {
            Self::All => Ok(()),
            Self::None => Err(format!(
                "plugin {command:?} not allowed: policy set to \"DenyAll\""
            )),
            Self::Listed(commands) => {
                let is_meant = |listed: &PathBuf| {
                    listed == command
                        || Some(&**listed) == resolved
                        || resolved.is_some() && look_path(listed).as_deref() == resolved
                };
                match commands.iter().any(is_meant) {
                    true => Ok(()),
                    false => Err(format!(
                        "plugin path {:?} is not permitted by the credential plugin allowlist",
                        resolved.unwrap_or(command)
                    )),
                }
            }
        }
    }
}

/// Go's `exec.LookPath`: a bare name is looked for in our own `PATH`, not in the one
/// that a plugin is given.
pub(crate) fn look_path(command: &Path) -> Option<PathBuf> {
    if command.components().count() > 1 {
        return Some(command.to_owned());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(command))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(file)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }
    #[cfg(not(unix))]
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kuberc_is_kubectls() {
        #[track_caller]
        fn check(set: &[(&str, &str)], want: Option<&str>) {
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(kuberc(variable, Some("/home/me".into())), want.map(PathBuf::from));
        }
        check(&[], Some("/home/me/.kube/kuberc"));
        check(&[("KUBERC", "")], Some("/home/me/.kube/kuberc"));
        check(&[("KUBERC", "/x")], Some("/x"));
        check(&[("KUBERC", "off")], None);
        check(&[("KUBECTL_KUBERC", "false")], None);
    }

    #[test]
    fn policies_are_client_gos() {
        #[track_caller]
        fn check(preference: &str, command: &str, want: Result<(), &str>) {
            let text = format!("apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n{preference}");
            let policy = policy(&text);
            let got =
                policy.and_then(|policy| policy.check(Path::new(command), Some(Path::new("/bin/login"))));
            match want {
                Ok(()) => assert_eq!(got, Ok(()), "{preference}"),
                Err(want) => assert!(got.as_ref().is_err_and(|got| got.contains(want)), "{got:?}"),
            }
        }
        let list = |entries: &str| {
            format!("credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist: [{entries}]\n")
        };
        check("", "login", Ok(()));
        check("credentialPluginPolicy: AllowAll\n", "login", Ok(()));
        check(
            "credentialPluginPolicy: DenyAll\n",
            "login",
            Err("policy set to \"DenyAll\""),
        );
        check(&list("{name: login}"), "login", Ok(()));
        check(&list("{command: /bin/login}"), "login", Ok(()));
        check(
            &list("{name: other}"),
            "login",
            Err("\"/bin/login\" is not permitted"),
        );
        check(&list(""), "login", Err("unspecified or empty"));
        check(&list("{}"), "login", Err("empty allowlist entry"));
        check(
            "credentialPluginPolicy: Some\n",
            "login",
            Err("unknown plugin policy"),
        );
        check(
            "credentialPluginAllowlist: [{name: x}]\n",
            "login",
            Err("allowlist is non-nil"),
        );
    }
}
