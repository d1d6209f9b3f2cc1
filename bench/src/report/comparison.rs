//! Several outcomes side by side: which belong together, how their figures relate, and what else
//! differs between them and must be known.

use std::collections::BTreeSet;

use crate::report::figure::{Better, Figure, Unit};
use crate::report::outcome::{Outcome, Parameters};
use crate::report::plots::Subject;
use crate::report::text;

/// Differences smaller than this, as a part of the first value, are not called better or worse.
const NOISE: f64 = 0.05;

/// Outcomes, by scenario.
#[derive(Debug)]
pub(super) struct Comparison {
    /// In the order in which the scenarios came.
    pub(super) sections: Vec<Section>,
}

/// Outcomes of one scenario.
#[derive(Debug)]
pub(super) struct Section {
    /// Its name.
    pub(super) scenario: String,
    /// In the order in which they came; ratios refer to the first.
    pub(super) columns: Vec<Column>,
    /// What else differs, and which runs are to be doubted.
    pub(super) notes: Vec<String>,
}

/// Repetitions of the same run.
#[derive(Debug)]
pub(super) struct Column {
    label: String,
    /// Parameters that other columns of the same label do not share.
    distinction: String,
    /// At least one.
    pub(super) runs: Vec<Outcome>,
}

/// One figure in all columns.
#[derive(Debug)]
pub(super) struct Row {
    /// What it is.
    pub(super) title: String,
    /// Of all its cells.
    pub(super) unit: Unit,
    /// `None` where a column does not have it.
    pub(super) cells: Vec<Option<Cell>>,
}

/// One figure in one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    median: f64,
    least: f64,
    most: f64,
    repetitions: usize,
    /// Median divided by that of the first column; `None` there, and where that is 0.
    pub(super) ratio: Option<f64>,
    /// Compared with the first column.
    pub(super) judgement: Judgement,
}

/// How a value relates to that of the first column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Judgement {
    /// The same but for noise, or there is no better or worse.
    None,
    /// Clearly better.
    Better,
    /// Clearly worse.
    Worse,
}

impl Comparison {
    /// Groups outcomes: same scenario, one section; same label and parameters, one column.
    pub(super) fn new(outcomes: Vec<Outcome>) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        for outcome in outcomes {
            let known = sections.iter_mut().find(|section| section.scenario == outcome.scenario);
            match known {
                Some(section) => section.add(outcome),
                None => sections.push(Section {
                    scenario: outcome.scenario.clone(),
                    columns: vec![Column::new(outcome)],
                    notes: Vec::new(),
                }),
            }
        }
        for section in &mut sections {
            section.distinguish();
            section.notes = section.find_notes();
        }
        Self { sections }
    }
}

impl Section {
    /// Its figures, in the order in which they first appear.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let runs = self.columns.iter().flat_map(|column| &column.runs);
        for figure in runs.flat_map(|run| &run.figures) {
            let title = figure.title();
            if !rows.iter().any(|row| row.title == title) {
                let cells = self.cells(figure);
                rows.push(Row { title, unit: figure.unit, cells });
            }
        }
        rows
    }

    /// Its columns as plots show them.
    pub(super) fn subjects(&self) -> Vec<Subject<'_>> {
        self.columns.iter().filter_map(Column::subject).collect()
    }

    fn add(&mut self, outcome: Outcome) {
        let same = |column: &&mut Column| {
            column.label == outcome.label
                && column.runs.first().is_some_and(|run| run.parameters == outcome.parameters)
        };
        match self.columns.iter_mut().find(same) {
            Some(column) => column.runs.push(outcome),
            None => self.columns.push(Column::new(outcome)),
        }
    }

    fn cells(&self, figure: &Figure) -> Vec<Option<Cell>> {
        let mut cells: Vec<_> = self.columns.iter().map(|column| column.cell(figure)).collect();
        let first = cells.first().and_then(Option::as_ref).map(|cell| cell.median);
        let Some(first) = first.filter(|first| *first != 0.0) else { return cells };
        for cell in cells.iter_mut().skip(1).flatten() {
            let ratio = cell.median / first;
            cell.ratio = Some(ratio);
            cell.judgement = judge(figure.better, ratio);
        }
        cells
    }

    /// Tells columns of the same label apart by the parameters that differ.
    fn distinguish(&mut self) {
        let differing = self.differing_parameters();
        let labels: Vec<String> = self.columns.iter().map(|column| column.label.clone()).collect();
        for column in &mut self.columns {
            let is_ambiguous = labels.iter().filter(|label| **label == column.label).count() > 1;
            let Some(run) = column.runs.first().filter(|_| is_ambiguous) else { continue };
            let mut own: Parameters = run.parameters.clone();
            own.retain(|name, _| differing.contains(name));
            column.distinction = text::parameters(&own);
        }
    }

    fn differing_parameters(&self) -> Vec<String> {
        let sets: Vec<&Parameters> = self.runs().map(|run| &run.parameters).collect();
        let mut names: Vec<&String> = Vec::new();
        for name in sets.iter().flat_map(|set| set.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let differs = |name: &&&String| {
            sets.iter().zip(sets.iter().skip(1)).any(|(a, b)| a.get(**name) != b.get(**name))
        };
        names.iter().filter(differs).map(|name| (*name).clone()).collect()
    }

    fn find_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let differing = self.differing_parameters();
        if !differing.is_empty() {
            notes.push(format!("parameters differ: {}", differing.join(", ")));
        }
        type Origin = fn(&Outcome) -> String;
        let origins: [(&str, Origin); 6] = [
            ("machines", |run| format!("{} ({})", run.machine.host, run.machine.processor)),
            ("kernels", |run| run.machine.kernel.clone()),
            ("commits of the bench", |run| run.tool.commit.clone()),
            ("cores of the generator", |run| run.machine.generator_cores.clone()),
            ("cores of the server", |run| run.server.cores.clone()),
            ("server threads", |run| match run.server.threads {
                0 => String::new(),
                threads => threads.to_string(),
            }),
        ];
        for (what, origin) in origins {
            let values: BTreeSet<String> =
                self.runs().map(origin).filter(|value| !value.is_empty()).collect();
            if values.len() > 1 {
                let values: Vec<String> = values.into_iter().collect();
                notes.push(format!("{what} differ: {}", values.join(" | ")));
            }
        }
        for column in &self.columns {
            let of = |count: usize| format!("{count} of {} runs", column.runs.len());
            let saturated = column.runs.iter().filter(|run| run.saturation.is_saturated).count();
            if saturated > 0 {
                let of = of(saturated);
                notes.push(format!("{}: the generator was the bottleneck in {of}", column.title()));
            }
            let faulty: Vec<_> = column.runs.iter().filter(|run| !run.is_clean).collect();
            if let Some(first) = faulty.first() {
                let (title, of, faults) =
                    (column.title(), of(faulty.len()), first.faults.join(", "));
                notes.push(format!("{title}: faulty in {of} ({faults})"));
            }
        }
        notes
    }

    fn runs(&self) -> impl Iterator<Item = &Outcome> {
        self.columns.iter().flat_map(|column| &column.runs)
    }
}

