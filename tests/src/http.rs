//! HTTP/1.1 and TLS, as far as the servers of tests have to speak them.

use std::{io, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Identity};

/// What a connection is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What a request or an answer begins with.
pub(crate) struct Head {
    /// `METHOD TARGET HTTP/1.1` or `HTTP/1.1 STATUS REASON`.
    pub(crate) line: String,
    /// Names in lower case, in the order they came.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; `None` where the other side has nothing more to say.
    pub(crate) async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut head = Self {
            line: line.trim_end().to_owned(),
            headers: Vec::new(),
        };
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) => head
                    .headers
                    .push((name.to_ascii_lowercase(), value.trim().to_owned())),
                None if line.trim_end().is_empty() => return Ok(Some(head)),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|header| header.0 == name)
            .map(|header| header.1.as_str())
    }

    /// Whether the body comes in pieces whose number nobody knows yet.
    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }

    /// Reads the whole body.
    pub(crate) async fn body(&self, stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.is_chunked() {
            while let Some(mut chunk) = chunk(stream).await? {
                body.append(&mut chunk);
            }
            return Ok(body);
        }
        let length = self.header("content-length").unwrap_or("0").parse();
        body.resize(length.map_err(|_| io::ErrorKind::InvalidData)?, 0);
        stream.read_exact(&mut body).await?;
        Ok(body)
    }
}

/// Reads one piece of a body; `None` after the last one.
pub(crate) async fn chunk(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut size = String::new();
    stream.read_line(&mut size).await?;
    let size = usize::from_str_radix(size.trim_end(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk).await?;
    stream.read_line(&mut String::new()).await?;
    Ok((size > 0).then_some(chunk))
}

/// Proves a server, and asks for certificates of an authority where one is given.
pub(crate) fn acceptor(identity: &Identity, clients: Option<&Authority>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients: Arc<dyn ClientCertVerifier> = match clients {
        None => Arc::new(NoClientAuth),
        Some(authority) => {
            WebPkiClientVerifier::builder_with_provider(roots(&authority.ca_pem()).into(), provider.clone())
                .allow_unauthenticated()
                .build()
                .expect("a verifier")
        }
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).expect("is a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are some")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate(&identity.certificate_pem)], key)
        .expect("they are a pair");
    TlsAcceptor::from(Arc::new(config))
}

/// What a client or server trusts.
pub(crate) fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(pem)).expect("is a root");
    roots
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("is a certificate")
}
