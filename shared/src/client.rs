//! The HTTP stack under a [`kube::Client`]: what kube's default lacks for a
//! short-lived command.

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt as _},
};
use tower::{BoxError, ServiceBuilder};

use crate::wire::{Listen, Verbosity};

/// Makes a client for one connection. No request is sent yet.
///
/// Unlike kube's own stack it turns Nagle's algorithm off, which together with
/// delayed acknowledgements costs 40 ms on the second write of a connection, and
/// it does not retry: 15 silent retries look like a hang.
pub(crate) fn client(mut config: Config, context: &str, verbosity: Verbosity) -> kube::Result<Client> {
    let listen = Listen {
        context: context.into(),
        verbosity,
    };
    config.headers.push((http::header::USER_AGENT, user_agent()));
    if config.proxy_url.is_some() {
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config)?;
        return Ok(builder.with_layer(&listen).build());
    }
    // kube sets the provider only where it builds the whole stack itself.
    install_crypto_provider();

    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);

    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(listen)
        .map_err(BoxError::from)
        .service(HyperClient::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
}

fn install_crypto_provider() {
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    if CryptoProvider::get_default().is_none() {
        // Losing the race to another thread is fine: there is only one provider.
        let _ = aws_lc_rs::default_provider().install_default();
    }
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
