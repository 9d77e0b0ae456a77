//! Which turn of a root's rotation may be taken, and what every `ca.crt` holds after
//! it: a pure decision about what clusters trust and serve by now.
//!
//! A root is replaced in three turns, so that no agent is ever refused: every cluster
//! trusts the new root beside the old one (publish), the server's certificates come
//! from the new one (issue), nobody trusts the old one any more (retire). What is seen
//! tells how far it has come; there is no other record of it.

use relay_shared::{Error, Result, certificate::Certificate};

use crate::{found::Trust, role::Child};

/// A turn of the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Turn {
    /// Every cluster trusts the new root, too
    Publish,
    /// Server and signing certificate come from the new root
    Issue,
    /// No cluster trusts the old root any more
    Retire,
}

/// What the clusters trust and serve by, and the new root that is on disk.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Every `ca.crt` there is.
    pub(crate) trusts: Vec<Trust>,
    /// The root that each certificate of the management cluster leads to.
    pub(crate) served: Vec<(Child, Certificate)>,
    /// The new root of the PKI directory.
    pub(crate) next: Option<Certificate>,
}

/// What a turn comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What each `ca.crt` is to hold, in the order they were seen.
    pub(crate) trusts: Vec<Vec<Certificate>>,
    /// Which certificates are issued anew.
    pub(crate) issues: Vec<Child>,
}

/// The two roots of a rotation that is under way.
struct Pair<'a> {
    old: &'a Certificate,
    new: &'a Certificate,
}

impl Seen {
    /// Whether publishing has to make a root first: neither does any cluster trust a
    /// second one, nor is one on disk.
    pub(crate) fn needs_root(&self) -> bool {
        self.next.is_none() && self.roots().len() < 2
    }

    /// What a turn comes to; where it was taken before, what is there stays.
    ///
    /// # Errors
    /// If it is not the time for it, with every place that is behind or ahead.
    pub(crate) fn take(&self, turn: Turn) -> Result<Outcome> {
        match turn {
            Turn::Publish => self.publish(),
            Turn::Issue => self.issue(),
            Turn::Retire => self.retire(),
        }
    }

    /// Whether any `ca.crt` changes.
    pub(crate) fn is_changed_by(&self, outcome: &Outcome) -> bool {
        let trusts = self.trusts.iter().map(|trust| &trust.certificates);
        trusts.ne(&outcome.trusts)
    }

    /// What takes publishing back.
    ///
    /// # Errors
    /// If a certificate comes from the new root already.
    pub(crate) fn abort(&self) -> Result<Outcome> {
        let Some(pair) = self.pair()? else {
            return Ok(self.stay());
        };
        self.none_retired(&pair)?;
        if let Some(what) = self.issued_by(pair.new).first() {
            return Err(Error::new(format!("the {what} comes from the new root already"))
                .hint("only publishing can be taken back: go on with `--step issue`, then `--step retire`"));
        }
        Ok(self.trust(|trust| without(&trust.certificates, pair.new)))
    }

    /// The root that takes over, once clusters trust it.
    ///
    /// # Errors
    /// If it cannot be told which one that is.
    pub(crate) fn new_root(&self) -> Result<Option<&Certificate>> {
        Ok(self.pair()?.map(|pair| pair.new))
    }

    fn publish(&self) -> Result<Outcome> {
        let pair = match (self.pair()?, &self.next) {
            (Some(pair), _) if self.lacking(pair.new).is_empty() => {
                self.none_retired(&pair)?;
                return Ok(self.stay());
            }
            (Some(pair), Some(next)) if pair.new == next => pair,
            (Some(pair), next) => {
                let elsewhere = match next {
                    Some(next) => format!(
                        "the new root is {}, and the directory has {}",
                        pair.new.fingerprint(),
                        next.fingerprint()
                    ),
                    None => format!(
                        "some clusters trust the new root {}, and the directory does not have it",
                        pair.new.fingerprint()
                    ),
                };
                return Err(Error::new(elsewhere).hint(
                    "give the --pki-dir that the new root was made in, or take it back with `--abort`",
                ));
            }
            (None, Some(new)) if self.only_root()? == new => {
                return Err(Error::new(format!(
                    "the new root of the directory is the one in use already: {}",
                    new.fingerprint()
                ))
                .hint(
                    "a rotation was finished elsewhere: `--step retire` with this --pki-dir gives its \
                     files their final names, and another rotation can begin",
                ));
            }
            (None, Some(new)) => Pair {
                old: self.only_root()?,
                new,
            },
            (None, None) => return Err(Error::new("there is no new root to publish")),
        };
        self.none_retired(&pair)?;
        Ok(self.trust(|trust| match trust.certificates.contains(pair.new) {
            true => trust.certificates.clone(),
            false => [&trust.certificates[..], std::slice::from_ref(pair.new)].concat(),
        }))
    }

    fn issue(&self) -> Result<Outcome> {
        let Some(pair) = self.pair()? else {
            return Err(Error::new("no cluster trusts a new root yet").hint("begin with `--step publish`"));
        };
        self.none_retired(&pair)?;
        let lacking = self.lacking(pair.new);
        if !lacking.is_empty() {
            return Err(behind("does not trust the new root", &lacking)
                .hint("run `--step publish` again, for all clusters"));
        }
        let behind = self.served.iter().filter(|(_, root)| root != pair.new);
        Ok(Outcome {
            issues: behind.map(|(child, _)| *child).collect(),
            ..self.stay()
        })
    }

