//! The password of an encrypted key: from a file, from the environment, or asked
//! for.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use relay_shared::{Error, Result, terminal};
use zeroize::Zeroizing;

use crate::{
    directory::RootKey,
    key::{EncryptedKey, PrivateKey, StoredKey},
};

/// The environment variable that holds the password.
const VARIABLE: &str = "RELAY_CA_KEY_PASSWORD";

/// What opens the root's key. Flattened into the commands that issue.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key of the root")]
pub(crate) struct PasswordArgs {
    /// File with the password of an encrypted root or CA key; else RELAY_CA_KEY_PASSWORD
    /// holds it, or it is asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_key_password_file: Option<PathBuf>,
}

/// How the root's key is kept. Flattened into the commands that make one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key of the root")]
pub(crate) struct RootKeyArgs {
    #[command(flatten)]
    pub(crate) password: PasswordArgs,

    /// Keep the key of a new root behind that password
    #[arg(long)]
    encrypt_root_key: bool,

    /// Forget the key of a new root: nothing more can be issued from it
    #[arg(long, conflicts_with = "encrypt_root_key")]
    discard_root_key: bool,
}

impl PasswordArgs {
    /// Opens a key, whose name is for the question.
    ///
    /// # Errors
    /// If there is no password, or it is not the key's.
    pub(crate) fn unlock(&self, key: &EncryptedKey, place: &str) -> Result<PrivateKey> {
        let password = self.password(&format!("Password of {place}: "))?;
        key.unlock(&password).map_err(|defect| {
            Error::new(format!("{place} {defect}"))
                .hint(format!("give another with --ca-key-password-file or {VARIABLE}"))
        })
    }

    /// A file's first line, as OpenSSL's `file:` takes it.
    fn password(&self, question: &str) -> Result<Zeroizing<Vec<u8>>> {
        let line = |bytes: &[u8]| {
            let end = bytes
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(bytes.len());
            let line = &bytes[..end];
            Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        };
        if let Some(path) = &self.ca_key_password_file {
            let read = fs::read(path).map(Zeroizing::new);
            let read = read.map_err(|e| Error::new(format!("cannot read {}: {e}", path.display())))?;
            return Ok(line(&read));
        }
        if let Some(value) = env::var_os(VARIABLE) {
            return Ok(Zeroizing::new(value.into_encoded_bytes()));
        }
        let answer = terminal::password(question)
            .map_err(|e| e.hint(format!("give --ca-key-password-file, or set {VARIABLE}")))?;
        Ok(Zeroizing::new(answer.as_bytes().to_vec()))
    }

    /// How the key of a new root is kept: as it is, or behind the password.
    ///
    /// # Errors
    /// If there is no password, or not the same one twice.
    pub(crate) fn kept(&self, encrypted: bool) -> Result<RootKey> {
        if !encrypted {
            return Ok(RootKey::Plain);
        }
        let password = self.password("New password of the root's key: ")?;
        let asked = self.ca_key_password_file.is_none() && env::var_os(VARIABLE).is_none();
        if asked && terminal::password("The same again: ")?.as_bytes() != password.as_slice() {
            return Err(Error::new("the two passwords are not the same"));
        }
        match password.is_empty() {
            true => Err(Error::new("the password is empty")
                .hint("leave out --encrypt-root-key to keep the key as it is")),
            false => Ok(RootKey::Encrypted(password)),
        }
    }
}

impl RootKeyArgs {
    /// What is to become of the key of a new root.
    ///
    /// # Errors
    /// As for [`PasswordArgs::kept`].
    pub(crate) fn root_key(&self) -> Result<RootKey> {
        match self.discard_root_key {
            true => Ok(RootKey::Discarded),
            false => self.password.kept(self.encrypt_root_key),
        }
    }

    /// What these flags asked for in vain, once all is done: a key that was there
    /// before stays as it is.
    pub(crate) fn unmet(&self, key: &Path) -> Option<String> {
        let text = fs::read(key).map(Zeroizing::new).ok()?;
        let encrypted = matches!(StoredKey::from_pem(&text), Ok(StoredKey::Encrypted(_)));
        let path = key.display();
        match (self.encrypt_root_key && !encrypted, self.discard_root_key) {
            (true, _) => Some(format!(
                "{path} was there before and is not encrypted; this makes a copy that is:\n  \
                 openssl pkcs8 -topk8 -in {path} -out NEW.key"
            )),
            (false, true) => Some(format!("{path} was there before and stays")),
            (false, false) => None,
        }
    }
}
