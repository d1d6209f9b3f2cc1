//! One plot as SVG: curves over a common x axis. It knows axes and colours, not what is plotted.
//!
//! Axes and text take the colour of the text around them (`currentColor`), so that a page may be
//! light or dark; the curves have colours that can be read on both.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, Color, DrawingArea, IntoDrawingArea, IntoFont, IntoLogRange,
    LineSeries, PathElement, RGBColor, SVGBackend, ShapeStyle, Text,
};
use plotters::style::TextStyle;

use crate::error::BenchError;
use crate::report::figure::Unit;

/// Size in pixels at full scale; a page scales it to the room it has.
const SIZE: (u32, u32) = (540, 310);
/// What a file has to the right of a plot with several curves: their names.
const LEGEND_PX: u32 = 260;
/// From one name to the next.
const LEGEND_STEP_PX: i32 = 26;
/// Of labels, in pixels.
const TEXT_PX: i32 = 17;
/// Stands for the colour of text in what plotters writes, which knows fixed colours only.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_WRITTEN: &str = "#010203";
const MEBIBYTE: f64 = 1_048_576.0;
/// A logarithmic axis is worth its trouble when the largest value is so many times the smallest.
const LOGARITHMIC_RATIO: f64 = 20.0;
/// Curves in their order; told apart by those who do not see red and green as different too.
const COLORS: [RGBColor; 10] = [
    RGBColor(0x2f, 0x7e, 0xd8),
    RGBColor(0xe0, 0x7b, 0x00),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0xc2, 0x3b, 0x9b),
    RGBColor(0x8a, 0x8f, 0x1c),
    RGBColor(0x7a, 0x5b, 0xd6),
    RGBColor(0xd6, 0x45, 0x3d),
    RGBColor(0x5f, 0x6b, 0x7a),
    RGBColor(0x00, 0xa3, 0xc4),
    RGBColor(0x8f, 0x5a, 0x33),
];

/// A plot to be drawn.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    /// What it shows, with the unit.
    pub(super) title: String,
    /// What runs to the right.
    pub(super) x: XAxis,
    /// What runs upwards.
    pub(super) y: YAxis,
    /// Those without points are left out.
    pub(super) curves: Vec<Curve>,
}

/// A line through points.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// For the legend.
    pub(super) name: String,
    /// In order of x.
    pub(super) points: Vec<(f64, f64)>,
}

/// What runs to the right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum XAxis {
    /// Seconds since the measured part began.
    Time,
    /// Quantiles q at -log10(1 - q): 90 %, 99 %, 99.9 % at equal distances.
    Quantile,
}

/// What runs upwards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum YAxis {
    /// From 0.
    Linear(Unit),
    /// Each step tenfold, if the values are far enough apart; else from 0.
    Logarithmic(Unit),
}

/// Where an SVG will stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Inside a page, whose colours it takes.
    Page,
    /// In a file of its own, on white.
    File,
}

impl Plot {
    /// The plot as SVG, or `None` when there is nothing to be drawn.
    ///
    /// # Errors
    /// `Plot` when the plotting library gives up.
    pub(super) fn svg(&self, place: Place) -> Result<Option<String>, BenchError> {
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        if points().next().is_none() {
            return Ok(None);
        }
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let x_end = largest(&mut points().map(|(x, _)| x));
        let x_end = if self.x == XAxis::Quantile { x_end.ceil().max(1.0) } else { x_end.max(0.1) };
        let y_end = largest(&mut points().map(|(_, y)| y));
        let positive = points().map(|(_, y)| y).filter(|y| *y > 0.0);
        let y_least = positive.fold(f64::INFINITY, f64::min);
        let mut svg = String::new();
        let drawn = {
            let size = (SIZE.0 + self.legend_px(place), SIZE.1);
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            match self.y {
                YAxis::Logarithmic(_) if y_end > y_least * LOGARITHMIC_RATIO => {
                    let begin = 10_f64.powf(y_least.log10().floor());
                    let end = 10_f64.powf(y_end.log10().ceil());
                    self.draw(&area, x_end, (begin..end).log_scale(), begin, place)
                }
                YAxis::Linear(_) | YAxis::Logarithmic(_) => {
                    let end = if y_end > 0.0 { y_end * 1.1 } else { 1.0 };
                    self.draw(&area, x_end, 0.0..end / self.scale(), 0.0, place)
                }
            }
        };
        drawn.map_err(|error| BenchError::Plot { title: self.title.clone(), reason: error })?;
        Ok(Some(finished(&svg, &self.title, place)))
    }

