//! Certificates as they are: read from PEM, compared and described. Whether they
//! can do their job is decided in [`crate::soundness`]. Nothing here knows private keys.

use std::fmt;

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION,
        OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
    },
    prelude::FromDer as _,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

/// One X.509 certificate. Two are equal if their DER is.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
}

/// The SHA-256 of a certificate, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// What kind of key a certificate is for, shown as `RSA 2048` or `ECDSA P-256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// With a modulus of so many bits.
    Rsa(usize),
    /// On a curve of NIST's, by its name.
    Ecdsa(&'static str),
    /// The EdDSA of RFC 8410.
    Ed25519,
    /// None that we know.
    Other,
}

impl Certificate {
    /// Takes a certificate as its DER.
    ///
    /// # Errors
    /// Says what it is not, as the end of a sentence about it.
    pub fn from_der(der: Vec<u8>) -> Result<Self, String> {
        match X509Certificate::from_der(&der) {
            Ok(([], _)) => Ok(Self { der }),
            Ok(_) => Err("has bytes after its end".to_owned()),
            Err(_) => Err("is not an X.509 certificate".to_owned()),
        }
    }

    /// Reads every certificate of a PEM file: at least one.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, String> {
        let blocks = pem::parse_many(text).map_err(|_| "is not PEM".to_owned())?;
        let certificates: Result<Vec<_>, _> = blocks
            .into_iter()
            .filter(|block| block.tag() == "CERTIFICATE")
            .map(|block| Self::from_der(block.into_contents()))
            .collect();
        match certificates? {
            none if none.is_empty() => Err("holds no certificate".to_owned()),
            certificates => Ok(certificates),
        }
    }

    /// PEM (RFC 7468) with a newline at its end.
    pub fn pem(&self) -> String {
        let block = pem::Pem::new("CERTIFICATE", self.der.clone());
        pem::encode_config(
            &block,
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// The SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, &self.der);
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Its subject, as `CN=relay-root.gloo-mesh, O=relay-root`.
    pub fn subject(&self) -> String {
        self.x509().subject().to_string()
    }

    /// The organization of its subject, if there is one.
    pub fn organization(&self) -> Option<String> {
        let x509 = self.x509();
        let organization = x509.subject().iter_organization().next()?;
        organization.as_str().ok().map(str::to_owned)
    }

    /// The start of its validity, in UTC.
    pub fn not_before(&self) -> OffsetDateTime {
        self.x509().validity().not_before.to_datetime()
    }

    /// The end of its validity, in UTC.
    pub fn not_after(&self) -> OffsetDateTime {
        self.x509().validity().not_after.to_datetime()
    }

    /// Its DNS names.
    pub fn dns_names(&self) -> Vec<String> {
        let x509 = self.x509();
        let names = x509.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|san| &san.value.general_names);
        let dns = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        dns.collect()
    }

    /// What it is to be used for by those that look at extended key usages; nothing
    /// if it is for anything.
    pub fn usages(&self) -> Vec<&'static str> {
        let x509 = self.x509();
        let usage = x509.extended_key_usage().ok().flatten();
        let Some(usage) = usage.map(|usage| usage.value) else {
            return Vec::new();
        };
        let known = [
            (usage.any, "any"),
            (usage.server_auth, "server"),
            (usage.client_auth, "client"),
        ];
        let mut usages: Vec<_> = known
            .into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| name)
            .collect();
        if usages.is_empty() {
            usages.push("other");
        }
        usages
    }

    /// What kind of key it is for.
    pub fn key_kind(&self) -> KeyKind {
        KeyKind::of(self.x509().public_key())
    }

    /// Whether it is for a public key, given as the DER of its SubjectPublicKeyInfo.
    pub fn is_for(&self, public_key: &[u8]) -> bool {
        self.x509().public_key().raw == public_key
    }

    /// Whether it names itself as its issuer, as roots do.
    pub fn is_self_issued(&self) -> bool {
        let x509 = self.x509();
        x509.issuer().as_raw() == x509.subject().as_raw()
    }

    /// Whether it is a root: issued and signed by itself.
    pub fn is_root(&self) -> bool {
        self.is_signed_by(self)
    }

    /// Whether another one's subject is its issuer.
    pub fn names_as_issuer(&self, other: &Self) -> bool {
        self.x509().issuer().as_raw() == other.x509().subject().as_raw()
    }

    /// Whether another one issued it: by name, and by signature.
    pub fn is_signed_by(&self, other: &Self) -> bool {
        self.names_as_issuer(other) && verifies(&self.x509(), &other.x509())
    }

    /// The identifier of its own key, if it states one.
    pub fn subject_key_identifier(&self) -> Option<Vec<u8>> {
        self.x509()
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            })
    }

    /// The identifier of its issuer's key, if it states one.
    pub fn authority_key_identifier(&self) -> Option<Vec<u8>> {
        self.x509()
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.to_vec()),
                _ => None,
            })
    }

    /// Everything it says.
    pub fn x509(&self) -> X509Certificate<'_> {
        let (_, x509) = X509Certificate::from_der(&self.der).expect("it was parsed when it was read");
        x509
    }
}

