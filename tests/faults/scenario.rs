//! Runs commands once for every way to break them, and judges what each run said and
//! left behind.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use relay_tests::{
    ControlPlane, Kubeconfig, Proxy, Shell, Transcript, fixtures,
    proxy::{Fault, Request},
};

use crate::{
    complaints::{Complaints, side_by_side},
    point::{Break, Point},
    snapshot::{Place, Snapshot, files},
};

/// How long a run may take, where a request is given up after [`Point::patience`] and
/// sent again at most three times, a second apart.
const BOUND: Duration = Duration::from_secs(30);

/// The time limit of a request that nothing delays but a loaded machine.
pub(crate) const PATIENCE: &str = "--request-timeout=30s";

/// Commands, and what each of them should leave behind.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// The contexts they work on, each a cluster of the shared control plane.
    pub(crate) contexts: &'static [&'static str],
    /// What they write besides namespaces, as API paths below `NAMESPACE`.
    pub(crate) writes: &'static [&'static str],
    /// What is there before the first of them.
    pub(crate) prepare: fn(&Shell, &str),
    /// One after the other: each begins with what the one before has left.
    pub(crate) steps: &'static [Step],
}

/// One command.
pub(crate) struct Step {
    /// Flags, without `--namespace` and `--request-timeout`.
    pub(crate) arguments: &'static [&'static str],
    /// Whether it is broken, or only on the way to the next one.
    pub(crate) is_broken: bool,
    pub(crate) prints: Prints,
    /// What somebody else does as soon as the command watches the first context.
    pub(crate) meanwhile: Option<fn(&Shell, &str)>,
    /// What is wrong with what is there after it was done.
    pub(crate) defects: fn(&Place<'_>) -> Vec<String>,
}

/// What a command's stdout is.
#[derive(Clone, Copy)]
pub(crate) enum Prints {
    /// A row for each object, and what became of it.
    Report,
    /// This line, if all went well, and nothing otherwise.
    Line(&'static str),
}

/// A machine to work from, whose way to each cluster leads through a proxy.
struct Site {
    shell: Shell,
    namespace: String,
    proxies: BTreeMap<&'static str, Proxy>,
}

/// A run that was broken.
struct Broken {
    point: Point,
    /// Whether what was to break has been broken.
    struck: bool,
    /// None of a run that was killed.
    transcript: Option<Transcript>,
    /// The files before and after.
    files: [BTreeMap<PathBuf, Vec<u8>>; 2],
}

impl Scenario {
    /// Tries every point of every step, and tells how many there were.
    ///
    /// # Panics
    ///
    /// With what is wrong at which points.
    #[track_caller]
    pub(crate) fn try_every_point(&self) {
        // One of them takes the whole machine.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let plans = self.points();
        let most = plans.iter().map(Vec::len).max().unwrap_or_default();
        let mut sites = side_by_side((0..most).collect(), |_: usize| self.site());
        let complaints = Complaints::default();
        let mut tried = 0;
        let mut before = self.snapshot(&sites);
        for (step, points) in self.steps.iter().zip(plans) {
            tried += points.len();
            (sites, before) = self.try_step(step, points, sites, &before, &complaints);
        }
        let seconds = start.elapsed().as_secs();
        let _ = writeln!(
            std::io::stderr(),
            "{}: tried {tried} points in {seconds} s",
            self.name
        );
        complaints.tell(tried);
    }

    /// Breaks a step at each point, each in a site of its own, and finishes it.
    fn try_step(
        &self,
        step: &Step,
        points: Vec<Point>,
        sites: Vec<Site>,
        before: &Snapshot,
        complaints: &Complaints,
    ) -> (Vec<Site>, Snapshot) {
        let points = points.into_iter().map(Some).chain(std::iter::repeat(None));
        let broken = side_by_side(sites.into_iter().zip(points).collect(), |(site, point)| {
            let broken = point.map(|point| self.run(step, &site, point));
            (site, broken)
        });
        let (sites, broken): (Vec<_>, Vec<_>) = broken.into_iter().unzip();
        let after = self.snapshot(&sites);
        for (site, broken) in sites.iter().zip(&broken) {
            if let Some(broken) = broken {
                judge(step, site, broken, [before, &after], complaints);
            }
        }
        let again = side_by_side(sites, |site| {
            site.proxies.values().for_each(Proxy::heal);
            let transcript = self.command(step, &site, PATIENCE);
            (site, transcript)
        });
        let (sites, again): (Vec<_>, Vec<_>) = again.into_iter().unzip();
        let after = self.snapshot(&sites);
        let finished = sites.iter().zip(&broken).zip(&again).collect();
        side_by_side(finished, |((site, broken), transcript)| {
            let point: &dyn fmt::Display = match broken {
                Some(broken) => &broken.point,
                None => &"not broken",
            };
            if transcript.code != Some(0) {
                complaints.add(point, "the same command afterwards fails", transcript);
            }
            let place = Place {
                shell: &site.shell,
                namespace: &site.namespace,
                snapshot: &after,
            };
            for defect in (step.defects)(&place) {
                complaints.add(point, &format!("afterwards {defect}"), transcript);
            }
        });
        (sites, after)
    }

