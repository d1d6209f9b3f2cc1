//! Replies and pushes as lines of JSON. What is zero, false or empty is left out but where section
//! 1 wants it; a result is there even if nothing is in it.

use std::sync::Arc;

use uuid::Uuid;

use crate::fault::Refusal;
use crate::json::{append_string, put};
use crate::protocol::centrifugo::Within;
use crate::protocol::{
    ClientInfo, Connected, Draft, Form, Payload, Position, Publication, Push, Recovery, Reply,
    Subscribed,
};

pub(crate) fn append_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut object = Fields::open(out);
    put!(object.name("id"), "{id}");
    match *reply {
        Reply::Refused(refusal) => error(object.object("error"), refusal),
        Reply::Connected(told) => connected(object.object("connect"), told),
        Reply::Subscribed(told) => subscribed(object.object("subscribe"), told),
        Reply::Unsubscribed => object.object("unsubscribe").close(),
        Reply::Published => object.object("publish").close(),
        Reply::Presence(members) => presence(object.object("presence"), members),
        Reply::PresenceStats { clients, users } => {
            let result = object.name("presence_stats");
            put!(result, r#"{{"num_clients":{clients},"num_users":{users}}}"#);
        }
        Reply::History { publications, position } => {
            history(object.object("history"), publications, position);
        }
        Reply::Called => object.object("rpc").close(),
        Reply::Refreshed(ttl) => expiry(object.object("refresh"), ttl),
        Reply::SubRefreshed(ttl) => expiry(object.object("sub_refresh"), ttl),
    }
    object.close();
}

pub(crate) fn append_push(out: &mut Vec<u8>, push: &Push<'_>) {
    match *push {
        Push::Ping => out.extend_from_slice(b"{}"),
        Push::Publication { topic, publication, form } => {
            out.extend_from_slice(br#"{"push":{"channel":"#);
            append_string(out, topic);
            out.extend_from_slice(br#","pub":"#);
            append_publication(out, publication, form, Within::Push);
            out.extend_from_slice(b"}}");
        }
        Push::Join { topic, info } => push_about(out, topic, |object| {
            presence_event(object.object("join"), info);
        }),
        Push::Leave { topic, info } => push_about(out, topic, |object| {
            presence_event(object.object("leave"), info);
        }),
        Push::Subscribed { topic, subscribed } => push_about(out, topic, |object| {
            subscribed_unasked(object.object("subscribe"), subscribed);
        }),
        Push::Unsubscribed { topic, code, reason } => push_about(out, topic, |object| {
            let mut fields = object.object("unsubscribe");
            fields.number("code", code);
            fields.text("reason", reason);
            fields.close();
        }),
        Push::Refreshed(ttl) => {
            out.extend_from_slice(br#"{"push":{"refresh":"#);
            expiry(Fields::open(out), ttl);
            out.extend_from_slice(b"}}");
        }
    }
}

/// An object that is being written.
struct Fields<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Fields<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    /// Begins a field whose name needs no escapes; its value is to be appended to what is returned.
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// The same for any name.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.separate();
        append_string(self.out, key);
        self.out.push(b':');
        self.out
    }

    fn separate(&mut self) {
        // No value ends with it.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
    }

    fn object(&mut self, name: &str) -> Fields<'_> {
        Fields::open(self.name(name))
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            append_string(self.name(name), text);
        }
    }

    fn number(&mut self, name: &str, number: impl Into<u64>) {
        let number = number.into();
        if number != 0 {
            put!(self.name(name), "{number}");
        }
    }

    fn truth(&mut self, name: &str, truth: bool) {
        if truth {
            self.name(name).extend_from_slice(b"true");
        }
    }

    fn payload(&mut self, name: &str, payload: Option<&Payload>) {
        if let Some(payload) = payload.filter(|payload| payload.len() > 0) {
            self.name(name).extend_from_slice(&payload.json_text());
        }
    }
}