    /// Names and colours of the curves that are drawn.
    pub(super) fn legend(&self) -> impl Iterator<Item = (&str, String)> {
        self.drawn().map(|(curve, RGBColor(red, green, blue))| {
            (curve.name.as_str(), format!("#{red:02x}{green:02x}{blue:02x}"))
        })
    }

    fn drawn(&self) -> impl Iterator<Item = (&Curve, RGBColor)> {
        let curves = self.curves.iter().filter(|curve| !curve.points.is_empty());
        curves.zip(COLORS.iter().copied().cycle())
    }

    /// A linear axis of bytes counts in MiB: round numbers of those are what people read.
    fn scale(&self) -> f64 {
        if self.y == YAxis::Linear(Unit::Bytes) { MEBIBYTE } else { 1.0 }
    }

    fn draw<Y>(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        x_end: f64,
        y_range: Y,
        y_begin: f64,
        place: Place,
    ) -> Result<(), String>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut builder = ChartBuilder::on(area);
        if place == Place::File {
            builder.caption(&self.title, text());
        }
        let mut chart = builder
            .margin(8)
            .margin_right(30 + self.legend_px(place))
            .x_label_area_size(46)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..x_end, y_range)
            .map_err(|error| error.to_string())?;
        self.draw_axes(&mut chart, x_end)?;
        let scale = self.scale();
        for (curve, color) in self.drawn() {
            let points = curve.points.iter().map(|&(x, y)| (x, (y / scale).max(y_begin)));
            let style = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: 2 };
            chart.draw_series(LineSeries::new(points, style)).map_err(|error| error.to_string())?;
        }
        if self.legend_px(place) > 0 { self.draw_legend(area) } else { Ok(()) }
    }

    /// Room for the names of curves. A page has a legend of its own.
    fn legend_px(&self, place: Place) -> u32 {
        let is_needed = place == Place::File && self.drawn().count() > 1;
        if is_needed { LEGEND_PX } else { 0 }
    }

    fn draw_legend(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), String> {
        let left = i32::try_from(SIZE.0).unwrap_or(i32::MAX);
        let mut top = 2 * LEGEND_STEP_PX;
        for (curve, color) in self.drawn() {
            let style = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: 3 };
            let line = PathElement::new(vec![(left, top), (left + 22, top)], style);
            area.draw(&line).map_err(|error| error.to_string())?;
            let at = (left + 30, top - TEXT_PX / 2);
            let name = Text::new(curve.name.as_str(), at, text());
            area.draw(&name).map_err(|error| error.to_string())?;
            top += LEGEND_STEP_PX;
        }
        Ok(())
    }

    fn draw_axes<Y>(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<RangedCoordf64, Y>>,
        x_end: f64,
    ) -> Result<(), String>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let (x_name, x_labels) = match self.x {
            XAxis::Time => ("seconds", 8),
            XAxis::Quantile => ("percentile, %", x_end as usize + 1),
        };
        let x_label = |x: &f64| match self.x {
            XAxis::Time => format!("{}", (x * 10.0).round() / 10.0),
            XAxis::Quantile => quantile_label(*x),
        };
        chart
            .configure_mesh()
            .x_desc(x_name)
            .x_labels(x_labels)
            .x_label_formatter(&x_label)
            .y_labels(6)
            .y_label_formatter(&|y: &f64| self.y.label(*y))
            .label_style(text())
            .axis_desc_style(text())
            .axis_style(INK.mix(0.6))
            .bold_line_style(INK.mix(0.15))
            .light_line_style(INK.mix(0.0))
            .draw()
            .map_err(|error| error.to_string())
    }
}

impl YAxis {
    /// A value where the axis shows it.
    fn label(self, value: f64) -> String {
        match self {
            _ if value == 0.0 => "0".to_owned(),
            Self::Linear(Unit::Bytes) => format!("{} MiB", trimmed(value)),
            Self::Linear(unit) | Self::Logarithmic(unit) => short(unit, value),
        }
    }
}

