//! The HTTP stack under a [`kube::Client`]: what kube's default lacks for a
//! short-lived command.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::UnsyncBoxBody};
use hyper_timeout::TimeoutConnector;
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tower::{
    BoxError, Service, ServiceBuilder,
    util::{MapRequestLayer, MapResponseLayer},
};
use tower_http::{
    decompression::{DecompressionBody, DecompressionLayer},
    map_response_body::MapResponseBodyLayer,
};

use crate::{
    authorization::Authorization,
    connection::Connection,
    credentials::{Failure, Plugin},
    deadline::Deadline,
    exec_credential::{Certificate, Credential},
    failure,
    proxy::{Connector, Proxy},
    tls,
    wire::{Listen, Verbosity},
};

/// The most MiB of one answer, unpacked: more than all nodes of a large cluster take. What
/// goes on beyond that is not meant to end before our memory does.
const MOST: usize = 512;

/// Makes a client for one connection. No request is sent yet.
///
/// Unlike kube's own stack it turns Nagle's algorithm off, which together with
/// delayed acknowledgements costs 40 ms on the second write of a connection, and
/// it does not retry: 15 silent retries look like a hang.
pub(crate) fn client(connection: Connection, verbosity: Verbosity) -> Result<Client, BoxError> {
    let Connection {
        context,
        mut config,
        proxy,
        authorization,
        plugin,
        deadline,
    } = connection;
    let listen = Listen {
        context: context.into(),
        verbosity,
    };
    config.headers.push((header::USER_AGENT, user_agent()));
    let Some(plugin) = plugin else {
        return stack(config, proxy.as_ref(), authorization, &listen, deadline);
    };
    // Where the plugin gives a certificate, another client takes its place; but what
    // is wrong with the rest is known now.
    let client = stack(config.clone(), proxy.as_ref(), None, &listen, deadline)?;
    let namespace = config.default_namespace.clone();
    let authenticated = Authenticated {
        plugin,
        config: config.into(),
        proxy,
        listen,
        deadline,
        current: Arc::new(Mutex::new((None, client))),
    };
    Ok(Client::new(authenticated, namespace))
}

fn stack(
    config: Config,
    proxy: Option<&Proxy>,
    authorization: Option<Authorization>,
    listen: &Listen,
    deadline: Deadline,
) -> Result<Client, BoxError> {
    let tls = tls::connector(&config, Connector::new(&config, proxy)?)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);

    let compression = (!config.disable_compression).then(|| {
        (
            MapResponseBodyLayer::new(boxed::<DecompressionBody<Answer>>),
            DecompressionLayer::new(),
        )
    });
    let authorize = authorization.map(|authorization| {
        MapRequestLayer::new(move |mut request: Request<Body>| {
            let header = authorization.header(Instant::now());
            request.headers_mut().insert(header::AUTHORIZATION, header);
            request
        })
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(authorize)
        .layer(config.extra_headers_layer()?)
        .layer(listen.clone())
        .layer(MapResponseLayer::new(with_retry_after))
        .layer(MapResponseBodyLayer::new(bounded))
        .option_layer(compression)
        .layer(MapResponseBodyLayer::new(boxed))
        .layer(deadline)
        .service(HyperClient::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
}

/// Sends requests with what a credential plugin gives.
#[derive(Clone)]
struct Authenticated {
    plugin: Arc<Plugin>,
    config: Arc<Config>,
    proxy: Option<Proxy>,
    listen: Listen,
    deadline: Deadline,
    /// The client whose connections were opened with that certificate.
    current: Arc<Mutex<(Option<String>, Client)>>,
}

impl Authenticated {
    /// Where a server refuses the credential, sends the request once more with
    /// another one, which client-go leaves to the user.
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let credential = self.plugin.credential().await?;
        let again = copy(&request);
        let response = self.send_with(&credential, request).await?;
        match again {
            Some(request) if response.status() == StatusCode::UNAUTHORIZED => {
                let credential = self.plugin.replace(&credential).await?;
                self.send_with(&credential, request).await
            }
            _ => Ok(response),
        }
    }

    async fn send_with(
        &self,
        credential: &Credential,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        if let Some(value) = &credential.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        let client = self.client(credential.certificate.as_ref())?;
        Ok(client.send(request).await?)
    }

    /// A connection keeps the certificate it was opened with, so another certificate
    /// takes another client.
    fn client(&self, certificate: Option<&Certificate>) -> Result<Client, Failure> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = certificate.map(|certificate| &certificate.chain);
        if current.0.as_ref() != chain {
            let mut config = Config::clone(&self.config);
            if let Some(Certificate { chain, key }) = certificate {
                config.auth_info.client_certificate_data = Some(STANDARD.encode(chain));
                config.auth_info.client_key_data = Some(STANDARD.encode(key.expose_secret()).into());
            }
            // What is wrong in particular might repeat a part of the key.
            let client =
                stack(config, self.proxy.as_ref(), None, &self.listen, self.deadline).map_err(|_| {
                    Failure::new("failed parsing client key/certificate: they are not a pair in PEM")
                })?;
            *current = (chain.cloned(), client);
        }
        Ok(current.1.clone())
    }
}

impl Service<Request<Body>> for Authenticated {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// The same request, unless its body can be read only once.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// What an answer holds, whichever layers it has come through.
type Answer = UnsyncBoxBody<Bytes, BoxError>;

fn boxed<B>(body: B) -> Answer
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An API server that is too busy to look at a request says in a header alone when to come
/// again, with a line of text beside it. kube keeps no headers, so it is put where a
/// `Status` has it; what the text says, [`failure::worded`] knows.
fn with_retry_after(answer: Response<Answer>) -> Response<Answer> {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let is_status = header(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("json"));
    let seconds = header(header::RETRY_AFTER).and_then(|value| value.parse::<u32>().ok());
    let code = answer.status().as_u16();
    match seconds {
        Some(seconds) if !is_status && matches!(code, 429 | 503) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "message": "", "reason": failure::NO_STATUS,
                "details": { "retryAfterSeconds": seconds },
            });
            let body = Full::from(status.to_string()).map_err(Into::into);
            answer.map(|_| body.boxed_unsync())
        }
        _ => answer,
    }
}

/// An answer that ends with an error once it is too long.
fn bounded(answer: Answer) -> Answer {
    let bounded = Limited::new(answer, MOST << 20).map_err(|e| match e.is::<LengthLimitError>() {
        true => io::Error::other(format!("its answer is longer than {MOST} MiB")).into(),
        false => e,
    });
    bounded.boxed_unsync()
}

/// `kubectl-relay_address/1.2.3 (linux/x86_64)`, in the form of kubectl's own.
fn user_agent() -> http::HeaderValue {
    let program = std::env::current_exe().ok();
    let program = program
        .as_ref()
        .and_then(|path| path.file_stem()?.to_str())
        .unwrap_or("kubectl-relay");
    let agent = format!(
        "{program}/{} ({}/{})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    http::HeaderValue::from_str(&agent).unwrap_or(http::HeaderValue::from_static("kubectl-relay"))
}
