//! The proxy between us and an API server: which one, and how to connect through it.
//!
//! A cluster's `proxy-url` always counts; else the environment does, by the rules of
//! Go's `golang.org/x/net/http/httpproxy`.

use std::{
    fmt,
    net::IpAddr,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{
        HttpConnector,
        proxy::{SocksV5, Tunnel},
    },
    rt::TokioIo,
};
use ipnet::IpNet;
use kube::Config;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::tls;

/// A proxy. It has no `Debug`, as it may hold a password.
#[derive(Clone)]
pub(crate) struct Proxy {
    kind: Kind,
    /// With a port and without a user.
    uri: Uri,
    /// `USER:PASSWORD`, as the URL has it.
    userinfo: Option<SecretString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `CONNECT`, over plain HTTP or TLS.
    Http,
    Socks,
}

impl Proxy {
    /// Reads a `proxy-url`.
    ///
    /// # Errors
    /// In words that repeat no password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let (kind, scheme, port) = match scheme {
            "http" => (Kind::Http, Scheme::HTTP, 80),
            "https" => (Kind::Http, Scheme::HTTPS, 443),
            // What a SOCKS proxy is reached by is TCP, whatever the scheme is called.
            "socks5" | "socks5h" => (Kind::Socks, Scheme::HTTP, 1080),
            _ => {
                return Err(format!(
                    "unsupported scheme {scheme:?}, must be http, https, or socks5"
                ));
            }
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or("it names no host")?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        let userinfo = uri.authority().and_then(|a| a.as_str().rsplit_once('@'));
        Ok(Self {
            kind,
            userinfo: userinfo.map(|(userinfo, _)| userinfo.into()),
            uri: Uri::builder()
                .scheme(scheme)
                .authority(authority)
                .path_and_query("/")
                .build()
                .map_err(|e| e.to_string())?,
        })
    }

    /// The proxy that variables such as `HTTPS_PROXY` name for a server; one that is no
    /// URL names none, as in Go.
    ///
    /// # Errors
    /// If the proxy is of a kind that is not known.
    pub(crate) fn from_environment(
        server: &Uri,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let any = |names: [&'static str; 2]| {
            let mut set = names.into_iter().filter_map(|name| Some((name, variable(name)?)));
            set.find(|(_, value)| !value.is_empty())
        };
        let named = match server.scheme_str() {
            Some("https") => any(["HTTPS_PROXY", "https_proxy"]),
            _ => any(["HTTP_PROXY", "http_proxy"]),
        };
        let Some((name, url)) = named else { return Ok(None) };
        let exceptions = any(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
        if is_exempt(server, &exceptions.unwrap_or_default()) {
            return Ok(None);
        }
        // Go takes `HOST:PORT` for an HTTP proxy.
        let url = match url.contains("://") {
            true => url,
            false => format!("http://{url}"),
        };
        if url.parse::<Uri>().is_err() {
            return Ok(None);
        }
        Self::parse(&url)
            .map(Some)
            .map_err(|e| format!("invalid ${name}: {e}"))
    }

    /// `HOST:PORT`.
    fn address(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn user_and_password(&self) -> Option<(String, String)> {
        let userinfo = self.userinfo.as_ref()?.expose_secret();
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decode(user), decode(password)))
    }
}

/// Whether a server is reached without a proxy: this machine always is, and what the
/// list names. Its entries are `*`, addresses, CIDR prefixes, and names, which stand
/// for their subdomains too (`.name` and `*.name` for these alone); all but the first
/// two may carry a port.
fn is_exempt(server: &Uri, list: &str) -> bool {
    let host = server.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
    let port = server.port_u16().unwrap_or(match server.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let ip: Option<IpAddr> = host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    list.split(',').any(|entry| {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return true;
        }
        if let Ok(prefix) = entry.parse::<IpNet>() {
            return ip.is_some_and(|ip| prefix.contains(&ip));
        }
        let (name, on) = match split_port(&entry) {
            Some((name, on)) => (name, Some(on)),
            None => (&*entry, None),
        };
        let is_on = on.is_none_or(|on| on.parse() == Ok(port));
        match (name.parse::<IpAddr>(), ip) {
            (Ok(named), Some(ip)) => is_on && named.to_canonical() == ip,
            (Ok(_), None) | (Err(_), Some(_)) => false,
            (Err(_), None) => is_on && is_under(&host, name),
        }
    })
}

