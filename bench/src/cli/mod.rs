//! The command line: names, units and what a newcomer has to know. It decides nothing.
//!
//! A file for each scenario; what all of them have is in `run`.

pub(crate) mod churn;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod inbound;
pub(crate) mod mixed;
pub(crate) mod pairs;
pub(crate) mod run;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod sweep;

use clap::{Parser, Subcommand};

use crate::cli::churn::ChurnOptions;
use crate::cli::fanout::FanoutOptions;
use crate::cli::idle::IdleOptions;
use crate::cli::inbound::InboundOptions;
use crate::cli::mixed::MixedOptions;
use crate::cli::pairs::PairsOptions;
use crate::cli::slow::SlowOptions;
use crate::cli::storm::StormOptions;
use crate::cli::sweep::SweepOptions;
use crate::floor::{FLOOR_HELP, FloorOptions, FloorServerOptions, TiedOptions};
use crate::report::compare::CompareOptions;

/// Load generator for Fanwire and for other servers of messages (see --protocol).
#[derive(Debug, Parser)]
#[command(name = "fanwire-bench", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One publisher, many subscribers: is everything delivered, how late, at what cost?
    #[command(long_about = fanout::HELP, after_help = fanout::EXAMPLES, args_override_self = true)]
    Fanout(Box<FanoutOptions>),
    /// Connections at which nothing happens: what do they cost?
    #[command(long_about = idle::HELP, after_help = idle::EXAMPLES, args_override_self = true)]
    Idle(Box<IdleOptions>),
    /// All clients leave at once and come back at once: when are they back, with what they missed?
    #[command(long_about = storm::HELP, after_help = storm::EXAMPLES, args_override_self = true)]
    Storm(Box<StormOptions>),
    /// Some subscribers stop reading: what do the others notice, what becomes of them?
    #[command(long_about = slow::HELP, after_help = slow::EXAMPLES, args_override_self = true)]
    Slow(Box<SlowOptions>),
    /// The fan-out at rising rates: up to which are deliveries in time and complete?
    #[command(long_about = sweep::HELP, after_help = sweep::EXAMPLES, args_override_self = true)]
    #[command(mut_arg("rate", |rate| rate.hide(true).exclusive(true)))]
    #[command(mut_arg("seconds", |seconds| seconds.default_value("3")))]
    Sweep(Box<SweepOptions>),
    /// Many topics with one subscriber each: what does a message from one to one other cost?
    #[command(long_about = pairs::HELP, after_help = pairs::EXAMPLES, args_override_self = true)]
    Pairs(Box<PairsOptions>),
    /// Many clients publish to topics that nobody hears: what does taking in a message cost?
    #[command(long_about = inbound::HELP, after_help = inbound::EXAMPLES,
              args_override_self = true)]
    Inbound(Box<InboundOptions>),
    /// Clients subscribe and unsubscribe all the time: how fast, and is anything missed?
    #[command(long_about = churn::HELP, after_help = churn::EXAMPLES, args_override_self = true)]
    Churn(Box<ChurnOptions>),
    /// A chat: rooms, typing, presence, a backend, and people who come and go
    #[command(long_about = mixed::HELP, after_help = mixed::EXAMPLES, args_override_self = true,
              mut_arg("topic_prefix", |prefix| prefix.default_value(mixed::TOPIC_PREFIX)))]
    Mixed(Box<MixedOptions>),
    /// Fanwire beside the bare loops that do the least for the same work: how close is it?
    #[command(long_about = FLOOR_HELP, args_override_self = true)]
    #[command(mut_arg("pin", |pin| pin.default_value("1")))]
    Floor(FloorOptions),
    /// A program that ends with its parent, as `floor` starts them.
    #[command(hide = true)]
    Tied(TiedOptions),
    /// A bare loop, as `floor` starts it.
    #[command(hide = true)]
    FloorServer(FloorServerOptions),
    /// Show results side by side: figures, ratios to the first, and what else differs
    Compare(CompareOptions),
    /// A process full of subscribers, driven over its standard input and output.
    #[command(hide = true)]
    Subscribers,
}
