//! TLS as a kubeconfig asks for it. kube's own brings its way to credentials along,
//! which is not taken here (plugins are [`credentials`](crate::credentials), all else
//! is [`authorization`](crate::authorization)), and an eighth of each program.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use kube::{Config, config::AuthInfo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret as _;
use tower::BoxError;
use zeroize::Zeroizing;

use crate::possession::Possession;

/// Speaks TLS over another connector's streams, where the URL is of HTTPS.
///
/// # Errors
/// If a certificate or key cannot be read or used; nothing of a key is repeated.
pub(crate) fn connector<C>(config: &Config, tcp: C) -> Result<HttpsConnector<C>, BoxError> {
    install_crypto_provider();
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(client_config(config)?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone())?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(https.enable_http1().wrap_connector(tcp))
}

fn client_config(config: &Config) -> Result<ClientConfig, BoxError> {
    let builder = ClientConfig::builder();
    let builder = match &config.root_cert {
        // It has to hold the key of the certificate that it shows, as it has to for kubectl.
        _ if config.accept_invalid_certs => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Possession::default())),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(CertificateDer::from(authority.as_slice()))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier()?,
    };
    Ok(match identity(&config.auth_info)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client certificate of a user, and its key. The data goes before the file.
fn identity(user: &AuthInfo) -> Result<Option<Identity>, String> {
    let chain = pem(
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_deref(),
    )
    .map_err(|e| format!("cannot read the client certificate: {e}"))?;
    let key = user.client_key_data.as_ref().map(|key| key.expose_secret());
    let key = pem(key, user.client_key.as_deref()).map_err(|e| format!("cannot read the client key: {e}"))?;
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err("the client certificate has no key".to_owned()),
        (None, Some(_)) => return Err("the client key has no certificate".to_owned()),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|e| format!("the client certificate is no PEM: {e}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in the client certificate".to_owned());
    }
    // What is wrong in particular might repeat a part of the key.
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| "the client key is no private key in PEM")?;
    Ok(Some((chain, key)))
}

fn pem(data: Option<&str>, file: Option<&str>) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let read = match (data, file) {
        (Some(data), _) => STANDARD
            .decode(data)
            .map_err(|_| "it is not in base64".to_owned()),
        (None, Some(file)) => std::fs::read(file).map_err(|e| format!("{file}: {e}")),
        (None, None) => return Ok(None),
    };
    read.map(|pem| Some(Zeroizing::new(pem)))
}

fn install_crypto_provider() {
    if CryptoProvider::get_default().is_none() {
        // Losing the race to another thread is fine: there is only one provider.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}