    fn retire(&self) -> Result<Outcome> {
        let Some(pair) = self.pair()? else {
            return match &self.next {
                Some(next) if !self.roots().contains(&next) => {
                    Err(Error::new("no cluster trusts the new root yet")
                        .hint("begin with `--step publish`; there is nothing to retire before"))
                }
                _ => Ok(self.stay()),
            };
        };
        if let Some(what) = self.issued_by(pair.old).first() {
            return Err(Error::new(format!("the {what} still comes from the old root"))
                .hint("run `--step issue` first"));
        }
        Ok(self.trust(|trust| {
            let kept = trust.certificates.iter();
            kept.filter(|c| *c == pair.new || c.is_signed_by(pair.new))
                .cloned()
                .collect()
        }))
    }

    /// The old and the new root, if there are two.
    fn pair(&self) -> Result<Option<Pair<'_>>> {
        let roots = self.roots();
        let [first, second] = match roots[..] {
            [] => {
                return Err(
                    Error::new("no cluster trusts any root").hint("run `kubectl relay-certs init` first")
                );
            }
            [_] => return Ok(None),
            [first, second] => [first, second],
            _ => return Err(self.disagreement("clusters trust more than an old and a new root")),
        };
        // Who trusts both says which is which: a new root is always added at the end.
        let orders = self.trusts.iter().filter_map(|trust| {
            let at = |root| trust.certificates.iter().position(|c| c == root);
            Some(at(first)? < at(second)?)
        });
        let orders: Vec<bool> = orders.collect();
        match orders.as_slice() {
            [] => Err(self.disagreement("clusters trust different roots")),
            [is_first, more @ ..] if more.iter().all(|other| other == is_first) => Ok(Some(match is_first {
                true => Pair {
                    old: first,
                    new: second,
                },
                false => Pair {
                    old: second,
                    new: first,
                },
            })),
            _ => Err(self.disagreement("it cannot be told which root is the new one")),
        }
    }

    /// The root that all clusters trust, where there is one alone.
    ///
    /// # Errors
    /// If no cluster trusts any.
    pub(crate) fn only_root(&self) -> Result<&Certificate> {
        self.roots()
            .first()
            .copied()
            .ok_or_else(|| Error::new("no cluster trusts any root"))
    }

    /// Every root that is trusted anywhere, once.
    fn roots(&self) -> Vec<&Certificate> {
        let mut roots = Vec::new();
        for certificate in self.trusts.iter().flat_map(|trust| &trust.certificates) {
            if certificate.is_root() && !roots.contains(&certificate) {
                roots.push(certificate);
            }
        }
        roots
    }

    /// The certificates in use that lead to a root, as messages name them.
    fn issued_by(&self, root: &Certificate) -> Vec<&'static str> {
        let issued = self.served.iter().filter(|(_, leads_to)| leads_to == root);
        let name = |(child, _): &(Child, Certificate)| match child {
            Child::Server => "server's certificate",
            Child::Signing => "signing certificate",
        };
        issued.map(name).collect()
    }

    fn lacking(&self, root: &Certificate) -> Vec<&Trust> {
        self.trusts
            .iter()
            .filter(|trust| !trust.certificates.contains(root))
            .collect()
    }

    /// Retiring, once begun, can only be finished.
    fn none_retired(&self, pair: &Pair<'_>) -> Result<()> {
        match self.lacking(pair.old) {
            none if none.is_empty() => Ok(()),
            ahead => Err(behind("does not trust the old root any more", &ahead)
                .hint("finish with `--step retire`, for all clusters")),
        }
    }

    fn disagreement(&self, message: &str) -> Error {
        let causes = self.trusts.iter().map(|trust| {
            let roots = trust.certificates.iter().map(|c| c.fingerprint().to_string());
            Error::new(format!(
                "{} has {}",
                trust.place,
                roots.collect::<Vec<_>>().join(" and ")
            ))
        });
        Error::new(message)
            .causes(causes)
            .hint("`kubectl relay-certs status` shows who trusts what")
    }

    fn stay(&self) -> Outcome {
        self.trust(|trust| trust.certificates.clone())
    }

    fn trust(&self, becomes: impl Fn(&Trust) -> Vec<Certificate>) -> Outcome {
        Outcome {
            trusts: self.trusts.iter().map(becomes).collect(),
            issues: Vec::new(),
        }
    }
}

fn without(certificates: &[Certificate], root: &Certificate) -> Vec<Certificate> {
    let kept = certificates
        .iter()
        .filter(|c| *c != root && !c.is_signed_by(root));
    kept.cloned().collect()
}

fn behind(what: &str, places: &[&Trust]) -> Error {
    match places {
        [place] => Error::new(format!("{} {what}", place.place)),
        places => Error::new(format!("{} places are not where they should be", places.len())).causes(
            places
                .iter()
                .map(|trust| Error::new(format!("{} {what}", trust.place))),
        ),
    }
}

#[cfg(test)]
mod tests;
