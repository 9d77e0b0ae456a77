//! The password of an encrypted key: from a file, from the environment, or asked
//! for.

use std::{env, fs, path::PathBuf};

use clap::{Args, ValueHint};
use relay_shared::{Error, Result, terminal};
use zeroize::Zeroizing;

use crate::{
    directory::RootKey,
    key::{EncryptedKey, PrivateKey},
};

/// The environment variable that holds the password.
const VARIABLE: &str = "RELAY_CA_KEY_PASSWORD";

/// How the root's key is kept. Flattened into the commands that issue.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Key of the root")]
pub(crate) struct RootKeyArgs {
    /// File with the password of an encrypted root or CA key; else RELAY_CA_KEY_PASSWORD
    /// holds it, or it is asked for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_key_password_file: Option<PathBuf>,

    /// Keep the key of a new root behind that password
    #[arg(long)]
    encrypt_root_key: bool,

    /// Forget the key of a new root: nothing more can be issued from it
    #[arg(long, conflicts_with = "encrypt_root_key")]
    discard_root_key: bool,
}

impl RootKeyArgs {
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

    /// What is to become of the key of a new root.
    ///
    /// # Errors
    /// If it is to be encrypted and there is no password.
    pub(crate) fn root_key(&self) -> Result<RootKey> {
        match (self.encrypt_root_key, self.discard_root_key) {
            (true, _) => {
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
            (false, true) => Ok(RootKey::Discarded),
            (false, false) => Ok(RootKey::Plain),
        }
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
}
