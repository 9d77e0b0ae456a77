//! Runs a command once for every way to break it, and judges what each run said
//! and left behind.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    process::Stdio,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use relay_tests::{
    ControlPlane, Kubeconfig, Proxy, Shell, Transcript, fixtures,
    proxy::{Fault, Request, Unreachable},
};
use serde_json::Value;

/// How long a run may take: `--request-timeout` is 2 s, and a request is sent again
/// at most three times, a second apart.
const BOUND: Duration = Duration::from_secs(30);

/// Most of the time is spent waiting.
const WORKERS: usize = 8;

/// How many complaints of a kind are shown.
const SHOWN: usize = 3;

/// A command, and what it should leave behind.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// The contexts it works on, each a cluster of the shared control plane.
    pub(crate) contexts: &'static [&'static str],
    /// Flags, without `--namespace` and `--request-timeout`.
    pub(crate) arguments: &'static [&'static str],
    /// What is there before it runs; it sees the clusters directly.
    pub(crate) prepare: fn(&Shell, &str),
    /// What is wrong with what is there after it was done.
    pub(crate) defects: fn(&Place<'_>) -> Vec<String>,
}

/// Where one run took place, and what is there now.
pub(crate) struct Place<'a> {
    pub(crate) shell: &'a Shell,
    pub(crate) namespace: &'a str,
    snapshot: &'a Snapshot,
}

/// All objects that commands write, by context and path without the namespace's name.
type Snapshot = BTreeMap<(String, String, String), Value>;

/// One way to break a run.
#[derive(Clone, Debug)]
enum Break {
    Fault(Fault),
    /// SIGKILL when the request has come, or when it has been answered.
    Kill(Fault),
}

/// One way to break one request or connection of a run.
#[derive(Clone, Debug)]
enum Point {
    Request {
        context: &'static str,
        /// With `NAMESPACE` in place of the run's own.
        request: Request,
        nth: usize,
        how: Break,
    },
    Connection {
        context: &'static str,
        nth: usize,
        how: Unreachable,
    },
}

/// A run that was broken.
struct Broken {
    point: Point,
    shell: Shell,
    namespace: String,
    proxies: BTreeMap<&'static str, Proxy>,
    /// Whether what was to break has been broken.
    struck: bool,
    /// None of a run that was killed.
    transcript: Option<Transcript>,
}

const FAULTS: [Fault; 18] = [
    Fault::Answer(401),
    Fault::Answer(403),
    Fault::Answer(404),
    Fault::Answer(409),
    Fault::Answer(422),
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Busy(1),
    Fault::Reset,
    Fault::Lose,
    Fault::Cut,
    Fault::Truncate,
    Fault::Slow(Duration::from_millis(30)),
    Fault::Drip,
    Fault::Garbage,
    Fault::WebPage,
    Fault::Hang,
    Fault::Withhold,
];

impl Scenario {
    /// Tries every point, and tells how many there were.
    ///
    /// # Panics
    ///
    /// With what is wrong at which points.
    #[track_caller]
    pub(crate) fn try_every_point(&self) {
        // Every 20th alone, for a first look: RELAY_FAULTS_EVERY=20.
        let every = std::env::var("RELAY_FAULTS_EVERY")
            .ok()
            .and_then(|every| every.parse().ok());
        let points: Vec<_> = self.points().into_iter().step_by(every.unwrap_or(1)).collect();
        let broken = side_by_side(points, |point| self.run(point));
        let tried = broken.len();
        let mut complaints = Complaints::default();
        let snapshot = self.snapshot();
        for run in &broken {
            self.judge(run, &snapshot, &mut complaints);
        }
        let again = side_by_side(broken, |run| {
            run.proxies.values().for_each(Proxy::heal);
            let transcript = self.command(&run.shell, &run.namespace);
            (run, transcript)
        });
        let snapshot = self.snapshot();
        for (run, transcript) in &again {
            if transcript.code != Some(0) {
                complaints.add(&run.point, "the same command afterwards fails", transcript);
            }
            let place = Place {
                shell: &run.shell,
                namespace: &run.namespace,
                snapshot: &snapshot,
            };
            for defect in (self.defects)(&place) {
                complaints.add(&run.point, &format!("afterwards {defect}"), transcript);
            }
        }
        let _ = writeln!(std::io::stderr(), "{}: tried {tried} points", self.name);
        complaints.tell(tried);
    }

