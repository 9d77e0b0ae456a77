//! Issues certificates: roots, and what an authority issues to its children.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use pkcs8::der::{
    Decode as _, Encode as _, Header, Length, Reader as _, SliceReader, Tag,
    asn1::{AnyRef, BitStringRef},
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use relay_shared::{
    certificate::{Certificate, KeyKind},
    chain::{self, Chain},
    findings::Findings,
    path_validation, soundness,
};
use time::{Duration, OffsetDateTime};

use crate::{key::PrivateKey, names::Names, role::Child};

/// How long a certificate is valid, as on the page.
pub(crate) const LIFETIME: Duration = Duration::days(3650);

/// For clusters whose clocks are behind ours.
const BACKDATED: Duration = Duration::minutes(5);

/// A certificate authority and its key: the root that we made, or whatever was
/// brought to issue by.
pub(crate) struct Authority {
    /// The authority itself, then those above it up to the root.
    certificates: Vec<Certificate>,
    key: PrivateKey,
}

/// A certificate with those above it, and its key.
pub(crate) struct CertifiedKey {
    pub(crate) chain: Chain,
    pub(crate) key: PrivateKey,
}

impl Authority {
    /// Issues a root to a key.
    pub(crate) fn root(
        key: PrivateKey,
        names: &Names,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, String> {
        let mut params = params(names, lifetime, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issued = params.self_signed(key.pair()).map_err(|e| e.to_string())?;
        let root = Certificate::from_der(issued.der().to_vec())?;
        let certificates = vec![root];
        checked(&soundness::of_trusted(&certificates, now))?;
        Ok(Self { certificates, key })
    }

    /// Takes the certificate that a key belongs to as the authority, and the others
    /// as what is above it.
    ///
    /// # Errors
    /// If the key belongs to none of them.
    pub(crate) fn new(certificates: &[Certificate], key: PrivateKey) -> Result<Self, String> {
        let own = certificates
            .iter()
            .find(|certificate| certificate.is_for(key.public_key()));
        let own = own.ok_or("does not belong to its key")?;
        let path = chain::path(own, &[], certificates).certificates;
        Ok(Self {
            certificates: path.into_iter().cloned().collect(),
            key,
        })
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// Its own certificate, then those above it.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Its key.
    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Issues a certificate to a key, and checks it as if it came from elsewhere: rcgen
    /// issues by any key under any name.
    pub(crate) fn issue(
        &self,
        child: Child,
        key: PrivateKey,
        names: &Names,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<CertifiedKey, String> {
        let mut params = params(names, lifetime, now)?;
        extend(&mut params, child, names, &key);
        let chain = self.sign(params, &key, now)?;
        let host = chain.leaf().dns_names().into_iter().next().unwrap_or_default();
        let trusted = Some(self.certificates());
        let purpose = child.purpose(&host);
        checked(&path_validation::of_chain(
            &chain,
            Some(key.public_key()),
            trusted,
            purpose,
            now,
        ))?;
        Ok(CertifiedKey { chain, key })
    }

    /// Signs a certificate that is valid no longer than its issuer.
    fn sign(
        &self,
        mut params: CertificateParams,
        key: &PrivateKey,
        now: OffsetDateTime,
    ) -> Result<Chain, String> {
        let issuer = self.certificate();
        params.not_after = params.not_after.min(issuer.not_after());
        params.not_before = params.not_before.max(issuer.not_before()).min(now);
        params.use_authority_key_identifier_extension = true;
        let mut issuing = CertificateParams::default();
        if let Some(identifier) = issuer.subject_key_identifier() {
            issuing.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
        }
        let pair = self.key.pair();
        let unsigned = params
            .signed_by(key.pair(), &Issuer::from_params(&issuing, Unsigned(pair)))
            .map_err(|e| e.to_string())?;
        let signed = with_issuer(unsigned.der(), issuer.x509().subject().as_raw(), pair)
            .ok_or("cannot be written: what rcgen made is not a certificate")?;
        let leaf = Certificate::from_der(signed)?;
        let above = self.certificates.iter().filter(|above| !above.is_root());
        Ok(Chain::new(leaf, above.cloned().collect()))
    }
}

/// What all three have in common: a subject of its own, a random serial number
/// and a validity.
fn params(names: &Names, lifetime: Duration, now: OffsetDateTime) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = names.distinguished();
    params.serial_number = Some(serial_number()?);
    params.not_before = now - BACKDATED;
    params.not_after = now + lifetime;
    Ok(params)
}

/// The relay's peers are client and server to each other.
const BOTH: [ExtendedKeyUsagePurpose; 2] = [
    ExtendedKeyUsagePurpose::ServerAuth,
    ExtendedKeyUsagePurpose::ClientAuth,
];

/// What a certificate may be used for, and the names that it covers.
fn extend(params: &mut CertificateParams, child: Child, names: &Names, key: &PrivateKey) {
    params.extended_key_usages = BOTH.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    match child {
        Child::Server => {
            params.is_ca = IsCa::ExplicitNoCa;
            // Only RSA keys encipher other keys (RFC 8813, section 3).
            if let KeyKind::Rsa(_) = key.kind() {
                params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
            }
            params.subject_alt_names = names.alternatives().to_vec();
        }
        Child::Signing => {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
            params.key_usages.push(KeyUsagePurpose::CrlSign);
        }
    }
}

/// Asks an outside CA for a certificate: a request (PKCS#10, RFC 2986) as PEM.
pub(crate) fn request(child: Child, key: &PrivateKey, names: &Names) -> Result<String, String> {
    let mut params = CertificateParams::default();
    extend(&mut params, child, names, key);
    params.distinguished_name = names.distinguished();
    let request = params.serialize_request(key.pair());
    let pem = request.and_then(|request| request.pem());
    Ok(pem.map_err(|e| e.to_string())?.replace("\r\n", "\n"))
}

/// Whether two requests ask for the same; a signature may be another each time.
pub(crate) fn ask_the_same(one: &[u8], other: &[u8]) -> bool {
    let asked = |text: &[u8]| {
        let block = pem::parse(text).ok()?;
        let asked = elements(block.contents())?.first()?.to_vec();
        Some(asked)
    };
    asked(one).is_some_and(|one| asked(other) == Some(one))
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

/// What is wrong with what was issued.
fn checked(findings: &Findings) -> Result<(), String> {
    match findings.error() {
        None => Ok(()),
        Some(defect) => Err(format!("what was issued {defect}")),
    }
}

/// Leaves the signature out, as the issuer's name is yet to be put in.
struct Unsigned<'a>(&'a KeyPair);

impl PublicKeyData for Unsigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Unsigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

/// Puts the issuer's name into a certificate, byte by byte as the issuer has it,
/// and signs. rcgen would write the name anew: it loses all but one of several
/// parts of a kind, such as `DC=example, DC=com`, and no peer would find the issuer.
fn with_issuer(unsigned: &[u8], issuer: &[u8], key: &KeyPair) -> Option<Vec<u8>> {
    /// Where the issuer is in a TBSCertificate, behind version, serial number and
    /// algorithm (RFC 5280, section 4.1).
    const ISSUER: usize = 3;
    let mut certificate = elements(unsigned)?;
    let mut body = elements(certificate.first()?)?;
    *body.get_mut(ISSUER)? = issuer;
    let body = sequence(&body)?;
    let signature = key.sign(&body).ok()?;
    let signature = BitStringRef::from_bytes(&signature).ok()?.to_der().ok()?;
    certificate[0] = &body;
    *certificate.get_mut(2)? = &signature;
    sequence(&certificate)
}

/// The elements of a DER sequence.
fn elements(sequence: &[u8]) -> Option<Vec<&[u8]>> {
    let content = AnyRef::from_der(sequence).ok()?.value();
    let mut inner = SliceReader::new(content).ok()?;
    let mut elements = Vec::new();
    while !inner.is_finished() {
        elements.push(inner.tlv_bytes().ok()?);
    }
    Some(elements)
}

fn sequence(elements: &[&[u8]]) -> Option<Vec<u8>> {
    let content = elements.concat();
    let header = Header::new(Tag::Sequence, Length::try_from(content.len()).ok()?);
    Some([header.to_der().ok()?, content].concat())
}
