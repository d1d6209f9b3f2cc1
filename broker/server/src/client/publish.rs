//! `fanwire pub`: one publication, then the end.

use std::collections::BTreeMap;
use std::io::{Read, stdin};

use super::connection::Connection;
use super::credentials::connection_token;
use super::endpoint::Endpoint;
use super::error::{Action, ClientError};
use super::http;
use super::wire::{self, CONNECT_ID, Command, Publish, Reply};
use crate::cli::PubArgs;

/// Stands for "read the data from stdin".
const STDIN: &str = "-";
const PUBLISH_ID: u32 = CONNECT_ID + 1;

/// Publishes and waits for the broker's answer.
///
/// # Errors
/// The broker could not be reached or refused; `ClientError::remedy` says what to do.
pub(crate) fn publish(args: &PubArgs) -> Result<(), ClientError> {
    let endpoint = Endpoint::parse(&args.url)?;
    let data = if args.data == STDIN { read_stdin()? } else { args.data.clone() };
    let data = wire::json_of(&data)?;
    let publication = Publish { channel: &args.topic, data: &data };
    match &args.api_key {
        Some(api_key) => http::publish(&endpoint, api_key, &publication),
        None => {
            let token = connection_token(args.token.as_ref());
            publish_as_client(&endpoint, token.as_deref(), publication)
        }
    }
}

fn publish_as_client(
    endpoint: &Endpoint,
    token: Option<&str>,
    publication: Publish<'_>,
) -> Result<(), ClientError> {
    let mut connection = Connection::open(endpoint)?;
    let publish = Command { id: PUBLISH_ID, publish: Some(publication), ..Command::default() };
    let connect = Command::connect(token, BTreeMap::new());
    connection.send(&[connect.line()?, publish.line()?])?;
    loop {
        let line = connection.next_line()?;
        let reply: Reply<'_> = serde_json::from_str(&line)?;
        let action = match reply.id {
            CONNECT_ID => Action::Connect,
            PUBLISH_ID => Action::Publish,
            _ => continue,
        };
        if let Some(error) = reply.error {
            return Err(ClientError::refused(action, error));
        }
        if reply.id == PUBLISH_ID {
            connection.close();
            return Ok(());
        }
    }
}

/// All of stdin; the line's end that `echo` adds is not data.
fn read_stdin() -> Result<String, ClientError> {
    let mut data = String::new();
    stdin().lock().read_to_string(&mut data).map_err(ClientError::Input)?;
    if data.ends_with('\n') {
        data.pop();
    }
    Ok(data)
}
