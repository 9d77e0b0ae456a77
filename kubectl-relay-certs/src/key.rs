//! Private keys: made, read from every form that OpenSSL writes, and always
//! written as PKCS#8.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef,
    der::{Decode as _, SecretDocument, asn1::OctetStringRef},
    pkcs5::pbes2::{self, Kdf},
    spki::AlgorithmIdentifierRef,
};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use relay_shared::certificate::KeyKind;
use rustls_pki_types::PrivatePkcs8KeyDer;
use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};
use zeroize::{Zeroize as _, Zeroizing};

/// How often a password is hashed before it encrypts a key (OWASP's advice for
/// PBKDF2 with SHA-256).
const ROUNDS: u32 = 600_000;

/// The most rounds that a key may ask for: what RFC 8018, section 4.2, has for the most
/// critical ones. As shipped they took one to five seconds, by hash.
const MOST_ROUNDS: u32 = 10_000_000;

/// The most bytes that scrypt may go through: OWASP's advice, and four times what OpenSSL
/// lets it.
const MOST_MEMORY: u64 = 128 << 20;

/// A private key. It is wiped when it is dropped, and has no Debug.
pub(crate) struct PrivateKey {
    pem: Zeroizing<String>,
    /// Boxed, as it is large and moves a lot.
    pair: Box<Zeroizing<KeyPair>>,
    public: Vec<u8>,
}

/// A private key that a password opens (PKCS#8, RFC 5958, section 3).
pub(crate) struct EncryptedKey(Zeroizing<Vec<u8>>);

/// A private key as it is kept.
pub(crate) enum StoredKey {
    /// As it is.
    Plain(PrivateKey),
    /// Behind a password.
    Encrypted(EncryptedKey),
}

/// What kind of key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSA with a modulus of so many bits.
    Rsa(Bits),
    /// ECDSA on NIST's curve P-256.
    EcdsaP256,
}

/// How large an RSA key is, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl Bits {
    /// As a number.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

impl Algorithm {
    /// The algorithm that a replaced key had, or the nearest that is made here.
    pub(crate) fn like(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Rsa(0..=2048) | KeyKind::Other => Self::Rsa(Bits::Rsa2048),
            KeyKind::Rsa(2049..=3072) => Self::Rsa(Bits::Rsa3072),
            KeyKind::Rsa(_) => Self::Rsa(Bits::Rsa4096),
            KeyKind::Ecdsa(_) | KeyKind::Ed25519 => Self::EcdsaP256,
        }
    }
}

impl PrivateKey {
    /// Makes a new key; 4096 bits of RSA take about a second.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Self, String> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        let pair = match algorithm {
            Algorithm::Rsa(Bits::Rsa2048) => rsa(RsaKeySize::_2048),
            Algorithm::Rsa(Bits::Rsa3072) => rsa(RsaKeySize::_3072),
            Algorithm::Rsa(Bits::Rsa4096) => rsa(RsaKeySize::_4096),
            Algorithm::EcdsaP256 => KeyPair::generate(),
        };
        let pair = Zeroizing::new(pair.map_err(|e| e.to_string())?);
        let der = Zeroizing::new(pair.serialize_der());
        Self::from_pkcs8(&der).ok_or_else(|| "the key that was made cannot be read".to_owned())
    }

    /// The key itself, as PEM of PKCS#8 with a newline at its end.
    pub(crate) fn pem(&self) -> &Zeroizing<String> {
        &self.pem
    }

    /// What signs with it.
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// What kind of key it is.
    pub(crate) fn kind(&self) -> KeyKind {
        match SubjectPublicKeyInfo::from_der(&self.public) {
            Ok((_, key)) => KeyKind::of(&key),
            Err(_) => KeyKind::Other,
        }
    }

    /// The DER of its SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// The key behind a password, as PEM: PBES2 with PBKDF2 and AES-256-CBC, which
    /// every OpenSSL since 1.1.0 reads.
    pub(crate) fn encrypted_pem(&self, password: &[u8]) -> Result<String, String> {
        let failed = |_| "cannot be encrypted".to_owned();
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        let random = SystemRandom::new();
        random
            .fill(&mut salt)
            .and_then(|()| random.fill(&mut iv))
            .map_err(|_| "the system gives no random numbers".to_owned())?;
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, iv);
        let der = Zeroizing::new(self.pair.serialize_der());
        let encrypted = PrivateKeyInfoRef::from_der(&der)
            .map_err(|_| "cannot be encrypted".to_owned())?
            .encrypt_with_params(parameters.map_err(|e| e.to_string())?, password)
            .map_err(failed)?;
        Ok(pem("ENCRYPTED PRIVATE KEY", encrypted.as_bytes()).to_string())
    }

    /// Takes PKCS#8, and PKCS#1 or SEC1 that pass for it, as some tools label them.
    fn from_der(der: &[u8]) -> Option<Self> {
        match PrivateKeyInfoRef::from_der(der) {
            Ok(_) => Self::from_pkcs8(der),
            Err(_) => from_pkcs1(der)
                .or_else(|| from_sec1(der))
                .and_then(|document| Self::from_pkcs8(document.as_bytes())),
        }
    }

    /// Takes PKCS#8 and keeps it in its first version, which alone OpenSSL reads.
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let mut info = PrivateKeyInfoRef::from_der(der).ok()?;
        info.public_key = None;
        let document = SecretDocument::encode_msg(&info).ok()?;
        let der = PrivatePkcs8KeyDer::from(document.as_bytes());
        let pair = Box::new(Zeroizing::new(KeyPair::try_from(&der).ok()?));
        Some(Self {
            pem: pem("PRIVATE KEY", document.as_bytes()),
            public: pair.subject_public_key_info(),
            pair,
        })
    }
}

