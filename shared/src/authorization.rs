//! How a user proves itself in every request, where no credential plugin does: by name
//! and password, or by a token. The rules are client-go's (`transport/config.go`,
//! `transport/token_source.go`).

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use kube::config::{AuthInfo, AuthProviderConfig};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

/// How long a token from a file is taken for the current one: a minute, less the
/// leeway.
const PERIOD: Duration = Duration::from_secs(50);

/// What goes into the header `Authorization`. It has no `Debug`, as it is a secret.
#[derive(Clone)]
pub(crate) enum Authorization {
    /// The same in every request.
    Fixed(HeaderValue),
    /// What is in a file, which somebody may renew.
    File(Arc<TokenFile>),
}

/// A token's file, with what was in it last, and when.
pub(crate) struct TokenFile {
    path: PathBuf,
    last: Mutex<(HeaderValue, Instant)>,
}

impl Authorization {
    /// That of a user, who may have none.
    ///
    /// The token in a file goes before the one beside it, even before that of
    /// `--token`, unless the file cannot be read (`NewBearerAuthWithRefreshRoundTripper`).
    ///
    /// # Errors
    /// In words that repeat no secret.
    pub(crate) fn of(user: &AuthInfo) -> Result<Option<Self>, String> {
        if let Some(provider) = &user.auth_provider {
            return provided(provider).map(Some);
        }
        if let Some(file) = &user.token_file {
            match read(file.as_ref()) {
                Ok(header) => {
                    let last = Mutex::new((header, Instant::now()));
                    let path = file.into();
                    return Ok(Some(Self::File(Arc::new(TokenFile { path, last }))));
                }
                Err(problem) if user.token.is_none() => return Err(problem),
                Err(_) => {}
            }
        }
        if let Some(token) = &user.token {
            return bearer(token.expose_secret()).map(Self::Fixed).map(Some);
        }
        let Some(name) = &user.username else {
            return Ok(None);
        };
        let password = user
            .password
            .as_ref()
            .map_or("", |password| password.expose_secret());
        let credential = Zeroizing::new(format!("{name}:{password}"));
        header(&format!("Basic {}", STANDARD.encode(&*credential)))
            .map(Self::Fixed)
            .map(Some)
    }

    /// The header for a request that is sent at that time.
    pub(crate) fn header(&self, now: Instant) -> HeaderValue {
        let file = match self {
            Self::Fixed(header) => return header.clone(),
            Self::File(file) => file,
        };
        let mut last = file.last.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(last.1) > PERIOD {
            // Where it is gone, the last one may do.
            let header = read(&file.path).unwrap_or_else(|_| last.0.clone());
            *last = (header, now);
        }
        last.0.clone()
    }
}

/// The token that OpenID Connect has left in a kubeconfig; nothing renews it here.
fn provided(provider: &AuthProviderConfig) -> Result<Authorization, String> {
    let name = &provider.name;
    if name != "oidc" {
        return Err(format!("no Auth Provider found for name {name:?}"));
    }
    let token = provider.config.get("id-token");
    let token = token.ok_or_else(|| format!("auth provider {name:?} has no id-token"))?;
    bearer(token).map(Authorization::Fixed)
}

fn read(file: &std::path::Path) -> Result<HeaderValue, String> {
    let token = fs::read_to_string(file).map(Zeroizing::new);
    let token = token.map_err(|e| format!("cannot read the token in {file:?}: {e}"))?;
    match token.trim() {
        "" => Err(format!("read empty token from file {file:?}")),
        token => bearer(token),
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    header(&Zeroizing::new(format!("Bearer {token}")))
}

fn header(value: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(value);
    let mut value = value.map_err(|_| "a token or a password holds what no header may".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, want: Result<Option<&str>, &str>) {
        let user: AuthInfo = serde_saphyr::from_str(user).expect("is a user");
        let found = Authorization::of(&user);
        let found = found.map(|found| found.map(|found| found.header(Instant::now())));
        let found = found.as_ref().map(|found| {
            let header = found.as_ref();
            header.map(|header| header.to_str().expect("is text"))
        });
        assert_eq!(found, want.map_err(str::to_owned).as_ref().copied(), "{user:?}");
    }

    #[test]
    fn users_prove_themselves_by_what_they_have() {
        check("{}", Ok(None));
        check("{client-certificate: /c, client-key: /k}", Ok(None));
        check("{token: t}", Ok(Some("Bearer t")));
        check("{username: a, password: b}", Ok(Some("Basic YTpi")));
        check("{username: a}", Ok(Some("Basic YTo=")));
        check(
            "{token: \"a\\nb\"}",
            Err("a token or a password holds what no header may"),
        );
        check("{tokenFile: /none, token: t}", Ok(Some("Bearer t")));
        let missing = "cannot read the token in \"/none\": No such file or directory (os error 2)";
        check("{tokenFile: /none}", Err(missing));
        check(
            "{tokenFile: /dev/null}",
            Err("read empty token from file \"/dev/null\""),
        );
        let provider =
            |name: &str, token: &str| format!("{{auth-provider: {{name: {name}, config: {{{token}}}}}}}");
        check(&provider("oidc", "id-token: t"), Ok(Some("Bearer t")));
        check(
            &provider("oidc", ""),
            Err("auth provider \"oidc\" has no id-token"),
        );
        check(
            &provider("gcp", ""),
            Err("no Auth Provider found for name \"gcp\""),
        );
    }

    #[test]
    fn a_token_in_a_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("can be made");
        let write = |token: &str| fs::write(file.path(), token).expect("can be written");
        write("first\n");
        let user = AuthInfo {
            token_file: Some(file.path().display().to_string()),
            ..AuthInfo::default()
        };
        let authorization = Authorization::of(&user).expect("is sound").expect("is there");
        let start = Instant::now();
        let check = |seconds: u64, want: &str| {
            let header = authorization.header(start + Duration::from_secs(seconds));
            assert_eq!(header, format!("Bearer {want}"), "after {seconds} s");
            assert!(header.is_sensitive());
        };
        write("second");
        check(0, "first");
        check(49, "first");
        check(52, "second");
        write("");
        check(110, "second");
        write("third");
        check(120, "second");
        check(170, "third");
    }
}
