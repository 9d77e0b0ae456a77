//! Holds what broken runs have said against what they left behind.

use std::{collections::BTreeSet, fmt};

use crate::{
    complaints::Complaints,
    run::{BOUND, Broken},
    scenario::{Prints, Site, Step},
    snapshot::Snapshot,
};

/// Holds what a broken run said against what it found and left.
pub(crate) fn judge(
    step: &Step,
    site: &Site<'_>,
    run: &Broken,
    seen: [&Snapshot; 2],
    complaints: &Complaints,
) {
    let complain = |kind: &str, shown: &dyn fmt::Display| complaints.add(&run.point, kind, shown);
    let waits = step.meanwhile.is_some();
    // It may have found what it waits for at the first look after that came.
    let may_be_missed = waits && run.point.is_of_another_look();
    if !run.struck && !may_be_missed {
        complain("the request never came", &"");
    }
    let Some(transcript) = &run.transcript else {
        return;
    };
    let wanted = run.point.exit_codes(waits);
    if !transcript.code.is_some_and(|code| wanted.contains(&code)) {
        complain(&format!("the exit code is not in {wanted:?}"), transcript);
    }
    if transcript.duration > BOUND {
        complain("it took too long", &transcript.duration.as_secs());
    }
    let shown = format!("{}{}", transcript.stdout, transcript.stderr);
    let obeyed = |c: char| c.is_control() && c != '\n';
    if shown.contains(obeyed) || shown.contains("panicked") {
        complain("it shows what it should not", transcript);
    }
    if transcript.code == Some(1) {
        let place = format!("where: context \"{}\", ", run.point.context());
        if !transcript.stderr.contains(&place) {
            complain("its error names no context and object", transcript);
        }
        if !transcript.stderr.contains("hint: ") {
            complain("its error has no hint", transcript);
        }
    }
    let goes_on = "error: interrupted\n  hint: run the same command again to go on\n";
    if transcript.code == Some(130) && !transcript.stderr.ends_with(goes_on) {
        complain("it does not say that it was interrupted", transcript);
    }
    if !run.begun.is_empty() {
        complain("it goes on to write", &format!("{:?}\n{transcript}", run.begun));
    }
    let [before, after] = seen.map(|snapshot| snapshot.versions(&site.namespace));
    match step.prints {
        Prints::Report => {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let told = |line: &str| {
                    let words: Vec<_> = line.split_whitespace().collect();
                    matches!(*words.as_slice(), [context, object, "created" | "configured" | "failed"]
                        if (context, object) == *key)
                };
                if before.get(key) != after.get(key) && !transcript.stdout.lines().any(told) {
                    let (context, object) = key;
                    let shown = format!("{object} in {context}\n{transcript}");
                    complain("it does not say what it wrote", &shown);
                }
            }
            for line in transcript.stdout.lines() {
                let words: Vec<_> = line.split_whitespace().collect();
                let versions = |context, object| {
                    let key = &(context, object);
                    (before.get(key), after.get(key))
                };
                let is_true = match *words.as_slice() {
                    [context, object, "created"] => {
                        matches!(versions(context, object), (None, Some(_)))
                    }
                    [context, object, "configured"] => {
                        matches!(versions(context, object), (Some(old), Some(new)) if old != new)
                    }
                    [context, object, "unchanged"] => {
                        matches!(versions(context, object), (Some(old), Some(new)) if old == new)
                    }
                    [context, object, "not", "tried"] => {
                        let (old, new) = versions(context, object);
                        old == new
                    }
                    [_, _, "failed"] => true,
                    _ => false,
                };
                if !is_true {
                    complain("its report is not true", &format!("{line}\n{transcript}"));
                }
            }
        }
        Prints::Line(wanted) => {
            let wanted = if transcript.code == Some(0) { wanted } else { "" };
            if transcript.stdout != wanted {
                complain(&format!("it does not print {wanted:?}"), transcript);
            }
        }
    }
    // Whoever checks first and then writes has written nothing yet.
    let [files_before, files_after] = &run.files;
    let wrote = before != after || files_before != files_after;
    if transcript.code != Some(0) && run.point.is_before_writes() && wrote && !waits {
        complain("it wrote before all was checked", transcript);
    }
}
