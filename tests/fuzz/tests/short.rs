//! Every target for a moment, the same way each time: the seeds, and what becomes of
//! them by small accidents.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How many inputs each target gets besides its seeds.
const INPUTS: usize = 1_000;

/// One input takes microseconds; who takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most memory that all of it may take, in KiB.
const MEMORY: u64 = 400 * 1024;

/// Pieces that say something to a parser.
const PIECES: [&str; 20] = [
    "-----BEGIN CERTIFICATE-----\n",
    "-----END PRIVATE KEY-----\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "$",
    "..",
    "[*]",
    "[?(@.",
    "{range ",
    "{end}",
    "*",
    "?",
    "&a ",
    "*a",
    "\\",
    "\u{1b}[2J",
    "99999999999999999999",
];

#[test]
fn kubeconfigs() {
    try_out("kubeconfig", relay_fuzz::kubeconfig);
}

#[test]
fn certificates_and_keys() {
    try_out("import", relay_fuzz::import);
}

#[test]
fn templates() {
    try_out("template", relay_fuzz::template);
}

#[test]
fn addresses() {
    try_out("address", relay_fuzz::address);
}

#[test]
fn patterns() {
    try_out("patterns", relay_fuzz::patterns);
}

fn try_out(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&directory).expect("there are seeds");
    let mut paths: Vec<_> = files.map(|file| file.expect("is readable").path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths
        .iter()
        .map(|path| fs::read(path).expect("is readable"))
        .collect();
    assert!(!seeds.is_empty(), "no seeds in {}", directory.display());
    seeds.iter().for_each(|seed| check(target, seed));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..INPUTS {
        let mut input = seeds[chance.below(seeds.len())].clone();
        for _ in 0..=chance.below(4) {
            chance.spoil(&mut input, &seeds);
        }
        check(target, &input);
    }
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let peak = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    let peak: u64 = peak.expect("Linux says so");
    assert!(peak < MEMORY, "{name} took {peak} KiB");
}

#[track_caller]
fn check(target: fn(&[u8]), input: &[u8]) {
    let start = Instant::now();
    let survived = std::panic::catch_unwind(|| target(input)).is_ok();
    assert!(survived, "panics on {:?}", String::from_utf8_lossy(input));
    let taken = start.elapsed();
    assert!(
        taken < PATIENCE,
        "{taken:?} for {:?}",
        String::from_utf8_lossy(input)
    );
}

/// Numbers that look random and are the same each time (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One accident.
    fn spoil(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 => input.insert(at, self.next() as u8),
            2 if at < end => drop(input.drain(at..end)),
            3 if at < end => {
                let again = input[at..end].to_vec();
                for _ in 0..1 + self.below(64) {
                    input.splice(at..at, again.iter().copied());
                }
            }
            4 => drop(input.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            5 => {
                let other = &seeds[self.below(seeds.len())];
                input.truncate(at);
                input.extend(&other[self.below(other.len() + 1)..]);
            }
            _ => input.truncate(at),
        }
        input.truncate(16 * 1024);
    }
}
