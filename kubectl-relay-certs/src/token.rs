//! The identity token: what an agent without a certificate proves itself by, the same
//! in all clusters.

use std::fmt::Write as _;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use relay_shared::{
    Error, Result,
    cluster::ObjectRef,
    findings::Findings,
    manifest::Manifest,
    owner::Owner,
    plan::{Change, Step},
};
use zeroize::Zeroizing;

use crate::secrets;

/// Where the Secret holds it, as in Gloo Mesh's charts.
const TOKEN: &str = "token";

/// A token. It is wiped when it is dropped, and has no Debug.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Zeroizing<Vec<u8>>);

/// Its Secret as it is in a cluster.
pub(crate) struct LiveToken {
    metadata: ObjectMeta,
    token: Option<Token>,
}

impl Token {
    /// 256 random bits, as 64 hexadecimal digits.
    fn generate() -> Result<Self, String> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *bytes)
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let mut digits = Zeroizing::new(String::with_capacity(64));
        for byte in *bytes {
            let _ = write!(digits, "{byte:02x}");
        }
        Ok(Self(Zeroizing::new(digits.as_bytes().to_vec())))
    }
}

impl LiveToken {
    /// Takes a Secret apart; an empty token is as good as none.
    pub(crate) fn new(secret: Secret) -> Self {
        let token = secret.data.unwrap_or_default().remove(TOKEN);
        let token = token.filter(|token| !token.0.is_empty());
        Self {
            metadata: secret.metadata,
            token: token.map(|token| Token(Zeroizing::new(token.0))),
        }
    }

    /// Who looks after its Secret.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of(&self.metadata)
    }

    /// What is to be said about it by itself.
    pub(crate) fn findings(&self) -> Findings {
        let mut findings = secrets::leak(&self.metadata, TOKEN);
        findings.error_if(self.token.is_none(), "has no token");
        findings
    }

    /// The token, if it is there.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }
}

/// The token for all clusters: the management cluster's, else the one that remotes
/// have, each with its place, else a new one.
///
/// # Errors
/// If the management cluster has none and the remotes have different ones.
pub(crate) fn decide(management: Option<&Token>, remotes: &[(String, &Token)]) -> Result<Token> {
    let known = management.or(remotes.first().map(|(_, token)| *token));
    let Some(known) = known else {
        return Token::generate().map_err(|e| Error::new(format!("cannot make an identity token: {e}")));
    };
    let other = remotes.iter().find(|(_, token)| *token != known);
    match (management, other, remotes) {
        (None, Some((other, _)), [(first, _), ..]) => Err(Error::new(format!(
            "{first} and {other} have different identity tokens, and the management cluster has none"
        ))
        .hint("delete the one that is not in use, and run again")),
        _ => Ok(known.clone()),
    }
}

/// What is to be done so that a Secret holds the token.
///
/// # Errors
/// As for [`secrets::step`].
pub(crate) fn step(
    object: ObjectRef,
    live: Option<&LiveToken>,
    token: &Token,
    take_over: bool,
) -> Result<Step> {
    let fill = |manifest: Manifest| manifest.private_data(TOKEN, token.0.clone());
    match live {
        None => Ok(secrets::create(object, fill)),
        Some(live) if live.token() == Some(token) => Ok(Step::unchanged(object)),
        Some(live) => {
            let from = live.token().map_or("", |_| "another token");
            let change = Change {
                field: TOKEN.to_owned(),
                from: from.to_owned(),
                to: "the management cluster's".to_owned(),
            };
            secrets::update(object, &live.metadata, vec![change], take_over, fill)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_one_in_use() {
        let [a, b] = [b"a", b"b"].map(|text| Token(Zeroizing::new(text.to_vec())));
        let check = |management: Option<&Token>, remotes: &[&Token], want: Result<&Token, &str>| {
            let contexts = ["east", "west"].map(str::to_owned);
            let remotes: Vec<_> = contexts.into_iter().zip(remotes.iter().copied()).collect();
            match (decide(management, &remotes), want) {
                (Ok(got), Ok(want)) => assert!(got == *want),
                (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{got}"),
                (got, _) => panic!("{:?}", got.err()),
            }
        };
        check(Some(&a), &[], Ok(&a));
        check(Some(&a), &[&b], Ok(&a));
        check(None, &[&b, &b], Ok(&b));
        check(
            None,
            &[&a, &b],
            Err("east and west have different identity tokens"),
        );
        let new = [decide(None, &[]), decide(None, &[])].map(|token| token.expect("is made"));
        assert!(new[0] != new[1]);
        let digits = std::str::from_utf8(&new[0].0).expect("is text");
        assert!(digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()));
    }
}