/// Go's `net.SplitHostPort`: `HOST:PORT` or `[HOST]:PORT`.
fn split_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None => (!host.contains(':')).then_some((host, port)),
    }
}

fn is_under(host: &str, name: &str) -> bool {
    let name = match name.strip_prefix('*') {
        Some(rest) if rest.starts_with('.') => rest,
        _ => name,
    };
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None if name.is_empty() => false,
        None => host
            .strip_suffix(name)
            .is_some_and(|before| before.is_empty() || before.ends_with('.')),
    }
}

/// Opens connections to a server, or through a proxy to it.
///
/// Plain HTTP goes through a tunnel, too, where Go would have an HTTP proxy forward it.
#[derive(Clone)]
pub(crate) enum Connector {
    Direct(HttpConnector),
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>, Proxy),
    Socks(SocksV5<HttpConnector>, Proxy),
}

impl Connector {
    /// A connector as the configuration's TLS settings have it: as in Go, those of the
    /// server are those of an HTTPS proxy, too.
    pub(crate) fn new(config: &Config, proxy: Option<&Proxy>) -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let Some(proxy) = proxy else {
            return Ok(Self::Direct(tcp));
        };
        let credential = proxy.user_and_password();
        Ok(match proxy.kind {
            Kind::Http => {
                let tls = tls::connector(config, tcp)?;
                let mut tunnel = Tunnel::new(proxy.uri.clone(), tls);
                if let Some((user, password)) = credential {
                    let basic = STANDARD.encode(format!("{user}:{password}"));
                    let basic = HeaderValue::try_from(format!("Basic {basic}"));
                    tunnel = tunnel.with_auth(basic.expect("base64 is ASCII"));
                }
                Self::Tunnel(tunnel, proxy.clone())
            }
            Kind::Socks => {
                let mut socks = SocksV5::new(proxy.uri.clone(), tcp);
                if let Some((user, password)) = credential {
                    socks = socks.with_auth(user, password);
                }
                Self::Socks(socks, proxy.clone())
            }
        })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(context).map_err(BoxError::from),
            Self::Tunnel(tunnel, _) => tunnel.poll_ready(context).map_err(BoxError::from),
            Self::Socks(socks, _) => socks.poll_ready(context).map_err(BoxError::from),
        }
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(server);
                Box::pin(async { Ok(connecting.await?.into()) })
            }
            Self::Tunnel(tunnel, proxy) => {
                let (connecting, proxy) = (tunnel.call(server), proxy.address().to_owned());
                Box::pin(async { connecting.await.map_err(|e| Failure::boxed(proxy, e)) })
            }
            Self::Socks(socks, proxy) => {
                let (connecting, proxy) = (socks.call(server), proxy.address().to_owned());
                Box::pin(async {
                    let stream = connecting.await.map_err(|e| Failure::boxed(proxy, e))?;
                    Ok(stream.into())
                })
            }
        }
    }
}

/// A proxy that could not be reached, or would not connect us.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `HOST:PORT`.
    proxy: String,
    cause: BoxError,
}

