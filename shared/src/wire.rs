//! What passes between us and an API server: `-v` shows the requests, and the
//! server's warnings are shown once each.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header};
use tower::{Layer, Service};

use crate::terminal;

/// How much of the requests is shown, as for kubectl: from 6 on a line for each,
/// from 7 on its headers, too. Bodies and credentials are never shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verbosity(pub u8);

const REQUESTS: Verbosity = Verbosity(6);
const HEADERS: Verbosity = Verbosity(7);

/// Listens to the connection to one context's server.
#[derive(Clone)]
pub(crate) struct Listen {
    pub(crate) context: Arc<str>,
    pub(crate) verbosity: Verbosity,
}

/// A connection that is listened to.
#[derive(Clone)]
pub(crate) struct Wire<S> {
    listen: Listen,
    inner: S,
}

impl<S> Layer<S> for Listen {
    type Service = Wire<S>;

    fn layer(&self, inner: S) -> Wire<S> {
        Wire {
            listen: self.clone(),
            inner,
        }
    }
}

impl<S, A, B> Service<Request<A>> for Wire<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Listen { context, verbosity } = self.listen.clone();
        let line = (verbosity >= REQUESTS).then(|| format!("{} {}", request.method(), request.uri()));
        if verbosity >= HEADERS {
            headers(">", request.headers());
        }
        let start = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if let Some(line) = line {
                let status = answer.as_ref().map(|answer| answer.status().to_string());
                let status = status.unwrap_or_else(|_| "no answer".to_owned());
                terminal::story(&format!("{line} {status} in {} ms", start.elapsed().as_millis()));
            }
            if let Ok(answer) = &answer {
                if verbosity >= HEADERS {
                    headers("<", answer.headers());
                }
                warnings(&context, answer.headers());
            }
            answer
        })
    }
}

fn headers(direction: &str, headers: &HeaderMap) {
    for (name, value) in headers {
        let value = match name {
            &header::AUTHORIZATION | &header::COOKIE | &header::SET_COOKIE => "<redacted>",
            _ => value.to_str().unwrap_or("<not text>"),
        };
        terminal::story(&format!("{direction} {name}: {value}"));
    }
}

/// Shows the warnings of an answer; the same warning of the same context once.
fn warnings(context: &str, headers: &HeaderMap) {
    static SHOWN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    for value in headers.get_all(header::WARNING) {
        for text in texts(&String::from_utf8_lossy(value.as_bytes())) {
            let line = format!("Warning: {text} (context {context:?})");
            let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.insert(line.clone()) {
                terminal::story(&line);
            }
        }
    }
}

/// The texts of warnings: `CODE AGENT "TEXT" ["DATE"], …` (RFC 7234, section 5.5), of
/// which API servers send code 299 alone. What follows a malformed one is passed over.
fn texts(mut value: &str) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some((code, text, rest)) = warning(value) {
        if code == "299" {
            texts.push(text);
        }
        let date = rest.trim_start();
        let rest = quoted(date).map_or(date, |(_, rest)| rest.trim_start());
        value = rest.strip_prefix(',').unwrap_or_default().trim_start();
    }
    texts
}

/// The code and the text of the first warning, and what follows.
fn warning(value: &str) -> Option<(&str, String, &str)> {
    let (code, rest) = value.split_once(' ')?;
    let (_agent, rest) = rest.split_once(' ')?;
    let (text, rest) = quoted(rest)?;
    Some((code, text, rest))
}

/// What stands in quotes at the beginning, and what follows.
fn quoted(value: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = value.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((text, chars.as_str())),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_read_from_their_header() {
        #[track_caller]
        fn check(value: &str, want: &[&str]) {
            assert_eq!(texts(value), want, "{value}");
        }
        check(r#"299 - "v1 is deprecated""#, &["v1 is deprecated"]);
        check(
            r#"299 kube "say \"no\"" "Tue, 01 Jan 2030 00:00:00 GMT""#,
            &["say \"no\""],
        );
        check(r#"199 - "stale""#, &[]);
        check(r#"299 - "cut"#, &[]);
        check("299 - bare", &[]);
        check("", &[]);
        check(r#"299 - "a", 299 - "b""#, &["a", "b"]);
        check(
            r#"299 - "a" "Tue, 01 Jan 2030 00:00:00 GMT",199 - "b",299 - "c, d""#,
            &["a", "c, d"],
        );
        check(r#"299 - "a", 299 - "cut"#, &["a"]);
        check(r#"299 - "a" more, 299 - "b""#, &["a"]);
    }
}
