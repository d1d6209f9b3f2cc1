//! Web pages that need nothing but themselves: one for a run, one for a comparison. They can be
//! sent by mail, opened without a network and printed.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::error::BenchError;
use crate::histogram::Percentiles;
use crate::report::comparison::{Column, Comparison, Section};
use crate::report::outcome::Outcome;
use crate::report::plot::{Place, Plot};
use crate::report::{plots, text};

/// Small enough to be read here; no font, image or script.
const STYLE: &str = include_str!("page.css");

/// The page of one run.
///
/// # Errors
/// See [`Plot::svg`].
pub(super) fn of_run(outcome: &Outcome) -> Result<String, BenchError> {
    let version = outcome.server.version_or_unknown();
    let title = format!("{}: {}", outcome.scenario, outcome.label);
    let body = html! {
        header {
            h1 { (outcome.scenario) " " span.label { (outcome.label) } }
            p.about { (outcome.started) ", server version " (version) }
            (verdict(outcome))
        }
        (headline(outcome))
        (figures_with_plots(&plots::of_run(outcome)?)?)
        section.tables {
            (figures_table(outcome))
            (latency_table(outcome))
            (counts_table(outcome))
            (parameters_table(outcome))
            (origin_table(outcome))
        }
    };
    Ok(page(&title, &body))
}

/// The page of a comparison.
///
/// # Errors
/// See [`Plot::svg`].
pub(super) fn of_comparison(comparison: &Comparison) -> Result<String, BenchError> {
    let mut sections = Vec::new();
    for section in &comparison.sections {
        sections.push(html! {
            h2 { (section.scenario) }
            @for note in &section.notes { p.note { (note) } }
            (comparison_table(section))
            (figures_with_plots(&plots::of_several(&section.subjects())?)?)
            section.tables {
                @for column in &section.columns { (column_origin(column)) }
            }
        });
    }
    let body = html! {
        header { h1 { "Comparison" } }
        @for section in sections { (section) }
    };
    Ok(page("fanwire-bench: comparison", &body))
}

fn page(title: &str, body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    }
    .into_string()
}

fn verdict(outcome: &Outcome) -> Markup {
    html! {
        @if let Some(warning) = outcome.saturation.warning() { p.warning { (warning) } }
        @if outcome.is_clean {
            p.clean { "Clean: nothing was lost, repeated, out of order or refused." }
        } @else {
            p.faulty { "Faulty: " (outcome.faults.join(", ")) }
        }
    }
}

/// The few figures that most look for.
fn headline(outcome: &Outcome) -> Markup {
    let names = [
        "knee",
        "deliveries per second",
        "messages per second",
        "latency p50",
        "latency p99",
        "CPU per delivery",
        "CPU per message",
        "RSS per connection",
    ];
    let figures: Vec<_> = names.iter().filter_map(|name| outcome.figure(name)).collect();
    html! {
        @if !figures.is_empty() {
            dl.headline {
                @for figure in figures {
                    div { dt { (figure.name) } dd { (figure.unit.show(figure.value)) } }
                }
            }
        }
    }
}

fn figures_with_plots(plots: &[Plot]) -> Result<Markup, BenchError> {
    let mut drawn = Vec::new();
    for plot in plots {
        if let Some(svg) = plot.svg(Place::Page)? {
            drawn.push((plot, PreEscaped(svg)));
        }
    }
    Ok(html! {
        section.plots {
            @for (plot, svg) in drawn {
                figure { figcaption { (plot.title) } (svg) (legend(plot)) }
            }
        }
    })
}

/// Which colour is whose; nothing for a single curve.
fn legend(plot: &Plot) -> Markup {
    let curves: Vec<_> = plot.legend().collect();
    html! {
        @if curves.len() > 1 {
            ul.legend {
                @for (name, color) in curves {
                    li { span.swatch style=(format!("background:{color}")) {} (name) }
                }
            }
        }
    }
}

