//! Real Kubernetes control planes: one etcd and any number of kube-apiservers,
//! each a cluster of its own. No controllers run, so tests write the status of
//! services and nodes themselves.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rcgen::KeyPair;

use crate::{
    Kubeconfig,
    authority::{Authority, Identity},
    binaries::Tool,
    kubeconfig::write_private,
    leash::Leashed,
};

/// How long a server may take to get ready on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often a server whose port was taken gets another one.
const ATTEMPTS: usize = 5;

/// What a server's log says then.
const PORT_TAKEN: &str = "address already in use";

/// Users who exist on every cluster, with no rights but what tests bind to them.
const USERS: [&str; 2] = ["dev", "auditor"];

/// The token of an administrator of every cluster, as a company's login gives it.
pub const TOKEN_EVERYWHERE: &str = "token-of-admin-everywhere";

/// A running control plane. Dropping it kills all its servers.
#[derive(Debug)]
pub struct ControlPlane {
    clusters: Vec<Cluster>,
    // Before etcd, as a kube-apiserver without etcd takes minutes to shut down.
    apiservers: Mutex<Vec<Option<Leashed>>>,
    etcd: Leashed,
}

/// How to reach one cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The name it was asked for by.
    pub name: String,
    /// The URL of its kube-apiserver.
    pub server: String,
    /// The certificate of the authority the server proves itself with.
    pub ca_pem: String,
    /// The token of its administrator, a member of `system:masters`.
    pub token: String,
    address: SocketAddr,
    authority: Authority,
    service_account_key: KeyPair,
}

impl ControlPlane {
    /// Starts a cluster per name, all side by side, and waits until each is ready.
    ///
    /// # Panics
    ///
    /// With the end of the server's log if one does not get ready.
    pub fn start(names: &[&str]) -> Self {
        Self::try_start(names).unwrap_or_else(|err| panic!("{err}"))
    }

    /// The clusters `mgmt`, `east` and `west`, which all tests of this process
    /// share. Each test works in namespaces of its own.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start) does, in each test that asks.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
        match SHARED.get_or_init(|| Self::try_start(&["mgmt", "east", "west"])) {
            Ok(shared) => shared,
            Err(err) => panic!("{err}"),
        }
    }

    fn try_start(names: &[&str]) -> Result<Self, String> {
        // Before anything runs, so that nothing waits for a build.
        for tool in [Tool::Etcd, Tool::Kubectl, Tool::KubeApiserver] {
            tool.path()?;
        }
        let etcd = start_etcd()?;
        let started: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(|| start_on_free_port(name, &etcd)))
                .collect();
            let results = threads.into_iter().map(|thread| thread.join());
            results
                .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Result<_, _>>()
        })?;
        let (clusters, apiservers): (_, Vec<_>) = started.into_iter().unzip();
        let apiservers = Mutex::new(apiservers.into_iter().map(Some).collect());
        Ok(Self {
            clusters,
            apiservers,
            etcd,
        })
    }

    /// The cluster of that name.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn cluster(&self, name: &str) -> &Cluster {
        &self.clusters[self.index(name)]
    }

    /// All clusters, in the order they were asked for.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Kills a cluster's kube-apiserver; what it stored stays in etcd.
    ///
    /// # Panics
    ///
    /// If there is no cluster of that name.
    #[track_caller]
    pub fn stop(&self, name: &str) {
        let index = self.index(name);
        self.apiservers.lock().unwrap_or_else(PoisonError::into_inner)[index] = None;
    }

    /// Starts the kube-apiserver of a stopped cluster again, at the same address
    /// and with the same users.
    ///
    /// # Panics
    ///
    /// If it does not get ready.
    #[track_caller]
    pub fn restart(&self, name: &str) {
        self.stop(name);
        let index = self.index(name);
        let apiserver =
            start_apiserver(&self.clusters[index], &self.etcd).unwrap_or_else(|err| panic!("{err}"));
        self.apiservers.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(apiserver);
    }

    #[track_caller]
    fn index(&self, name: &str) -> usize {
        let index = self.clusters.iter().position(|cluster| cluster.name == name);
        index.unwrap_or_else(|| panic!("no cluster `{name}` was started"))
    }
}

impl Cluster {
    /// The token of a user without rights: `dev` or `auditor`.
    ///
    /// # Panics
    ///
    /// If the cluster has no such user.
    #[track_caller]
    pub fn token_of(&self, user: &str) -> String {
        assert!(
            USERS.contains(&user),
            "the clusters have the users {USERS:?}, not `{user}`"
        );
        // Distinct, so that a test can tell whose token leaked from where.
        format!("token-of-{user}-on-{}", self.name)
    }

    /// A certificate by which the cluster knows a user, member of some groups.
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Identity {
        self.authority.client(user, groups)
    }

