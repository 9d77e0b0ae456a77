//! DNS names, as the agents' Go compares them.

use x509_parser::extensions::{GeneralName, GeneralSubtree};

/// Whether a certificate's name is the host's, as Go's `matchHostnames` decides it:
/// a wildcard stands for one whole label, the first.
pub(crate) fn covers(name: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let labels = host.split_once('.').filter(|(first, _)| !first.is_empty());
    let rest = labels.map(|(_, rest)| rest);
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .is_some_and(|name| rest.is_some_and(|rest| name.eq_ignore_ascii_case(rest)))
}

/// The DNS names among constraints; others do not bear on what we issue.
pub(crate) fn subtrees<'a>(trees: Option<&[GeneralSubtree<'a>]>) -> Vec<&'a str> {
    let bases = trees
        .unwrap_or_default()
        .iter()
        .filter_map(|tree| match tree.base {
            GeneralName::DNSName(base) => Some(base),
            _ => None,
        });
    bases.collect()
}

/// Whether a DNS name is a subtree's, or of a name below it (RFC 5280, section
/// 4.2.1.10).
pub(crate) fn is_within(name: &str, subtree: &str) -> bool {
    let (name, subtree) = (
        name.to_ascii_lowercase(),
        subtree.trim_start_matches('.').to_ascii_lowercase(),
    );
    subtree.is_empty() || name == subtree || name.ends_with(&format!(".{subtree}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_whole_label() {
        #[track_caller]
        fn check(name: &str, host: &str, want: bool) {
            assert_eq!(covers(name, host), want, "{name} for {host}");
        }
        check("a.mesh", "a.mesh", true);
        check("A.Mesh", "a.mesh", true);
        check("a.mesh", "a.mesh.", true);
        check("*.mesh", "a.mesh.", true);
        check("*.", "a.", false);
        check("a.mesh", "a", false);
        check("*.mesh", "a.mesh", true);
        check("*.mesh", "a.b.mesh", false);
        check("*.mesh", "mesh", false);
        check("*.mesh", ".mesh", false);
        check("*.b.mesh", "a.b.mesh", true);
        check("a*.mesh", "ab.mesh", false);
        check("b.*.mesh", "b.a.mesh", false);
        check("*", "a", false);
        check("", "a", false);
    }

    #[test]
    fn a_subtree_is_a_name_and_all_below_it() {
        #[track_caller]
        fn check(name: &str, subtree: &str, want: bool) {
            assert_eq!(is_within(name, subtree), want, "{name} within {subtree}");
        }
        check("mesh", "mesh", true);
        check("a.b.MESH", "mesh", true);
        check("a.mesh", ".mesh", true);
        check("amesh", "mesh", false);
        check("mesh", "a.mesh", false);
        check("anything", "", true);
    }
}
