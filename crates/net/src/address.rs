//! Where a peer listens.

use std::{fmt, str::FromStr, sync::Arc};

/// A host and a port. The host is a name, which is resolved whenever a connection is made, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddr {
    host: Arc<str>,
    port: u16,
}

/// A text that names no host and port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a node: use HOST:PORT, such as node-1:7375, 10.0.0.1:7375 or [fd00::1]:7375")]
pub struct InvalidAddress(String);

impl PeerAddr {
    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for PeerAddr {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_".contains(&c)),
        };
        if is_host { Ok(Self { host: bare.unwrap_or(host).into(), port }) } else { Err(invalid()) }
    }
}

impl From<std::net::SocketAddr> for PeerAddr {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_as_it_was_typed() {
        for text in ["node-1:7375", "node_1.example.org:1", "10.0.0.1:65535", "[fd00::1]:7375"] {
            assert_eq!(text.parse::<PeerAddr>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:80".parse::<PeerAddr>().unwrap().host(), "::1");
    }

    #[test]
    fn what_names_no_host_and_port_is_refused_with_an_example() {
        for text in [
            "",
            "node",
            "node:",
            ":7375",
            "node:0",
            "node:65536",
            "fd00::1:7375",
            "[node]:7375",
            "a b:1",
            "http://node:1",
        ] {
            let error = text.parse::<PeerAddr>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{text}: {error}");
        }
    }
}
