//! What is sent to an API server: JSON whose private keys are kept apart, so
//! that showing it cannot show them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

/// What stands for a private key wherever a manifest is shown. It is not base64,
/// so a redacted Secret cannot be applied by mistake.
pub const REDACTED: &str = "<redacted>";

/// An object, or the part of one that a patch changes.
///
/// Its Debug and its [`Manifest::shown`] hold [`REDACTED`] in place of every
/// private value; only `to_json`, which goes on the wire, and [`Manifest::with_private`] have them.
pub struct Manifest {
    shown: Value,
    private: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl Manifest {
    /// A manifest without private values.
    pub fn new(object: Value) -> Self {
        Self {
            shown: object,
            private: Vec::new(),
        }
    }

    /// Adds a value to `data` of a Secret, base64-encoded.
    #[must_use]
    pub fn data(mut self, key: &str, value: &[u8]) -> Self {
        self.shown["data"][key] = STANDARD.encode(value).into();
        self
    }

    /// Adds a private value to `data` of a Secret; it is sent base64-encoded.
    #[must_use]
    pub fn private_data(mut self, key: &str, value: Zeroizing<Vec<u8>>) -> Self {
        self.shown["data"][key] = REDACTED.into();
        self.private.push((key.to_owned(), value));
        self
    }

    /// The manifest as it may be shown to anybody.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// The same, once nobody sends it any more.
    pub fn into_shown(self) -> Value {
        self.shown
    }

    /// Whether there is anything that is not shown.
    pub fn has_private(&self) -> bool {
        !self.private.is_empty()
    }

    /// Hands over whole objects, for who asked for keys by name, and wipes the keys in
    /// them afterwards.
    pub fn with_private<T>(manifests: &[Self], then: impl FnOnce(&[Value]) -> T) -> T {
        let mut whole: Vec<_> = manifests.iter().map(Self::whole).collect();
        let result = then(&whole);
        for (manifest, object) in manifests.iter().zip(&mut whole) {
            manifest.wipe(object);
        }
        result
    }

    fn whole(&self) -> Value {
        let mut whole = self.shown.clone();
        for (key, value) in &self.private {
            whole["data"][key.as_str()] = STANDARD.encode(value).into();
        }
        whole
    }

    fn wipe(&self, whole: &mut Value) {
        for (key, _) in &self.private {
            if let Value::String(encoded) = &mut whole["data"][key.as_str()] {
                encoded.zeroize();
            }
        }
    }

    /// The manifest as it is sent. The HTTP client drops this buffer when it was
    /// sent, and does not wipe it: a key that was on the wire was in memory.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut whole = self.whole();
        let json = serde_json::to_vec(&whole).expect("a JSON value can always be written");
        self.wipe(&mut whole);
        json
    }
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn private_data_is_sent_and_never_shown() {
        let manifest = Manifest::new(json!({"kind": "Secret"}))
            .data("ca.crt", b"ca")
            .private_data("tls.key", Zeroizing::new(b"key".to_vec()));
        let shown = format!("{manifest:?} {}", manifest.shown());
        assert!(shown.contains(REDACTED) && !shown.contains("a2V5"), "{shown}");
        assert!(STANDARD.decode(REDACTED).is_err());
        let sent: Value = serde_json::from_slice(&manifest.to_json()).expect("is JSON");
        assert_eq!(sent["data"], json!({"ca.crt": "Y2E=", "tls.key": "a2V5"}));
    }
}
