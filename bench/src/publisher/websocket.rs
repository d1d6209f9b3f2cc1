//! A WebSocket client that publishes: joining, and reading its replies.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use crate::client::frames::{FrameEvent, append_pong, append_text, walk};
use crate::client::inbox::{Inbox, Received};
use crate::client::protocol::{CONNECT_ID, PING, ServerMessage, append_connect};
use crate::client::target::Target;
use crate::client::upgrade::Upgrade;
use crate::error::ClientError;
use crate::publisher::answers::Answers;
use crate::publisher::encode::publication_of;

/// Upgrades the connection and connects the client.
///
/// # Errors
/// When the server refuses, or closes.
pub(crate) fn join(stream: &mut TcpStream, target: &Target) -> Result<Inbox, ClientError> {
    let upgrade = Upgrade::new(target);
    let mut outgoing = upgrade.request().to_vec();
    let (mut inbox, mut scratch, mut fragments) = (Inbox::default(), Vec::new(), Vec::new());
    let (mut is_upgraded, mut is_connected) = (false, false);
    while !is_connected {
        stream.write_all(&outgoing)?;
        outgoing.clear();
        let received = inbox.receive(stream, &mut scratch, |bytes| {
            if !is_upgraded {
                let Some(length) = upgrade.response(bytes)? else { return Ok(0) };
                is_upgraded = true;
                append_connect(&mut outgoing);
                return Ok(length);
            }
            walk(bytes, &mut fragments, |event| {
                if let FrameEvent::Message(message) = event {
                    let reply = ServerMessage::parse(message)?;
                    is_connected = reply.id == CONNECT_ID;
                    reply.accepted("connect")?;
                }
                Ok(())
            })
        })?;
        match received {
            Received::End => return Err(ClientError::Closed { code: None }),
            Received::Nothing => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Received::Drained | Received::More => {}
        }
    }
    Ok(inbox)
}

/// Reads the replies to publish commands until the connection ends, and answers pings over
/// `writer`.
///
/// # Errors
/// When it ends too early, or a reply cannot be understood.
pub(crate) fn read_answers(
    mut stream: TcpStream,
    mut inbox: Inbox,
    writer: &Mutex<TcpStream>,
    answers: &Answers,
) -> Result<(), ClientError> {
    let (mut scratch, mut fragments, mut outgoing) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let received = inbox.receive(&mut stream, &mut scratch, |bytes| {
            walk(bytes, &mut fragments, |event| on_event(event, answers, &mut outgoing))
        });
        match received {
            Ok(Received::End) if !answers.is_over() => {
                return Err(ClientError::Closed { code: None });
            }
            Ok(Received::End) => return Ok(()),
            Ok(_) => {}
            Err(_) if answers.is_over() => return Ok(()),
            Err(error) => return Err(error),
        }
        if !outgoing.is_empty() {
            // Whole frames under the lock: the publishing thread writes on the same socket.
            writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&outgoing)?;
            outgoing.clear();
        }
    }
}

fn on_event(
    event: FrameEvent<'_>,
    answers: &Answers,
    outgoing: &mut Vec<u8>,
) -> Result<(), ClientError> {
    match event {
        FrameEvent::Message(PING) => append_text(PING, outgoing),
        FrameEvent::Message(message) => {
            let reply = ServerMessage::parse(message)?;
            if let Some(publication) = publication_of(reply.id) {
                match reply.error {
                    None => answers.accept(),
                    Some(error) => {
                        answers.refuse(publication, format!("{} {}", error.code, error.message));
                    }
                }
            }
        }
        FrameEvent::Ping(body) => append_pong(body, outgoing),
        FrameEvent::Close(code) => return Err(ClientError::Closed { code }),
    }
    Ok(())
}
