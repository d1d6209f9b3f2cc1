//! Who is subscribed, as clients and backends are told: the list when they ask, joins and leaves as
//! they happen.

use std::collections::BTreeMap;

use crate::message::Info;
use crate::model::{Interval, Model, Tick, Violation, ensure};
use crate::users;

/// An answer to the question who is subscribed.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) by: Option<usize>,
    pub(crate) topic: usize,
    pub(crate) asked: Tick,
    pub(crate) answered: Tick,
    pub(crate) members: BTreeMap<String, Info>,
}

/// Checks all that was told about members. `settled`: everything has arrived, and who was to be
/// told of it is there to be asked.
pub(crate) fn check(model: &Model, settled: bool) -> Result<(), Violation> {
    for told in &model.told {
        check_told(model, told)?;
    }
    for interval in model.intervals.iter().filter(|interval| interval.granted.hears_joins) {
        check_heard(model, interval, settled)?;
    }
    Ok(())
}

/// Who was subscribed all the time is in the list, and nobody who was not there at all.
fn check_told(model: &Model, told: &Told) -> Result<(), Violation> {
    let Told { by, topic, asked, answered, ref members } = *told;
    for (name, info) in members {
        ensure!(*name == info.client, by, Some(topic), "{name} is said to be {info:?}");
        let client = check_member(model, by, topic, info)?;
        let asks = client.and_then(|client| model.asks.get(&(client, topic)));
        let came = asks.is_none_or(|asks| asks.iter().any(|tick| *tick < answered));
        ensure!(came, by, Some(topic), "{name} is there, but never came");
    }
    for interval in model.intervals.iter().filter(|interval| interval.topic == topic) {
        if interval.begun < asked && interval.lived_until(answered) && !interval.must_end {
            let index = interval.client;
            let there = members
                .keys()
                .any(|name| model.names.get(name).is_some_and(|(client, _)| *client == index));
            ensure!(there, Some(index), Some(topic), "it is missing among {members:?}");
        }
    }
    Ok(())
}

/// The client that is meant, if it has told its id to the simulation.
fn check_member(
    model: &Model,
    by: Option<usize>,
    topic: usize,
    info: &Info,
) -> Result<Option<usize>, Violation> {
    // Who went before it read its id is not known by it.
    let Some(&(client, user)) = model.names.get(&info.client) else {
        return Ok(None);
    };
    let right = info.user == users::name(user);
    ensure!(right, by, Some(topic), "{info:?} is user {user}");
    let asked = model.asks.contains_key(&(client, topic));
    ensure!(asked, by, Some(topic), "{info:?} never asked for this topic");
    Ok(Some(client))
}

/// Joins and leaves alternate for everybody, and begin with a join unless it was there before.
fn check_heard(model: &Model, hearer: &Interval, settled: bool) -> Result<(), Violation> {
    let Interval { client: index, topic, begun, .. } = *hearer;
    let (by, of) = (Some(index), Some(topic));
    let mut events: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (joined, info) in &hearer.heard {
        let client = check_member(model, by, topic, info)?;
        let before = events.entry(&info.client).or_default();
        let again = before.last() == Some(joined);
        ensure!(
            !again,
            by,
            of,
            "{} twice in a row of {info:?}",
            if *joined { "join" } else { "leave" }
        );
        let asks = client.and_then(|client| model.asks.get(&(client, topic)));
        let new = asks.is_some_and(|asks| asks.iter().all(|tick| *tick > begun));
        ensure!(*joined || !before.is_empty() || !new, by, of, "{info:?} left before it joined");
        before.push(*joined);
        let joins = before.iter().filter(|joined| **joined).count();
        let often = asks.is_some_and(|asks| joins > asks.len());
        ensure!(!often, by, of, "{info:?} joined {joins} times");
        ensure!(*joined || client != Some(index), by, of, "it was told that it left itself");
    }
    let live = settled && hearer.ended.is_none();
    for (name, (client, _)) in &model.names {
        let heard = events.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
        if *client == index {
            let right = heard == [true] || !live && heard.is_empty();
            ensure!(right, by, of, "it heard {heard:?} of itself");
        } else if live {
            check_end(model, hearer, *client, heard)?;
        }
    }
    Ok(())
}

/// What one who hears of joins and leaves must have heard of another by the end.
fn check_end(
    model: &Model,
    hearer: &Interval,
    client: usize,
    heard: &[bool],
) -> Result<(), Violation> {
    let Interval { client: index, topic, begun, asked, .. } = *hearer;
    let (by, of) = (Some(index), Some(topic));
    let mut begins = 0;
    let mut live = None;
    let mut left = false;
    for other in &model.intervals {
        if other.client != client || other.topic != topic {
            continue;
        }
        begins += usize::from(other.asked > begun);
        if other.ended.is_none() {
            live = Some(other.asked > begun);
        }
        left |= other.begun < asked && other.lived_until(begun) && other.ended.is_some();
    }
    let joins = heard.iter().filter(|joined| **joined).count();
    ensure!(joins >= begins, by, of, "it heard of {joins} of {begins} joins of c{client}");
    let leaves = heard.len() - joins;
    ensure!(!left || leaves > 0, by, of, "it did not hear that c{client} left");
    match live {
        Some(new) => {
            let right = heard.last().map_or(!new, |last| *last);
            ensure!(right, by, of, "it heard {heard:?} of c{client}, which is there");
        }
        None => {
            let right = heard.last().is_none_or(|last| !*last);
            ensure!(right, by, of, "it heard {heard:?} of c{client}, which is gone");
        }
    }
    Ok(())
}
