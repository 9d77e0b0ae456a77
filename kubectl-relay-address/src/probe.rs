//! Dials an address as an agent does, step by step: DNS, TCP, TLS. Nothing is
//! trusted and nothing refused here: what the server shows is judged later.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use relay_shared::{address::Address, possession::Possession};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The protocol that gRPC runs on (RFC 7301).
pub(crate) const H2: &[u8] = b"h2";

/// The results of the steps, up to the first that failed.
#[derive(Debug)]
pub(crate) struct Probe {
    /// What the host resolves to; `None` for an IP, which resolves to nothing.
    pub(crate) dns: Option<Timed<Vec<SocketAddr>>>,
    pub(crate) tcp: Option<Timed<SocketAddr>>,
    pub(crate) tls: Option<Timed<Handshake>>,
}

/// What came of a step, and how long it took.
#[derive(Debug)]
pub(crate) struct Timed<T> {
    pub(crate) result: Result<T, Failure>,
    pub(crate) took: Duration,
}

/// What happened instead, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// What a server showed in its handshake.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// Such as `TLS 1.3`.
    pub(crate) version: &'static str,
    /// The protocol that it chose.
    pub(crate) alpn: Option<Vec<u8>>,
    /// Its certificate, and those it sent along.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Whether it asked for a client certificate.
    pub(crate) asks_for_client: bool,
}

impl Failure {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

/// Dials an address and asks for a server by its name.
pub(crate) async fn probe(address: &Address, name: &str) -> Probe {
    let mut probe = Probe {
        dns: None,
        tcp: None,
        tls: None,
    };
    let places = match address.ip() {
        Some(ip) => vec![SocketAddr::new(ip, address.port())],
        None => {
            let dns = probe.dns.insert(timed(resolve(address)).await);
            match &dns.result {
                Ok(places) => places.clone(),
                Err(_) => return probe,
            }
        }
    };
    let (stream, tcp) = split(timed(connect(&places)).await);
    probe.tcp = Some(tcp);
    if let Some(stream) = stream {
        probe.tls = Some(timed(shake_hands(stream, name)).await);
    }
    probe
}

async fn timed<T>(step: impl Future<Output = Result<T, Failure>>) -> Timed<T> {
    let start = Instant::now();
    let result = match time::timeout(PATIENCE, step).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(
            format!("no answer within {} s", PATIENCE.as_secs()),
            "a firewall or a security group on the way may drop it, or this machine has no route there",
        )),
    };
    let took = start.elapsed();
    Timed { result, took }
}

/// The connection, and where it leads.
fn split(tcp: Timed<(TcpStream, SocketAddr)>) -> (Option<TcpStream>, Timed<SocketAddr>) {
    let took = tcp.took;
    match tcp.result {
        Ok((stream, place)) => (
            Some(stream),
            Timed {
                result: Ok(place),
                took,
            },
        ),
        Err(failure) => (
            None,
            Timed {
                result: Err(failure),
                took,
            },
        ),
    }
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let hint = "a new load balancer's name takes minutes to be known everywhere; see `dig` for which server \
                does not know it";
    let found = tokio::net::lookup_host((address.host(), address.port())).await;
    let places: Vec<_> = found.map_err(|e| Failure::new(e.to_string(), hint))?.collect();
    match places.is_empty() {
        true => Err(Failure::new("the name has no address", hint)),
        false => Ok(places),
    }
}

/// Connects to the first place that answers.
async fn connect(places: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut failed = None;
    // Some time for each, so that one that drops packets does not hide the next.
    let patience = PATIENCE / u32::try_from(places.len() + 1).unwrap_or(1);
    for place in places {
        let error = match time::timeout(patience, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => return Ok((stream, *place)),
            Ok(Err(e)) => e,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        failed.get_or_insert((*place, error));
    }
    let Some((place, error)) = failed else {
        return Err(Failure::new("there is nothing to connect to", ""));
    };
    Err(match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            format!("{place} refuses connections"),
            "nothing listens there: see `kubectl get endpointslices` for whether the Service has ready pods",
        ),
        io::ErrorKind::TimedOut => Failure::new(
            format!("{place} does not answer"),
            "a firewall or a security group on the way may drop it, or this machine has no route there",
        ),
        _ => Failure::new(format!("{place}: {error}"), "check the network on the way"),
    })
}

