//! Serves the proxy's connections, and breaks what is to be broken.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    Answering, Fault, Midway, Request, State, Unreachable, Upstream, WATCH, bound,
    link::link,
    message::{self, Answer, Asked, Renamed},
};
use crate::{
    Cluster,
    authority::Authority,
    http::{Head, Stream, acceptor, chunk, roots},
};

/// How long a connection to the server is taken for one that it has not closed, which
/// a kube-apiserver does after 90 seconds.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Server {
    address: SocketAddr,
    upstream: String,
    connector: TlsConnector,
    state: Arc<State>,
    honest: TlsAcceptor,
    impostor: TlsAcceptor,
}

impl Server {
    pub(super) fn new(
        address: SocketAddr,
        cluster: &Cluster,
        authority: &Authority,
        state: Arc<State>,
    ) -> Self {
        let names = ["127.0.0.1"];
        Self {
            address,
            upstream: cluster.server.trim_start_matches("https://").to_owned(),
            connector: connector(&cluster.ca_pem),
            state,
            honest: acceptor(&authority.server(&names), None),
            impostor: acceptor(&Authority::new("impostor").server(&names), None),
        }
    }

    pub(super) async fn listen(self: Arc<Self>, _keeper: TcpSocket, listening: &mpsc::Sender<()>) {
        let mut listener = Some(self.open());
        let _ = listening.send(());
        loop {
            let refuses = {
                let inner = self.state.lock();
                if inner.ended {
                    return;
                }
                inner.next_connection() == Some(Unreachable::Refuse)
            };
            if refuses {
                listener = None;
                self.state.changed.notified().await;
                continue;
            }
            let open = match listener.take() {
                Some(open) => open,
                None => self.open(),
            };
            tokio::select! {
                accepted = open.accept() => {
                    let (tcp, _) = accepted.expect("accepts");
                    let how = self.state.lock().connect();
                    tokio::spawn(self.clone().connect(tcp, how));
                }
                () = self.state.changed.notified() => {}
            }
            listener = Some(open);
        }
    }

    fn open(&self) -> TcpListener {
        bound(self.address).listen(1024).expect("listens")
    }

    /// Serves one connection to its end, however that comes.
    async fn connect(self: Arc<Self>, tcp: TcpStream, how: Option<Unreachable>) {
        let acceptor = match how {
            Some(Unreachable::Impostor) => self.impostor.clone(),
            _ => self.honest.clone(),
        };
        let round_trip = self.state.lock().round_trip;
        // Loopback has already made the connection: what comes over it waits instead.
        sleep(round_trip).await;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (broken, is_broken) = oneshot::channel();
        let serve = async move {
            let served = match acceptor.accept(near).await {
                Ok(stream) => self.serve(&mut BufReader::new(stream)).await,
                Err(err) => Err(err),
            };
            if served.is_err() {
                let _ = broken.send(());
            }
        };
        tokio::join!(serve, link(tcp, far, round_trip / 2, is_broken));
    }

    async fn serve(&self, stream: &mut BufReader<impl Stream>) -> io::Result<()> {
        while let Some(head) = Head::read(stream).await? {
            let body = head.body(stream).await?;
            let mut words = head.line.split(' ');
            let mut word = || words.next().unwrap_or_default();
            let (method, target) = (word(), word());
            let watches = target.contains("watch=");
            let request = Request {
                method: if watches { WATCH } else { method }.to_owned(),
                path: target.split('?').next().unwrap_or_default().to_owned(),
            };
            let (fault, namespace) = {
                let mut inner = self.state.lock();
                (inner.take(request), inner.namespace.clone())
            };
            let _answering = Answering::begin(&self.state, target);
            let pause = self.state.lock().pause;
            sleep(pause).await;
            let renamed = Renamed::new(target, namespace.as_deref());
            let asked = Asked {
                method,
                target: renamed.target(target),
                head: &head,
                body: renamed.body(body),
            };
            match fault {
                None if watches && goes_on(target) && self.state.lock().forgetful => {
                    self.answer(stream, &Answer::status(410, None)).await?;
                }
                None if watches => return self.watch(&asked, &renamed, stream, None).await,
                Some(Fault::Midway(how)) => return self.watch(&asked, &renamed, stream, Some(how)).await,
                None => {
                    let mut answer = self.ask(&asked, &renamed).await?;
                    let last = self.state.lock().unreachable.is_some();
                    if last {
                        answer.headers.push(("connection".to_owned(), "close".to_owned()));
                    }
                    self.answer(stream, &answer).await?;
                    if last {
                        return stream.shutdown().await;
                    }
                }
                Some(fault) => {
                    // What is to be lost has to be done first.
                    let answer = match fault.reaches_the_server() {
                        true => Some(self.ask(&asked, &renamed).await?),
                        false => None,
                    };
                    match self.fail(stream, fault, answer).await? {
                        true => continue,
                        false => return stream.shutdown().await,
                    }
                }
            }
        }
        Ok(())
    }

