//! The ways to break a run: what breaks, at which request or connection, and how a run
//! may end that was broken there.

use std::{collections::BTreeMap, fmt, time::Duration};

use relay_tests::{
    Proxy,
    proxy::{Fault, Midway, Request, Unreachable},
};

use crate::run::PATIENCE;

/// One way to break one request or connection of a run.
#[derive(Clone, Debug)]
pub(crate) enum Point {
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
        /// Whether all before it have only asked.
        asks: bool,
    },
}

/// What breaks at a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Break {
    Fault(Fault),
    /// SIGKILL when the request has come, or when it has been answered.
    Kill(Fault),
    /// SIGINT, as by Ctrl-C, when the request has come, which then goes on like that.
    Interrupt(Fault),
    /// SIGKILL to the server, likewise.
    KillServer(Fault),
}

/// What can become of a request.
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

/// An answer that comes, and leaves time to press Ctrl-C before.
const ANSWERED: Fault = Fault::Slow(Duration::from_millis(300));

/// What can become of a watch, as it begins and later.
const WATCH_FAULTS: [Fault; 21] = [
    Fault::Answer(401),
    Fault::Answer(403),
    Fault::Answer(404),
    Fault::Answer(409),
    Fault::Answer(410),
    Fault::Answer(422),
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Busy(1),
    Fault::Reset,
    Fault::Drip,
    Fault::Garbage,
    Fault::WebPage,
    Fault::Hang,
    Fault::Midway(Midway::Reset),
    Fault::Midway(Midway::Cut),
    Fault::Midway(Midway::Truncate),
    Fault::Midway(Midway::Garbage),
    Fault::Midway(Midway::Hang),
    Fault::Midway(Midway::Gone),
    Fault::Midway(Midway::Expire),
];

impl Point {
    /// Every fault at every request that a proxy has seen, and at every connection, of a
    /// run that may wait.
    pub(crate) fn all(context: &'static str, proxy: &Proxy, namespace: &str, waits: bool) -> Vec<Self> {
        let mut points = Vec::new();
        let mut asks = true;
        let mut seen: BTreeMap<Request, usize> = BTreeMap::new();
        for (at, request) in proxy.requests().into_iter().enumerate() {
            let request = Request {
                path: request.path.replace(namespace, "NAMESPACE"),
                ..request
            };
            let nth = seen.entry(request.clone()).or_default();
            *nth += 1;
            asks &= !request.is_write();
            let (faults, kills, interrupt) = match request.method.as_str() {
                // Opened again and again, it is broken the first time.
                "WATCH" if *nth > 1 => continue,
                // How often somebody who waits looks again, chance decides.
                "GET" if waits && *nth > 2 => continue,
                "WATCH" => (&WATCH_FAULTS[..], &[Fault::Hang][..], Fault::Hang),
                _ => (&FAULTS[..], &[Fault::Hang, Fault::Withhold][..], ANSWERED),
            };
            let faults = faults.iter().copied().map(Break::Fault);
            let kills = kills.iter().copied().map(Break::Kill);
            let ends = kills.chain([Break::Interrupt(interrupt)]);
            points.extend(faults.chain(ends).map(|how| Self::Request {
                context,
                request: request.clone(),
                nth: *nth,
                how,
            }));
            let unreachable = [Unreachable::Refuse, Unreachable::Impostor];
            points.extend(unreachable.map(|how| Self::Connection {
                context,
                nth: at + 1,
                how,
                asks,
            }));
        }
        points
    }

    /// The end of the server at every request that a proxy has seen, before it has heard
    /// of it and before it has answered; none where nothing is written.
    pub(crate) fn ends_of_the_server(
        context: &'static str,
        proxy: &Proxy,
        namespace: &str,
        waits: bool,
    ) -> Vec<Self> {
        let mut points = Self::all(context, proxy, namespace, waits);
        points.retain_mut(|point| match point {
            Self::Request { how, .. } => match *how {
                Break::Kill(fault) => {
                    *how = Break::KillServer(fault);
                    true
                }
                _ => false,
            },
            Self::Connection { .. } => false,
        });
        let writes = |point: &Self| matches!(point, Self::Request { request, .. } if request.is_write());
        match points.iter().any(writes) {
            true => points,
            false => Vec::new(),
        }
    }