    /// Every fault at every request and connection of a run that nothing breaks.
    fn points(&self) -> Vec<Point> {
        let (shell, namespace, proxies) = self.place();
        self.command(&shell, &namespace).success();
        let mut points = Vec::new();
        for (context, proxy) in proxies {
            let mut seen: BTreeMap<Request, usize> = BTreeMap::new();
            for (at, request) in proxy.requests().into_iter().enumerate() {
                let request = Request {
                    path: request.path.replace(&namespace, "NAMESPACE"),
                    ..request
                };
                let nth = seen.entry(request.clone()).or_default();
                *nth += 1;
                let faults = FAULTS.map(Break::Fault);
                let kills = [Fault::Hang, Fault::Withhold].map(Break::Kill);
                points.extend(faults.into_iter().chain(kills).map(|how| Point::Request {
                    context,
                    request: request.clone(),
                    nth: *nth,
                    how,
                }));
                let unreachable = [Unreachable::Refuse, Unreachable::Impostor];
                points.extend(unreachable.map(|how| Point::Connection {
                    context,
                    nth: at + 1,
                    how,
                }));
            }
        }
        assert!(!points.is_empty(), "{} sends no request", self.name);
        points
    }

    /// A machine to work from, whose way to each cluster leads through a proxy.
    fn place(&self) -> (Shell, String, BTreeMap<&'static str, Proxy>) {
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
        (self.prepare)(&Shell::on(control_plane), &namespace);
        (shell, namespace, proxies)
    }

