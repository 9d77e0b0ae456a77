//! Stands between a plugin and a real kube-apiserver: counts requests, delays
//! them, breaks the one it is told to, and makes one server look like a fleet.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::{net::TcpSocket, sync::Notify};

use crate::{Cluster, authority::Authority, http::Stream};
use server::Server;

mod link;
mod message;
mod server;

/// A proxy on loopback. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    ca_pem: String,
    token: String,
    state: Arc<State>,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Such as `GET`; `WATCH` for one whose answer goes on.
    pub method: String,
    /// Without the query.
    pub path: String,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with a status code, and never reaches the server.
    Answer(u16),
    /// It is refused with 429; `Retry-After` is in seconds.
    Busy(u32),
    /// The connection is reset before the server has heard of it.
    Reset,
    /// The server does it; the connection is reset before its answer.
    Lose,
    /// The server does it; half of the answer's body comes, and then the end.
    Cut,
    /// The server does it; the answer is JSON that ends in the middle.
    Truncate,
    /// The server does it; the answer comes in ten pieces, slowly.
    Slow(Duration),
    /// The answer begins, and goes on for ever, byte by byte.
    Drip,
    /// The answer is not HTTP.
    Garbage,
    /// The answer is a web page, as the login of a hotel's network is.
    WebPage,
    /// The server never hears of it, and no answer comes.
    Hang,
    /// The server does it, and no answer comes.
    Withhold,
    /// A watch begins, and breaks after its first events.
    Midway(Midway),
}

/// What becomes of a watch after its first events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Midway {
    /// The connection is reset.
    Reset,
    /// The connection ends, and the answer has not.
    Cut,
    /// The answer ends in the middle of an event.
    Truncate,
    /// What comes next is no event.
    Garbage,
    /// Nothing comes any more.
    Hang,
    /// The server no longer knows what changed: 410, and the end.
    Gone,
    /// The answer ends, as after its time, and whoever wants to go on from there is
    /// answered 410.
    Expire,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens.
    Refuse,
    /// Somebody listens who is not the server.
    Impostor,
}

#[derive(Debug, Default)]
struct State {
    inner: Mutex<Inner>,
    /// Somebody wants the listener to look at `inner` again.
    changed: Notify,
    /// The server is gone, and what waits for it is to be reset.
    lost: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    requests: Vec<Request>,
    /// How many are being answered now, by cluster, and of how many clusters were at
    /// most.
    answering: BTreeMap<String, usize>,
    most_at_once: usize,
    /// How long the server takes for each answer besides.
    pause: Duration,
    first_write: Option<Instant>,
    connections: usize,
    fault: Option<(Fault, Strike)>,
    /// Of what changed, nothing is known any more but what there is now.
    forgetful: bool,
    unreachable: Option<(Unreachable, usize)>,
    struck: Option<mpsc::Sender<()>>,
    round_trip: Duration,
    /// What remotes under `/remote/N` call the namespace that each has its own of.
    namespace: Option<String>,
    /// Connections to the server that may be used again, and since when.
    idle: Vec<(Upstream, Instant)>,
    ended: bool,
}

/// Which request a fault strikes, counted from 1.
#[derive(Clone, Debug)]
enum Strike {
    Nth(usize),
    Of(Request, usize),
}

/// The method of a request whose answer goes on.
const WATCH: &str = "WATCH";

type Upstream = Box<dyn Connection>;

pub(crate) trait Connection: Stream + std::fmt::Debug {}
impl<T: Stream + std::fmt::Debug> Connection for T {}

