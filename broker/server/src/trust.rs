//! TLS where this program is the client: whom it trusts, which is the system's roots, so that a
//! company's own are known too. And the provider of cryptography, for either side.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The provider of cryptography, the same for WebSocket and HTTP.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates the system trusts. Unreadable ones are left out; when none is left, the
/// handshake says that the issuer is unknown.
pub(crate) fn roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Both for an HTTP client.
pub(crate) fn for_http() -> TlsConfig {
    let roots = roots();
    let roots: Vec<_> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(provider())
        .build()
}
