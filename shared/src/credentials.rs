//! Credential plugins: the programs that a kubeconfig's `exec` names, which know a
//! token or a client certificate. One run serves all contexts of an identity until
//! what it gave expires or is refused; [`crate::exec_credential`] is what is said.
//!
//! The rules and the words are client-go's (`plugin/pkg/client/auth/exec/exec.go`
//! and `tools/clientcmd/validation.go`; KEP-541). kube's own handling runs a plugin
//! three times for each client, blocks meanwhile, and shows what it printed when it
//! fails.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use kube::config::{AuthInfo, Cluster, ExecConfig, ExecInteractiveMode};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, process::Command};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    exec_credential::{self, Credential},
    plugin_policy, terminal,
};

/// A plugin that prints so much has gone wrong.
const TOO_LONG: u64 = 1024 * 1024;

/// The plugins of all identities that were asked for.
#[derive(Default)]
pub(crate) struct Plugins {
    known: Mutex<Vec<Arc<Plugin>>>,
    /// Held by the one plugin that may read standard input.
    stdin: Arc<tokio::sync::Mutex<()>>,
}

/// One identity, and the credential that its plugin gave last.
pub(crate) struct Plugin {
    identity: Identity,
    stdin: Arc<tokio::sync::Mutex<()>>,
    /// Held during a run, so that those who come meanwhile wait for its end.
    last: tokio::sync::Mutex<Option<Result<Arc<Credential>, Failure>>>,
}

/// All that a run depends on; who shares it shares the run.
#[derive(PartialEq)]
struct Identity {
    command: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    version: String,
    mode: ExecInteractiveMode,
    install_hint: Option<String>,
    /// What `provideClusterInfo` gives.
    cluster: Option<Value>,
}

/// Why there is no credential. It holds nothing that a plugin printed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
}

impl Plugins {
    /// The plugin that authenticates a user, if one does: as in client-go, a token, a
    /// password or a certificate of the user's own goes first. It does not run yet.
    ///
    /// # Errors
    /// If `exec` is incomplete or contradicts itself.
    pub(crate) fn find(&self, name: &str, user: &AuthInfo, cluster: &Cluster) -> Result<Option<Arc<Plugin>>> {
        let Some(exec) = &user.exec else { return Ok(None) };
        let identity = Identity::new(name, user, exec, cluster).map_err(Error::new)?;
        if has_own_credential(user) {
            return Ok(None);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = known.iter().find(|plugin| plugin.identity == identity) {
            return Ok(Some(plugin.clone()));
        }
        let plugin = Arc::new(Plugin {
            identity,
            stdin: self.stdin.clone(),
            last: tokio::sync::Mutex::default(),
        });
        known.push(plugin.clone());
        Ok(Some(plugin))
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").finish_non_exhaustive()
    }
}

impl Plugin {
    /// The current credential; runs the plugin if there is none or it has expired.
    ///
    /// # Errors
    /// If the plugin has failed, now or before: it is not run again.
    pub(crate) async fn credential(&self) -> Result<Arc<Credential>, Failure> {
        self.get(Credential::is_current).await
    }

    /// Another credential than the one that a server refused, from a new run unless
    /// somebody else had one meanwhile.
    ///
    /// # Errors
    /// As [`credential`](Self::credential).
    pub(crate) async fn replace(&self, refused: &Arc<Credential>) -> Result<Arc<Credential>, Failure> {
        self.get(|last| !std::ptr::eq(last, Arc::as_ptr(refused))).await
    }

    async fn get(&self, will_do: impl FnOnce(&Credential) -> bool) -> Result<Arc<Credential>, Failure> {
        let mut last = self.last.lock().await;
        match &*last {
            Some(Ok(credential)) if will_do(credential) => return Ok(credential.clone()),
            Some(Err(failure)) => return Err(failure.clone()),
            _ => {}
        }
        let credential = self.run().await.map(Arc::new);
        last.insert(credential).clone()
    }

