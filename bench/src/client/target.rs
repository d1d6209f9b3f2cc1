//! Where the server is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// The server's address and what to ask it for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Target {
    /// Address and port to connect to.
    pub(crate) address: SocketAddr,
    /// Host and port, for the Host header.
    pub(crate) authority: String,
    /// Path and query of the WebSocket endpoint.
    pub(crate) path: String,
}

impl Target {
    /// Reads a `ws://` URL and looks up its address.
    ///
    /// # Errors
    /// `Url` when it is no such URL, `Resolve` when the host has no address.
    pub(crate) fn parse(url: &str) -> Result<Self, BenchError> {
        let fault = |reason| BenchError::Url { url: url.to_owned(), reason };
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| fault("must start with ws:// (TLS is not measured)"))?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if authority.is_empty() || authority.contains('@') {
            return Err(fault("needs a host, without a user name"));
        }
        let resolve = |source| BenchError::Resolve { authority: authority.to_owned(), source };
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let with_port = if has_port && !authority.ends_with(']') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let mut addresses: Vec<SocketAddr> =
            with_port.to_socket_addrs().map_err(resolve)?.collect();
        // IPv4 first: only there do the source addresses spread.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let address = addresses.first().copied().ok_or_else(|| fault("has no address"))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { address, authority: authority.to_owned(), path })
    }

    /// The address that subscriber `index` connects from: one of `spread` loopback addresses, so
    /// that 28,000 ports for each are enough. `None` when the server is elsewhere.
    pub(crate) fn source_address(&self, index: u32, spread: u32) -> Option<SocketAddr> {
        if !self.address.is_ipv4() || !self.address.ip().is_loopback() {
            return None;
        }
        // 127.0.0.1 is left to everybody else on the machine.
        let last = u8::try_from(2 + index % spread.clamp(1, 250)).ok()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_address_host_and_path() {
        let target = Target::parse("ws://127.0.0.1:8000/connection/websocket?a=b").unwrap();
        assert_eq!(target.address, "127.0.0.1:8000".parse().unwrap());
        assert_eq!(target.authority, "127.0.0.1:8000");
        assert_eq!(target.path, "/connection/websocket?a=b");
    }

    #[test]
    fn port_and_path_may_be_missing() {
        let target = Target::parse("ws://127.0.0.1").unwrap();
        assert_eq!(target.address.port(), 80);
        assert_eq!(target.path, "/");
        assert_eq!(Target::parse("ws://[::1]?x").unwrap().path, "/?x");
        assert_eq!(Target::parse("ws://[::1]:90/").unwrap().address.port(), 90);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["wss://a/", "http://a/", "ws://", "ws:///path", "ws://user@127.0.0.1/"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn sources_spread_over_loopback_only() {
        let target = Target::parse("ws://127.0.0.1:8000/").unwrap();
        let source = |index| target.source_address(index, 3).unwrap().ip().to_string();
        assert_eq!(source(0), "127.0.0.2");
        assert_eq!(source(2), "127.0.0.4");
        assert_eq!(source(3), "127.0.0.2");
        let elsewhere = Target::parse("ws://10.1.2.3:8000/").unwrap();
        assert_eq!(elsewhere.source_address(0, 3), None);
    }
}
