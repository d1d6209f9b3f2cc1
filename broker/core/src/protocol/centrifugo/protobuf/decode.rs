//! Messages behind their lengths to commands.

use prost::Message as _;

use super::messages::{self, ConnectRequest, SubscribeRequest};
use crate::protocol::centrifugo::{FLAG_MUST_RECOVER, FOSSIL, named, recovery, wants_delta};
use crate::protocol::{Command, Connect, Malformed, Range, Request, Since, Subscribe, Wish};

/// The next request in a message of the transport (section 3): one follows the other.
pub(crate) fn next<'a>(message: &mut Option<&'a [u8]>) -> Option<Result<Request<'a>, Malformed>> {
    let (request, rest) = match split(message.take()?) {
        Ok((request, rest)) => (decode(request), rest),
        Err(malformed) => (Err(malformed), [].as_slice()),
    };
    if request.is_ok() && !rest.is_empty() {
        *message = Some(rest);
    }
    Some(request)
}

/// The first request, without its length, and what follows it.
fn split(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut rest = message;
    let length = prost::decode_length_delimiter(&mut rest)
        .map_err(|_| Malformed("message without its length"))?;
    let spelled = message.len() - rest.len();
    if spelled != prost::length_delimiter_len(length) {
        return Err(Malformed("length with more bytes than it needs"));
    }
    rest.split_at_checked(length).ok_or(Malformed("message that is shorter than its length"))
}

fn decode(request: &[u8]) -> Result<Request<'static>, Malformed> {
    let request = messages::Command::decode(request)
        .map_err(|_| Malformed("message that is no command in Protobuf"))?;
    let id = request.id;
    if id == 0 && request.send.is_none() {
        return Ok(Request { id, command: Command::Pong });
    }
    let command = command(request)?;
    Ok(Request { id, command })
}

/// The first method present counts, in this order (section 1).
fn command(request: messages::Command) -> Result<Command<'static>, Malformed> {
    Ok(if let Some(request) = request.connect {
        connect(request)?
    } else if let Some(request) = request.subscribe {
        subscribe(*request)?
    } else if let Some(request) = request.unsubscribe {
        Command::Unsubscribe { topic: named(request.channel.into())? }
    } else if let Some(request) = request.publish {
        Command::Publish {
            topic: named(request.channel.into())?,
            data: (!request.data.is_empty()).then(|| request.data.into()),
            stream: request.kind == 0,
        }
    } else if let Some(request) = request.presence {
        Command::Presence { topic: named(request.channel.into())? }
    } else if let Some(request) = request.presence_stats {
        Command::PresenceStats { topic: named(request.channel.into())? }
    } else if let Some(request) = request.history {
        let since = request.since.map(|since| Since { epoch: since.epoch, offset: since.offset });
        let range = Range { limit: request.limit, since, reverse: request.reverse };
        Command::History { topic: named(request.channel.into())?, range }
    } else if let Some(request) = request.rpc {
        Command::Rpc { method: request.method.into() }
    } else if request.send.is_some() {
        Command::Send
    } else if let Some(request) = request.refresh {
        Command::Refresh { token: request.token.into() }
    } else if let Some(request) = request.sub_refresh {
        Command::SubRefresh { topic: named(request.channel.into())?, token: request.token.into() }
    } else {
        return Err(Malformed("command without a known method"));
    })
}

fn connect(request: ConnectRequest) -> Result<Command<'static>, Malformed> {
    let wish = |(channel, wish): (String, SubscribeRequest)| {
        Ok(Wish {
            topic: named(channel.into())?,
            recover: recovery(wish.recover, wish.epoch, wish.offset),
            delta: wish.delta == FOSSIL,
        })
    };
    let subs = request.subs.into_iter().map(wish).collect::<Result<_, _>>()?;
    Ok(Command::Connect(Connect { token: request.token.into(), subs }))
}