impl Proxy {
    /// A proxy that leads to a cluster's server and changes nothing.
    #[must_use]
    pub fn before(cluster: &Cluster) -> Self {
        let authority = Authority::new("proxy");
        // Bound and never listening, it keeps the port while nobody listens.
        let keeper = bound("127.0.0.1:0".parse().expect("is an address"));
        let address = keeper.local_addr().expect("is bound");
        let (listening, listens) = mpsc::channel();
        let state = Arc::new(State::default());
        let server = Server::new(address, cluster, &authority, state.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // What is still served when this ends, ends with the runtime.
            runtime
                .expect("a runtime")
                .block_on(Arc::new(server).listen(keeper, &listening));
        });
        listens.recv().expect("it starts");
        Self {
            address,
            ca_pem: authority.ca_pem(),
            token: cluster.token.clone(),
            state,
        }
    }

    /// `https://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority that the proxy proves itself by.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The token of the administrator of the cluster behind it.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Lets requests under `/remote/N` work in a namespace of their own, which they
    /// call by this name: as many remotes as there are numbers.
    #[must_use]
    pub fn with_remotes(self, namespace: &str) -> Self {
        self.state.lock().namespace = Some(namespace.to_owned());
        self
    }

    /// Lets every byte take half of a round trip to arrive, and connections a whole
    /// one more to be made.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.state.lock().round_trip = round_trip;
    }

    /// Breaks one request, counted from 1 from now on. What is returned hears of it
    /// when it comes.
    pub fn break_nth(&self, nth: usize, fault: Fault) -> mpsc::Receiver<()> {
        self.break_at(Strike::Nth(nth), fault)
    }

    /// Breaks one of the requests of that method and path, counted from 1 from now on.
    pub fn break_request(&self, request: &Request, nth: usize, fault: Fault) -> mpsc::Receiver<()> {
        self.break_at(Strike::Of(request.clone(), nth), fault)
    }

    fn break_at(&self, strike: Strike, fault: Fault) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        let mut inner = self.state.lock();
        inner.fault = Some((fault, strike));
        inner.struck = Some(sender);
        inner.requests.clear();
        receiver
    }

    /// Lets the server be unreachable from its nth connection on, counted from 1 from
    /// now on; every request takes a new one until then.
    pub fn break_connections(&self, nth: usize, how: Unreachable) {
        let mut inner = self.state.lock();
        inner.unreachable = Some((how, nth));
        inner.connections = 0;
        drop(inner);
        self.state.changed.notify_one();
    }

    /// Resets what [`Fault::Hang`] and [`Fault::Withhold`] hold, as the end of the server
    /// would.
    pub fn lose(&self) {
        self.state.lost.notify_waiters();
    }

    /// Breaks nothing from now on, and forgets what has come.
    pub fn heal(&self) {
        let mut inner = self.state.lock();
        inner.fault = None;
        inner.forgetful = false;
        let unreachable = inner.unreachable.take();
        inner.requests.clear();
        inner.idle.clear();
        drop(inner);
        self.state.changed.notify_one();
        // The listener takes a moment to hear of it.
        while unreachable.is_some() && TcpStream::connect(self.address).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The requests since the last time, in the order they came.
    pub fn requests(&self) -> Vec<Request> {
        let mut inner = self.state.lock();
        inner.first_write = None;
        std::mem::take(&mut inner.requests)
    }

    /// Whether any of the [`requests`](Self::requests) watches.
    pub fn is_watched(&self) -> bool {
        self.watches() > 0
    }

    /// How many of the [`requests`](Self::requests) watch.
    pub fn watches(&self) -> usize {
        let inner = self.state.lock();
        inner
            .requests
            .iter()
            .filter(|request| request.method == WATCH)
            .count()
    }

    /// Has the server take so much longer for each answer.
    pub fn set_pause(&self, pause: Duration) {
        self.state.lock().pause = pause;
    }

    /// Of how many clusters, each a remote under `/remote/N`, requests were being answered
    /// at the same time, at most, since the last time.
    pub fn most_at_once(&self) -> usize {
        let mut inner = self.state.lock();
        let now = inner.answering.len();
        std::mem::replace(&mut inner.most_at_once, now)
    }

    /// When the first of the [`requests`](Self::requests) came that changes anything.
    pub fn first_write(&self) -> Option<Instant> {
        self.state.lock().first_write
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().ended = true;
        self.state.changed.notify_one();
    }
}

impl Request {
    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        let reads = ["GET", WATCH].contains(&self.method.as_str());
        !reads && !self.path.ends_with("accessreviews")
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cluster's request while it is being answered.
struct Answering<'a>(&'a State, String);

impl<'a> Answering<'a> {
    fn begin(state: &'a State, target: &str) -> Self {
        let number = target
            .strip_prefix("/remote/")
            .and_then(|rest| rest.split('/').next());
        let cluster = number.unwrap_or_default().to_owned();
        let mut inner = state.lock();
        *inner.answering.entry(cluster.clone()).or_default() += 1;
        inner.most_at_once = inner.most_at_once.max(inner.answering.len());
        Self(state, cluster)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        let left = inner.answering.entry(std::mem::take(&mut self.1));
        let left = left.and_modify(|count| *count -= 1);
        if let Entry::Occupied(left) = left
            && *left.get() == 0
        {
            left.remove();
        }
    }
}

impl Inner {
    /// Writes a request down, and says what becomes of it.
    fn take(&mut self, request: Request) -> Option<Fault> {
        if request.is_write() {
            self.first_write.get_or_insert_with(Instant::now);
        }
        self.requests.push(request);
        let (fault, strike) = self.fault.as_ref()?;
        let hit = match strike {
            Strike::Nth(nth) => self.requests.len() == *nth,
            Strike::Of(wanted, nth) => {
                let same = self.requests.iter().filter(|known| *known == wanted).count();
                self.requests.last() == Some(wanted) && same == *nth
            }
        };
        if !hit {
            return None;
        }
        if let Some(struck) = self.struck.take() {
            let _ = struck.send(());
        }
        Some(*fault)
    }

    /// Counts a connection, and says what becomes of it.
    fn connect(&mut self) -> Option<Unreachable> {
        let how = self.next_connection();
        self.connections += 1;
        how
    }

    fn next_connection(&self) -> Option<Unreachable> {
        let (how, nth) = self.unreachable?;
        (self.connections + 1 >= nth).then_some(how)
    }
}

impl Fault {
    fn reaches_the_server(self) -> bool {
        match self {
            Self::Lose | Self::Cut | Self::Truncate | Self::Slow(_) | Self::Withhold => true,
            Self::Answer(_)
            | Self::Busy(_)
            | Self::Reset
            | Self::Drip
            | Self::Garbage
            | Self::WebPage
            | Self::Hang
            | Self::Midway(_) => false,
        }
    }
}

/// A socket that shares its port with others of ours.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("can be");
    socket.bind(address).expect("the port is ours");
    socket
}
