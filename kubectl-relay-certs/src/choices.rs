//! What the user may choose about certificates that are issued. What is not
//! chosen is as on the page.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use rcgen::SanType;
use relay_shared::{
    Error, Result,
    certificate::{Certificate, KeyKind},
    relay::RelayHost,
};
use time::Duration;

use crate::{
    issue::LIFETIME,
    key::{Algorithm, Bits},
    names::{Names, alternatives, shown},
    role::Role,
};

/// Kind of the keys, and names: what a request for a certificate says, too.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Certificates that are made")]
pub(crate) struct RequestArgs {
    /// Kind of the keys that are made [default: rsa]
    #[arg(long, value_name = "ALGORITHM")]
    key_algorithm: Option<KeyAlgorithm>,

    /// Bits of the server's and the signing RSA key: 2048, 3072 or 4096 [default: 2048]
    #[arg(long, value_name = "BITS", value_parser = bits)]
    key_size: Option<Bits>,

    /// One more DNS name or IP address of the server; repeatable, takes commas
    #[arg(long = "san", value_name = "NAME", value_delimiter = ',', value_parser = alternative)]
    names: Vec<SanType>,

    /// Leave out the page's name *.NAMESPACE, which Go accepts and OpenSSL refuses
    #[arg(long)]
    no_wildcard: bool,
}

/// Keys, names and lifetimes of what is issued. Flattened into the commands that
/// issue.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Certificates that are made")]
pub(crate) struct ChoiceArgs {
    #[command(flatten)]
    request: RequestArgs,

    /// Bits of the root's RSA key: 2048, 3072 or 4096 [default: 4096]
    #[arg(long, value_name = "BITS", value_parser = bits)]
    root_key_size: Option<Bits>,

    /// How long the root is valid, in hours, days or years: 24h, 90d, 10y [default: 3650d]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    root_lifetime: Option<Duration>,

    /// How long the server's certificate is valid, but no longer than its issuer [default: 3650d]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    server_lifetime: Option<Duration>,

    /// How long the signing certificate is valid, but no longer than its issuer [default: 3650d]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    signing_lifetime: Option<Duration>,
}

/// A kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyAlgorithm {
    /// RSA, as on the page
    Rsa,
    /// ECDSA on the curve P-256: smaller, and faster in every handshake
    EcdsaP256,
}

/// What was chosen for a relay server of a certain name.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    pub(crate) host: RelayHost,
    args: ChoiceArgs,
}

impl RequestArgs {
    /// What was chosen, for a host.
    ///
    /// # Errors
    /// If the choices contradict each other.
    pub(crate) fn of(&self, host: RelayHost) -> Result<Choices> {
        let args = ChoiceArgs {
            request: self.clone(),
            ..ChoiceArgs::default()
        };
        args.of(host)
    }
}

impl ChoiceArgs {
    /// What was chosen, for a host.
    ///
    /// # Errors
    /// If the choices contradict each other.
    pub(crate) fn of(&self, host: RelayHost) -> Result<Choices> {
        let sized = self.root_key_size.is_some() || self.request.key_size.is_some();
        if sized && self.request.key_algorithm == Some(KeyAlgorithm::EcdsaP256) {
            return Err(Error::usage("--key-size and --root-key-size are for RSA keys")
                .hint("leave them out, as a P-256 key has one size, or ask for --key-algorithm rsa"));
        }
        Ok(Choices {
            host,
            args: self.clone(),
        })
    }
}

impl Choices {
    /// Nothing is chosen.
    pub(crate) fn none(host: RelayHost) -> Self {
        let args = ChoiceArgs::default();
        Self { host, args }
    }

    /// What kind of key a certificate is issued to.
    pub(crate) fn algorithm(&self, role: Role) -> Algorithm {
        let (asked, page) = self.size(role);
        match self.args.request.key_algorithm {
            Some(KeyAlgorithm::EcdsaP256) => Algorithm::EcdsaP256,
            Some(KeyAlgorithm::Rsa) | None => Algorithm::Rsa(asked.unwrap_or(page)),
        }
    }

