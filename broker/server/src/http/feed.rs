//! `POST /api/publish_many`: publications in lines, answered in lines while more of them come.
//!
//! One call of core is under way at a time, for a bounded number of lines of one piece of the body;
//! the next ones are taken when that is answered and hyper has room for the answer. So a caller
//! that sends faster than the broker publishes, or does not read, is held up by its own socket, and
//! what it costs is bounded: hyper's buffers, the cork and half a line.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fanwire_core::api::PublishLines;
use fanwire_core::fault::Disconnect;
use hyper::body::{Body as _, Frame, Incoming};

use super::exchange::{Exchange, RequestInHand};

/// A feed, which is the body of its own answer.
pub(super) struct Feed {
    exchange: Rc<Exchange>,
    request: Incoming,
    /// Of the request, not read as lines yet.
    piece: Bytes,
    lines: PublishLines,
    stage: Stage,
    in_hand: RequestInHand,
}

/// How far a feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The next piece of the request is awaited.
    Reading,
    /// Core publishes what the last piece brought.
    Publishing,
    /// The same, and it was the last one.
    PublishingLast,
    /// The answer is complete.
    Over,
}

impl Feed {
    /// A feed whose lines are read from that body.
    pub(super) fn new(exchange: Rc<Exchange>, request: Incoming, line_bytes_max: usize) -> Self {
        let in_hand = exchange.begin_request();
        let lines = PublishLines::new(line_bytes_max);
        Self { exchange, request, piece: Bytes::new(), lines, stage: Stage::Reading, in_hand }
    }

    /// Ready when the answer may begin: not before something was read, because who expects
    /// 100 (Continue) would take the answer's head for a refusal.
    pub(super) fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.stage == Stage::Reading && !self.exchange.is_ending() {
            return self.poll_piece(context);
        }
        Poll::Ready(Ok(()))
    }

    /// The answers to the lines of one piece.
    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        loop {
            match self.stage {
                Stage::Publishing | Stage::PublishingLast => {
                    let (_, body) = ready!(self.exchange.poll_answer());
                    let last = self.stage == Stage::PublishingLast;
                    self.stage = if last { Stage::Over } else { Stage::Reading };
                    return Poll::Ready(Some(Ok(Frame::data(body.into()))));
                }
                Stage::Reading if self.exchange.is_ending() => {
                    self.stage = Stage::Over;
                    self.exchange.keep_until_closed(self.in_hand.clone());
                    return Poll::Ready(Some(Ok(Frame::data(last_word()))));
                }
                Stage::Reading => ready!(self.poll_piece(context))?,
                Stage::Over => return Poll::Ready(None),
            }
        }
    }

    /// Reads a piece of the request and has its lines published.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.request).poll_frame(context)) {
                // Half a line whose other half will not come is not published.
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => {
                    self.exchange.note_activity();
                    self.piece = frame.into_data().unwrap_or_default();
                }
                None => self.stage = Stage::Over,
            }
        }
        let over = self.stage == Stage::Over;
        let call = if over { self.lines.finish() } else { self.lines.read(&mut self.piece) };
        if let Some(call) = call {
            self.exchange.begin_call(call);
            self.stage = if over { Stage::PublishingLast } else { Stage::Publishing };
        }
        Poll::Ready(Ok(()))
    }
}

/// What a caller reads whose feed was ended by the broker: lines behind the last one that was
/// answered are not published.
fn last_word() -> Bytes {
    let Disconnect { code, reason } = Disconnect::SHUTDOWN;
    format!("{{\"error\":{{\"code\":{code},\"message\":\"{reason}\"}}}}\n").into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_last_word_is_a_line_with_an_error() {
        let expected = "{\"error\":{\"code\":3001,\"message\":\"shutdown\"}}\n";
        assert_eq!(super::last_word(), expected);
    }
}
