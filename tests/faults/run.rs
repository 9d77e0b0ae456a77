//! Runs a command once, broken at one point.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Stdio,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use relay_tests::{
    Proxy, Shell, Transcript,
    proxy::{Fault, Request},
};

use crate::{
    point::{Break, Point},
    scenario::{Scenario, Site, Step},
    snapshot::files,
};

/// How long a run may take, where a request is given up after [`Point::patience`] and
/// sent again at most three times, a second apart.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// The time limit of a request that nothing delays but a loaded machine.
pub(crate) const PATIENCE: &str = "--request-timeout=30s";

/// A run that was broken.
pub(crate) struct Broken {
    pub(crate) point: Point,
    /// Whether what was to break has been broken.
    pub(crate) struck: bool,
    /// None of a run that was killed.
    pub(crate) transcript: Option<Transcript>,
    /// What it began to write after it was interrupted.
    pub(crate) begun: Vec<Request>,
    /// The files before and after.
    pub(crate) files: [BTreeMap<PathBuf, Vec<u8>>; 2],
}

impl Site<'_> {
    /// Has the next run broken; what is returned hears of it, if it is at a request.
    fn break_at(&self, point: &Point) -> Option<Receiver<()>> {
        match point {
            Point::Connection {
                context, nth, how, ..
            } => {
                self.proxies[context].break_connections(*nth, *how);
                None
            }
            Point::Request {
                context,
                request,
                nth,
                how,
            } => {
                let request = Request {
                    path: request.path.replace("NAMESPACE", &self.namespace),
                    ..request.clone()
                };
                let (Break::Fault(fault)
                | Break::Kill(fault)
                | Break::Interrupt(fault)
                | Break::KillServer(fault)) = *how;
                Some(self.proxies[context].break_request(&request, *nth, fault))
            }
        }
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.shell.home().join("relay-pki"))
    }
}

impl Scenario {
    /// Runs a command, without kubectl, which would only take time.
    pub(crate) fn command(&self, step: &Step, site: &Site<'_>, patience: &str) -> Transcript {
        let run = || site.shell.run(self.program, &words(step, site, patience));
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
                meanwhile(&Shell::on(site.control_plane), &site.namespace);
            }
            run.join().expect("it ends")
        })
    }

    /// Runs a command that is broken, or killed.
    pub(crate) fn run(&self, step: &Step, site: &Site<'_>, point: Point) -> Broken {
        let before = site.files();
        let struck = site.break_at(&point);
        let mut begun = Vec::new();
        let (struck, transcript) = match (struck, point.kills()) {
            (Some(struck), Some(fault)) => (self.run_and_kill(step, site, &struck, fault), None),
            (Some(struck), None) if point.interrupts() => {
                let (struck, transcript) = self.run_and_interrupt(step, site, &struck, &mut begun);
                (struck, Some(transcript))
            }
            (struck, _) => {
                let transcript = self.command(step, site, point.patience());
                let struck = struck.is_none_or(|struck| struck.try_recv().is_ok());
                (struck, Some(transcript))
            }
        };
        Broken {
            point,
            struck,
            transcript,
            begun,
            files: [before, site.files()],
        }
    }

    /// Says whether the request came at which it was to be killed.
    fn run_and_kill(&self, step: &Step, site: &Site<'_>, struck: &Receiver<()>, fault: Fault) -> bool {
        let mut child = site
            .shell
            .command(self.program)
            .args(words(step, site, PATIENCE))
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
        struck
    }

    /// Says whether the request came at which it was to be interrupted, and how it ended.
    fn run_and_interrupt(
        &self,
        step: &Step,
        site: &Site<'_>,
        struck: &Receiver<()>,
        begun: &mut Vec<Request>,
    ) -> (bool, Transcript) {
        // The shell becomes the command, and is known by the same number.
        let script = ["-c", "echo $$ >pid; exec \"$0\" \"$@\"", self.program];
        let command = [&script[..], &words(step, site, PATIENCE)].concat();
        let requests = || site.proxies.values().flat_map(Proxy::requests);
        thread::scope(|scope| {
            let run = scope.spawn(|| site.shell.run("sh", &command));
            let struck = has_come(struck, || run.is_finished());
            if struck {
                let pid = fs::read_to_string(site.shell.home().join("pid")).expect("it runs");
                site.shell.run("kill", &["-INT", pid.trim()]).success();
            }
            // What was under way has come.
            thread::sleep(Duration::from_millis(300));
            requests().for_each(drop);
            let transcript = run.join().expect("it ends");
            begun.extend(requests().filter(Request::is_write));
            (struck, transcript)
        })
    }

    /// Runs a command in each site until all of them have come to their points, which are
    /// in one context; then its server is killed and, when all runs have ended, started
    /// again.
    pub(crate) fn run_and_kill_server(
        &self,
        step: &Step,
        sites: &[Site<'_>],
        points: &[Point],
    ) -> Vec<Broken> {
        let Some((site, point)) = sites.first().zip(points.first()) else {
            return Vec::new();
        };
        let (control_plane, context) = (site.control_plane, point.context());
        let broken = thread::scope(|scope| {
            let runs = sites.iter().zip(points).map(|(site, point)| {
                let before = site.files();
                // What the proxies keep open may lead to a server that was killed before.
                site.proxies.values().for_each(Proxy::heal);
                let struck = site.break_at(point);
                // All of them start at once, which takes its time.
                let run = scope.spawn(|| self.command(step, site, "--request-timeout=90s"));
                (site, point, before, struck, run)
            });
            let runs: Vec<_> = runs.collect();
            let come = runs.iter().map(|(_, _, _, struck, run)| {
                struck
                    .as_ref()
                    .is_none_or(|struck| has_come(struck, || run.is_finished()))
            });
            let come: Vec<_> = come.collect();
            // The server may take a moment for what it was asked.
            thread::sleep(Duration::from_millis(100));
            control_plane.stop(context);
            let killed = Instant::now();
            while !runs.iter().all(|(.., run)| run.is_finished()) {
                sites.iter().for_each(|site| site.proxies[context].lose());
                thread::sleep(Duration::from_millis(20));
            }
            let ended = runs.into_iter().zip(come);
            let broken = ended.map(|((site, point, before, _, run), struck)| Broken {
                point: point.clone(),
                struck,
                transcript: Some(Transcript {
                    // It has waited for the others.
                    duration: killed.elapsed(),
                    ..run.join().expect("it ends")
                }),
                begun: Vec::new(),
                files: [before, site.files()],
            });
            broken.collect()
        });
        control_plane.restart(context);
        broken
    }
}

/// Waits for a request at which a run is to be broken; false where it ends without it.
fn has_come(struck: &Receiver<()>, has_ended: impl Fn() -> bool) -> bool {
    loop {
        match struck.recv_timeout(Duration::from_millis(50)) {
            Ok(()) => return true,
            Err(_) if has_ended() => return struck.try_recv().is_ok(),
            Err(_) => {}
        }
    }
}

fn words<'a>(step: &Step, site: &'a Site<'_>, patience: &'a str) -> Vec<&'a str> {
    let place = [patience, "--namespace", &site.namespace];
    [step.arguments, &place].concat()
}
