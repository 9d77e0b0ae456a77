//! Whether a TLS server possesses the key of the certificate that it shows, which is
//! judged elsewhere or not at all. Only the key is looked at: rustls's own check refuses
//! certificates that Go accepts.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
};

use crate::certificate::Certificate;

/// Takes a server for whoever it says it is, if it holds the key of what it shows.
#[derive(Debug)]
pub struct Possession(WebPkiSupportedAlgorithms);

impl Default for Possession {
    /// By the algorithms of the one crypto provider.
    fn default() -> Self {
        Self(aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Possession {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    /// Of a ServerKeyExchange (RFC 5246, section 7.4.3).
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = read(certificate)?;
        let key = &certificate.x509().tbs_certificate.subject_pki.subject_public_key;
        let schemes = self.0.mapping.iter();
        // The curve is the key's, not the scheme's, as it is since TLS 1.3.
        let mut algorithms = schemes
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| *algorithms);
        match algorithms.any(|by| {
            by.verify_signature(&key.data, message, signature.signature())
                .is_ok()
        }) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    /// Of a CertificateVerify (RFC 8446, section 4.4.3).
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = read(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(certificate.x509().public_key().raw.to_vec());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate.to_vec())
        .map_err(|defect| Error::General(format!("the server's certificate {defect}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
    use rustls::{
        ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
        pki_types::PrivateKeyDer,
        sign::{CertifiedKey, SingleCertAndKey},
        version::{TLS12, TLS13},
    };

    use super::*;

    /// What a client says to a server that shows a certificate and signs with a key.
    fn shake_hands(
        version: &'static SupportedProtocolVersion,
        shown: &CertificateDer<'static>,
        key: &KeyPair,
    ) -> Result<(), Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("is a key");
        let key = provider.key_provider.load_private_key(key)?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(
                vec![shown.clone()],
                key,
            ))));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Possession::default()))
            .with_no_client_auth();
        let name = ServerName::try_from("relay").expect("is a name");
        let mut client = ClientConnection::new(Arc::new(client), name)?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).expect("is memory");
            server.read_tls(&mut wire.as_slice()).expect("is memory");
            server.process_new_packets()?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("is memory");
            }
            client.read_tls(&mut wire.as_slice()).expect("is memory");
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_server_has_to_hold_the_key_of_what_it_shows() {
        #[track_caller]
        fn check(key: &KeyPair, other: &KeyPair) {
            let mut params = CertificateParams::default();
            // Nothing that rustls itself would let pass: it knows no such extension.
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions = vec![unknown];
            let shown = params.self_signed(key).expect("can be made");
            for version in [&TLS12, &TLS13] {
                assert_eq!(shake_hands(version, shown.der(), key), Ok(()));
                let refused = Err(Error::InvalidCertificate(CertificateError::BadSignature));
                assert_eq!(shake_hands(version, shown.der(), other), refused);
            }
        }
        let made = |algorithm| KeyPair::generate_for(algorithm).expect("can be made");
        let p256 = || KeyPair::generate().expect("can be made");
        check(&p256(), &p256());
        check(&made(&PKCS_ECDSA_P384_SHA384), &made(&PKCS_ECDSA_P384_SHA384));
        check(&made(&PKCS_RSA_SHA256), &made(&PKCS_RSA_SHA256));
    }
}
