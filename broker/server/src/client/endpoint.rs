//! Where the broker is: host, port, and the paths for clients and backends.

use http::Uri;

use super::error::ClientError;

/// Where `fanwire dev` and the default configuration are reached.
pub(crate) const DEFAULT_URL: &str = "ws://127.0.0.1:8000/connection/websocket";

const CLIENT_PATH: &str = "/connection/websocket";
const PUBLISH_PATH: &str = "/api/publish";

/// A broker, as `--url` names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host name or address; IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// Host and port as in a URL.
    authority: String,
    path: String,
}

impl Endpoint {
    /// Reads `--url`. `http` and `https` stand for `ws` and `wss`; without a path it is the one
    /// that clients connect to.
    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::BadUrl(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => CLIENT_PATH,
            path => path,
        };
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            tls,
            authority: format!("{host}:{port}"),
            path: path.to_owned(),
        })
    }

    /// Where clients connect.
    pub(super) fn client_url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// Where backends publish: beside the clients' path, whatever is before it.
    pub(super) fn publish_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        let prefix = path.strip_suffix(CLIENT_PATH).unwrap_or_default();
        format!("{scheme}://{}{prefix}{PUBLISH_PATH}", self.authority)
    }

    /// Host and port, for messages.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_port_and_path_have_defaults() {
        let url = |text| Endpoint::parse(text).unwrap().client_url();
        assert_eq!(url(DEFAULT_URL), DEFAULT_URL);
        assert_eq!(url("http://localhost:8000"), "ws://localhost:8000/connection/websocket");
        assert_eq!(url("wss://example.com/"), "wss://example.com:443/connection/websocket");
        assert_eq!(url("ws://[::1]:8000/a?b=c"), "ws://[::1]:8000/a?b=c");
        assert_eq!(Endpoint::parse("ws://[::1]:8000").unwrap().host, "::1");
    }

    #[test]
    fn backends_publish_beside_the_clients_path() {
        let url = |text| Endpoint::parse(text).unwrap().publish_url();
        assert_eq!(url(DEFAULT_URL), "http://127.0.0.1:8000/api/publish");
        assert_eq!(
            url("wss://example.com/rt/connection/websocket?x=1"),
            "https://example.com:443/rt/api/publish"
        );
    }

    #[test]
    fn what_names_no_broker_is_refused() {
        for text in ["", "localhost:8000", "ftp://localhost", "/connection/websocket", "ws://"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
