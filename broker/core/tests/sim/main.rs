//! The simulation: shards, topics, clients, backends, slow lanes, slow sockets and lost
//! connections, all from one seed. Whatever happens, the guarantees hold; then faults stop, and
//! everything that was promised must have arrived.
//!
//! A failing seed is printed with the command that repeats it. `FANWIRE_SIM_SEEDS` says how many
//! seeds are run, `FANWIRE_SIM_SEED` runs one alone.
//!
//! `world` is the node and what surrounds it, `plan` what a run is like, `topics` and `users` who
//! and what there is in it. `actions` and `calls` are what clients and backends do, `client` is a
//! client and `reading` what it may read (by `message` and `wire`). `model` is what was seen from
//! outside; `past`, `recovery`, `history` and `members` say what follows from it. `verdict`,
//! `finale` and `drain` are what must hold in the end; `tally` counts what happened over all seeds.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may end by a panic"
)]

mod actions;
mod calls;
mod client;
mod drain;
mod finale;
mod history;
mod members;
mod message;
mod model;
mod overload;
mod past;
mod plan;
mod reading;
mod recovery;
mod tally;
mod topics;
mod users;
mod verdict;
#[path = "../wire/mod.rs"]
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::Violation;
use tally::Tally;
use world::World;

/// Seeds that are run unless the environment says otherwise.
const SEEDS: u64 = if cfg!(feature = "planted-fault") { 2_000 } else { 10_000 };

/// Lines of its trace that a failing seed shows.
const TRACE_LINES: usize = 60;

/// Runs one seed. A panic in core breaks a guarantee like anything else.
fn run(world: &mut World) -> Result<(), Violation> {
    catch_unwind(AssertUnwindSafe(|| world.run()))
        .unwrap_or_else(|_| Err(Violation { text: "panic".to_owned(), client: None, topic: None }))
}

/// Every seed runs on one to four shards, as many as these say.
fn shards_of(seed: u64) -> u16 {
    (seed % 4) as u16 + 1
}

/// The first seed that fails among those that run on so many shards; what happened until then.
fn first_failing(shards: u16) -> (Option<(u64, Violation)>, Tally) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds = match number("FANWIRE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FANWIRE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut seeds = seeds.filter(|seed| shards_of(*seed) == shards);
    let mut tally = Tally::default();
    let failing = seeds.find_map(|seed| {
        let mut world = World::new(seed, shards, false);
        let broken = run(&mut world).err();
        tally.add(&world.model.counts);
        Some((seed, broken?))
    });
    (failing, tally)
}

/// Runs a failing seed again and tells the end of the story of its client and topic.
fn story(seed: u64, broken: &Violation) -> String {
    let Violation { text, client, topic } = broken;
    let mut world = World::new(seed, shards_of(seed), true);
    let repeated = run(&mut world).is_err();
    let client_name = client.map(|index| format!("c{index} "));
    let topic_name = topic.map(|index| format!(":t{index}\""));
    let told = |line: &String| {
        let named = |name: &Option<String>| name.as_ref().is_some_and(|name| line.contains(name));
        client.is_none() && topic.is_none() || named(&client_name) || named(&topic_name)
    };
    let trace = world.model.trace.unwrap_or_default();
    let lines: Vec<_> = trace.into_iter().filter(told).collect();
    let end = lines[lines.len().saturating_sub(TRACE_LINES)..].join("\n");
    format!(
        "{end}\nseed {seed}: client {client:?}, topic {topic:?}: {text} (repeats: {repeated})\n\
         again: FANWIRE_SIM_SEED={seed} cargo test -p fanwire-core --test sim"
    )
}

/// Chance alone would not fill a lane.
#[test]
fn guarantees_hold_while_lanes_are_overloaded() {
    let counts = World::roomy(2).run_overload().map_err(|broken| broken.text);
    for (taken, refused) in counts.unwrap() {
        assert!(0 < refused && refused < taken, "{refused} of {taken} were refused");
    }
}

/// Chance alone would seldom miss so much of so many topics.
#[test]
fn who_comes_back_to_much_is_not_taken_for_slow() {
    for shards in 1..=4 {
        World::broad(shards).run_return().map_err(|broken| broken.text).unwrap();
        let recovered = World::broad(shards).run_return_by_connect();
        let recovered = recovered.map_err(|broken| broken.text).unwrap();
        assert!((1..20).contains(&recovered), "{recovered} were recovered by a connect");
    }
}

#[cfg(not(feature = "planted-fault"))]
mod guarantees_hold {
    use super::{first_failing, story};

    fn on(shards: u16) {
        let (failing, tally) = first_failing(shards);
        if let Some((seed, broken)) = failing {
            panic!("{}", story(seed, &broken));
        }
        let rare = tally.rare();
        assert!(rare.is_empty(), "happened too seldom: {rare:?} of {tally:?}");
    }

    #[test]
    fn on_one_shard() {
        on(1);
    }

    #[test]
    fn on_two_shards() {
        on(2);
    }

    #[test]
    fn on_three_shards() {
        on(3);
    }

    #[test]
    fn on_four_shards() {
        on(4);
    }
}

#[cfg(feature = "planted-fault")]
#[test]
fn a_shard_that_leaves_a_topic_while_a_subscribe_is_pending_is_noticed() {
    // On one shard nothing is ever pending between two turns.
    let noticed = (2..=4).find_map(|shards| first_failing(shards).0);
    let (seed, broken) = noticed.expect("the simulation notices the planted fault");
    let story = story(seed, &broken);
    assert!(story.contains("repeats: true"), "{story}");
}
