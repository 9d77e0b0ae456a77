//! The flow of `inspect`: read files or one Secret, judge, tell in detail.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::Secret;
use relay_shared::{
    Error, ExitCode, Result,
    args::ClusterArgs,
    certificate::Certificate,
    chain::Chain,
    cluster::{Cluster, ObjectRef},
    escape,
    findings::{Findings, Severity},
    output::Table,
    path_validation,
    relay::RelayHost,
    render,
    soundness::{self, Purpose},
    terminal,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use crate::{cli::InspectArgs, directory, found::Pair, key::StoredKey, names, secrets};

/// One file or field, and what is to be said about it.
struct Exhibit {
    /// Its name, as the beginning of a sentence.
    name: String,
    certificates: Vec<Certificate>,
    key: Option<StoredKey>,
    /// What is wrong with what could not be read.
    unreadable: Vec<String>,
}

/// An exhibit and the verdict on it.
struct Judged {
    exhibit: Exhibit,
    purpose: &'static str,
    findings: Findings,
}

pub(crate) async fn run(flags: &ClusterArgs, args: &InspectArgs) -> Result<ExitCode> {
    let table = args.output.table()?;
    let now = OffsetDateTime::now_utc();
    let host = RelayHost::of(args.service.service.as_deref(), &flags.namespace);
    let mut exhibits = Vec::new();
    for path in &args.paths {
        exhibits.extend(read(path)?);
    }
    if let Some(secret) = &args.secret {
        let cluster = Cluster::management(&flags.load()?, flags)?;
        exhibits.extend(of_secret(&cluster, &flags.namespace, secret).await?);
    }
    if let Some(path) = &args.key {
        let [exhibit] = exhibits.as_mut_slice() else {
            return Err(Error::usage("--key belongs to one file of certificates"));
        };
        exhibit.key = Some(named(path, directory::read_key(path, "")?)?);
    }

    let mut trusted = match &args.ca_cert {
        Some(path) => named(path, directory::read_certificates(path, "")?)?,
        None => Vec::new(),
    };
    if trusted.is_empty() {
        let bundles = exhibits.iter().filter(|exhibit| exhibit.is_bundle());
        trusted.extend(bundles.flat_map(|bundle| bundle.certificates.clone()));
    }
    let judge = |exhibit| judge(exhibit, &trusted, &host.to_string(), now);
    let mut judged: Vec<_> = exhibits.into_iter().map(judge).collect();
    find_twins(&mut judged);

    let document =
        || json!({ "inspected": judged.iter().map(|judged| judged.document(now)).collect::<Vec<_>>() });
    let shown = match table {
        Some(Table::Document(format)) => render::documents(&[document()], &format)?,
        Some(Table::Wide) | None => {
            let texts: Vec<_> = judged.iter().map(|judged| judged.text(now)).collect();
            texts.join("\n")
        }
    };
    terminal::data(&shown)?;
    if trusted.is_empty() {
        terminal::story("No chain was followed, as no root is among these: give it with --ca-cert.");
    }
    let certificates = || judged.iter().flat_map(|judged| &judged.exhibit.certificates);
    let due = certificates().any(|certificate| certificate.not_after() - now < args.expires_within);
    Ok(
        match judged.iter().any(|judged| judged.findings.error().is_some()) {
            true => ExitCode::CheckFailed,
            false if due => ExitCode::DueSoon,
            false => ExitCode::Done,
        },
    )
}

/// What a path names: a file, or a PKI directory.
fn read(path: &Path) -> Result<Vec<Exhibit>> {
    if path.is_dir() {
        let files = directory::read(path)?;
        let root = files.root;
        let mut exhibits = vec![Exhibit {
            name: root.place,
            certificates: root.certificates,
            key: root.key,
            unreadable: Vec::new(),
        }];
        exhibits.extend([files.server, files.signing].map(Exhibit::of_pair));
        exhibits.retain(|exhibit| !exhibit.certificates.is_empty() || exhibit.key.is_some());
        return match exhibits.is_empty() {
            true => Err(
                Error::new(format!("{} holds none of the relay's files", path.display()))
                    .hint("give certificates by their names, or the --pki-dir of init"),
            ),
            false => Ok(exhibits),
        };
    }
    let text = fs::read(path).map(Zeroizing::new);
    let text = text.map_err(|e| Error::new(format!("cannot read {}: {e}", path.display())))?;
    let certificates = Certificate::all_from_pem(&text)
        .map_err(|defect| Error::new(format!("{} {defect}", path.display())))?;
    Ok(vec![Exhibit {
        name: path.display().to_string(),
        certificates,
        // A file may hold both.
        key: StoredKey::from_pem(&text).ok(),
        unreadable: Vec::new(),
    }])
}

/// What a Secret holds: `ca.crt`, and `tls.crt` with its key.
async fn of_secret(cluster: &Cluster, namespace: &str, name: &str) -> Result<Vec<Exhibit>> {
    let object = ObjectRef::new::<Secret>(namespace, name);
    let secret = cluster.get::<Secret>(&object).await?.ok_or_else(|| {
        Error::new("the secret is not there")
            .context(cluster.context())
            .object(&object)
    })?;
    let leaks = secrets::leaks(&secret.metadata, "tls.key");
    let mut data = secret.data.unwrap_or_default();
    let key = data.remove("tls.key").map(|key| Zeroizing::new(key.0));
    let mut exhibits = Vec::new();
    for field in ["ca.crt", "tls.crt"] {
        let Some(text) = data.get(field) else { continue };
        let mut exhibit = Exhibit {
            name: format!("{field} of secret {name}"),
            certificates: Vec::new(),
            key: None,
            unreadable: Vec::new(),
        };
        match Certificate::all_from_pem(&text.0) {
            Ok(certificates) => exhibit.certificates = certificates,
            Err(defect) => exhibit.unreadable.push(defect),
        }
        exhibits.push(exhibit);
    }
    let Some(last) = exhibits.last_mut() else {
        return Err(Error::new("the secret holds neither ca.crt nor tls.crt")
            .context(cluster.context())
            .object(object));
    };
    match key.map(|key| StoredKey::from_pem(&key)) {
        None => {}
        Some(Ok(key)) => last.key = Some(key),
        Some(Err(defect)) => last.unreadable.push(format!("has a key that {defect}")),
    }
    if leaks {
        terminal::story(&format!(
            "warning: secret {name} has a copy of its data in an annotation of kubectl apply, \
             which more people may read: init removes it when it changes the secret"
        ));
    }
    Ok(exhibits)
}

/// An issuer must not give a serial number twice.
fn find_twins(judged: &mut [Judged]) {
    for at in 1..judged.len() {
        let (before, after) = judged.split_at_mut(at);
        let Some(one) = after[0].exhibit.certificates.first() else {
            continue;
        };
        let others = before
            .iter()
            .filter_map(|judged| judged.exhibit.certificates.first());
        let twins = others
            .filter(|other| *other != one)
            .map(|other| soundness::of_twins(one, other));
        let twins: Vec<_> = twins.collect();
        twins
            .into_iter()
            .for_each(|twins| after[0].findings.extend(twins));
    }
}

fn named<T>(path: &Path, content: Option<T>) -> Result<T> {
    content.ok_or_else(|| Error::new(format!("{} is not there", path.display())))
}

fn judge(exhibit: Exhibit, trusted: &[Certificate], host: &str, now: OffsetDateTime) -> Judged {
    let key = match &exhibit.key {
        Some(StoredKey::Plain(key)) => Some(key.public_key()),
        _ => None,
    };
    let mut certificates = exhibit.certificates.iter().cloned();
    let (purpose, mut findings) = match certificates.next() {
        None => ("unreadable", Findings::default()),
        Some(_) if exhibit.is_bundle() => ("trusted", soundness::of_bundle(&exhibit.certificates, key, now)),
        Some(leaf) => {
            let purpose = Purpose::of(&leaf, host);
            let chain = Chain::new(leaf, certificates.collect());
            let trusted = (!trusted.is_empty()).then_some(trusted);
            (
                purpose.name(),
                path_validation::of_chain(&chain, key, trusted, purpose, now),
            )
        }
    };
    for defect in &exhibit.unreadable {
        findings.add(Severity::Error, defect);
    }
    Judged {
        exhibit,
        purpose,
        findings,
    }
}

impl Exhibit {
    fn of_pair(pair: Pair) -> Self {
        let chain = pair.chain.as_ref();
        let certificates = chain.map(|chain| chain.certificates().cloned().collect());
        let lonely = chain.is_none().then(|| "is not there, and its key is".to_owned());
        Self {
            name: pair.place,
            certificates: certificates.unwrap_or_default(),
            unreadable: lonely.filter(|_| pair.key.is_some()).into_iter().collect(),
            key: pair.key.map(StoredKey::Plain),
        }
    }

    /// Whether it is for peers to trust, as `ca.crt` is.
    fn is_bundle(&self) -> bool {
        self.name.starts_with("ca.crt ") || self.certificates.iter().any(Certificate::is_root)
    }

    /// What is to be said about the key.
    fn key_state(&self) -> Option<&'static str> {
        Some(match self.key.as_ref()? {
            StoredKey::Encrypted(_) => "encrypted, not compared",
            StoredKey::Plain(key) => match self.certificates.iter().any(|c| c.is_for(key.public_key())) {
                true => "belongs to it",
                false => "belongs to another certificate",
            },
        })
    }
}

