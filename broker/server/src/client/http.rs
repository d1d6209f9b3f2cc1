//! Publishing as a backend does: `POST /api/publish` (specification, section 18).

use std::time::Duration;

use serde::Deserialize;
use ureq::{Agent, Error};

use super::endpoint::Endpoint;
use super::error::{Action, ClientError};
use super::wire::{Publish, WireError};
use crate::trust;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What the API answers; the result is of no interest here.
#[derive(Debug, Deserialize)]
struct Answer {
    error: Option<WireError>,
}

/// Publishes once.
pub(super) fn publish(
    endpoint: &Endpoint,
    api_key: &str,
    publication: &Publish<'_>,
) -> Result<(), ClientError> {
    let body = serde_json::to_string(publication)?;
    let mut response = agent(endpoint.tls)
        .post(endpoint.publish_url())
        .header("X-API-Key", api_key)
        .content_type("application/json")
        .send(body)
        .map_err(|error| failure(endpoint, error))?;
    if !response.status().is_success() {
        return Err(ClientError::ApiStatus(response.status().as_u16()));
    }
    let text = response.body_mut().read_to_string().map_err(|error| failure(endpoint, error))?;
    let answer: Answer = serde_json::from_str(&text)?;
    match answer.error {
        None => Ok(()),
        Some(error) => Err(ClientError::refused(Action::Publish, error)),
    }
}

fn agent(with_tls: bool) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        // The WebSocket client knows no proxies either: both reach the same broker.
        .proxy(None);
    if with_tls {
        config = config.tls_config(trust::for_http());
    }
    config.build().into()
}

fn failure(endpoint: &Endpoint, error: Error) -> ClientError {
    match error {
        Error::Timeout(_) => ClientError::Silent,
        Error::Io(error) => {
            ClientError::Unreachable { address: endpoint.authority().to_owned(), error }
        }
        error => ClientError::Lost(error.to_string()),
    }
}