impl Column {
    fn new(outcome: Outcome) -> Self {
        let label = outcome.label.clone();
        Self { label, distinction: String::new(), runs: vec![outcome] }
    }

    /// Label, what tells it from others with the same, and the number of repetitions.
    pub(super) fn title(&self) -> String {
        let mut title = self.label.clone();
        if !self.distinction.is_empty() {
            title.push_str(&format!(" ({})", self.distinction));
        }
        if self.runs.len() > 1 {
            title.push_str(&format!(", {} runs", self.runs.len()));
        }
        title
    }

    fn subject(&self) -> Option<Subject<'_>> {
        let runs = self.runs.iter().collect();
        Some(Subject { label: self.title(), typical: self.typical()?, runs })
    }

    /// The run whose 99th percentile is the median of all; its course is shown in plots.
    pub(super) fn typical(&self) -> Option<&Outcome> {
        let p99 = |run: &Outcome| run.figure("latency p99").map_or(0.0, |figure| figure.value);
        let has_clean = self.runs.iter().any(|run| run.is_clean);
        let runs = self.runs.iter().filter(|run| run.is_clean || !has_clean);
        let mut runs: Vec<&Outcome> = runs.collect();
        runs.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
        runs.get((runs.len().max(1) - 1) / 2).copied()
    }

    /// `None` where no clean run has it: a run that lost something may have been cheap for that.
    fn cell(&self, wanted: &Figure) -> Option<Cell> {
        let same = |figure: &&Figure| {
            figure.name == wanted.name && figure.phase == wanted.phase && figure.unit == wanted.unit
        };
        let clean = self.runs.iter().filter(|run| run.is_clean);
        let values = clean.filter_map(|run| run.figures.iter().find(same));
        let mut values: Vec<f64> = values.map(|figure| figure.value).collect();
        values.sort_by(f64::total_cmp);
        Some(Cell {
            median: median(&values)?,
            least: *values.first()?,
            most: *values.last()?,
            repetitions: values.len(),
            ratio: None,
            judgement: Judgement::None,
        })
    }
}

impl Cell {
    /// Its median.
    pub(super) fn value(&self, unit: Unit) -> String {
        unit.show(self.median)
    }

    /// The least and the most of the repetitions, if there are any.
    pub(super) fn range(&self, unit: Unit) -> Option<String> {
        let (least, most) = (unit.show(self.least), unit.show(self.most));
        (self.repetitions > 1).then(|| format!("{least} – {most}"))
    }
}

/// The middle of sorted values, or between the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn judge(better: Better, ratio: f64) -> Judgement {
    let is_up = ratio > 1.0 + NOISE;
    let is_down = ratio < 1.0 - NOISE;
    match better {
        Better::Lower if is_down => Judgement::Better,
        Better::Higher if is_up => Judgement::Better,
        Better::Lower if is_up => Judgement::Worse,
        Better::Higher if is_down => Judgement::Worse,
        _ => Judgement::None,
    }
}