    /// A cluster that does not run yet, on a port that was free just now.
    fn new(name: &str) -> io::Result<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let authority = Authority::new(&format!("control plane of {name}"));
        Ok(Self {
            name: name.to_owned(),
            server: format!("https://{address}"),
            ca_pem: authority.ca_pem(),
            token: format!("token-of-admin-on-{name}"),
            address,
            authority,
            service_account_key: KeyPair::generate().map_err(io::Error::other)?,
        })
    }

    /// Writes what the cluster's kube-apiserver reads, and lists its arguments.
    fn prepare(&self, directory: &Path, etcd: &Leashed) -> io::Result<Vec<String>> {
        let file = |name: &str, content: &str| {
            write_private(&directory.join(name), content)
                .display()
                .to_string()
        };
        let serving = self.authority.server(&["localhost", "127.0.0.1"]);
        let mut tokens = [&self.token, TOKEN_EVERYWHERE]
            .map(|token| format!("{token},admin,admin,system:masters\n"))
            .concat();
        for user in USERS {
            tokens += &format!("{},{user},{user}\n", self.token_of(user));
        }
        Kubeconfig::new()
            .context("admin", self)
            .current("admin")
            .write(directory);
        let arguments = [
            ("etcd-servers", client_socket(etcd.directory())),
            ("etcd-prefix", format!("/{}", self.name)),
            ("cert-dir", directory.display().to_string()),
            ("bind-address", self.address.ip().to_string()),
            // Without it a machine that has no default route refuses to start.
            ("advertise-address", self.address.ip().to_string()),
            ("secure-port", self.address.port().to_string()),
            ("tls-cert-file", file("tls.crt", &serving.certificate_pem)),
            ("tls-private-key-file", file("tls.key", &serving.key_pem)),
            ("client-ca-file", file("ca.crt", &self.ca_pem)),
            ("token-auth-file", file("tokens.csv", &tokens)),
            ("authorization-mode", "RBAC".to_owned()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            (
                "service-account-key-file",
                file("sa.pub", &self.service_account_key.public_key_pem()),
            ),
            (
                "service-account-signing-key-file",
                file("sa.key", &self.service_account_key.serialize_pem()),
            ),
            // It waits for a controller that does not run.
            ("disable-admission-plugins", "ServiceAccount".to_owned()),
            // Services are of IPv4 unless they ask for both.
            ("service-cluster-ip-range", "10.0.0.0/16,fd00:10::/108".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
        ];
        Ok(arguments.map(|(flag, value)| format!("--{flag}={value}")).into())
    }
}

fn start_etcd() -> Result<Leashed, String> {
    // Unix sockets: no port to race for, and nobody else may connect.
    Leashed::start(Tool::Etcd.path()?, &[], |directory| {
        let client = client_socket(directory);
        let peer = format!("unix://{}", directory.join("peer.sock").display());
        let arguments = [
            ("name", "relay".to_owned()),
            ("data-dir", directory.join("data").display().to_string()),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer.clone()),
            ("initial-advertise-peer-urls", peer.clone()),
            ("initial-cluster", format!("relay={peer}")),
            ("log-level", "warn".to_owned()),
        ];
        let mut arguments = arguments
            .map(|(flag, value)| format!("--{flag}={value}"))
            .to_vec();
        arguments.push("--unsafe-no-fsync".to_owned());
        Ok(arguments)
    })
}

fn client_socket(etcd: &Path) -> String {
    format!("unix://{}", etcd.join("client.sock").display())
}

/// Starts a new cluster, anew if somebody takes its port before it does.
fn start_on_free_port(name: &str, etcd: &Leashed) -> Result<(Cluster, Leashed), String> {
    let mut attempt = 1;
    loop {
        let cluster =
            Cluster::new(name).map_err(|err| format!("failed to set up cluster `{name}`: {err}"))?;
        match start_apiserver(&cluster, etcd) {
            Ok(apiserver) => return Ok((cluster, apiserver)),
            Err(err) if err.contains(PORT_TAKEN) && attempt < ATTEMPTS => attempt += 1,
            Err(err) => return Err(err),
        }
    }
}

fn start_apiserver(cluster: &Cluster, etcd: &Leashed) -> Result<Leashed, String> {
    let mut server = Leashed::start(Tool::KubeApiserver.path()?, &[], |directory| {
        cluster.prepare(directory, etcd)
    })?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        thread::sleep(Duration::from_millis(100));
        let problem = match server.ended() {
            Some(status) => format!("ended with {status}"),
            None if is_ready(cluster, server.directory())? => return Ok(server),
            None if Instant::now() > deadline => format!("was not ready after {} s", PATIENCE.as_secs()),
            None => continue,
        };
        return Err(format!(
            "kube-apiserver of `{}` {problem}; the end of its log:\n{}\nand of etcd's:\n{}",
            cluster.name,
            server.log_tail(),
            etcd.log_tail(),
        ));
    }
}

fn is_ready(cluster: &Cluster, directory: &Path) -> Result<bool, String> {
    // Far cheaper than kubectl, of which three at a time would slow the servers.
    if TcpStream::connect(cluster.address).is_err() {
        return Ok(false);
    }
    let ready = Command::new(Tool::Kubectl.path()?)
        .args(["get", "--raw=/readyz", "--request-timeout=5s"])
        .env("KUBECONFIG", directory.join("kubeconfig"))
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match ready {
        Ok(status) => Ok(status.success()),
        Err(err) => Err(format!("failed to run kubectl: {err}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_from_other_failures() {
        let etcd = start_etcd().expect("etcd starts");
        let cluster = Cluster::new("unlucky").expect("there is a free port");
        let _thief = TcpListener::bind(cluster.address).expect("the port is still free");
        let err = start_apiserver(&cluster, &etcd).expect_err("the port is taken");
        assert!(err.contains(PORT_TAKEN), "{err}");
    }
}
