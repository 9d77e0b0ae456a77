use time::macros::datetime;

use super::*;
use crate::{
    issue::{Authority, LIFETIME},
    key::{Algorithm, PrivateKey},
    names::Names,
};

fn root() -> Certificate {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).expect("is made");
    let (names, now) = (Names::root("gloo-mesh"), datetime!(2026-01-01 0:00 UTC));
    let root = Authority::root(key, &names, LIFETIME, now).expect("is issued");
    root.certificate().clone()
}

/// Three roots, by their letters.
struct World([Certificate; 3]);

impl World {
    fn certificate(&self, letter: char) -> Certificate {
        self.0["abc".find(letter).expect("is a, b or c")].clone()
    }

    /// `trusts` are the places of a fleet, such as `ab a`: one trusts both.
    fn seen(&self, trusts: &str, server: char, signing: char, next: Option<char>) -> Seen {
        let places = trusts.split_whitespace().enumerate();
        Seen {
            trusts: places
                .map(|(i, letters)| Trust {
                    place: format!("place {i}"),
                    certificates: letters.chars().map(|letter| self.certificate(letter)).collect(),
                })
                .collect(),
            served: vec![
                (Child::Server, self.certificate(server)),
                (Child::Signing, self.certificate(signing)),
            ],
            next: next.map(|letter| self.certificate(letter)),
        }
    }

    /// In the same letters, and what is issued; or what the error says.
    fn shown(&self, outcome: Result<Outcome>) -> String {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return error.to_string(),
        };
        let letter = |certificate: &Certificate| {
            let at = self.0.iter().position(|known| known == certificate);
            &"abc"[at.expect("is known")..][..1]
        };
        let places = outcome
            .trusts
            .iter()
            .map(|trust| trust.iter().map(letter).collect());
        let mut words: Vec<String> = places.collect();
        words.extend(outcome.issues.iter().map(|child| match child {
            Child::Server => "+server".to_owned(),
            Child::Signing => "+signing".to_owned(),
        }));
        words.join(" ")
    }
}

#[test]
fn every_turn_has_its_time() {
    let world = World([root(), root(), root()]);
    let check = |turn, (trusts, server, signing, next): (&str, char, char, Option<char>), want: &str| {
        let seen = world.seen(trusts, server, signing, next);
        let got = world.shown(match turn {
            Some(turn) => seen.take(turn),
            None => seen.abort(),
        });
        match want.strip_prefix("error: ") {
            Some(want) => assert!(got.contains(want), "{turn:?} {trusts}: {got}"),
            None => assert_eq!(got, want, "{turn:?} {trusts}"),
        }
    };
    let (publish, issue, retire) = (Some(Turn::Publish), Some(Turn::Issue), Some(Turn::Retire));
    let abort = None;

    check(publish, ("a a a", 'a', 'a', Some('b')), "ab ab ab");
    check(publish, ("ab a a", 'a', 'a', Some('b')), "ab ab ab");
    check(publish, ("ab ab ab", 'a', 'a', Some('b')), "ab ab ab");
    check(publish, ("ab ab ab", 'a', 'a', None), "ab ab ab");
    check(publish, ("ab ab ab", 'b', 'b', Some('b')), "ab ab ab");
    check(publish, ("a a a", 'a', 'a', None), "error: there is no new root");
    check(
        publish,
        ("ab a a", 'a', 'a', None),
        "error: the directory does not have it",
    );
    check(
        publish,
        ("ab a a", 'a', 'a', Some('c')),
        "error: the new root is ",
    );
    check(
        publish,
        ("b b", 'b', 'b', Some('b')),
        "error: is the one in use already",
    );
    check(
        publish,
        ("ab b ab", 'b', 'b', Some('b')),
        "error: place 1 does not trust the old root any more",
    );
    check(
        publish,
        ("a b a", 'a', 'a', Some('b')),
        "error: clusters trust different roots",
    );
    check(
        publish,
        ("abc a a", 'a', 'a', Some('b')),
        "error: more than an old and a new root",
    );
    check(
        publish,
        ("ab ba", 'a', 'a', Some('b')),
        "error: it cannot be told which root is the new one",
    );
    check(
        publish,
        ("", 'a', 'a', Some('b')),
        "error: no cluster trusts any root",
    );

    check(issue, ("ab ab", 'a', 'a', Some('b')), "ab ab +server +signing");
    check(issue, ("ab ab", 'b', 'a', Some('b')), "ab ab +signing");
    check(issue, ("ab ab", 'b', 'b', None), "ab ab");
    check(
        issue,
        ("ab a", 'a', 'a', Some('b')),
        "error: place 1 does not trust the new root",
    );
    check(
        issue,
        ("ab a a", 'a', 'a', Some('b')),
        "error: place 2 does not trust the new root",
    );
    check(
        issue,
        ("a a", 'a', 'a', Some('b')),
        "error: begin with `--step publish`",
    );
    check(
        issue,
        ("ab b", 'b', 'b', Some('b')),
        "error: finish with `--step retire`",
    );

    check(retire, ("ab ab", 'b', 'b', Some('b')), "b b");
    check(retire, ("ab b", 'b', 'b', None), "b b");
    check(retire, ("b b", 'b', 'b', Some('b')), "b b");
    check(retire, ("b b", 'b', 'b', None), "b b");
    check(
        retire,
        ("ab ab", 'b', 'a', None),
        "error: the signing certificate still comes from the old root",
    );
    check(
        retire,
        ("ab ab", 'a', 'a', None),
        "error: the server's certificate still comes from the old root",
    );
    check(
        retire,
        ("a a", 'a', 'a', Some('b')),
        "error: begin with `--step publish`",
    );

    check(abort, ("ab a", 'a', 'a', Some('b')), "a a");
    check(abort, ("ab ab", 'a', 'a', None), "a a");
    check(abort, ("a a", 'a', 'a', Some('b')), "a a");
    check(
        abort,
        ("ab ab", 'a', 'b', Some('b')),
        "error: the signing certificate comes from the new root already",
    );
    check(
        abort,
        ("ab b", 'b', 'b', Some('b')),
        "error: finish with `--step retire`",
    );
}

#[test]
fn a_root_is_made_once() {
    let world = World([root(), root(), root()]);
    let needs = |trusts, next| world.seen(trusts, 'a', 'a', next).needs_root();
    assert!(needs("a a", None));
    assert!(!needs("a a", Some('b')));
    assert!(!needs("ab a", None));
}
