//! What would keep agents from the relay server, found before it is applied or after:
//! decisions about values that were read before.

use std::fmt;

use k8s_openapi::api::core::v1::Service;
use relay_shared::{Error, cluster::ObjectRef};

use crate::{
    service::{ports, shown},
    target::Relay,
};

/// What to do where there is no relay server.
pub(crate) const INSTALL: &str =
    "install Gloo Mesh Enterprise first, or say where it is with --namespace and --service";

/// Something that was found, as a sentence about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lint {
    pub(crate) severity: Severity,
    /// What it is about, as errors name it.
    pub(crate) object: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Agents may be kept away.
    Warning,
    /// No agent gets through.
    Error,
}

impl Lint {
    pub(crate) fn error(
        object: impl fmt::Display,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            object: object.to_string(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(crate) fn warning(
        object: impl fmt::Display,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(object, message, hint)
        }
    }

    /// The finding as an error.
    pub(crate) fn to_error(&self) -> Error {
        Error::new(&self.message).object(&self.object).hint(&self.hint)
    }

    /// The finding in a context, as errors are shown.
    pub(crate) fn shown(&self, context: &str) -> String {
        let shown = self.to_error().context(context).to_string();
        match (self.severity, shown.strip_prefix("error: ")) {
            (Severity::Warning, Some(rest)) => format!("warning: {rest}"),
            _ => shown,
        }
    }
}

/// Where a way that leads to the relay server's Service ends: there has to be one, and
/// it has to have the port.
pub(crate) fn end(
    object: &ObjectRef,
    relay: &Relay,
    port: Option<u16>,
    service: Option<&Service>,
) -> Option<Lint> {
    let host = relay.service.cluster_local();
    let Some(service) = service else {
        return Some(Lint::error(
            object,
            format!("it leads to {host}, and there is no such service"),
            INSTALL,
        ));
    };
    let known = ports(service);
    let exists = match port {
        Some(port) => known.iter().any(|p| p.port == i32::from(port)),
        None => known.len() == 1,
    };
    let hint = match port == Some(relay.port) {
        // There is none to follow.
        true => "name its gRPC port \"grpc\", or say which Service is the relay server's with --service",
        false => "run `kubectl relay-ingress apply` again to follow the Service",
    };
    let port = port.map_or("without a number".to_owned(), |port| port.to_string());
    (!exists).then(|| {
        let known: Vec<_> = known.iter().map(shown).collect();
        let known = match known.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        Lint::error(
            object,
            format!("it leads to port {port} of {host}, which has {known}"),
            hint,
        )
    })
}