impl Judged {
    fn text(&self, now: OffsetDateTime) -> String {
        let mut text = format!("{} ({})\n", self.exhibit.name, self.purpose);
        for (at, certificate) in self.exhibit.certificates.iter().enumerate() {
            if at > 0 {
                text.push_str("  then\n");
            }
            for (label, value) in facts(certificate, now) {
                text.push_str(&format!("  {label:12}{value}\n"));
            }
        }
        if let Some(state) = self.exhibit.key_state() {
            text.push_str(&format!("  {:12}{state}\n", "private key"));
        }
        for finding in self.findings.all() {
            text.push_str(&format!(
                "  {:12}{}\n",
                format!("{}:", finding.severity),
                finding.what
            ));
        }
        escape::printable(&text).into_owned()
    }

    /// What `-o json` has of it: `certificates` the leaf first, `findings` each with
    /// `severity` (`error`, `warning`) and `what`, the end of a sentence about `name`.
    fn document(&self, now: OffsetDateTime) -> Value {
        let certificates = self.exhibit.certificates.iter().map(|certificate| {
            let x509 = certificate.x509();
            json!({
                "subject": certificate.subject(),
                "issuer": x509.issuer().to_string(),
                "serial": x509.raw_serial_as_string(),
                "notBefore": stamp(certificate.not_before()),
                "notAfter": stamp(certificate.not_after()),
                "daysLeft": (certificate.not_after() - now).whole_days(),
                "key": certificate.key_kind().to_string(),
                "isCA": x509.is_ca(),
                "usages": certificate.usages(),
                "names": names::alternatives(certificate).iter().map(names::shown).collect::<Vec<_>>(),
                "sha256": certificate.fingerprint().to_string(),
            })
        });
        let findings = self
            .findings
            .all()
            .iter()
            .map(|finding| json!({ "severity": finding.severity.to_string(), "what": finding.what }));
        json!({
            "name": self.exhibit.name,
            "purpose": self.purpose,
            "certificates": certificates.collect::<Vec<_>>(),
            "privateKey": self.exhibit.key_state(),
            "findings": findings.collect::<Vec<_>>(),
            "sound": self.findings.error().is_none(),
        })
    }
}

fn facts(certificate: &Certificate, now: OffsetDateTime) -> Vec<(&'static str, String)> {
    let x509 = certificate.x509();
    let (from, to) = (certificate.not_before(), certificate.not_after());
    let left = (to - now).whole_days();
    let mut facts = vec![
        ("subject", certificate.subject()),
        ("issuer", x509.issuer().to_string()),
        ("serial", x509.raw_serial_as_string()),
        (
            "valid",
            format!("{} to {}, {left} days left", from.date(), to.date()),
        ),
        ("key", certificate.key_kind().to_string()),
    ];
    let usages = certificate.usages();
    if !usages.is_empty() {
        facts.push(("usages", usages.join(", ")));
    }
    for (at, name) in names::alternatives(certificate).iter().enumerate() {
        facts.push((if at == 0 { "names" } else { "" }, names::shown(name)));
    }
    facts.push(("SHA-256", certificate.fingerprint().to_string()));
    facts
}

fn stamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339)
        .expect("a certificate's year has four digits")
}