fn push_about(out: &mut Vec<u8>, topic: &str, append: impl FnOnce(&mut Fields<'_>)) {
    out.extend_from_slice(br#"{"push":"#);
    let mut object = Fields::open(out);
    append_string(object.name("channel"), topic);
    append(&mut object);
    object.close();
    out.push(b'}');
}

fn error(mut fields: Fields<'_>, refusal: Refusal) {
    fields.number("code", refusal.code());
    fields.text("message", refusal.message());
    fields.truth("temporary", refusal.temporary());
    fields.close();
}

fn connected(mut fields: Fields<'_>, told: &Connected<'_>) {
    put!(fields.name("client"), r#""{}""#, told.client);
    fields.text("version", told.version);
    until_expiry(&mut fields, told.ttl_seconds);
    if !told.subs.is_empty() {
        let mut subs = fields.object("subs");
        for (topic, sub) in told.subs {
            subscribed(Fields::open(subs.key(topic)), sub);
        }
        subs.close();
    }
    if let Some(seconds) = told.ping_seconds {
        fields.number("ping", seconds);
        fields.truth("pong", true);
    }
    fields.number("time", told.time_ms.unwrap_or_default());
    fields.close();
}

fn subscribed(mut fields: Fields<'_>, told: &Subscribed) {
    until_expiry(&mut fields, told.ttl_seconds);
    fields.truth("recoverable", told.recoverable);
    if let Some(position) = told.position {
        fields.text("epoch", position.epoch.as_str());
    }
    if !told.publications.is_empty() {
        let publications = told.publications.iter().map(|(publication, form)| (publication, form));
        append_publications(fields.name("publications"), publications);
    }
    fields.truth("recovered", told.recovery == Recovery::Done);
    fields.number("offset", told.position.map_or(0, |position| position.offset));
    fields.truth("positioned", told.positioned);
    fields.payload("data", told.data.as_ref());
    fields.truth("was_recovering", told.recovery != Recovery::None);
    fields.truth("delta", told.delta);
    fields.close();
}

/// The fewer fields of a push (section 5): publications that were recovered come by themselves.
fn subscribed_unasked(mut fields: Fields<'_>, told: &Subscribed) {
    fields.truth("recoverable", told.recoverable);
    if let Some(position) = told.position {
        fields.text("epoch", position.epoch.as_str());
        fields.number("offset", position.offset);
    }
    fields.truth("positioned", told.positioned);
    fields.payload("data", told.data.as_ref());
    fields.close();
}

fn presence(mut fields: Fields<'_>, members: &[Arc<ClientInfo>]) {
    let mut presence = fields.object("presence");
    for info in members {
        let mut client = Uuid::encode_buffer();
        append_info(presence.name(info.client.hyphenated().encode_lower(&mut client)), info);
    }
    presence.close();
    fields.close();
}

fn presence_event(mut fields: Fields<'_>, info: &ClientInfo) {
    append_info(fields.name("info"), info);
    fields.close();
}

fn history(mut fields: Fields<'_>, publications: &[Arc<Publication>], position: Position) {
    let publications = publications.iter().map(|publication| (publication, &Form::Plain));
    append_publications(fields.name("publications"), publications);
    append_string(fields.name("epoch"), position.epoch.as_str());
    put!(fields.name("offset"), "{}", position.offset);
    fields.close();
}

fn expiry(mut fields: Fields<'_>, ttl_seconds: Option<u32>) {
    until_expiry(&mut fields, ttl_seconds);
    fields.close();
}

fn until_expiry(fields: &mut Fields<'_>, ttl_seconds: Option<u32>) {
    if let Some(seconds) = ttl_seconds {
        fields.truth("expires", true);
        fields.number("ttl", seconds);
    }
}

fn append_info(out: &mut Vec<u8>, info: &ClientInfo) {
    let mut fields = Fields::open(out);
    append_string(fields.name("user"), &info.user);
    put!(fields.name("client"), r#""{}""#, info.client);
    fields.payload("conn_info", info.conn_info.as_deref());
    fields.payload("chan_info", info.chan_info.as_deref());
    fields.close();
}

fn append_publications<'a>(
    out: &mut Vec<u8>,
    publications: impl Iterator<Item = (&'a Arc<Publication>, &'a Form)>,
) {
    out.push(b'[');
    for (index, (publication, form)) in publications.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_publication(out, publication, form, Within::Reply);
    }
    out.push(b']');
}

/// Written without [`Fields`], for speed: every publication is spelled here.
fn append_publication(out: &mut Vec<u8>, publication: &Publication, form: &Form, within: Within) {
    let Draft { data, info, tags, .. } = &publication.draft;
    out.extend_from_slice(br#"{"data":"#);
    append_data(out, data, form);
    if let Some(info) = info {
        out.extend_from_slice(br#","info":"#);
        append_info(out, info);
    }
    if let Some(position) = publication.visible_position() {
        put!(out, r#","offset":{}"#, position.offset);
        if within.tells_epoch(position) {
            put!(out, r#","epoch":"{}""#, position.epoch.as_str());
        }
    }
    if !tags.is_empty() {
        let mut separator: &[u8] = br#","tags":{"#;
        for (key, value) in tags.iter() {
            out.extend_from_slice(separator);
            append_string(out, key);
            out.push(b':');
            append_string(out, value);
            separator = b",";
        }
        out.push(b'}');
    }
    if matches!(form, Form::Patch(_)) {
        out.extend_from_slice(br#","delta":true"#);
    }
    out.push(b'}');
}

fn append_data(out: &mut Vec<u8>, data: &Payload, form: &Form) {
    match form {
        Form::Plain => out.extend_from_slice(&data.json_text()),
        Form::Full => append_string(out, &String::from_utf8_lossy(&data.json_text())),
        Form::Patch(patch) => append_string(out, &String::from_utf8_lossy(patch)),
    }
}