    async fn run(&self) -> Result<Credential, Failure> {
        let identity = &self.identity;
        let interactive = is_interactive(&identity.mode, io::stdin().is_terminal())?;
        let _stdin = match interactive {
            true => Some(self.stdin.lock().await),
            false => None,
        };
        let resolved = plugin_policy::look_path(&identity.command);
        plugin_policy::check(&identity.command, resolved.as_deref()).map_err(|problem| Failure {
            message: problem,
            hint: Some("the user's kuberc says which credential plugins may run".to_owned()),
        })?;
        let _quiet = terminal::pause();
        let request = exec_credential::request(&identity.version, interactive, identity.cluster.as_ref());
        let mut child = Command::new(resolved.as_ref().unwrap_or(&identity.command))
            .args(&identity.args)
            .envs(identity.env.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", request.to_string())
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Ctrl-C reaches an interactive one, too, and it may have to make the
            // terminal echo again.
            .kill_on_drop(!interactive)
            .spawn()
            .map_err(|e| identity.not_started(&e))?;
        // Large enough not to be moved: what is left behind cannot be wiped.
        let mut stdout = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let pipe = child.stdout.take().expect("it is piped");
        let read = pipe.take(TOO_LONG).read_to_end(&mut stdout).await;
        let ended = child.wait().await.and_then(|status| Ok((status, read?)));
        let (status, length) = ended.map_err(|e| Failure::new(format!("exec: {e}")))?;
        if !status.success() {
            let how = match status.code() {
                Some(code) => format!("failed with exit code {code}"),
                None => format!("failed: {status}"),
            };
            return Err(Failure::new(format!(
                "exec: executable {} {how}",
                identity.name()
            )));
        }
        if length as u64 == TOO_LONG {
            return Err(Failure::new("decoding stdout: it is too long"));
        }
        exec_credential::read(&stdout, &identity.version).map_err(Failure::new)
    }
}

impl Identity {
    fn new(name: &str, user: &AuthInfo, exec: &ExecConfig, cluster: &Cluster) -> Result<Self, String> {
        let missing = |what| format!("{what} must be specified for {name} to use exec authentication plugin");
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if user.auth_provider.is_some() {
            return Err(format!(
                "authProvider cannot be provided in combination with an exec plugin for {name}"
            ));
        }
        let command = text(&exec.command).ok_or_else(|| missing("command"))?;
        let version = text(&exec.api_version).ok_or_else(|| missing("apiVersion"))?;
        let env = exec.env.iter().flatten().map(|variable| {
            let get = |key| variable.get(key).cloned().unwrap_or_default();
            match get("name") {
                name if name.is_empty() => Err(missing("env variable name")),
                name => Ok((name, get("value"))),
            }
        });
        let env = env.collect::<Result<_, _>>()?;
        let mode = match &exec.interactive_mode {
            Some(mode) => mode.clone(),
            None if version == exec_credential::VERSIONS[0] => return Err(missing("interactiveMode")),
            None => ExecInteractiveMode::IfAvailable,
        };
        if !exec_credential::VERSIONS.contains(&version.as_str()) {
            return Err(format!("exec plugin: invalid apiVersion {version:?}"));
        }
        Ok(Self {
            // As `filepath.Clean`, which leaves no `/./` in what messages show.
            command: Path::new(&command).components().collect(),
            args: exec.args.clone().unwrap_or_default(),
            env,
            version,
            mode,
            install_hint: text(&exec.install_hint),
            cluster: exec
                .provide_cluster_info
                .then(|| exec_credential::cluster(cluster))
                .transpose()?,
        })
    }

    fn name(&self) -> std::path::Display<'_> {
        self.command.display()
    }