impl EncryptedKey {
    /// Takes a key that can be opened in a moment, whatever it asks for: who makes a key
    /// says how much work and memory that takes.
    fn new(der: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        let info = EncryptedPrivateKeyInfoRef::try_from(der.as_slice());
        let parameters = info.as_ref().ok().and_then(|i| i.encryption_algorithm.pbes2());
        let costs = match parameters.map(|parameters| &parameters.kdf) {
            Some(Kdf::Pbkdf2(asked)) if asked.iteration_count > MOST_ROUNDS => {
                Some(format!("{} rounds of PBKDF2", asked.iteration_count))
            }
            // Another N is none that scrypt has (RFC 7914, section 2).
            Some(Kdf::Scrypt(asked)) if asked.cost_parameter < 2 => {
                Some(format!("scrypt with a cost of {}", asked.cost_parameter))
            }
            Some(Kdf::Scrypt(asked)) => {
                let factors = [asked.block_size, asked.parallelization].map(u64::from);
                let blocks = factors
                    .iter()
                    .fold(asked.cost_parameter, |n, factor| n.saturating_mul(*factor));
                let bytes = blocks.saturating_mul(128);
                (bytes > MOST_MEMORY).then(|| format!("{} MiB of scrypt", bytes >> 20))
            }
            _ => None,
        };
        match costs {
            None => Ok(Self(der)),
            Some(costs) => Err(format!(
                "asks for {costs} to be opened, which is not reasonable: encrypt it anew with\n\
                 openssl pkcs8 -in OLD.key | openssl pkcs8 -topk8 -out NEW.key"
            )),
        }
    }

    /// Opens the key.
    ///
    /// # Errors
    /// Says what is wrong with key or password, as the end of a sentence about the key.
    pub(crate) fn unlock(&self, password: &[u8]) -> Result<PrivateKey, String> {
        let info = EncryptedPrivateKeyInfoRef::try_from(self.0.as_slice())
            .map_err(|_| "is encrypted in a way that we cannot read".to_owned())?;
        let document = info.decrypt(password).map_err(|_| WRONG_PASSWORD.to_owned())?;
        // One wrong password in some hundred opens to noise.
        PrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| WRONG_PASSWORD.to_owned())?;
        PrivateKey::from_pkcs8(document.as_bytes()).ok_or_else(|| NOT_A_KEY.to_owned())
    }
}

