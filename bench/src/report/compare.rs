//! `fanwire-bench compare`: reads results and shows them side by side, as text, a page or plots in
//! files.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::BenchError;
use crate::report::comparison::{Comparison, Judgement, Row, Section};
use crate::report::outcome::Outcome;
use crate::report::plot::Place;
use crate::report::{page, plots};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Options of `fanwire-bench compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareOptions {
    /// Results that --json-file or --json has written; ratios refer to the first. Several of the
    /// same scenario, label and parameters are repetitions: their median is shown, with least and
    /// most
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Write a web page with all curves in each plot to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write each plot as an SVG file into this directory
    #[arg(long, value_name = "DIRECTORY")]
    svg: Option<PathBuf>,
}

/// Compares the results in these files.
///
/// # Errors
/// `File` and `NoOutcome` when one cannot be used, `Output` when the table cannot be written.
pub(crate) fn run(options: &CompareOptions) -> Result<(), BenchError> {
    let outcomes = options.files.iter().map(|path| Outcome::read(path));
    let comparison = Comparison::new(outcomes.collect::<Result<_, _>>()?);
    if let Some(path) = &options.html {
        write_file(path, &page::of_comparison(&comparison)?)?;
    }
    if let Some(directory) = &options.svg {
        write_plots(&comparison, directory)?;
    }
    let output = &mut io::stdout().lock();
    let is_colored = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = if is_colored { Style::Colored } else { Style::Plain };
    Ok(write(&comparison, style, output)?)
}

/// How a table is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    Plain,
    Colored,
}

fn write(comparison: &Comparison, style: Style, output: &mut impl Write) -> io::Result<()> {
    for (index, section) in comparison.sections.iter().enumerate() {
        if index > 0 {
            writeln!(output)?;
        }
        writeln!(output, "{}\n", section.scenario)?;
        write_table(section, style, output)?;
        if !section.notes.is_empty() {
            writeln!(output)?;
        }
        for note in &section.notes {
            writeln!(output, "note: {note}")?;
        }
    }
    output.flush()
}

fn write_table(section: &Section, style: Style, output: &mut impl Write) -> io::Result<()> {
    let titles = section.columns.iter().map(|column| printable(&column.title()));
    let mut lines = vec![std::iter::once(String::new()).chain(titles).collect::<Vec<_>>()];
    let rows = section.rows();
    lines.extend(rows.iter().map(texts));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=section.columns.len()).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        let row = index.checked_sub(1).and_then(|index| rows.get(index));
        write_line(line, &widths, row, style, output)?;
    }
    Ok(())
}

fn write_line(
    line: &[String],
    widths: &[usize],
    row: Option<&Row>,
    style: Style,
    output: &mut impl Write,
) -> io::Result<()> {
    for (index, (text, &width)) in line.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width - text.chars().count());
        let judgement = index
            .checked_sub(1)
            .and_then(|index| row?.cells.get(index)?.as_ref())
            .map_or(Judgement::None, |cell| cell.judgement);
        let (begin, end) = match (style, judgement) {
            (Style::Colored, Judgement::Better) => (GREEN, PLAIN),
            (Style::Colored, Judgement::Worse) => (RED, PLAIN),
            _ => ("", ""),
        };
        match index {
            0 => write!(output, "  {text}{padding}")?,
            _ => write!(output, "  {padding}{begin}{text}{end}")?,
        }
    }
    writeln!(output)
}

fn texts(row: &Row) -> Vec<String> {
    let mut texts = vec![printable(&row.title)];
    for cell in &row.cells {
        texts.push(cell.as_ref().map_or_else(
            || "–".to_owned(),
            |cell| {
                let ratio = cell.ratio.map(|ratio| format!("  {ratio:.2} ×")).unwrap_or_default();
                let range =
                    cell.range(row.unit).map(|range| format!(" ({range})")).unwrap_or_default();
                format!("{}{range}{ratio}", cell.value(row.unit))
            },
        ));
    }
    texts
}

/// Text that sends no commands to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn write_plots(comparison: &Comparison, directory: &Path) -> Result<(), BenchError> {
    let name = directory.display().to_string();
    fs::create_dir_all(directory).map_err(BenchError::file(&name))?;
    for section in &comparison.sections {
        for plot in plots::of_several(&section.subjects())? {
            if let Some(svg) = plot.svg(Place::File)? {
                let name = file_name(&format!("{} {}", section.scenario, plot.title));
                write_file(&directory.join(name), &svg)?;
            }
        }
    }
    Ok(())
}

/// `fanout Latency over time, p99` becomes `fanout-latency-over-time-p99.svg`.
fn file_name(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    format!("{}.svg", words.join("-"))
}

fn write_file(path: &Path, text: &str) -> Result<(), BenchError> {
    let file = path.display().to_string();
    fs::write(path, text).map_err(BenchError::file(&file))
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