    fn not_started(&self, error: &io::Error) -> Failure {
        if error.kind() != io::ErrorKind::NotFound {
            return Failure::new(format!("exec: executable {}: {error}", self.name()));
        }
        let hint = self.install_hint.clone().unwrap_or_else(|| {
            "it looks like a client-go credential plugin that is not installed, see \
             https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"
                .to_owned()
        });
        Failure {
            message: format!("exec: executable {} not found", self.name()),
            hint: Some(hint),
        }
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn to_error(&self) -> Error {
        let error = Error::new(self.to_string());
        match &self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "getting credentials: {}", self.message)
    }
}

impl std::error::Error for Failure {}

/// Whether client-go leaves an `exec` alone; see `UpdateTransportConfig`.
fn has_own_credential(user: &AuthInfo) -> bool {
    let certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    let key = user.client_key.is_some() || user.client_key_data.is_some();
    let token = user.token.is_some() || user.token_file.is_some();
    token || user.username.is_some() || certificate && key
}

fn is_interactive(mode: &ExecInteractiveMode, stdin_is_terminal: bool) -> Result<bool, Failure> {
    match mode {
        ExecInteractiveMode::Never => Ok(false),
        ExecInteractiveMode::Always if !stdin_is_terminal => Err(Failure::new(
            "exec plugin cannot support interactive mode: standard input is not a terminal",
        )),
        ExecInteractiveMode::IfAvailable | ExecInteractiveMode::Always => Ok(stdin_is_terminal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXEC: &str =
        "apiVersion: client.authentication.k8s.io/v1\ncommand: login\ninteractiveMode: Never\n";

    /// The plugin of a user with this `exec`, and with more beside it.
    fn plugin(plugins: &Plugins, exec: &str, user: &str, server: &str) -> Result<Option<Arc<Plugin>>> {
        let mut user: AuthInfo = serde_saphyr::from_str(user).expect("is a user");
        user.exec = Some(serde_saphyr::from_str(exec).expect("is an exec"));
        let cluster = json!({ "server": server, "certificate-authority-data": "Q0E=" });
        let cluster = serde_json::from_value(cluster).expect("is a cluster");
        plugins.find("me", &user, &cluster)
    }

    #[test]
    fn whoever_may_read_standard_input_needs_a_terminal() {
        #[track_caller]
        fn check(mode: ExecInteractiveMode, stdin_is_terminal: bool, want: Result<bool, &str>) {
            let got = is_interactive(&mode, stdin_is_terminal).map_err(|failure| failure.to_string());
            assert_eq!(got, want.map_err(str::to_owned));
        }
        check(ExecInteractiveMode::Never, true, Ok(false));
        check(ExecInteractiveMode::Never, false, Ok(false));
        check(ExecInteractiveMode::IfAvailable, true, Ok(true));
        check(ExecInteractiveMode::IfAvailable, false, Ok(false));
        check(ExecInteractiveMode::Always, true, Ok(true));
        let refusal = "getting credentials: exec plugin cannot support interactive mode: \
                       standard input is not a terminal";
        check(ExecInteractiveMode::Always, false, Err(refusal));
    }

    #[test]
    fn the_same_identity_is_the_same_plugin() {
        #[track_caller]
        fn check(first: (&str, &str), second: (&str, &str), is_same: bool) {
            let plugins = Plugins::default();
            let find = |(more, server): (&str, &str)| {
                let found = plugin(&plugins, &format!("{EXEC}{more}"), "{}", server);
                found.expect("is valid").expect("authenticates")
            };
            assert_eq!(
                Arc::ptr_eq(&find(first), &find(second)),
                is_same,
                "{first:?} {second:?}"
            );
        }
        let (a, b) = ("https://a", "https://b");
        check(("", a), ("", a), true);
        check(("", a), ("", b), true);
        check(("args: []", a), ("env: null", a), true);
        check(("args: [x]", a), ("args: [y]", a), false);
        check(("", a), ("env: [{name: X, value: x}]", a), false);
        check(("installHint: x", a), ("", a), false);
        check(
            ("provideClusterInfo: true", a),
            ("provideClusterInfo: true", a),
            true,
        );
        check(
            ("provideClusterInfo: true", a),
            ("provideClusterInfo: true", b),
            false,
        );
        check(("provideClusterInfo: true", a), ("", a), false);
    }

    #[test]
    fn credentials_of_the_users_own_go_first() {
        #[track_caller]
        fn check(user: &str, want: bool) {
            let found = plugin(&Plugins::default(), EXEC, user, "https://a").expect("is valid");
            assert_eq!(found.is_some(), want, "{user}");
        }
        check("{}", true);
        check("{as: other}", true);
        check("{token: t}", false);
        check("{tokenFile: /t}", false);
        check("{username: u}", false);
        check("{client-certificate-data: Qw==, client-key: /k}", false);
        check("{client-certificate: /c}", true);
    }

    #[test]
    fn what_is_wrong_with_it_is_said_as_kubectl_does() {
        #[track_caller]
        fn check(exec: &str, user: &str, want: &str) {
            let error = plugin(&Plugins::default(), exec, user, "https://a").err();
            let error = error.expect("it is wrong").to_string();
            assert_eq!(error, format!("error: {want}"));
        }
        let missing = |what| format!("{what} must be specified for me to use exec authentication plugin");
        check("command: \"\"", "{}", &missing("command"));
        check("command: x", "{}", &missing("apiVersion"));
        let v1 = "{command: x, apiVersion: client.authentication.k8s.io/v1}";
        check(v1, "{}", &missing("interactiveMode"));
        check(
            &format!("{EXEC}env: [{{value: x}}]"),
            "{}",
            &missing("env variable name"),
        );
        check(
            "{command: x, apiVersion: client.authentication.k8s.io/v1alpha1}",
            "{}",
            "exec plugin: invalid apiVersion \"client.authentication.k8s.io/v1alpha1\"",
        );
        check(
            EXEC,
            "auth-provider: {name: oidc}",
            "authProvider cannot be provided in combination with an exec plugin for me",
        );
        let beta = "{command: x, apiVersion: client.authentication.k8s.io/v1beta1}";
        let found = plugin(&Plugins::default(), beta, "{}", "https://a");
        let mode = found
            .expect("is valid")
            .map(|plugin| plugin.identity.mode.clone());
        assert!(mode == Some(ExecInteractiveMode::IfAvailable));
    }
}
