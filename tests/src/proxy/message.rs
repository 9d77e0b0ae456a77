//! Requests and answers, as the proxy passes them on or makes them up.

use serde_json::json;

use crate::http::Head;

/// A request, as the server is to see it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) target: String,
    pub(super) head: &'a Head,
    pub(super) body: Vec<u8>,
}

impl Asked<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.head.headers {
            // Compressed, it could not be renamed.
            let own = [
                "content-length",
                "transfer-encoding",
                "accept-encoding",
                "connection",
            ];
            if !own.contains(&name.as_str()) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += &format!("content-length: {}\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

#[derive(Default)]
pub(super) struct Answer {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(status: &str, text: &str) -> Self {
        Self {
            line: format!("HTTP/1.1 {status}"),
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: text.into(),
        }
    }

    /// As a kube-apiserver refuses a request.
    pub(super) fn status(code: u16, retry_after: Option<u32>) -> Self {
        let reason = match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            409 => "Conflict",
            410 => "Expired",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            _ => "InternalError",
        };
        let details = retry_after.map(|seconds| json!({ "retryAfterSeconds": seconds }));
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": format!("broken on purpose\u{1b}[2J\rwith {code}"),
            "reason": reason, "details": details, "code": code,
        });
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        headers.extend(retry_after.map(|seconds| ("retry-after".to_owned(), seconds.to_string())));
        Self {
            line: format!("HTTP/1.1 {code} {reason}"),
            headers,
            body: status.to_string().into(),
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            if name != "content-length" && name != "transfer-encoding" {
                head += &format!("{name}: {value}\r\n");
            }
        }
        head += &format!("content-length: {}\r\n\r\n", self.body.len());
        [head.as_bytes(), &self.body].concat()
    }
}

/// As a kube-apiserver ends a watch that it cannot go on with.
pub(super) fn event(code: u16) -> Vec<u8> {
    let status = Answer::status(code, None).body;
    [br#"{"type":"ERROR","object":"#, &status[..], b"}"].concat()
}

/// What a remote calls its namespace, and what the server does.
pub(super) struct Renamed(Option<Names>);

pub(super) struct Names {
    prefix: String,
    theirs: String,
    ours: String,
}

impl Renamed {
    pub(super) fn new(target: &str, namespace: Option<&str>) -> Self {
        let number = target
            .strip_prefix("/remote/")
            .and_then(|rest| rest.split('/').next());
        Self(namespace.zip(number).map(|(namespace, number)| Names {
            prefix: format!("/remote/{number}"),
            theirs: namespace.to_owned(),
            ours: format!("{namespace}-r{number}"),
        }))
    }

    pub(super) fn target(&self, target: &str) -> String {
        let Some(Names { prefix, theirs, ours }) = &self.0 else {
            return target.to_owned();
        };
        let target = target.trim_start_matches(prefix.as_str());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut segments: Vec<_> = path.split('/').collect();
        if let Some(at) = segments.iter().position(|segment| *segment == "namespaces") {
            let name = segments.get_mut(at + 1).filter(|name| **name == theirs);
            if let Some(name) = name {
                *name = ours;
            }
        }
        match query {
            "" => segments.join("/"),
            query => format!("{}?{query}", segments.join("/")),
        }
    }

    pub(super) fn body(&self, body: Vec<u8>) -> Vec<u8> {
        self.replace(body, |names| {
            (format!("{:?}", names.theirs), format!("{:?}", names.ours))
        })
    }

    pub(super) fn answer(&self, body: Vec<u8>) -> Vec<u8> {
        self.replace(body, |names| (names.ours.clone(), names.theirs.clone()))
    }

    pub(super) fn replace(&self, body: Vec<u8>, pair: impl Fn(&Names) -> (String, String)) -> Vec<u8> {
        match (self.0.as_ref().map(pair), str::from_utf8(&body)) {
            (Some((from, to)), Ok(text)) => text.replace(&from, &to).into(),
            _ => body,
        }
    }
}