fn figures_table(outcome: &Outcome) -> Markup {
    html! {
        table {
            caption { "Figures" }
            @for figure in &outcome.figures {
                tr {
                    th scope="row" { (figure.title()) }
                    td.number { (figure.unit.show(figure.value)) }
                    @if let Some(goal) = text::goal(figure) { td { (goal) } }
                }
            }
        }
    }
}

fn latency_table(outcome: &Outcome) -> Markup {
    let columns = text::columns(&Percentiles::default());
    html! {
        @if !outcome.latencies.is_empty() {
            table {
                caption { "Times in milliseconds" }
                tr { th {} @for (name, _) in columns { th scope="col" { (name) } } }
                @for (name, latency) in &outcome.latencies {
                    tr {
                        th scope="row" { (name) }
                        @for (_, time_us) in text::columns(&latency.percentiles) {
                            td.number { (format!("{:.2}", time_us / 1e3)) }
                        }
                    }
                }
            }
        }
    }
}

fn counts_table(outcome: &Outcome) -> Markup {
    let counts = &outcome.counts;
    let reasons = counts.refused.iter().chain(&counts.disconnected);
    html! {
        table {
            caption { "Counts, warm-up included" }
            @for (of, values) in text::count_rows(counts) {
                @for (name, count) in values {
                    tr { th scope="row" { (of) " " (name) } td.number { (number(count)) } }
                }
            }
            @for (name, &count) in &counts.other {
                tr { th scope="row" { (name) } td.number { (number(count)) } }
            }
            @for (reason, &count) in reasons {
                tr { th scope="row" { "reason: " (reason) } td.number { (number(count)) } }
            }
        }
    }
}

fn number(count: u64) -> String {
    crate::report::figure::Unit::Count.show(count as f64)
}

fn parameters_table(outcome: &Outcome) -> Markup {
    html! {
        table {
            caption { "Parameters" }
            @for (name, value) in &outcome.parameters {
                tr { th scope="row" { (name) } td.number { (text::parameter(value)) } }
            }
        }
    }
}

fn origin_table(outcome: &Outcome) -> Markup {
    let command = outcome.command.join(" ");
    let rows = [
        ("machine", outcome.machine.show()),
        ("host", outcome.machine.host.clone()),
        ("server", text::server(outcome)),
        (
            "generator",
            format!("{}; on cores {}", outcome.tool.show(), outcome.machine.generator_cores),
        ),
    ];
    html! {
        table.wide {
            caption { "Where these figures come from" }
            @for (name, value) in rows { tr { th scope="row" { (name) } td { (value) } } }
            tr { th scope="row" { "command" } td { code { (command) } } }
        }
    }
}

fn comparison_table(section: &Section) -> Markup {
    html! {
        div.scroll { table.wide {
            tr {
                th {}
                @for column in &section.columns { th scope="col" { (column.title()) } }
            }
            @for row in section.rows() {
                tr {
                    th scope="row" { (row.title) }
                    @for cell in &row.cells {
                        td.number {
                            @match cell {
                                Some(cell) => {
                                    (cell.value(row.unit))
                                    @if let Some(ratio) = cell.ratio {
                                        " " span.ratio { (format!("{ratio:.2} ×")) }
                                    }
                                    @if let Some(range) = cell.range(row.unit) {
                                        div.range { (range) }
                                    }
                                }
                                None => "–",
                            }
                        }
                    }
                }
            }
        } }
    }
}

fn column_origin(column: &Column) -> Markup {
    html! {
        table.wide {
            caption { (column.title()) }
            @if let Some(run) = column.typical() {
                tr { th scope="row" { "load" } td { (text::parameters(&run.parameters)) } }
                tr { th scope="row" { "machine" } td { (run.machine.show()) } }
                tr { th scope="row" { "server" } td { (text::server(run)) } }
                tr { th scope="row" { "generator" } td { (run.tool.show()) } }
                tr { th scope="row" { "command" } td { code { (run.command.join(" ")) } } }
            }
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