    /// The points of every step, as found by running all of them unbroken.
    fn points(&self) -> Vec<Vec<Point>> {
        // Every 20th alone, for a first look: RELAY_FAULTS_EVERY=20.
        let every = std::env::var("RELAY_FAULTS_EVERY")
            .ok()
            .and_then(|every| every.parse().ok());
        let site = self.site();
        let plans = self.steps.iter().map(|step| {
            site.proxies.values().for_each(Proxy::heal);
            self.command(step, &site, PATIENCE).success();
            let proxies = site.proxies.iter().filter(|_| step.is_broken);
            let points: Vec<_> = proxies
                .flat_map(|(context, proxy)| Point::all(context, proxy, &site.namespace))
                .collect();
            assert!(!step.is_broken || !points.is_empty(), "it sends no request");
            points.into_iter().step_by(every.unwrap_or(1)).collect()
        });
        plans.collect()
    }

    fn site(&self) -> Site {
        let control_plane = ControlPlane::shared();
        let mut kubeconfig = Kubeconfig::new();
        let mut proxies = BTreeMap::new();
        for context in self.contexts {
            let proxy = Proxy::before(control_plane.cluster(context));
            kubeconfig = kubeconfig.through(context, &proxy, "");
            proxies.insert(*context, proxy);
        }
        let shell = Shell::new(&kubeconfig.current(self.contexts[0]));
        let namespace = fixtures::fresh_namespace(&shell, &[]);
        (self.prepare)(&shell, &namespace);
        Site {
            shell,
            namespace,
            proxies,
        }
    }

    fn run(&self, step: &Step, site: &Site, point: Point) -> Broken {
        let directory = site.shell.home().join("relay-pki");
        let before = files(&directory);
        let (transcript, struck) = match &point {
            Point::Connection { context, nth, how } => {
                site.proxies[context].break_connections(*nth, *how);
                (Some(self.command(step, site, point.patience())), true)
            }
            Point::Request {
                context,
                request,
                nth,
                how,
            } => {
                let request = Request {
                    path: request.path.replace("NAMESPACE", &site.namespace),
                    ..request.clone()
                };
                let (Break::Fault(fault) | Break::Kill(fault)) = *how;
                let struck = site.proxies[context].break_request(&request, *nth, fault);
                match how {
                    Break::Fault(_) => {
                        let transcript = self.command(step, site, point.patience());
                        (Some(transcript), struck.try_recv().is_ok())
                    }
                    Break::Kill(_) => {
                        let mut child = site
                            .shell
                            .command(self.program)
                            .args(words(step, &site.namespace, PATIENCE))
                            .stdout(Stdio::null())
                            .stderr(Stdio::null())
                            .spawn()
                            .expect("it starts");
                        let struck = struck.recv_timeout(BOUND).is_ok();
                        // The server may take a moment for what it was asked.
                        if fault == Fault::Withhold {
                            thread::sleep(Duration::from_millis(100));
                        }
                        child.kill().expect("it runs");
                        child.wait().expect("it ends");
                        (None, struck)
                    }
                }
            }
        };
        Broken {
            point,
            struck,
            transcript,
            files: [before, files(&directory)],
        }
    }

    /// Without kubectl, which would only take time.
    fn command(&self, step: &Step, site: &Site, patience: &str) -> Transcript {
        let run = || {
            site.shell
                .run(self.program, &words(step, &site.namespace, patience))
        };
        let Some(meanwhile) = step.meanwhile else {
            return run();
        };
        let proxy = &site.proxies[self.contexts[0]];
        thread::scope(|scope| {
            let run = scope.spawn(run);
            while !run.is_finished() && !proxy.is_watched() {
                thread::sleep(Duration::from_millis(10));
            }
            // What breaks a watch after its first events has come before this does.
            thread::sleep(Duration::from_millis(300));
            if !run.is_finished() {
                meanwhile(&Shell::on(ControlPlane::shared()), &site.namespace);
            }
            run.join().expect("it ends")
        })
    }

    fn snapshot(&self, sites: &[Site]) -> Snapshot {
        let namespaces: Vec<_> = sites.iter().map(|site| site.namespace.as_str()).collect();
        Snapshot::take(ControlPlane::shared(), self.contexts, &namespaces, self.writes)
    }
}

fn words<'a>(step: &Step, namespace: &'a str, patience: &'a str) -> Vec<&'a str> {
    let place = [patience, "--namespace", namespace];
    [step.arguments, &place].concat()
}

/// Holds what a broken run said against what it found and left.
fn judge(step: &Step, site: &Site, run: &Broken, seen: [&Snapshot; 2], complaints: &Complaints) {
    let complain = |kind: &str, shown: &dyn fmt::Display| complaints.add(&run.point, kind, shown);
    if !run.struck {
        complain("the request never came", &"");
    }
    let Some(transcript) = &run.transcript else {
        return;
    };
    let wanted = run.point.exit_codes();
    if !transcript.code.is_some_and(|code| wanted.contains(&code)) {
        complain(&format!("the exit code is not in {wanted:?}"), transcript);
    }
    if transcript.duration > BOUND {
        complain("it took too long", &transcript.duration.as_secs());
    }
    let shown = format!("{}{}", transcript.stdout, transcript.stderr);
    if shown.contains(['\x1b', '\0']) || shown.contains("panicked") {
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
    let [before, after] = seen.map(|snapshot| snapshot.versions(&site.namespace));
    match step.prints {
        Prints::Report => {
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
    if transcript.code == Some(1) && run.point.is_before_writes() && wrote && step.meanwhile.is_none() {
        complain("it wrote before all was checked", transcript);
    }
}
