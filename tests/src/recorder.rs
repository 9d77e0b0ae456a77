//! Servers that write down what arrives: an API server that knows no object, and
//! proxies that lead to it whatever they are asked for.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::{Authority, Identity},
    http::{Head, Stream, acceptor},
};

/// A server on loopback, for as long as the process lives.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    scheme: &'static str,
    heard: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Role {
    ApiServer,
    /// `CONNECT`, always to the same address.
    HttpProxy(SocketAddr),
    /// SOCKS 5 (RFC 1928), always to the same address.
    SocksProxy(SocketAddr),
}

impl Recorder {
    /// An API server in plain HTTP.
    pub fn http() -> Self {
        Self::start("http", None, Role::ApiServer)
    }

    /// An API server that proves itself and takes an authority's client certificates.
    pub fn https(identity: &Identity, authority: &Authority) -> Self {
        Self::start(
            "https",
            Some(acceptor(identity, Some(authority))),
            Role::ApiServer,
        )
    }

    /// A proxy in plain HTTP.
    pub fn http_proxy(to: &Self) -> Self {
        Self::start("http", None, Role::HttpProxy(to.address))
    }

    /// A proxy that proves itself.
    pub fn https_proxy(to: &Self, identity: &Identity, authority: &Authority) -> Self {
        let acceptor = acceptor(identity, Some(authority));
        Self::start("https", Some(acceptor), Role::HttpProxy(to.address))
    }

    /// A proxy that speaks SOCKS 5.
    pub fn socks_proxy(to: &Self) -> Self {
        Self::start("socks5", None, Role::SocksProxy(to.address))
    }

    /// `SCHEME://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What came since the last time, sorted and each once: of requests for a Service
    /// the path and the headers that are the user's, of connections what they proved,
    /// of proxies where they were to lead.
    pub fn heard(&self) -> Vec<String> {
        let mut heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        heard.sort();
        heard.dedup();
        heard
    }

    fn start(scheme: &'static str, acceptor: Option<TlsAcceptor>, role: Role) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("is bound");
        listener.set_nonblocking(true).expect("can be");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let record = heard.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listens");
                loop {
                    let (stream, _) = listener.accept().await.expect("accepts");
                    tokio::spawn(take(stream, acceptor.clone(), role, record.clone()));
                }
            });
        });
        Self {
            address,
            scheme,
            heard,
        }
    }
}

/// Serves one connection to its end, however that comes.
async fn take(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    role: Role,
    record: Arc<Mutex<Vec<String>>>,
) -> io::Result<()> {
    let mut proven = Vec::new();
    let stream: Box<dyn Stream> = match acceptor {
        None => Box::new(tcp),
        Some(acceptor) => {
            let stream = acceptor.accept(tcp).await?;
            let (_, session) = stream.get_ref();
            proven.extend(session.server_name().map(|name| format!("tls to {name}")));
            if let Some([certificate, ..]) = session.peer_certificates() {
                let der = STANDARD.encode(certificate);
                proven.push(format!("tls by {}", &der[der.len() - 16..]));
            }
            Box::new(stream)
        }
    };
    let note = |lines: Vec<String>| {
        record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(lines);
    };
    match role {
        Role::ApiServer => serve(stream, proven, note).await,
        Role::HttpProxy(to) => {
            note(proven);
            tunnel(stream, to, note).await
        }
        Role::SocksProxy(to) => socks(stream, to, note).await,
    }
}

/// Reads the head of a request: `METHOD PATH`, then its headers, names in lower case.
async fn head(stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<Vec<String>> {
    let head = Head::read(stream).await?;
    let head = head.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut words = head.line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let limit = query.split('&').find(|pair| pair.starts_with("timeout="));
    let limit = limit.map(|limit| format!(" {limit}")).unwrap_or_default();
    let request = format!("{method} {path}{limit}");
    let headers = head
        .headers
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"));
    Ok([request].into_iter().chain(headers).collect())
}

fn is_the_users(line: &str) -> bool {
    [
        "GET ",
        "accept-encoding:",
        "authorization:",
        "impersonate-",
        "proxy-authorization:",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

async fn serve(stream: Box<dyn Stream>, proven: Vec<String>, note: impl Fn(Vec<String>)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = head(&mut stream).await?;
        let (status, body) = answer(request[0].split(" timeout=").next().unwrap_or_default());
        if request[0].contains("/services/") {
            request.retain(|line| is_the_users(line));
            note([request, proven.clone()].concat());
        }
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// What kubectl discovers before it asks for a Service; and no Service.
fn answer(request: &str) -> (&'static str, String) {
    let discovered = match request.rsplit_once("/api") {
        Some((_, "")) => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        Some((_, "s")) => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        Some((_, "/v1")) => json!({
            "kind": "APIResourceList", "groupVersion": "v1",
            "resources": [{ "name": "services", "kind": "Service", "namespaced": true, "verbs": ["get"] }],
        }),
        _ => Value::Null,
    };
    if !discovered.is_null() {
        return ("200 OK", discovered.to_string());
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not here",
        "reason": "NotFound", "code": 404, "details": { "name": "enterprise-networking", "kind": "services" },
    });
    ("404 Not Found", status.to_string())
}

async fn tunnel(stream: Box<dyn Stream>, to: SocketAddr, note: impl Fn(Vec<String>)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = head(&mut stream).await?;
    request.retain(|line| line.starts_with("CONNECT ") || is_the_users(line));
    note(request);
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    stream.flush().await?;
    lead(&mut stream, to).await
}

async fn lead(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), to: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    tokio::io::copy_bidirectional(stream, &mut server)
        .await
        .map(|_| ())
}

async fn socks(mut stream: Box<dyn Stream>, to: SocketAddr, note: impl Fn(Vec<String>)) -> io::Result<()> {
    async fn text(stream: &mut Box<dyn Stream>) -> io::Result<String> {
        let mut text = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut text).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
    let _version = stream.read_u8().await?;
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    let mut user = String::new();
    if methods.contains(&2) {
        // RFC 1929.
        stream.write_all(&[5, 2]).await?;
        let _version = stream.read_u8().await?;
        user = format!("{}:{}@", text(&mut stream).await?, text(&mut stream).await?);
        stream.write_all(&[1, 0]).await?;
    } else {
        stream.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        _ => text(&mut stream).await?,
    };
    let port = stream.read_u16().await?;
    note(vec![format!("socks {user}{host}:{port}")]);
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    lead(&mut stream, to).await
}
