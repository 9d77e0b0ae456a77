//! Why a request failed, in kubectl's words where it has some, and what to do.

use std::{io, time::Duration};

use kube::{api::ApiResource, core::Status};

use crate::{
    credentials::Failure,
    error::{Error, root_cause},
    proxy,
};

/// Says why a request failed, and what to do; not yet in which context.
pub(crate) fn explain(error: kube::Error, server: &str) -> Error {
    match error {
        kube::Error::Api(status) => refused(worded(*status)),
        // What is wrong in particular might repeat a part of a Secret.
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
            Error::new("cannot read what the server answered: it is not what an API server says")
                .hint(another_server(server))
        }
        error => match chain(&error).find_map(|e| e.downcast_ref::<Failure>()) {
            Some(failure) => failure.to_error(),
            None => unreachable_server(&error, server),
        },
    }
}

/// Says that a server does not serve a kind.
pub(crate) fn unknown_resource(resource: &ApiResource, server: &str) -> Error {
    let ApiResource {
        plural, api_version, ..
    } = resource;
    let error = Error::new(format!(
        "the server doesn't have a resource type {plural:?} in {api_version:?}"
    ));
    // Every API server has those of the empty group.
    error.hint(match resource.group.is_empty() {
        true => another_server(server),
        false => "see whether its definition is there, and run the same command again".to_owned(),
    })
}

fn another_server(server: &str) -> String {
    format!("the kubeconfig says {server}; see whether something else answers there")
}

fn refused(status: Status) -> Error {
    let error = Error::from_server(&status.reason, status.message);
    match status.reason.as_str() {
        "Conflict" => error.hint(match status.details {
            // Only where fields of other managers are at stake are there causes.
            Some(details) if !details.causes.is_empty() => {
                "leave it to whoever that is, or take these fields over with --force-conflicts"
            }
            _ => "someone else changed it just now: run the same command again",
        }),
        "AlreadyExists" => {
            error.hint("somebody made it since it was looked for: run again to see what it holds")
        }
        _ => error.hint_for_reason(),
    }
}

/// How long to wait before a request is sent again, if that may help: a busy
/// server has not looked at it (429), or only reads are at stake.
pub(crate) fn try_again_after(status: &Status, method: &http::Method) -> Option<Duration> {
    let busy = status.code == 429 || (matches!(status.code, 503 | 504) && method == http::Method::GET);
    let asked = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    busy.then(|| Duration::from_secs(u64::from(asked).clamp(1, 10)))
}

/// What kube calls the reason where an answer has no `Status`.
pub(crate) const NO_STATUS: &str = "Failed to parse error data";

/// What an answer without a `Status` means, which may come from a proxy on the way:
/// apimachinery's `NewGenericServerResponse`, whose words these are.
pub(crate) fn worded(mut status: Status) -> Status {
    if status.reason != NO_STATUS {
        return status;
    }
    let said = std::mem::take(&mut status.message);
    let (reason, message) = match status.code {
        401 => (
            "Unauthorized",
            "the server has asked for the client to provide credentials".to_owned(),
        ),
        403 => ("Forbidden", said),
        404 => (
            "NotFound",
            "the server could not find the requested resource".to_owned(),
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request".to_owned(),
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be \
             processing the request"
                .to_owned(),
        ),
        500.. => (
            "InternalError",
            format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        ),
        code => (
            "",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    Status {
        reason: reason.to_owned(),
        message,
        ..status
    }
}

/// An error, what caused it, what caused that, and so on.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

/// Says in kubectl's words why there was no answer.
fn unreachable_server(error: &(dyn std::error::Error + 'static), server: &str) -> Error {
    if let Some(failure) = chain(error).find_map(|e| e.downcast_ref::<proxy::Failure>()) {
        return Error::unreachable(format!("Unable to connect to the server: {failure}")).hint(
            "`proxy-url` of the cluster in the kubeconfig names the proxy, or else $HTTPS_PROXY; \
             $NO_PROXY lists what is reached without it",
        );
    }
    let url = server.parse::<http::Uri>().ok();
    let host = url.as_ref().and_then(http::Uri::authority);
    // Without the password that some URLs hold.
    let host = host.map_or("", |host| host.as_str().rsplit('@').next().unwrap_or_default());
    let mut causes = chain(error).filter_map(|e| e.downcast_ref::<io::Error>());
    if causes.any(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        return Error::unreachable(format!(
            "The connection to the server {host} was refused - did you specify the right host or port?"
        ))
        .hint("see whether the server runs, and whether the kubeconfig says where");
    }
    Error::unreachable(format!("Unable to connect to the server: {}", root_cause(error))).hint(format!(
        "the kubeconfig says {host}; check the network, proxies and certificates on the way"
    ))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_busy_is_asked_again_soon_whatever_they_ask_for() {
        #[track_caller]
        fn check(code: u16, method: &Method, asked: u32, want: Option<u64>) {
            let status = json!({ "code": code, "details": { "retryAfterSeconds": asked } });
            let status = serde_json::from_value(status).expect("is a Status");
            let got = try_again_after(&status, method).map(|wait| wait.as_secs());
            assert_eq!(got, want, "{code} {method} {asked}");
        }
        check(429, &Method::GET, 0, Some(1));
        check(429, &Method::PATCH, 3, Some(3));
        check(429, &Method::GET, u32::MAX, Some(10));
        check(503, &Method::GET, 2, Some(2));
        check(504, &Method::GET, 2, Some(2));
        // It may have been done.
        check(503, &Method::PATCH, 2, None);
        check(504, &Method::POST, 2, None);
        check(500, &Method::GET, 2, None);
        check(409, &Method::PATCH, 2, None);
    }
}
