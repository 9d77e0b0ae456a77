//! A certificate authority for servers, users and tests of mutual TLS. It has
//! nothing in common with the plugins' own code but the library below both.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A self-signed root that issues end-entity certificates.
#[derive(Debug)]
pub struct Authority {
    common_name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, as PKCS#8.
    pub key_pem: String,
}

impl Authority {
    /// Makes a root with a P-256 key.
    pub fn new(common_name: &str) -> Self {
        Self::with(common_name, |_| {})
    }

    /// Makes a root that is like the others but for the tweak.
    pub fn with(common_name: &str, tweak: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = authority(common_name, tweak);
        let key = KeyPair::generate().expect("a P-256 key can be made");
        Self {
            common_name: common_name.to_owned(),
            issuer: CertifiedIssuer::self_signed(params, key).expect("a root can sign itself"),
        }
    }

    /// Makes an authority below this one.
    pub fn intermediate(&self, common_name: &str, tweak: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(common_name, tweak);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a P-256 key can be made");
        Self {
            common_name: common_name.to_owned(),
            issuer: CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a root can issue"),
        }
    }

    /// Issues a certificate to another authority, for its name and key, too.
    pub fn again(&self, other: &Self, tweak: impl FnOnce(&mut CertificateParams)) -> String {
        let name = other.common_name.as_str();
        let mut params = authority(name, tweak);
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(other.issuer.key(), &self.issuer);
        certificate.expect("a root can issue").pem()
    }

    /// The root's certificate.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// The root's key, as PKCS#8.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a server certificate for host names and addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("a P-256 key can be made");
        self.server_with(names, &key, |_| {})
    }

    /// Issues a server certificate for a key that is like the others but for the tweak.
    pub fn server_with(
        &self,
        names: &[&str],
        key: &KeyPair,
        tweak: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<_> = names.iter().copied().map(str::to_owned).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = subject(&common_name, names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        tweak(&mut params);
        self.sign(&params, key)
    }

    /// Issues a server certificate that ended on 2024-02-01.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        let names = names.iter().copied().map(str::to_owned).collect();
        let mut params = subject("expired", names);
        params.not_after = date_time_ymd(2024, 2, 1);
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a client certificate; Kubernetes reads the common name as a user and
    /// the organisations as groups.
    pub fn client(&self, common_name: &str, organisations: &[&str]) -> Identity {
        let mut params = subject(common_name, vec![common_name.to_owned()]);
        for organisation in organisations {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *organisation);
        }
        self.issue(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a P-256 key can be made");
        self.sign(&params, &key)
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Identity {
        let certificate = params.signed_by(key, &self.issuer).expect("a root can issue");
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

fn authority(common_name: &str, tweak: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = subject(common_name, Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    tweak(&mut params);
    params
}

fn subject(common_name: &str, names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("names of tests are valid");
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}
