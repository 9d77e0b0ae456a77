//! What is wrong, by kind, and at which points.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    thread,
};

/// How many complaints of a kind are shown.
const SHOWN: usize = 3;

/// Most of the time is spent waiting.
const WORKERS: usize = 12;

/// What is wrong, by kind.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<String, Vec<String>>>);

impl Complaints {
    /// Takes where something is wrong, what kind of complaint it is and what shows it.
    pub(crate) fn add(&self, point: &dyn fmt::Display, kind: &str, shown: &dyn fmt::Display) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = all.entry(kind.to_owned()).or_default();
        kind.push(format!("{point}:\n{shown}"));
    }

    #[track_caller]
    pub(crate) fn tell(self, tried: usize) {
        let all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let kinds = all.iter().map(|(kind, all)| {
            let shown: Vec<_> = all.iter().take(SHOWN).map(String::as_str).collect();
            format!("{} times: {kind}\n{}", all.len(), shown.join("\n"))
        });
        let kinds: Vec<_> = kinds.collect();
        assert!(kinds.is_empty(), "of {tried} points\n{}", kinds.join("\n"));
    }
}

/// Works on all items, several at a time, and keeps their order.
pub(crate) fn side_by_side<T: Send, U: Send>(items: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let queue = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((at, item)) = next else { return };
                    let result = work(item);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
