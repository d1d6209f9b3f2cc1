//! TLS for the WebSocket client.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::error::ClientError;
use crate::trust::{provider, roots};

/// Trusts what the system trusts.
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