    /// How long a certificate is valid.
    pub(crate) fn lifetime(&self, role: Role) -> Duration {
        self.asked_lifetime(role).1.unwrap_or(LIFETIME)
    }

    /// What was asked for in vain, if a certificate is not issued.
    pub(crate) fn unmet(&self, role: Role) -> Option<String> {
        let (flag, asked) = self.asked_lifetime(role);
        let stem = role.stem();
        asked.map(|_| format!("{flag} changes nothing: {stem} was there before and stays as it is"))
    }

    fn asked_lifetime(&self, role: Role) -> (&'static str, Option<Duration>) {
        match role {
            Role::Root => ("--root-lifetime", self.args.root_lifetime),
            Role::Server => ("--server-lifetime", self.args.server_lifetime),
            Role::Signing => ("--signing-lifetime", self.args.signing_lifetime),
        }
    }

    /// Who a certificate is issued to.
    pub(crate) fn names(&self, role: Role) -> Names {
        let namespace = self.host.namespace();
        match role {
            Role::Root => Names::root(namespace),
            Role::Signing => Names::signing(namespace),
            Role::Server => Names::server(
                &self.host,
                &self.args.request.names,
                !self.args.request.no_wildcard,
            ),
        }
    }

    /// In what a certificate is not as it was asked for, as the end of a sentence
    /// about it. What was not asked for may be anything.
    pub(crate) fn contradiction(&self, role: Role, certificate: &Certificate) -> Option<String> {
        if let Some(what) = self.contradiction_of_key(role, certificate.key_kind()) {
            return Some(what);
        }
        if role != Role::Server {
            return None;
        }
        let names = alternatives(certificate);
        if let Some(missing) = self.args.request.names.iter().find(|name| !names.contains(name)) {
            let missing = shown(missing);
            return Some(format!("is not for {missing}, and --san {missing} was asked for"));
        }
        let wildcard = format!("*.{}", self.host.namespace());
        (self.args.request.no_wildcard && certificate.dns_names().contains(&wildcard))
            .then(|| format!("has the name {wildcard}, and --no-wildcard was asked for"))
    }

    /// The same of a key alone.
    pub(crate) fn contradiction_of_key(&self, role: Role, kind: KeyKind) -> Option<String> {
        let asked = match (self.args.request.key_algorithm, self.size(role).0, kind) {
            (Some(KeyAlgorithm::EcdsaP256), _, KeyKind::Ecdsa("P-256")) => None,
            (Some(KeyAlgorithm::EcdsaP256), ..) => Some("--key-algorithm ecdsa-p256"),
            (_, Some(bits), KeyKind::Rsa(has)) if bits.count() == has => None,
            (_, Some(_), _) if role == Role::Root => Some("another --root-key-size"),
            (_, Some(_), _) => Some("another --key-size"),
            (_, None, KeyKind::Rsa(_)) => None,
            (Some(KeyAlgorithm::Rsa), None, _) => Some("--key-algorithm rsa"),
            (None, None, _) => None,
        }?;
        Some(format!("has a key of kind {kind}, and {asked} was asked for"))
    }

    /// What was asked for, and what is on the page.
    fn size(&self, role: Role) -> (Option<Bits>, Bits) {
        match role {
            Role::Root => (self.args.root_key_size, Bits::Rsa4096),
            Role::Server | Role::Signing => (self.args.request.key_size, Bits::Rsa2048),
        }
    }
}

fn bits(text: &str) -> Result<Bits, String> {
    match text {
        "2048" => Ok(Bits::Rsa2048),
        "3072" => Ok(Bits::Rsa3072),
        "4096" => Ok(Bits::Rsa4096),
        _ => Err("expected 2048, 3072 or 4096".to_owned()),
    }
}