impl Failure {
    fn boxed(proxy: String, cause: impl Into<BoxError>) -> BoxError {
        let cause = cause.into();
        Box::new(Self { proxy, cause })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = crate::error::root_cause(&*self.cause);
        write!(f, "proxy {}: {cause}", self.proxy)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_a_proxy_as_for_go() {
        #[track_caller]
        fn check(server: &str, environment: &[(&str, &str)], want: Option<&str>) {
            let server = server.parse().expect("is a URL");
            let variable = |name: &str| {
                let found = environment.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let proxy = Proxy::from_environment(&server, variable).unwrap_or_else(|e| panic!("{e}"));
            let got = proxy.map(|proxy| proxy.uri.to_string());
            assert_eq!(got.as_deref(), want, "{server} {environment:?}");
        }
        let (server, plain) = ("https://api.example:6443", "http://api.example");
        let proxied = Some("http://p:3128/");
        check(server, &[], None);
        check(server, &[("HTTPS_PROXY", "http://p:3128")], proxied);
        check(server, &[("https_proxy", "http://p:3128")], proxied);
        check(
            server,
            &[("HTTPS_PROXY", ""), ("https_proxy", "http://p:3128")],
            proxied,
        );
        check(
            server,
            &[("HTTPS_PROXY", "http://p:3128"), ("https_proxy", "http://q")],
            proxied,
        );
        check(server, &[("HTTPS_PROXY", "p:3128")], proxied);
        check(server, &[("HTTPS_PROXY", "p")], Some("http://p:80/"));
        check(server, &[("HTTPS_PROXY", "https://p")], Some("https://p:443/"));
        check(server, &[("HTTPS_PROXY", "socks5://p")], Some("http://p:1080/"));
        check(server, &[("HTTPS_PROXY", "http://u:w@p:3128")], proxied);
        check(server, &[("HTTPS_PROXY", "http://[bad")], None);
        check(
            server,
            &[("HTTP_PROXY", "http://p"), ("ALL_PROXY", "http://p")],
            None,
        );
        check(plain, &[("HTTP_PROXY", "http://p:3128")], proxied);
        check(plain, &[("HTTPS_PROXY", "http://p:3128")], None);
        for here in ["https://localhost:1", "https://127.0.0.9", "https://[::1]:6443"] {
            check(here, &[("HTTPS_PROXY", "http://p:3128")], None);
        }
        let exempt = [("HTTPS_PROXY", "http://p:3128"), ("no_proxy", "example")];
        check(server, &exempt, None);
        let proxy =
            Proxy::from_environment(&server.parse().expect("is a URL"), |_| Some("ftp://u:w@p".into()));
        assert_eq!(
            proxy.err().as_deref(),
            Some(r#"invalid $HTTPS_PROXY: unsupported scheme "ftp", must be http, https, or socks5"#)
        );
    }

    #[test]
    fn no_proxy_is_read_as_by_go() {
        #[track_caller]
        fn check(server: &str, list: &str, want: bool) {
            let server = server.parse().expect("is a URL");
            assert_eq!(is_exempt(&server, list), want, "{server} {list:?}");
        }
        let (name, ip, ip6) = (
            "https://api.example.com:6443",
            "https://10.1.2.3",
            "https://[2001:db8::1]",
        );
        check(name, "", false);
        check(name, " , ,", false);
        check(name, "*", true);
        check(name, "x,*", true);
        check(name, "api.example.com", true);
        check(name, "API.Example.COM", true);
        check(name, "example.com", true);
        check(name, "ample.com", false);
        check(name, ".example.com", true);
        check(name, "*.example.com", true);
        check(name, ".api.example.com", false);
        check(name, "*.api.example.com", false);
        check(name, "*example.com", false);
        check(name, " a.com , example.com ", true);
        check(name, "example.com:6443", true);
        check(name, "example.com:443", false);
        check("https://example.com", "example.com:443", true);
        check("http://example.com", "example.com:80", true);
        check(name, "10.0.0.0/8", false);
        check(ip, "10.0.0.0/8", true);
        check(ip, "10.2.0.0/16", false);
        check(ip, "10.1.2.3", true);
        check(ip, "10.1.2.3:443", true);
        check(ip, "10.1.2.3:80", false);
        check(ip, "::ffff:10.1.2.3", true);
        check(ip, "3", false);
        check(ip6, "2001:db8::/32", true);
        check(ip6, "2001:db8::1", true);
        check(ip6, "[2001:db8::1]:443", true);
        check(ip6, "[2001:db8::1]", false);
        check(ip6, "2001:db8::2", false);
        check(name, ":6443", false);
    }

    #[test]
    fn users_of_proxies_are_decoded() {
        let user = |url| Proxy::parse(url).expect("is a proxy").user_and_password();
        assert_eq!(user("http://p"), None);
        assert_eq!(user("http://a%40b:c%3Ad@p"), Some(("a@b".into(), "c:d".into())));
        assert_eq!(user("socks5://a@p"), Some(("a".into(), String::new())));
    }
}
