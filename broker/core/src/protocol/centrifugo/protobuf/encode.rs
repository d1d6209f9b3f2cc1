//! Replies and pushes as messages behind their lengths. Payloads are referenced, not copied, until
//! they stand in the output.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::messages::{self, Empty};
use crate::fault::Refusal;
use crate::protocol::centrifugo::Within;
use crate::protocol::{
    ClientInfo, Connected, Draft, Form, Payload, Publication, Push, Recovery, Reply, Subscribed,
};

pub(crate) fn append_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut message = messages::Reply { id, ..messages::Reply::default() };
    match *reply {
        Reply::Refused(refusal) => message.error = Some(error(refusal)),
        Reply::Connected(told) => message.connect = Some(connected(told)),
        Reply::Subscribed(told) => message.subscribe = Some(subscribed(told)),
        Reply::Unsubscribed => message.unsubscribe = Some(Empty {}),
        Reply::Published => message.publish = Some(Empty {}),
        Reply::Presence(members) => message.presence = Some(presence(members)),
        Reply::PresenceStats { clients, users } => {
            let result = messages::PresenceStatsResult { num_clients: clients, num_users: users };
            message.presence_stats = Some(result);
        }
        Reply::History { publications, position } => {
            let told = |told: &Arc<Publication>| publication(told, &Form::Plain, Within::Reply);
            message.history = Some(messages::HistoryResult {
                publications: publications.iter().map(told).collect(),
                epoch: position.epoch.as_str().to_owned(),
                offset: position.offset,
            });
        }
        Reply::Called => message.rpc = Some(Empty {}),
        Reply::Refreshed(ttl) => {
            let (expires, ttl) = expiry(ttl);
            message.refresh = Some(messages::RefreshResult { expires, ttl });
        }
        Reply::SubRefreshed(ttl) => {
            let (expires, ttl) = expiry(ttl);
            message.sub_refresh = Some(messages::SubRefreshResult { expires, ttl });
        }
    }
    append(out, &message);
}

pub(crate) fn append_push(out: &mut Vec<u8>, push: &Push<'_>) {
    let mut message = messages::Push::default();
    let topic = match *push {
        Push::Ping => return append(out, &messages::Reply::default()),
        Push::Publication { topic, publication: told, form } => {
            message.publication = Some(publication(told, form, Within::Push));
            topic
        }
        Push::Join { topic, info } => {
            message.join = Some(messages::Presence { info: Some(client_info(info)) });
            topic
        }
        Push::Leave { topic, info } => {
            message.leave = Some(messages::Presence { info: Some(client_info(info)) });
            topic
        }
        Push::Subscribed { topic, subscribed } => {
            message.subscribe = Some(subscribed_unasked(subscribed));
            topic
        }
        Push::Unsubscribed { topic, code, reason } => {
            message.unsubscribe = Some(messages::Unsubscribe { code, reason: reason.to_owned() });
            topic
        }
        Push::Refreshed(ttl) => {
            let (expires, ttl) = expiry(ttl);
            message.refresh = Some(messages::Refresh { expires, ttl });
            ""
        }
    };
    topic.clone_into(&mut message.channel);
    append(out, &messages::Reply { push: Some(message), ..messages::Reply::default() });
}

fn append(out: &mut Vec<u8>, message: &messages::Reply) {
    // Only a buffer that cannot grow makes this fail.
    let _ = message.encode_length_delimited(out);
}

fn error(refusal: Refusal) -> messages::Error {
    messages::Error {
        code: refusal.code(),
        message: refusal.message().to_owned(),
        temporary: refusal.temporary(),
    }
}

fn connected(told: &Connected<'_>) -> messages::ConnectResult {
    let (expires, ttl) = expiry(told.ttl_seconds);
    let sub = |(topic, told): &(Arc<str>, Subscribed)| messages::Sub {
        topic: topic.to_string(),
        result: Some(subscribed(told)),
    };
    messages::ConnectResult {
        client: told.client.to_string(),
        version: told.version.to_owned(),
        expires,
        ttl,
        subs: told.subs.iter().map(sub).collect(),
        ping: told.ping_seconds.unwrap_or_default(),
        pong: told.ping_seconds.is_some(),
        time: told.time_ms.and_then(|time| i64::try_from(time).ok()).unwrap_or_default(),
    }
}

fn subscribed(told: &Subscribed) -> messages::SubscribeResult {
    let (expires, ttl) = expiry(told.ttl_seconds);
    let (epoch, offset) = position(told);
    let told_of = |(told, form): &(Arc<Publication>, Form)| publication(told, form, Within::Reply);
    messages::SubscribeResult {
        expires,
        ttl,
        recoverable: told.recoverable,
        epoch,
        publications: told.publications.iter().map(told_of).collect(),
        recovered: told.recovery == Recovery::Done,
        offset,
        positioned: told.positioned,
        data: bytes(told.data.as_ref()),
        was_recovering: told.recovery != Recovery::None,
        delta: told.delta,
    }
}

/// The fewer fields of a push (section 5): publications that were recovered come by themselves.
fn subscribed_unasked(told: &Subscribed) -> messages::Subscribe {
    let (epoch, offset) = position(told);
    messages::Subscribe {
        recoverable: told.recoverable,
        epoch,
        offset,
        positioned: told.positioned,
        data: bytes(told.data.as_ref()),
    }
}

fn presence(members: &[Arc<ClientInfo>]) -> messages::PresenceResult {
    let member = |info: &Arc<ClientInfo>| (info.client.to_string(), client_info(info));
    messages::PresenceResult { presence: members.iter().map(member).collect() }
}

fn publication(told: &Publication, form: &Form, within: Within) -> messages::Publication {
    let Draft { data, info, tags, .. } = &told.draft;
    let position = told.visible_position();
    let announced = position.filter(|position| within.tells_epoch(*position));
    messages::Publication {
        data: match form {
            Form::Plain | Form::Full => data.bytes().clone(),
            Form::Patch(patch) => patch.clone(),
        },
        info: info.as_deref().map(client_info),
        offset: position.map_or(0, |position| position.offset),
        tags: tags.iter().cloned().collect(),
        delta: matches!(form, Form::Patch(_)),
        epoch: announced.map_or_else(String::new, |position| position.epoch.as_str().to_owned()),
    }
}

fn client_info(info: &ClientInfo) -> messages::ClientInfo {
    messages::ClientInfo {
        user: info.user.to_string(),
        client: info.client.to_string(),
        conn_info: bytes(info.conn_info.as_deref()),
        chan_info: bytes(info.chan_info.as_deref()),
    }
}

fn bytes(payload: Option<&Payload>) -> Bytes {
    payload.map(|payload| payload.bytes().clone()).unwrap_or_default()
}

fn expiry(ttl_seconds: Option<u32>) -> (bool, u32) {
    (ttl_seconds.is_some(), ttl_seconds.unwrap_or_default())
}

fn position(told: &Subscribed) -> (String, u64) {
    told.position.map_or_else(Default::default, |position| {
        (position.epoch.as_str().to_owned(), position.offset)
    })
}
