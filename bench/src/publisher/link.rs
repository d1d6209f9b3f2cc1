//! A client that publishes for the backend: joining, and reading the server's answers.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::client::inbox::{Inbox, Received};
use crate::client::line::{Line, Wrapping};
use crate::client::target::Target;
use crate::client::upgrade::Upgrade;
use crate::dialect::{Answer, Dialect, Event, JOIN_REQUEST, Joining, Request};
use crate::error::ClientError;
use crate::publisher::answers::Answers;
use crate::publisher::halves::{Reader, Writer};

/// Number of the request that is the first publication.
const PUBLISH_REQUEST_FIRST: u64 = JOIN_REQUEST as u64 + 1;

/// Request numbers are 32 bits wide: publications that fit one run.
pub(crate) const PUBLICATIONS_MAX: u64 = u32::MAX as u64 - PUBLISH_REQUEST_FIRST;

/// The receiving half of a connection that has joined.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    inbox: Inbox,
    line: Line,
    scratch: Vec<u8>,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Upgrading,
    Opened,
    Greeted,
    Joining,
    Joined,
}

/// The number of the request that publishes publication `publication`.
pub(crate) fn request_of(publication: u64) -> u32 {
    // PUBLICATIONS_MAX is checked before the run.
    u32::try_from(publication + PUBLISH_REQUEST_FIRST).unwrap_or(u32::MAX)
}

/// The publication that this request published.
fn publication_of(request: u32) -> Option<u64> {
    u64::from(request).checked_sub(PUBLISH_REQUEST_FIRST)
}

/// Makes the connection a client.
///
/// # Errors
/// When the server refuses, closes, or is silent for the socket's timeout.
pub(crate) fn join(
    (reader, writer): (&mut Reader, &mut Writer),
    target: &Target,
    dialect: &dyn Dialect,
) -> Result<Ear, ClientError> {
    let wrapping = Wrapping::new(target.transport, dialect);
    let opening = dialect.opening();
    let upgrade = Upgrade::new(target, opening.subprotocol);
    let opened = match opening.joining {
        Joining::Ahead => Phase::Greeted,
        Joining::Greeted => Phase::Opened,
        Joining::Open => Phase::Joined,
    };
    let (mut ear, mut outgoing) = (Ear::default(), Vec::new());
    let mut phase = opened;
    if wrapping.is_websocket() {
        upgrade.append_request(&dialect.path(target, None), &mut outgoing);
        phase = Phase::Upgrading;
    }
    loop {
        if phase == Phase::Greeted {
            let mut message = Vec::new();
            dialect.append_join("bench-publisher", &mut message);
            wrapping.append(&message, &mut outgoing);
            phase = Phase::Joining;
        }
        writer.send(&outgoing)?;
        outgoing.clear();
        if phase == Phase::Joined {
            return Ok(ear);
        }
        let Ear { inbox, line, scratch } = &mut ear;
        let received = inbox.receive(reader, scratch, |bytes| {
            if phase == Phase::Upgrading {
                let Some(length) = upgrade.response(bytes)? else { return Ok(0) };
                phase = opened;
                if phase != Phase::Opened {
                    return Ok(length);
                }
                // The greeting may be here already.
                let rest = bytes.get(length..).unwrap_or_default();
                let on_event = &mut |event: Event<'_>| advance(event, &mut phase);
                let walked = line.walk(rest, &wrapping, dialect, &mut outgoing, on_event)?;
                return Ok(length + walked);
            }
            let on_event = &mut |event: Event<'_>| advance(event, &mut phase);
            line.walk(bytes, &wrapping, dialect, &mut outgoing, on_event)
        })?;
        match received {
            Received::End => return Err(ClientError::Closed { code: None }),
            Received::Nothing => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Received::Drained | Received::More => {}
        }
    }
}

fn advance(event: Event<'_>, phase: &mut Phase) -> Result<(), ClientError> {
    match event {
        Event::Greeting { .. } if *phase == Phase::Opened => *phase = Phase::Greeted,
        Event::Joined { .. } => *phase = Phase::Joined,
        Event::Answer(Answer { refusal: Some(reason), .. }) => {
            return Err(ClientError::Refused { command: "connect", reason });
        }
        Event::Answer(Answer { request: Request::Oldest, .. }) if *phase == Phase::Joining => {
            *phase = Phase::Joined;
        }
        _ => {}
    }
    Ok(())
}

/// Reads the answers to publications until the connection ends, and answers pings over `writer`.
///
/// # Errors
/// When it ends too early, or an answer cannot be understood.
pub(crate) fn read_answers(
    mut reader: Reader,
    mut ear: Ear,
    wrapping: Wrapping,
    dialect: &dyn Dialect,
    writer: &Mutex<Writer>,
    answers: &Answers,
) -> Result<(), ClientError> {
    let Ear { inbox, line, scratch } = &mut ear;
    let mut outgoing = Vec::new();
    loop {
        let received = inbox.receive(&mut reader, scratch, |bytes| {
            let on_event = &mut |event: Event<'_>| {
                on_event(event, answers);
                Ok(())
            };
            line.walk(bytes, &wrapping, dialect, &mut outgoing, on_event)
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
            // Whole frames under the lock: the publishing thread writes on the same socket. Who has
            // taken leave says nothing more.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            if !answers.is_over() {
                writer.send(&outgoing)?;
            }
            outgoing.clear();
        }
    }
}

fn on_event(event: Event<'_>, answers: &Answers) {
    // A ping says nothing of how far the server has come with what it was sent.
    if !matches!(event, Event::Ping(_)) {
        answers.hear();
    }
    if let Event::Answer(Answer { request: Request::Number(request), refusal, .. }) = event
        && let Some(publication) = publication_of(request)
    {
        match refusal {
            None => answers.accept(),
            Some(reason) => answers.refuse(publication, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_lead_back_to_their_publications() {
        assert_eq!(publication_of(request_of(0)), Some(0));
        assert_eq!(publication_of(request_of(PUBLICATIONS_MAX)), Some(PUBLICATIONS_MAX));
        assert_eq!(publication_of(JOIN_REQUEST), None);
    }
}