    pub(crate) fn context(&self) -> &'static str {
        match self {
            Self::Request { context, .. } | Self::Connection { context, .. } => context,
        }
    }

    /// Whether the run is to be killed here, and what is to become of its request.
    pub(crate) fn kills(&self) -> Option<Fault> {
        match self {
            Self::Request {
                how: Break::Kill(fault),
                ..
            } => Some(*fault),
            _ => None,
        }
    }

    /// Whether the run is to be interrupted here.
    pub(crate) fn interrupts(&self) -> bool {
        matches!(
            self,
            Self::Request {
                how: Break::Interrupt(_),
                ..
            }
        )
    }

    /// Whether the server is to be killed here.
    pub(crate) fn kills_server(&self) -> bool {
        matches!(
            self,
            Self::Request {
                how: Break::KillServer(_),
                ..
            }
        )
    }

    /// The time limit of the run's requests: short where one waits for it to pass.
    pub(crate) fn patience(&self) -> &'static str {
        let Self::Request { how, .. } = self else {
            return PATIENCE;
        };
        let Break::Fault(fault) = how else {
            return PATIENCE;
        };
        match fault {
            Fault::Hang | Fault::Withhold | Fault::Drip | Fault::Midway(Midway::Hang) => {
                "--request-timeout=5s"
            }
            _ => PATIENCE,
        }
    }

    /// Whether a run that fails here has not begun to write: what is broken only asks,
    /// and whoever may not look goes on.
    pub(crate) fn is_before_writes(&self) -> bool {
        match self {
            Self::Request { request, how, .. } => {
                let goes_on = matches!(how, Break::Fault(Fault::Answer(403)));
                !request.is_write() && !goes_on
            }
            Self::Connection { asks, .. } => *asks,
        }
    }

    /// Whether it breaks what was asked for once already.
    pub(crate) fn is_of_another_look(&self) -> bool {
        matches!(self, Self::Request { request, nth, .. } if request.method == "GET" && *nth > 1)
    }

    /// How a run may end that is broken here, and may wait.
    pub(crate) fn exit_codes(&self, waits: bool) -> &'static [i32] {
        let Self::Request {
            request, how, nth, ..
        } = self
        else {
            return &[1];
        };
        let watches = request.method == "WATCH";
        let reads = request.method == "GET";
        let asks_what_is_served = reads && request.path.starts_with("/apis/");
        match how {
            Break::Kill(_) => &[],
            // What is being written is still done, and may be the last.
            Break::Interrupt(_) if request.is_write() => &[0, 130],
            Break::Interrupt(_) => &[130],
            Break::Fault(Fault::Busy(_) | Fault::Slow(_)) => &[0],
            Break::Fault(Fault::Answer(503)) if reads => &[0],
            // Without the right to watch anything there is nothing to wait for.
            Break::Fault(Fault::Answer(403)) if watches => &[0, 1],
            // What else becomes of a watch, the next one makes good, and of another look,
            // one more.
            Break::Fault(_) if watches => &[0],
            Break::Fault(fault) if waits && *nth > 1 && *fault != Fault::Answer(403) => &[0],
            // Who may not look may still be allowed to write, and is told otherwise.
            Break::Fault(Fault::Answer(403)) => &[0, 1],
            // That is how a server says that it does not know a group.
            Break::Fault(Fault::Answer(404) | Fault::Truncate) if asks_what_is_served => &[0, 1],
            Break::Fault(_) | Break::KillServer(_) => &[1],
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
            Self::Connection {
                context, nth, how, ..
            } => write!(f, "{how:?} at connection {nth} to {context}"),
        }
    }
}
