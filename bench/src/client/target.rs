//! Where the server is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use crate::client::tls::Trust;
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
    /// Whom to believe over TLS; `None` = without it.
    pub(crate) tls: Option<Trust>,
    /// What carries the protocol.
    pub(crate) transport: Transport,
}

/// What carries the protocol's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Transport {
    /// WebSocket frames.
    WebSocket,
    /// The bare TCP stream.
    Tcp,
}

impl Target {
    /// Reads a `ws://`, `wss://` or `tcp://` URL and looks up its address. TLS begins with the
    /// authorities of the system.
    ///
    /// # Errors
    /// `Url` when it is no such URL, `Resolve` when the host has no address.
    pub(crate) fn parse(url: &str) -> Result<Self, BenchError> {
        let fault = |reason| BenchError::Url { url: url.to_owned(), reason };
        let (transport, tls, rest) = if let Some(rest) = url.strip_prefix("tcp://") {
            (Transport::Tcp, None, rest)
        } else if let Some(rest) = url.strip_prefix("ws://") {
            (Transport::WebSocket, None, rest)
        } else if let Some(rest) = url.strip_prefix("wss://") {
            (Transport::WebSocket, Some(Trust::Authorities(None)), rest)
        } else {
            return Err(fault("must start with ws://, wss:// or tcp://"));
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if authority.is_empty() || authority.contains('@') {
            return Err(fault("needs a host, without a user name"));
        }
        let resolve = |source| BenchError::Resolve { authority: authority.to_owned(), source };
        let port = if tls.is_some() { 443 } else { 80 };
        let with_port =
            if has_port(authority) { authority.to_owned() } else { format!("{authority}:{port}") };
        let mut addresses: Vec<SocketAddr> =
            with_port.to_socket_addrs().map_err(resolve)?.collect();
        // IPv4 first: only there do the source addresses spread.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let address = addresses.first().copied().ok_or_else(|| fault("has no address"))?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { address, authority: authority.to_owned(), path, tls, transport })
    }

    /// The same, believing others, if it is spoken to over TLS.
    pub(crate) fn trusting(self, trust: Trust) -> Self {
        Self { tls: self.tls.map(|_| trust), ..self }
    }

    /// The name or address that the server's certificate has to be for.
    pub(crate) fn host(&self) -> &str {
        let end = self.authority.rfind(':').filter(|_| has_port(&self.authority));
        let host = self.authority.get(..end.unwrap_or(self.authority.len())).unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
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

fn has_port(authority: &str) -> bool {
    let port = authority.rsplit(':').next();
    port.is_some_and(|port| port.parse::<u16>().is_ok()) && !authority.ends_with(']')
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
        assert_eq!(target.transport, Transport::WebSocket);
        let bare = Target::parse("tcp://127.0.0.1:4222").unwrap();
        assert_eq!((bare.transport, bare.address.port()), (Transport::Tcp, 4222));
    }

    #[test]
    fn port_and_path_may_be_missing() {
        let target = Target::parse("ws://127.0.0.1").unwrap();
        assert_eq!(target.address.port(), 80);
        assert_eq!(target.path, "/");
        assert_eq!(Target::parse("ws://[::1]?x").unwrap().path, "/?x");
        assert_eq!(Target::parse("ws://[::1]:90/").unwrap().address.port(), 90);
        assert_eq!(Target::parse("wss://127.0.0.1").unwrap().address.port(), 443);
    }

    #[test]
    fn certificates_are_for_the_host_alone() {
        let host = |url| Target::parse(url).unwrap().host().to_owned();
        assert_eq!(host("wss://127.0.0.1:8443/a"), "127.0.0.1");
        assert_eq!(host("wss://localhost"), "localhost");
        assert_eq!(host("wss://[::1]:90/"), "::1");
        assert_eq!(host("wss://[::1]"), "::1");
    }

    #[test]
    fn whom_to_believe_matters_over_tls_only() {
        let tls = |url| Target::parse(url).unwrap().trusting(Trust::Anybody).tls;
        assert_eq!(tls("wss://127.0.0.1/"), Some(Trust::Anybody));
        assert_eq!(tls("ws://127.0.0.1/"), None);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["https://a/", "http://a/", "ws://", "ws:///path", "ws://user@127.0.0.1/"] {
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
