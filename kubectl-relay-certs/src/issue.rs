//! Issues certificates. Each role is a type of its own, so that a leaf
//! cannot sign and a root cannot serve.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType, SerialNumber,
};
use relay_shared::relay::{self, RelayHost};
use time::{Duration, OffsetDateTime};

use crate::{certificate::Certificate, key::PrivateKey};

/// How long a certificate is valid, as on the page.
const LIFETIME: Duration = Duration::days(3650);

/// For clusters whose clocks are behind ours.
const BACKDATED: Duration = Duration::minutes(5);

/// The root, with the key that everything else is issued by.
pub(crate) struct Root {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

/// What the relay server presents to agents.
pub(crate) struct Server {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

/// What the relay server issues the agents' certificates by.
pub(crate) struct Signing {
    pub(crate) certificate: Certificate,
    pub(crate) key: PrivateKey,
}

impl Root {
    /// Issues a root to a key.
    pub(crate) fn new(key: PrivateKey, namespace: &str, now: OffsetDateTime) -> Result<Self, String> {
        let mut params = params("relay-root", &relay::common_name("relay-root", namespace), now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issued = params.self_signed(key.pair()).map_err(|e| e.to_string())?;
        let certificate = Certificate::from_der(issued.der().to_vec())?;
        checked(certificate.root_defect(now))?;
        Ok(Self { certificate, key })
    }

    /// Issues the server's certificate to a key.
    pub(crate) fn server(
        &self,
        key: PrivateKey,
        host: &RelayHost,
        now: OffsetDateTime,
    ) -> Result<Server, String> {
        let mut params = params("relay-server-tls", &host.common_name(), now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        for name in host.certificate_names() {
            let name = name.try_into().map_err(|e: rcgen::Error| e.to_string())?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let certificate = self.issue(params, &key)?;
        let defect =
            certificate.server_defect(&host.to_string(), std::slice::from_ref(&self.certificate), now);
        checked(defect)?;
        Ok(Server { certificate, key })
    }

    /// Issues the signing certificate to a key.
    pub(crate) fn signing(
        &self,
        key: PrivateKey,
        namespace: &str,
        now: OffsetDateTime,
    ) -> Result<Signing, String> {
        let common_name = relay::common_name("relay-tls-signing", namespace);
        let mut params = params("relay-tls-signing", &common_name, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let certificate = self.issue(params, &key)?;
        checked(certificate.signing_defect(std::slice::from_ref(&self.certificate), now))?;
        Ok(Signing { certificate, key })
    }

    /// Signs what both children have in common.
    fn issue(&self, mut params: CertificateParams, key: &PrivateKey) -> Result<Certificate, String> {
        params.not_after = params.not_after.min(self.certificate.not_after());
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let root = self.certificate.der().into();
        let issuer = Issuer::from_ca_cert_der(&root, self.key.pair()).map_err(|e| e.to_string())?;
        let issued = params.signed_by(key.pair(), &issuer).map_err(|e| e.to_string())?;
        Certificate::from_der(issued.der().to_vec())
    }
}

/// What all three have in common: a subject of its own, a random serial number
/// and a validity.
fn params(organization: &str, common_name: &str, now: OffsetDateTime) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.serial_number = Some(serial_number()?);
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    Ok(params)
}

/// 126 random bits under a leading 01: positive, 16 bytes in DER, never 0
/// (RFC 5280, section 4.1.2.2).
fn serial_number() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}

/// rcgen issues by any key under any name: what it made is checked as if it came
/// from elsewhere.
fn checked(defect: Option<String>) -> Result<(), String> {
    defect.map_or(Ok(()), |defect| Err(format!("what was issued {defect}")))
}
