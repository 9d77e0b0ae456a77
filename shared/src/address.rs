//! Addresses that can be dialled, and which of several somebody likes better.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use clap::ValueEnum;

/// A host and a port that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// What a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostKind {
    /// An IP address
    Ip,
    /// A DNS name
    Hostname,
}

/// A family of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Four bytes
    #[value(name = "ipv4")]
    V4,
    /// Sixteen bytes
    #[value(name = "ipv6")]
    V6,
}

/// A type of address that a node has (`NodeAddressType` in Kubernetes' API), in the
/// order in which they are likely to be reached from another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NodeAddressType {
    /// Reached from outside
    #[value(name = "ExternalIP", alias = "externalip")]
    ExternalIp,
    /// A name that resolves to an external IP
    #[value(name = "ExternalDNS", alias = "externaldns")]
    ExternalDns,
    /// Reached within the cluster's network
    #[value(name = "InternalIP", alias = "internalip")]
    InternalIp,
    /// A name that resolves to an internal IP
    #[value(name = "InternalDNS", alias = "internaldns")]
    InternalDns,
    /// What the node calls itself
    #[value(name = "Hostname", alias = "hostname")]
    Hostname,
}

impl Address {
    /// An address, unless the host is neither an IP nor a DNS name, or the port
    /// is not between 1 and 65535: what a status says is not to be trusted.
    pub fn new(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        if let Ok(ip) = host.parse::<IpAddr>() {
            let host = ip.to_string();
            return Some(Self { host, port });
        }
        let dns = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let named = host.len() <= 253
            && host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host.chars().all(dns);
        named.then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The IP or DNS name, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The IP or DNS name, an IPv6 in brackets, so that `:PORT` can follow.
    pub fn url_host(&self) -> String {
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => self.host.clone(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as an IP; `None` for a DNS name, which is never resolved here.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the host is an IP.
    pub fn kind(&self) -> HostKind {
        match self.ip() {
            Some(_) => HostKind::Ip,
            None => HostKind::Hostname,
        }
    }
}

impl NodeAddressType {
    /// Its name in Kubernetes' API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExternalIp => "ExternalIP",
            Self::ExternalDns => "ExternalDNS",
            Self::InternalIp => "InternalIP",
            Self::InternalDns => "InternalDNS",
            Self::Hostname => "Hostname",
        }
    }
}

/// `HOST:PORT`, an IPv6 host in brackets (RFC 3986, section 3.2.2).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.url_host(), self.port)
    }
}

impl Family {
    /// Whether it has an IP.
    pub fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ips_or_names_with_a_port() {
        #[track_caller]
        fn check(host: &str, port: i32, want: Option<&str>) {
            let got = Address::new(host, port).map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{host:?} {port}");
        }
        check("192.0.2.1", 443, Some("192.0.2.1:443"));
        check("2001:db8:0::1", 443, Some("[2001:db8::1]:443"));
        check("a1.elb.example.com", 9900, Some("a1.elb.example.com:9900"));
        check("a_b.example.", 1, Some("a_b.example.:1"));
        check(
            &"a".repeat(253),
            65535,
            Some(&format!("{}:65535", "a".repeat(253))),
        );
        check(&"a".repeat(254), 1, None);
        for port in [0, -1, 65536, i32::MIN, i32::MAX] {
            check("192.0.2.1", port, None);
        }
        let hostile = [
            "",
            "-o",
            ".",
            "..",
            "_",
            "a b",
            "a\nb",
            "a\u{1b}[2J",
            "a\0",
            "$(reboot)",
            "`id`",
            "a;b",
            "a'b",
            "a\"b",
            "a:1",
            "[::1]",
            "fe80::1%eth0",
            "a/b",
            "a@b",
            "ü",
            "\u{202e}moc.live",
        ];
        for host in hostile {
            check(host, 443, None);
        }
    }

    #[test]
    fn families_are_of_ips() {
        let ip = |text: &str| text.parse().expect("is an IP");
        assert!(Family::V4.has(ip("192.0.2.1")) && !Family::V4.has(ip("::1")));
        assert!(Family::V6.has(ip("::1")) && !Family::V6.has(ip("192.0.2.1")));
    }
}
