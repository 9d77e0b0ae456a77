//! Runs a command once, broken at one point.

use std::{
    collections::BTreeMap,
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
    /// The files before and after.
    pub(crate) files: [BTreeMap<PathBuf, Vec<u8>>; 2],
}

impl Site<'_> {
    /// Has the next run broken; what is returned hears of it, if it is at a request.
    fn break_at(&self, point: &Point) -> Option<Receiver<()>> {
        match point {
            Point::Connection { context, nth, how } => {
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
                let (Break::Fault(fault) | Break::Kill(fault) | Break::KillServer(fault)) = *how;
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
        let (struck, transcript) = match (struck, point.kills()) {
            (Some(struck), Some(fault)) => (self.run_and_kill(step, site, &struck, fault), None),
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
                let Some(struck) = struck else { return true };
                loop {
                    match struck.recv_timeout(Duration::from_millis(50)) {
                        Ok(()) => return true,
                        Err(_) if run.is_finished() => return false,
                        Err(_) => {}
                    }
                }
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
                files: [before, site.files()],
            });
            broken.collect()
        });
        control_plane.restart(context);
        broken
    }
}

fn words<'a>(step: &Step, site: &'a Site<'_>, patience: &'a str) -> Vec<&'a str> {
    let place = [patience, "--namespace", &site.namespace];
    [step.arguments, &place].concat()
}