fn text() -> TextStyle<'static> {
    ("sans-serif", TEXT_PX).into_font().color(&INK)
}

/// A value of an axis: whole numbers where they say enough.
fn short(unit: Unit, value: f64) -> String {
    let text = match unit {
        Unit::PercentOfCore => return format!("{} %", trimmed(value)),
        Unit::PerSecond | Unit::Count if value >= 1e6 => {
            return format!("{} M", trimmed(value / 1e6));
        }
        Unit::PerSecond | Unit::Count if value >= 1e4 => {
            return format!("{} k", trimmed(value / 1e3));
        }
        Unit::PerSecond | Unit::Count => return trimmed(value),
        _ => unit.show(value),
    };
    match text.split_once(' ') {
        Some((number, unit)) => {
            let number = number.parse().map_or_else(|_| number.to_owned(), trimmed);
            format!("{number} {unit}")
        }
        None => text,
    }
}

/// At most two decimal digits, none that are 0.
fn trimmed(value: f64) -> String {
    format!("{}", (value * 100.0).round() / 100.0)
}

fn quantile_label(x: f64) -> String {
    match x.round() {
        // Between two labels.
        whole if (whole - x).abs() > 0.01 => String::new(),
        0.0 => "0".to_owned(),
        1.0 => "90".to_owned(),
        2.0 => "99".to_owned(),
        digits => format!("99.{}", "9".repeat(digits as usize - 2)),
    }
}

/// What plotters wrote, with a name for those who cannot see it, in the colours of its place.
fn finished(svg: &str, title: &str, place: Place) -> String {
    let title = maud::html! { title { (title) } }.into_string();
    let (ink, background) = match place {
        Place::Page => ("currentColor", ""),
        Place::File => ("#333333", r##"<rect width="100%" height="100%" fill="#ffffff"/>"##),
    };
    let svg = svg.replace(INK_WRITTEN, ink);
    match svg.split_once('>') {
        Some((head, rest)) => format!("{head} role=\"img\">{title}{background}{rest}"),
        None => svg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(y: YAxis, points: &[(f64, f64)]) -> Plot {
        let curve = |name: &str| Curve { name: name.to_owned(), points: points.to_vec() };
        Plot {
            title: "latency".to_owned(),
            x: XAxis::Time,
            y,
            curves: vec![curve("a"), curve("<b onload=x>")],
        }
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        let empty = plot(YAxis::Linear(Unit::Count), &[]);
        assert_eq!(empty.svg(Place::Page).unwrap(), None);
    }

    #[test]
    fn hard_values_can_be_drawn() {
        let axes = [YAxis::Linear(Unit::Bytes), YAxis::Logarithmic(Unit::Microseconds)];
        for y in axes {
            for points in
                [&[(0.0, 0.0)][..], &[(0.0, 1e9), (9.0, 0.001), (9.5, 0.0)], &[(1.0, 10.0)]]
            {
                assert!(plot(y, points).svg(Place::Page).unwrap().is_some(), "{y:?} {points:?}");
            }
        }
    }

    #[test]
    fn names_are_escaped_and_colours_are_those_of_the_page() {
        let svg = plot(YAxis::Linear(Unit::Count), &[(0.0, 1.0), (1.0, 2.0)]);
        let file = svg.svg(Place::File).unwrap().unwrap();
        assert!(file.contains("&lt;b onload=x&gt;") && !file.contains("<b onload"), "{file}");
        let svg = svg.svg(Place::Page).unwrap().unwrap();
        assert!(svg.contains("currentColor") && !svg.contains(INK_WRITTEN));
    }

    #[test]
    fn axes_are_labelled_in_short() {
        assert_eq!(short(Unit::Microseconds, 2_500.0), "2.5 ms");
        assert_eq!(short(Unit::PerSecond, 2_700_000.0), "2.7 M");
        assert_eq!(short(Unit::PercentOfCore, 50.0), "50 %");
        let labels: Vec<_> = [0.0, 1.0, 2.0, 3.0, 4.0, 0.5].map(quantile_label).into();
        assert_eq!(labels, ["0", "90", "99", "99.9", "99.99", ""]);
    }
}