impl StoredKey {
    /// Reads a key from PEM: PKCS#8, PKCS#1 or SEC1, or encrypted PKCS#8. Curve
    /// parameters and certificates beside it are passed over.
    ///
    /// # Errors
    /// Says what it is not, as the end of a sentence about the key.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, String> {
        let blocks = pem::parse_many(text).map_err(|_| NOT_A_KEY.to_owned())?;
        let is_key = |block: &pem::Pem| block.tag().ends_with("PRIVATE KEY");
        let mut keys: Vec<_> = blocks.into_iter().filter(is_key).collect();
        let key = match keys.len() {
            1 => keys.remove(0),
            0 => return Err(NOT_A_KEY.to_owned()),
            _ => return Err("holds more than one private key".to_owned()),
        };
        let legacy = key.headers().get("Proc-Type").is_some();
        let encrypted = key.tag() == "ENCRYPTED PRIVATE KEY";
        let der = Zeroizing::new(key.into_contents());
        if legacy {
            return Err(
                "is encrypted in a form from before PKCS#8 (Proc-Type: 4,ENCRYPTED): convert it with\n\
                 openssl pkcs8 -topk8 -in OLD.key -out NEW.key"
                    .to_owned(),
            );
        }
        match encrypted {
            true => EncryptedKey::new(der).map(Self::Encrypted),
            false => PrivateKey::from_der(&der)
                .map(Self::Plain)
                .ok_or_else(|| NOT_A_KEY.to_owned()),
        }
    }

    /// Reads a key that must not be encrypted.
    ///
    /// # Errors
    /// As for [`StoredKey::from_pem`].
    pub(crate) fn plain(text: &[u8]) -> Result<PrivateKey, String> {
        match Self::from_pem(text)? {
            Self::Plain(key) => Ok(key),
            Self::Encrypted(_) => Err("is encrypted".to_owned()),
        }
    }

    /// The key itself; one behind a password is unlocked.
    ///
    /// # Errors
    /// Those of `unlock`.
    pub(crate) fn open<E>(
        self,
        unlock: impl FnOnce(&EncryptedKey) -> Result<PrivateKey, E>,
    ) -> Result<PrivateKey, E> {
        match self {
            Self::Plain(key) => Ok(key),
            Self::Encrypted(key) => unlock(&key),
        }
    }
}

const NOT_A_KEY: &str = "is not a private key that we can read";
const WRONG_PASSWORD: &str = "cannot be opened with this password";

/// Puts an RSA key (PKCS#1, RFC 8017, appendix A.1.2) into PKCS#8.
fn from_pkcs1(der: &[u8]) -> Option<SecretDocument> {
    pkcs1::RsaPrivateKeyRef::from_der(der).ok()?;
    wrap(pkcs1::ALGORITHM_ID, der)
}

/// Puts an elliptic curve's key (SEC1, RFC 5915) into PKCS#8.
fn from_sec1(der: &[u8]) -> Option<SecretDocument> {
    let key = sec1::EcPrivateKey::from_der(der).ok()?;
    let curve = key.parameters?.named_curve()?;
    let algorithm = AlgorithmIdentifierRef {
        oid: sec1::ALGORITHM_OID,
        parameters: Some((&curve).into()),
    };
    wrap(algorithm, der)
}

fn wrap(algorithm: AlgorithmIdentifierRef<'_>, der: &[u8]) -> Option<SecretDocument> {
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(der).ok()?);
    SecretDocument::encode_msg(&info).ok()
}

/// PEM (RFC 7468) with a newline at its end; what it was made from is wiped.
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let block = pem::Pem::new(label, der);
    let text = Zeroizing::new(pem::encode_config(&block, config));
    block.into_contents().zeroize();
    text
}

