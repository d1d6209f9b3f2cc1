//! TLS for the command-line clients: the system's roots, so that a company's own are known too.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::error::ClientError;

/// The provider of cryptography, the same for WebSocket and HTTP.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates the system trusts. Unreadable ones are left out; when none is left, the
/// handshake says that the issuer is unknown.
pub(super) fn roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// For the WebSocket client.
pub(super) fn client_config() -> Result<Arc<ClientConfig>, ClientError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Lost(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