    fn run(&self, point: Point) -> Broken {
        let (shell, namespace, proxies) = self.place();
        let (transcript, struck) = match &point {
            Point::Connection { context, nth, how } => {
                proxies[context].break_connections(*nth, *how);
                (Some(self.command(&shell, &namespace)), true)
            }
            Point::Request {
                context,
                request,
                nth,
                how,
            } => {
                let request = Request {
                    path: request.path.replace("NAMESPACE", &namespace),
                    ..request.clone()
                };
                match how {
                    Break::Fault(fault) => {
                        let struck = proxies[context].break_request(&request, *nth, *fault);
                        let transcript = self.command(&shell, &namespace);
                        (Some(transcript), struck.try_recv().is_ok())
                    }
                    Break::Kill(fault) => {
                        let struck = proxies[context].break_request(&request, *nth, *fault);
                        let mut child = shell
                            .command(self.program)
                            .args(self.words(&namespace))
                            .stdout(Stdio::null())
                            .stderr(Stdio::null())
                            .spawn()
                            .expect("it starts");
                        let struck = struck.recv_timeout(BOUND).is_ok();
                        // The server may take a moment for what it was asked.
                        if *fault == Fault::Withhold {
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
            shell,
            namespace,
            proxies,
            struck,
            transcript,
        }
    }

    /// Without kubectl, which would only take time.
    fn command(&self, shell: &Shell, namespace: &str) -> Transcript {
        shell.run(self.program, &self.words(namespace))
    }

    fn words<'a>(&self, namespace: &'a str) -> Vec<&'a str> {
        let place = ["--request-timeout=2s", "--namespace", namespace];
        [self.arguments, &place].concat()
    }

    /// Everything that the runs may have written, read by kubectl.
    fn snapshot(&self) -> Snapshot {
        let shell = Shell::on(ControlPlane::shared());
        let mut snapshot = Snapshot::new();
        for context in self.contexts {
            let all = [
                "get",
                "namespaces,secrets,services",
                "--all-namespaces",
                "-o",
                "json",
            ];
            let listed = shell.kubectl(&[&["--context", context][..], &all].concat());
            let listed = listed.success().json();
            for object in listed["items"].as_array().into_iter().flatten() {
                let text = |pointer: &str| {
                    object
                        .pointer(pointer)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                let (kind, name) = (text("/kind").to_lowercase(), text("/metadata/name"));
                let namespace = match kind.as_str() {
                    "namespace" => name,
                    _ => text("/metadata/namespace"),
                };
                let key = (
                    context.to_string(),
                    namespace.to_owned(),
                    format!("{kind}/{name}"),
                );
                snapshot.insert(key, object.clone());
            }
        }
        snapshot
    }

    /// Holds what a broken run said against what it left.
    fn judge(&self, run: &Broken, snapshot: &Snapshot, complaints: &mut Complaints) {
        let mut complain = |kind: &str, shown: &dyn fmt::Display| complaints.add(&run.point, kind, shown);
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
        let there = |context: &str, object: &str| {
            let key = (context.to_owned(), run.namespace.clone(), object.to_owned());
            snapshot.contains_key(&key)
        };
        for line in transcript.stdout.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_true = match words.as_slice() {
                [context, object, "created" | "configured" | "unchanged"] => there(context, object),
                [context, object, "not", "tried"] => !there(context, object),
                [_, _, "failed"] => true,
                _ => false,
            };
            if !is_true {
                complain("its report is not true", &format!("{line}\n{transcript}"));
            }
        }
        // Whoever checks first and then writes has written nothing yet.
        if transcript.code == Some(1) && run.point.is_before_writes() {
            let written = snapshot
                .keys()
                .any(|(_, namespace, _)| *namespace == run.namespace);
            if self.writes_namespaces() && written {
                complain("it wrote before all was checked", transcript);
            }
        }
    }

    fn writes_namespaces(&self) -> bool {
        self.name == "init"
    }
}

impl Point {
    fn context(&self) -> &'static str {
        match self {
            Self::Request { context, .. } | Self::Connection { context, .. } => context,
        }
    }

    /// Whether it breaks what only asks.
    fn is_before_writes(&self) -> bool {
        match self {
            Self::Request { request, .. } => !request.is_write(),
            Self::Connection { nth, .. } => *nth == 1,
        }
    }

    /// How a run may end that is broken here.
    fn exit_codes(&self) -> &'static [i32] {
        let Self::Request { request, how, .. } = self else {
            return &[1];
        };
        let reads = request.method == "GET";
        match how {
            Break::Kill(_) => &[],
            Break::Fault(Fault::Busy(_) | Fault::Slow(_)) => &[0],
            Break::Fault(Fault::Answer(503)) if reads => &[0],
            // Who may not look may still be allowed to write, and is told otherwise.
            Break::Fault(Fault::Answer(403)) => &[0, 1],
            Break::Fault(_) => &[1],
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request {
                context,
                request,
                nth,
                how,
            } => {
                let Request { method, path } = request;
                write!(f, "{how:?} at {method} {path} ({nth}) in {context}")
            }
            Self::Connection { context, nth, how } => write!(f, "{how:?} at connection {nth} to {context}"),
        }
    }
}

impl Place<'_> {
    /// An object that is there now.
    pub(crate) fn object(&self, context: &str, object: &str) -> Option<&Value> {
        let key = (context.to_owned(), self.namespace.to_owned(), object.to_owned());
        self.snapshot.get(&key)
    }
}

/// What is wrong, by kind, and where.
#[derive(Default)]
struct Complaints(BTreeMap<String, Vec<String>>);

impl Complaints {
    /// Takes a kind of complaint and what shows it.
    fn add(&mut self, point: &Point, kind: &str, shown: &dyn fmt::Display) {
        let kind = self.0.entry(kind.to_owned()).or_default();
        kind.push(format!("{point}:\n{shown}"));
    }

    #[track_caller]
    fn tell(self, tried: usize) {
        let kinds = self.0.iter().map(|(kind, all)| {
            let shown: Vec<_> = all.iter().take(SHOWN).map(String::as_str).collect();
            format!("{} times: {kind}\n{}", all.len(), shown.join("\n"))
        });
        let kinds: Vec<_> = kinds.collect();
        assert!(kinds.is_empty(), "of {tried} points\n{}", kinds.join("\n"));
    }
}

/// Works on all items, several at a time, and keeps their order.
fn side_by_side<T: Send, U: Send>(items: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
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