    /// Fails as told; says whether the connection is still of use.
    async fn fail(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        fault: Fault,
        answer: Option<Answer>,
    ) -> io::Result<bool> {
        let answer = answer.unwrap_or_default();
        match fault {
            Fault::Answer(404) => {
                // As a load balancer says it that leads elsewhere.
                let answer = Answer::text("404 Not Found", "404 page not found\n");
                self.answer(stream, &answer).await?;
                return Ok(true);
            }
            Fault::Answer(code) => {
                self.answer(stream, &Answer::status(code, None)).await?;
                return Ok(true);
            }
            Fault::Busy(seconds) => {
                self.answer(stream, &Answer::status(429, Some(seconds))).await?;
                return Ok(true);
            }
            // Not even the end of the TLS session is said: the link resets.
            Fault::Reset | Fault::Lose => return Err(io::ErrorKind::ConnectionReset.into()),
            Fault::Cut => {
                let whole = answer.bytes();
                let half = whole.len() - answer.body.len() / 2 - 1;
                stream.write_all(&whole[..half]).await?;
            }
            Fault::Truncate => {
                let mut answer = answer;
                answer.body.truncate(answer.body.len() / 2);
                self.answer(stream, &answer).await?;
                return Ok(true);
            }
            Fault::Slow(pause) => {
                let bytes = answer.bytes();
                for piece in bytes.chunks(bytes.len().div_ceil(10)) {
                    sleep(pause).await;
                    stream.write_all(piece).await?;
                    stream.flush().await?;
                }
                return Ok(true);
            }
            Fault::Drip => {
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{";
                stream.write_all(head.as_bytes()).await?;
                loop {
                    stream.write_all(b" ").await?;
                    stream.flush().await?;
                    sleep(Duration::from_millis(100)).await;
                }
            }
            Fault::Garbage => stream.write_all(b"\x00\xff\x1b[2J not HTTP\r\n\r\n").await?,
            Fault::WebPage => {
                let answer = Answer::text("200 OK", "<html>\x1b[31mPlease log in</html>");
                self.answer(stream, &answer).await?;
                return Ok(true);
            }
            Fault::Hang | Fault::Withhold => {
                self.state.lost.notified().await;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Fault::Midway(_) => unreachable!("a watch breaks itself"),
        }
        stream.flush().await?;
        Ok(false)
    }

    async fn answer(&self, stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
        stream.write_all(&answer.bytes()).await?;
        stream.flush().await
    }

    /// Has the server do it.
    async fn ask(&self, asked: &Asked<'_>, renamed: &Renamed) -> io::Result<Answer> {
        let idle = self.state.lock().idle.pop();
        let upstream = match idle {
            Some((upstream, since)) if since.elapsed() < IDLE => upstream,
            _ => self.upstream().await?,
        };
        let mut upstream = BufReader::new(upstream);
        upstream.write_all(&asked.bytes()).await?;
        upstream.flush().await?;
        let head = Head::read(&mut upstream)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = head.body(&mut upstream).await?;
        self.state
            .lock()
            .idle
            .push((upstream.into_inner(), Instant::now()));
        Ok(Answer {
            line: head.line,
            headers: head.headers,
            body: renamed.answer(body),
        })
    }

    /// Passes on what the server sends, as it comes and for as long as it does, or until
    /// it is to break.
    async fn watch(
        &self,
        asked: &Asked<'_>,
        renamed: &Renamed,
        stream: &mut (impl AsyncWrite + Unpin),
        breaks: Option<Midway>,
    ) -> io::Result<()> {
        let mut upstream = BufReader::new(self.upstream().await?);
        upstream.write_all(&asked.bytes()).await?;
        upstream.flush().await?;
        let head = Head::read(&mut upstream)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if !head.is_chunked() {
            let answer = Answer {
                body: renamed.answer(head.body(&mut upstream).await?),
                line: head.line,
                headers: head.headers,
            };
            return self.answer(stream, &answer).await;
        }
        let mut bytes = format!("{}\r\n", head.line);
        for (name, value) in &head.headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{bytes}\r\n").as_bytes()).await?;
        stream.flush().await?;
        while let Some(piece) = chunk(&mut upstream).await? {
            stream.write_all(&frame(&renamed.answer(piece))).await?;
            stream.flush().await?;
            if breaks.is_some() {
                // What was sent has arrived before the connection breaks.
                sleep(Duration::from_millis(100)).await;
            }
            let last: &[u8] = match breaks {
                None => continue,
                Some(Midway::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
                Some(Midway::Cut) => return stream.shutdown().await,
                Some(Midway::Hang) => std::future::pending().await,
                Some(Midway::Truncate) => br#"{"type":"MODIFIED","object":{"kind":"Serv"#,
                Some(Midway::Garbage) => b"\x00\xff\x1b[2J no event\n",
                Some(Midway::Gone) => &[message::event(410), b"\n".to_vec()].concat(),
                Some(Midway::Expire) => {
                    self.state.lock().forgetful = true;
                    break;
                }
            };
            stream.write_all(&frame(last)).await?;
            break;
        }
        stream.write_all(b"0\r\n\r\n").await?;
        stream.flush().await
    }

    async fn upstream(&self) -> io::Result<Upstream> {
        let tcp = TcpStream::connect(&self.upstream).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").expect("is an address");
        Ok(Box::new(self.connector.connect(name, tcp).await?))
    }
}

/// Whether a watch is to begin at a version, and not with what there is.
fn goes_on(target: &str) -> bool {
    let parameters = target.split(['?', '&']).skip(1);
    parameters
        .filter_map(|parameter| parameter.strip_prefix("resourceVersion="))
        .any(|version| !version.is_empty())
}

/// A piece of a body whose length nobody knows yet.
fn frame(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

fn connector(ca_pem: &str) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are some")
        .with_root_certificates(roots(ca_pem))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