fn subscribe(request: SubscribeRequest) -> Result<Command<'static>, Malformed> {
    Ok(Command::Subscribe(Box::new(Subscribe {
        topic: named(request.channel.into())?,
        token: request.token.into(),
        kind: request.kind,
        recover: recovery(request.recover, request.epoch, request.offset),
        must_recover: request.flag & FLAG_MUST_RECOVER != 0,
        positioned: request.positioned,
        recoverable: request.recoverable,
        join_leave: request.join_leave,
        delta: wants_delta(&request.delta)?,
        filter: request.tf,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::centrifugo::wire::{framed, message, number, text, varint};

    fn all(message: &[u8]) -> Vec<Result<Request<'_>, Malformed>> {
        let mut rest = Some(message);
        std::iter::from_fn(|| next(&mut rest)).collect()
    }

    fn refused(message: &[u8]) -> bool {
        matches!(all(message).as_slice(), [.., Err(_)])
    }

    fn unsubscribe(id: i128, topic: &str) -> Vec<u8> {
        framed(&[number(1, id), message(6, &[text(1, topic)])])
    }

    #[test]
    fn messages_behind_their_lengths_are_commands_in_order() {
        // Bytes, written out once: pong, unsubscribe from "a".
        let bytes = [0x00, 0x07, 0x08, 0x01, 0x32, 0x03, 0x0a, 0x01, b'a'];
        let command = Command::Unsubscribe { topic: "a".into() };
        let expected =
            [Request { id: 0, command: Command::Pong }, Request { id: 1, command }].map(Ok);
        assert_eq!(all(&bytes), expected);
        assert_eq!(bytes[1..], unsubscribe(1, "a"));
    }

    #[test]
    fn what_is_no_command_is_refused_and_nothing_after_it_is_read() {
        let good = unsubscribe(1, "a");
        let cut = &good[..good.len() - 1];
        let long = [varint(1 << 40), vec![0; 64]].concat();
        let overlong_length = [&[0x87, 0x00], &good[1..]].concat();
        for (message, why) in [
            (Vec::new(), "nothing at all"),
            (vec![0x80], "a length without an end"),
            (vec![0xff; 16], "a length that is too large for any number"),
            (vec![0x80, 0x00], "a pong with a length of two bytes"),
            (overlong_length, "a length with more bytes than it needs"),
            (long, "a length beyond the message"),
            (cut.to_vec(), "a message that is shorter than its length"),
            (br#"{"id":1,"connect":{"token":"","name":"js"}}"#.to_vec(), "JSON"),
            (framed(&[number(1, 1)]), "no method"),
            (framed(&[number(1, 1), message(11, &[])]), "ping"),
            (framed(&[text(1, "1"), message(4, &[])]), "an id of another type"),
            (framed(&[number(1, 1), number(4, 1)]), "a method of another type"),
            (framed(&[number(1, 1), message(6, &[text(1, [0xff])])]), "no UTF-8"),
            (framed(&[number(1, 1), vec![0x32, 0x7f, 0x0a]]), "an inner length beyond"),
            (framed(&[number(1, 1), vec![0x32, 0x01, 0x0a]]), "a field without its value"),
            (framed(&[number(1, 1), message(4, &[]), vec![0x00]]), "field number 0"),
            (framed(&[number(1, 1), message(4, &[]), vec![0x80; 16]]), "a key without an end"),
        ] {
            let found = all(&message);
            assert!(matches!(found.as_slice(), [Err(_)]), "{why}: {found:?}");
        }
        let garbage = [good.clone(), vec![0xff], good].concat();
        let found = all(&garbage);
        assert_eq!(found.len(), 2);
        assert!(found[0].is_ok() && found[1].is_err());
    }

    #[test]
    fn a_topic_must_be_named() {
        for field in [5, 6, 7, 8, 9, 10, 15] {
            assert!(refused(&framed(&[number(1, 1), message(field, &[])])), "{field}");
            let named = framed(&[number(1, 1), message(field, &[text(1, "a")])]);
            assert!(all(&named)[0].is_ok(), "{field}");
        }
        assert!(refused(&framed(&[number(1, 1), message(4, &[message(3, &[])])])));
        let delta = [text(1, "a"), text(12, "xor")];
        assert!(refused(&framed(&[number(1, 1), message(5, &delta)])));
    }

    #[test]
    fn the_first_method_in_order_counts_and_no_id_is_a_pong() {
        let topic = [text(1, "a")];
        // The order of the specification, which is not that of the numbers: rpc before send.
        let order = [4, 5, 6, 7, 8, 9, 10, 13, 12, 14, 15];
        for (index, first) in order.iter().enumerate() {
            // A topic where rpc and send have their data.
            let first = message(*first, &topic);
            let alone = framed(&[number(1, 1), first.clone()]);
            for later in &order[index + 1..] {
                let both = framed(&[message(*later, &topic), number(1, 1), first.clone()]);
                assert_eq!(all(&both), all(&alone), "{later}");
                assert!(all(&both)[0].is_ok());
            }
        }
        for pong in [vec![0], framed(&[number(1, 0)]), framed(&[message(5, &topic)])] {
            assert_eq!(all(&pong), [Ok(Request { id: 0, command: Command::Pong })]);
        }
        let send = framed(&[message(12, &[text(1, "x")])]);
        assert_eq!(all(&send), [Ok(Request { id: 0, command: Command::Send })]);
    }

    #[test]
    fn any_bytes_are_data_and_none_are_absent() {
        let publish = |fields: &[Vec<u8>]| {
            let bytes = framed(&[number(1, 1), message(7, fields)]);
            match all(&bytes).remove(0).map(|request| request.command) {
                Ok(Command::Publish { data, stream, .. }) => {
                    (data.map(|data| data.to_vec()), stream)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(publish(&[text(1, "a"), text(2, [0xff, 0])]), (Some(vec![0xff, 0]), true));
        assert_eq!(publish(&[text(1, "a"), text(2, ""), number(3, 1)]), (None, false));
        assert_eq!(publish(&[text(1, "a")]), (None, true));
    }

    #[test]
    fn unknown_fields_are_skipped_and_negative_numbers_read() {
        let unknown = [number(99, 7), text(98, "x"), vec![0xcd, 0x06, 1, 2, 3, 4]];
        let history = [text(1, "a"), number(7, -1), unknown.concat()];
        let bytes = framed(&[unknown.concat(), number(1, 1), message(10, &history)]);
        let range = Range { limit: -1, ..Range::default() };
        let command = Command::History { topic: "a".into(), range };
        assert_eq!(all(&bytes), [Ok(Request { id: 1, command })]);
    }

    #[test]
    fn filters_may_be_nested_but_not_without_bound() {
        let nested = |levels: usize| {
            let filter = (0..levels).fold(Vec::new(), |inner, _| message(6, &[inner]));
            framed(&[number(1, 1), message(5, &[text(1, "a"), message(13, &[filter])])])
        };
        assert!(all(&nested(50))[0].is_ok());
        assert!(refused(&nested(100)));
        assert!(refused(&nested(2000)));
    }
}