async fn shake_hands(mut stream: TcpStream, name: &str) -> Result<Handshake, Failure> {
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::new(format!("{name:?} is not a name of a server"), "see --server-name"))?;
    let seen = Arc::new(Seen::default());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::new(e.to_string(), ""))?;
    let mut config = config
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_client_cert_resolver(seen.clone());
    config.alpn_protocols = vec![H2.to_vec()];
    let mut connection =
        ClientConnection::new(Arc::new(config), server).map_err(|e| Failure::new(e.to_string(), ""))?;
    let ended = exchange(&mut connection, &mut stream).await;
    let version = connection.protocol_version();
    let chain = seen.chain.lock().unwrap_or_else(PoisonError::into_inner);
    let asks_for_client = seen.asked.load(Ordering::Relaxed);
    if let Err(error) = ended {
        // With TLS 1.2 a server that demands a client certificate ends the handshake. It has
        // shown its own by then, and signed for it: rustls checks that before it answers.
        let was_seen = version == Some(ProtocolVersion::TLSv1_2) && !chain.is_empty();
        if !(was_seen && asks_for_client && is_theirs(&error)) {
            return Err(not_tls(&error, name));
        }
    }
    Ok(Handshake {
        version: match version {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        },
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        chain: chain.clone(),
        asks_for_client,
    })
}

/// Carries a handshake to its end, or to where either side ends it: what was seen by then
/// stays in the connection.
async fn exchange(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        send(connection, stream).await?;
        if !connection.is_handshaking() {
            return Ok(());
        }
        let mut unread = match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => &buffer[..count],
        };
        while !unread.is_empty() {
            connection.read_tls(&mut unread)?;
            if let Err(error) = connection.process_new_packets() {
                // The server is to know why, too.
                let _ = send(connection, stream).await;
                return Err(io::Error::other(error));
            }
        }
    }
}

/// Sends what is to be sent by now.
async fn send(connection: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    let mut flight = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut flight)?;
    }
    stream.write_all(&flight).await
}

/// Whether the other side has ended a handshake.
fn is_theirs(error: &io::Error) -> bool {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(error) => matches!(error, Error::AlertReceived(_)),
        None => true,
    }
}

/// Why there was no handshake, in words about the server.
fn not_tls(error: &io::Error, name: &str) -> Failure {
    let routed = format!(
        "a gateway does so where nothing passes TLS through for {name}: see `kubectl relay-ingress lint`, \
         or --server-name for another name"
    );
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => Failure::new(
            "it does not speak TLS",
            "something else than the relay server answers there: see --port-name and --ingress-port-name",
        ),
        Some(Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => Failure::new(
            "it does not speak HTTP/2 (ALPN h2), so it is no gRPC server",
            "something else than the relay server answers there: see --port-name and --ingress-port-name",
        ),
        Some(Error::AlertReceived(alert)) => Failure::new(format!("it refuses {name}: {alert:?}"), routed),
        Some(other) => Failure::new(other.to_string(), "see what serves there"),
        None => Failure::new("it closes the connection during the handshake", routed),
    }
}

/// Accepts every certificate whose key the server holds, and notes it.
#[derive(Debug, Default)]
struct Seen {
    possession: Possession,
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: AtomicBool,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        *chain = all.map(|certificate| certificate.clone().into_owned()).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.possession
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.possession.supported_verify_schemes()
    }
}

/// Has no client certificate, and notes that one is asked for.
impl ResolvesClientCert for Seen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}
