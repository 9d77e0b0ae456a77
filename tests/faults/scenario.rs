//! Runs commands once for every way to break them, and judges what each run said and
//! left behind.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use relay_tests::{ControlPlane, Kubeconfig, Proxy, Shell, fixtures};

use crate::{
    complaints::{Complaints, side_by_side},
    judge::judge,
    point::Point,
    run::PATIENCE,
    snapshot::{Place, Snapshot},
};

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

impl Step {
    /// A command that writes, reports what, and is broken.
    pub(crate) const fn new(
        arguments: &'static [&'static str],
        defects: fn(&Place<'_>) -> Vec<String>,
    ) -> Self {
        Self {
            arguments,
            is_broken: true,
            prints: Prints::Report,
            meanwhile: None,
            defects,
        }
    }
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
pub(crate) struct Site<'a> {
    pub(crate) control_plane: &'a ControlPlane,
    pub(crate) shell: Shell,
    pub(crate) namespace: String,
    pub(crate) proxies: BTreeMap<&'static str, Proxy>,
}

/// Finds how a run that may wait can be broken in a context, from what a proxy has seen
/// of it.
type Find = fn(&'static str, &Proxy, &str, bool) -> Vec<Point>;

impl Scenario {
    /// Breaks every step at every point, and tells how many there were.
    ///
    /// # Panics
    ///
    /// With what is wrong at which points.
    #[track_caller]
    pub(crate) fn try_every_point(&self) {
        // One of them takes the whole machine.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        self.try_points(ControlPlane::shared(), Point::all);
    }

    /// Ends a server at every request of every step, and starts it again.
    ///
    /// # Panics
    ///
    /// With what is wrong at which points.
    #[track_caller]
    pub(crate) fn kill_servers(&self, control_plane: &ControlPlane) {
        self.try_points(control_plane, Point::ends_of_the_server);
    }

    #[track_caller]
    fn try_points(&self, control_plane: &ControlPlane, find: Find) {
        let start = Instant::now();
        let plans = self.points(control_plane, find);
        let most = plans.iter().map(Vec::len).max().unwrap_or_default();
        let mut sites = side_by_side((0..most).collect(), |_: usize| self.site(control_plane));
        let complaints = Complaints::default();
        let mut tried = 0;
        let mut before = self.snapshot(control_plane, &sites);
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
    fn try_step<'a>(
        &self,
        step: &Step,
        points: Vec<Point>,
        sites: Vec<Site<'a>>,
        before: &Snapshot,
        complaints: &Complaints,
    ) -> (Vec<Site<'a>>, Snapshot) {
        let Some(control_plane) = sites.first().map(|site| site.control_plane) else {
            return (sites, Snapshot::default());
        };
        let broken = match points.iter().any(Point::kills_server) {
            // Only servers of one context are killed at a time.
            true => points
                .chunk_by(|one, next| one.context() == next.context())
                .scan(&sites[..], |left, points| {
                    let (here, rest) = left.split_at(points.len());
                    *left = rest;
                    Some(self.run_and_kill_server(step, here, points))
                })
                .flatten()
                .collect(),
            false => side_by_side(sites.iter().zip(points).collect(), |(site, point)| {
                self.run(step, site, point)
            }),
        };
        let after = self.snapshot(control_plane, &sites);
        for (site, broken) in sites.iter().zip(&broken) {
            judge(step, site, broken, [before, &after], complaints);
        }
        let again = side_by_side(sites, |site| {
            site.proxies.values().for_each(Proxy::heal);
            let transcript = self.command(step, &site, PATIENCE);
            (site, transcript)
        });
        let (sites, again): (Vec<_>, Vec<_>) = again.into_iter().unzip();
        let after = self.snapshot(control_plane, &sites);
        let broken = broken.iter().map(Some).chain(std::iter::repeat(None));
        let finished = sites.iter().zip(broken).zip(&again).collect();
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
    fn points(&self, control_plane: &ControlPlane, find: Find) -> Vec<Vec<Point>> {
        // For a first look, every 20th alone, or those of a kind: RELAY_FAULTS_EVERY=20,
        // RELAY_FAULTS_OF=Interrupt.
        let every = std::env::var("RELAY_FAULTS_EVERY")
            .ok()
            .and_then(|every| every.parse().ok());
        let kind = std::env::var("RELAY_FAULTS_OF").unwrap_or_default();
        let site = self.site(control_plane);
        let plans = self.steps.iter().map(|step| {
            site.proxies.values().for_each(Proxy::heal);
            self.command(step, &site, PATIENCE).success();
            let proxies = site.proxies.iter().filter(|_| step.is_broken);
            let points: Vec<_> = proxies
                .flat_map(|(context, proxy)| find(context, proxy, &site.namespace, step.meanwhile.is_some()))
                .filter(|point| point.to_string().contains(&kind))
                .collect();
            assert!(!step.is_broken || !points.is_empty(), "nothing can be broken");
            points.into_iter().step_by(every.unwrap_or(1)).collect()
        });
        plans.collect()
    }

    fn site<'a>(&self, control_plane: &'a ControlPlane) -> Site<'a> {
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
            control_plane,
            shell,
            namespace,
            proxies,
        }
    }

    fn snapshot(&self, control_plane: &ControlPlane, sites: &[Site<'_>]) -> Snapshot {
        let namespaces: Vec<_> = sites.iter().map(|site| site.namespace.as_str()).collect();
        Snapshot::take(control_plane, self.contexts, &namespaces, self.writes)
    }
}