/// A number of hours, days or years of 365 days; an hour to a hundred years.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    let expected = || "expected hours, days or years such as 24h, 90d or 10y".to_owned();
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(expected)?;
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "y" => 24 * 365,
        _ => return Err(expected()),
    };
    let number: i64 = number.parse().map_err(|_| expected())?;
    match number.checked_mul(hours) {
        Some(hours @ 1..=876_000) => Ok(Duration::hours(hours)),
        _ => Err("expected an hour at least and a hundred years at most".to_owned()),
    }
}

/// An IP address, or a DNS name that may begin with `*.`.
fn alternative(text: &str) -> Result<SanType, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(valid)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    let expected = || "expected a DNS name such as relay.example.com, or an IP address".to_owned();
    match name.len() <= 253 && name.split('.').all(label) {
        true => Ok(SanType::DnsName(
            text.to_ascii_lowercase().try_into().map_err(|_| expected())?,
        )),
        false => Err(expected()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Test {
        #[command(flatten)]
        choices: ChoiceArgs,
    }

    /// What a command line chooses.
    #[track_caller]
    pub(crate) fn choices_for(host: RelayHost, line: &str) -> Choices {
        let words = ["test"].into_iter().chain(line.split_whitespace());
        let args = Test::parse_from(words).choices;
        args.of(host).unwrap_or_else(|e| panic!("{e}"))
    }

    fn choices(line: &str) -> Choices {
        choices_for(RelayHost::new("enterprise-networking", "gloo-mesh"), line)
    }

    #[test]
    fn lifetimes_have_a_unit() {
        #[track_caller]
        fn check(text: &str, want: Option<i64>) {
            assert_eq!(lifetime(text).ok().map(Duration::whole_hours), want, "{text:?}");
        }
        check("24h", Some(24));
        check("90d", Some(2160));
        check("100y", Some(876_000));
        check("101y", None);
        check("0d", None);
        check("-1d", None);
        check("90", None);
        check("d", None);
        check("", None);
        check("9é", None);
        check("9223372036854775807y", None);
    }

    #[test]
    fn names_are_dns_names_or_addresses() {
        #[track_caller]
        fn check(text: &str, want: Option<&str>) {
            assert_eq!(
                alternative(text).ok().map(|name| shown(&name)).as_deref(),
                want,
                "{text:?}"
            );
        }
        check("relay.example.com", Some("relay.example.com"));
        check("*.Example.com", Some("*.example.com"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("2001:db8::1", Some("2001:db8::1"));
        check("a_b", None);
        check("a..b", None);
        check("-a", None);
        check("*", None);
        check("a.*.b", None);
        check("ü.example", None);
        check("", None);
    }

    #[test]
    fn what_is_not_chosen_is_as_on_the_page() {
        #[track_caller]
        fn check(line: &str, role: Role, algorithm: Algorithm, days: i64) {
            let choices = choices(line);
            let got = (choices.algorithm(role), choices.lifetime(role).whole_days());
            assert_eq!(got, (algorithm, days), "{line}");
        }
        check("", Role::Root, Algorithm::Rsa(Bits::Rsa4096), 3650);
        check("", Role::Server, Algorithm::Rsa(Bits::Rsa2048), 3650);
        check("--key-size 3072", Role::Root, Algorithm::Rsa(Bits::Rsa4096), 3650);
        check(
            "--key-size 3072",
            Role::Signing,
            Algorithm::Rsa(Bits::Rsa3072),
            3650,
        );
        check(
            "--root-key-size 2048",
            Role::Root,
            Algorithm::Rsa(Bits::Rsa2048),
            3650,
        );
        check(
            "--key-algorithm ecdsa-p256",
            Role::Root,
            Algorithm::EcdsaP256,
            3650,
        );
        check(
            "--server-lifetime 90d",
            Role::Server,
            Algorithm::Rsa(Bits::Rsa2048),
            90,
        );
        check(
            "--server-lifetime 90d",
            Role::Signing,
            Algorithm::Rsa(Bits::Rsa2048),
            3650,
        );
    }
}
