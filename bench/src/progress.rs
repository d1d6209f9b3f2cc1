//! What a person sees while a run goes on: bars on a terminal, plain lines elsewhere, nothing when
//! asked for quiet. On standard error, so that the result alone is on standard output.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{SECOND_NS, now_ns, sleep_until};

/// How often a bar is drawn.
const REDRAW_NS: u64 = SECOND_NS / 5;
/// How often a plain line is written at most.
const LINE_NS: u64 = SECOND_NS;

/// The progress of a run, step by step.
#[derive(Debug)]
pub(crate) struct Progress {
    form: Form,
    /// The step under way.
    step: String,
    told_ns: u64,
}

#[derive(Debug)]
enum Form {
    Quiet,
    Lines,
    Bar(ProgressBar),
}

impl Progress {
    /// Nothing is shown before the first step.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let form = match (is_quiet, std::io::stderr().is_terminal()) {
            (true, _) => Form::Quiet,
            (false, false) => Form::Lines,
            // The first step shows a bar.
            (false, true) => Form::Bar(ProgressBar::hidden()),
        };
        Self { form, step: String::new(), told_ns: 0 }
    }

    /// A step begins that ends at `total` things, such as connections.
    pub(crate) fn begin(&mut self, step: &str, total: u64) {
        self.start(step, "{msg:<12} [{bar:40}] {pos} of {len}  {elapsed}", Some(total));
    }

    /// A step begins of which only the end is known when it has come.
    pub(crate) fn begin_open(&mut self, step: &str) {
        self.start(step, "{msg:<12} {spinner} {elapsed}", None);
    }

    /// So many things of the step are done.
    pub(crate) fn set(&mut self, count: u64) {
        match &self.form {
            Form::Quiet => {}
            Form::Bar(bar) => bar.set_position(count),
            Form::Lines if now_ns().saturating_sub(self.told_ns) > LINE_NS => {
                self.told_ns = now_ns();
                say(&format!("{}: {count}", self.step));
            }
            Form::Lines => {}
        }
    }

    /// The step is done; `result` says how it ended, such as "1,000 connections after 0.3 s".
    pub(crate) fn done(&mut self, result: &str) {
        match &self.form {
            Form::Quiet => {}
            Form::Lines => say(result),
            // Above the bar, where it stays.
            Form::Bar(bar) => bar.println(format!("fanwire-bench: {result}")),
        }
    }

    /// Sleeps until `until_ns` (CLOCK_MONOTONIC) while a step that lasts so long is shown.
    pub(crate) fn wait(&mut self, step: &str, until_ns: u64) {
        let total_ns = until_ns.saturating_sub(now_ns());
        let ms = |ns: u64| ns / 1_000_000;
        let template = "{msg:<12} [{bar:40}] {eta} left";
        self.start(step, template, Some(ms(total_ns)));
        let Form::Bar(bar) = &self.form else { return sleep_until(until_ns) };
        while now_ns() < until_ns {
            sleep_until(until_ns.min(now_ns() + REDRAW_NS));
            let left_ns = until_ns.saturating_sub(now_ns());
            bar.set_position(ms(total_ns.saturating_sub(left_ns)));
        }
    }

    fn start(&mut self, step: &str, template: &str, total: Option<u64>) {
        step.clone_into(&mut self.step);
        self.told_ns = now_ns();
        match &mut self.form {
            Form::Quiet => {}
            Form::Lines => say(&match total {
                Some(total) if !template.contains("left") => format!("{step}: {total}"),
                Some(ms) => format!("{step} for {:.1} s", ms as f64 / 1e3),
                None => step.to_owned(),
            }),
            Form::Bar(bar) => {
                // The templates are the constants above; a wrong one shows the default bar.
                let style = ProgressStyle::with_template(template);
                bar.finish_and_clear();
                // A bar of its own for each step: the clock of the time left begins anew.
                let target = ProgressDrawTarget::stderr_with_hz(10);
                *bar = ProgressBar::with_draw_target(total, target)
                    .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                    .with_message(step.to_owned());
                bar.enable_steady_tick(Duration::from_millis(200));
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn say(text: &str) {
    // A closed standard error is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "fanwire-bench: {text}");
}