/// Whether one made the signature of the other. x509-parser knows all but what
/// OpenSSL makes with the larger of NIST's curves.
fn verifies(signed: &X509Certificate<'_>, signer: &X509Certificate<'_>) -> bool {
    let key = signer.public_key();
    let larger: Option<&dyn VerificationAlgorithm> = {
        let hash = &signed.signature_algorithm.algorithm;
        match KeyKind::of(key) {
            KeyKind::Ecdsa("P-384") if *hash == OID_SIG_ECDSA_WITH_SHA512 => Some(&ECDSA_P384_SHA512_ASN1),
            KeyKind::Ecdsa("P-521") if *hash == OID_SIG_ECDSA_WITH_SHA256 => Some(&ECDSA_P521_SHA256_ASN1),
            KeyKind::Ecdsa("P-521") if *hash == OID_SIG_ECDSA_WITH_SHA384 => Some(&ECDSA_P521_SHA384_ASN1),
            KeyKind::Ecdsa("P-521") if *hash == OID_SIG_ECDSA_WITH_SHA512 => Some(&ECDSA_P521_SHA512_ASN1),
            _ => None,
        }
    };
    match larger {
        None => signed.verify_signature(Some(key)).is_ok(),
        Some(algorithm) => UnparsedPublicKey::new(algorithm, &key.subject_public_key.data)
            .verify(signed.tbs_certificate.as_ref(), &signed.signature_value.data)
            .is_ok(),
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fingerprints of several certificates, for messages.
pub fn fingerprints(certificates: &[Certificate]) -> String {
    let all: Vec<_> = certificates.iter().map(|c| c.fingerprint().to_string()).collect();
    all.join(" and ")
}

impl KeyKind {
    /// That of a public key.
    pub fn of(key: &SubjectPublicKeyInfo<'_>) -> Self {
        let algorithm = &key.algorithm;
        let curve = || algorithm.parameters.as_ref()?.as_oid().ok();
        match (&algorithm.algorithm, key.parsed()) {
            (oid, Ok(PublicKey::RSA(rsa))) if *oid == OID_PKCS1_RSAENCRYPTION => Self::Rsa(rsa.key_size()),
            (oid, _) if *oid == OID_KEY_TYPE_EC_PUBLIC_KEY => match curve() {
                Some(curve) if curve == OID_EC_P256 => Self::Ecdsa("P-256"),
                Some(curve) if curve == OID_NIST_EC_P384 => Self::Ecdsa("P-384"),
                Some(curve) if curve == OID_NIST_EC_P521 => Self::Ecdsa("P-521"),
                _ => Self::Other,
            },
            (oid, _) if *oid == OID_SIG_ED25519 => Self::Ed25519,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ecdsa(curve) => write!(f, "ECDSA {curve}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("unknown"),
        }
    }
}