#[cfg(test)]
mod tests {
    use pkcs8::der::Encode as _;

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate(Algorithm::EcdsaP256).expect("P-256 can be generated")
    }

    /// Where a type has Debug or Display, two traits fit, and this does not compile.
    #[test]
    fn keys_cannot_be_printed() {
        trait Fits<Why> {
            fn fits() {}
        }
        struct Debug;
        struct Display;
        impl<T: ?Sized> Fits<()> for T {}
        impl<T: std::fmt::Debug + ?Sized> Fits<Debug> for T {}
        impl<T: std::fmt::Display + ?Sized> Fits<Display> for T {}
        <PrivateKey as Fits<_>>::fits();
        <EncryptedKey as Fits<_>>::fits();
        <StoredKey as Fits<_>>::fits();
    }

    #[track_caller]
    fn outcome(text: &str) -> String {
        match StoredKey::from_pem(text.as_bytes()) {
            Ok(StoredKey::Plain(_)) => "a key".to_owned(),
            Ok(StoredKey::Encrypted(_)) => "an encrypted key".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn what_is_no_key_is_said() {
        #[track_caller]
        fn check(text: &str, want: &str) {
            let got = outcome(text);
            assert!(got.starts_with(want), "{got}");
        }
        let (one, two) = (key(), key());
        check(one.pem(), "a key");
        check(
            &format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}",
                *one.pem
            ),
            "a key",
        );
        check(
            &format!("{}{}", *one.pem, *two.pem),
            "holds more than one private key",
        );
        check("", NOT_A_KEY);
        check("-----BEGIN PRIVATE KEY-----\nMIIJ\n", NOT_A_KEY);
        check(
            "-----BEGIN PRIVATE KEY-----\nMIIJ\n-----END PRIVATE KEY-----\n",
            NOT_A_KEY,
        );
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                      DEK-Info: AES-256-CBC,00\n\nMIIJ\n-----END RSA PRIVATE KEY-----\n";
        check(legacy, "is encrypted in a form from before PKCS#8");
        let encrypted = one.encrypted_pem(b"pass").expect("is encrypted");
        check(&encrypted, "an encrypted key");
    }

    #[test]
    fn a_key_that_asks_for_absurd_work_is_refused_before_any_of_it() {
        #[track_caller]
        fn check(kdf: impl Into<Kdf>, want: &str) {
            let parameters = pbes2::Parameters {
                kdf: kdf.into(),
                encryption: pbes2::EncryptionScheme::Aes256Cbc { iv: [0; 16] },
            };
            let info = EncryptedPrivateKeyInfoRef {
                encryption_algorithm: parameters.into(),
                encrypted_data: OctetStringRef::new(&[0; 16]).expect("is short"),
            };
            let der = info.to_der().expect("can be written");
            let got = outcome(&pem("ENCRYPTED PRIVATE KEY", &der));
            assert!(got.starts_with(want), "{got}");
        }
        let salt = || pbes2::Salt::new([7; 8]).expect("is short");
        let pbkdf2 = |iteration_count| pbes2::Pbkdf2Params {
            salt: salt(),
            iteration_count,
            key_length: None,
            prf: pbes2::Pbkdf2Prf::HmacWithSha256,
        };
        let scrypt = |cost_parameter, block_size, parallelization| pbes2::ScryptParams {
            salt: salt(),
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        };
        check(pbkdf2(ROUNDS), "an encrypted key");
        check(pbkdf2(MOST_ROUNDS), "an encrypted key");
        check(
            pbkdf2(u32::MAX),
            "asks for 4294967295 rounds of PBKDF2 to be opened",
        );
        // OpenSSL's, and OWASP's.
        check(scrypt(1 << 14, 8, 1), "an encrypted key");
        check(scrypt(1 << 17, 8, 1), "an encrypted key");
        check(scrypt(1 << 20, 8, 1), "asks for 1024 MiB of scrypt");
        check(scrypt(1 << 14, 8, u16::MAX), "asks for 1048560 MiB of scrypt");
        check(scrypt(1 << 63, u16::MAX, u16::MAX), "asks for");
        check(scrypt(0, 8, 1), "asks for scrypt with a cost of 0 to be opened");
        check(scrypt(1, 8, 1), "asks for scrypt with a cost of 1");
    }

    #[test]
    fn a_password_opens_what_it_encrypted() {
        let key = key();
        let pem = key.encrypted_pem(b"pass").expect("is encrypted");
        let Ok(StoredKey::Encrypted(encrypted)) = StoredKey::from_pem(pem.as_bytes()) else {
            panic!("not encrypted: {pem}");
        };
        let opened = encrypted.unlock(b"pass").map(|key| key.public);
        assert_eq!(opened.as_ref(), Ok(&key.public));
        assert_eq!(
            encrypted.unlock(b"other").map(|_| ()),
            Err("cannot be opened with this password".to_owned())
        );
    }
}
