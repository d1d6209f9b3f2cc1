//! `fanwire`: the real-time message broker, its configuration tools and command-line clients.
//!
//! This file reads the command line, starts what it asks for, and tells how it ended.

mod cli;
mod client;
mod config;
mod dev;
mod failure;
mod http;
mod keyring;
mod log;
mod mesh;
mod metrics;
mod node;
mod output;
mod reactor;
mod side;
mod sink;
mod tls;
mod token;
mod trust;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand, DevArgs, ServeArgs, TokenArgs};
use crate::config::{Loaded, Sources};
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_reader_gone() => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&failure.told());
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev(args),
        Command::Serve(args) => serve(args),
        Command::Config { action } => config(action),
        Command::Token(args) => token(args),
        Command::Pub(args) => Ok(client::publish(args)?),
        Command::Sub(args) => Ok(client::subscribe(args)?),
    }
}

fn serve(args: &ServeArgs) -> Result<(), Failure> {
    // The node says in the log where it listens.
    run_node(sources(args)?.load()?, |_| {})
}

fn dev(args: &DevArgs) -> Result<(), Failure> {
    let environment = config::process_environment()?;
    // No file: `dev` is what it is wherever it is started.
    let environment = environment.into_iter().filter(|(name, _)| name != config::FILE_VARIABLE);
    let mut preset = dev::preset();
    if args.echo.is_some() {
        preset.extend(dev::echo_preset());
    }
    let flags = args.overrides();
    let sources = Sources { preset, file: None, environment: environment.collect(), flags };
    let mut loaded = sources.load()?;
    dev::prefer_usual_port(&mut loaded.config.admin);
    loaded.config.echo_path.clone_from(&args.echo);
    let api_key = loaded.config.api.keys.first().cloned();
    let server = loaded.config.server.clone();
    run_node(loaded, |started| {
        // A newcomer who closed stdout does not want to read this.
        let _ = output::line(&dev::welcome(started, api_key.as_deref()));
        if let Some(exposure) = dev::exposure(&server) {
            output::note(&exposure);
        }
    })
}

/// Starts the log, then runs the node. What the operator should know is told when it runs: one that
/// cannot start says why, and nothing else.
fn run_node(loaded: Loaded, announce: impl FnOnce(&node::Started)) -> Result<(), Failure> {
    let Loaded { config, warnings, .. } = loaded;
    log::start(&config.log)?;
    node::run(config, |started| {
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        announce(started);
    })?;
    Ok(())
}

fn config(action: &ConfigCommand) -> Result<(), Failure> {
    match action {
        ConfigCommand::Default => output::line(config::DEFAULT_FILE.trim_end())?,
        ConfigCommand::Show(args) => output::line(sources(args)?.load()?.shown().trim_end())?,
        ConfigCommand::Check(args) => {
            let sources = sources(args)?;
            for warning in &sources.load()?.warnings {
                output::note(&format!("warning: {warning}"));
            }
            output::line(&match sources.file() {
                Some(file) => format!("{}: ok", file.display()),
                None => "defaults and environment: ok".to_owned(),
            })?;
        }
    }
    Ok(())
}

fn token(args: &TokenArgs) -> Result<(), Failure> {
    let (environment, file) = (config::process_environment()?, args.config.clone());
    let sources = Sources { preset: Vec::new(), file, environment, flags: args.overrides() };
    let config = sources.load()?.config;
    let made = token::make(args, &config)?;
    if let Some(doubt) = made.doubt {
        output::note(&format!("warning: {doubt}"));
    }
    output::line(&made.token)?;
    Ok(())
}

fn sources(args: &ServeArgs) -> Result<Sources, Failure> {
    let environment = config::process_environment()?;
    let file = args.config.clone();
    Ok(Sources { preset: Vec::new(), file, environment, flags: args.overrides() })
}
