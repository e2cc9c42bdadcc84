use maud::{Markup, html};

use super::Figure;
use super::draw::{Drawing, LINE, WIDTH, fit, n, text, text_width, wrap};
use crate::{Cell, Table, format_number};

/// A matrix of numbers as shades: the darker the larger, or two hues around zero where there are both signs.
///
/// ```
/// use gradus_report::HeatMap;
///
/// let figure = HeatMap {
///     title: "Share of each model by layer".into(),
///     alt: "Both models count alike.".into(),
///     label: "share".into(),
///     columns: vec!["model 1".into(), "model 2".into()],
///     rows: vec!["layer 1".into()],
///     values: vec![vec![0.5, 0.5]],
/// }
/// .figure("shares");
/// assert_eq!(figure.table.rows.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatMap {
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// What the shades measure, with its unit.
    pub label: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// One vector per row. A value that is missing or not finite leaves its cell empty.
    pub values: Vec<Vec<f64>>,
}

/// Lowest, highest and greatest absolute value.
pub(super) struct Range {
    low: f64,
    high: f64,
}

impl Range {
    pub(super) fn of(values: &[Vec<f64>]) -> Self {
        let finite = values.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low <= high { Self { low, high } } else { Self { low: 0.0, high: 0.0 } }
    }

    /// Class and opacity of a value's shade.
    pub(super) fn shade(&self, value: f64) -> (&'static str, f64) {
        // Zero is white as soon as there is something below it.
        if self.low < 0.0 && self.high >= 0.0 {
            let greatest = self.high.max(-self.low);
            return (if value < 0.0 { "cold" } else { "heat" }, (value.abs() / greatest).clamp(0.0, 1.0));
        }
        let width = self.high - self.low;
        ("heat", if width > 0.0 && width.is_finite() { (value - self.low) / width } else { 0.5 })
    }
}

impl HeatMap {
    /// The figure, as the file `name.svg`.
    pub fn figure(&self, name: &str) -> Figure {
        Figure::new(name, &self.title, &self.alt, self.draw([0.0, WIDTH]), self.table())
    }

    pub(super) fn draw(&self, [left, right]: [f64; 2]) -> Drawing {
        let (left, right) = (left + 4.0, right - 4.0);
        let names = self.rows.iter().map(|name| text_width(name)).fold(0.0, f64::max).min((right - left) * 0.35);
        let area = left + names + 8.0;
        let width = (right - area) / self.columns.len().max(1) as f64;
        let height = width.clamp(20.0, 30.0);
        let upright = self.columns.iter().any(|name| text_width(name) > width);
        let longest = self.columns.iter().map(|name| text_width(name)).fold(0.0, f64::max).min(110.0);
        let range = Range::of(&self.values);
        let heading = wrap(&self.label, right - left);
        let scale = heading.len() as f64 * LINE;
        let top = scale + 30.0 + if upright { longest + 6.0 } else { LINE + 4.0 };
        let shapes = html! {
            @for (i, line) in heading.iter().enumerate() { (text(left, (i as f64 + 1.0) * LINE - 4.0, "start", "quiet", line)) }
            (colour_scale(&range, left, right, scale + 4.0))
            @for (i, name) in self.columns.iter().enumerate() {
                @let at = area + (i as f64 + 0.5) * width;
                @if upright {
                    text transform=(format!("translate({} {}) rotate(-90)", n(at + 4.5), n(top - 6.0))) { (fit(name, longest)) }
                } @else {
                    (text(at, top - 6.0, "middle", "", name))
                }
            }
            @for (i, name) in self.rows.iter().enumerate() {
                @let y = top + i as f64 * height;
                (text(area - 6.0, y + height / 2.0 + 4.5, "end", "", &fit(name, names)))
                @for j in 0..self.columns.len() { (self.cell(i, j, &range, [area + j as f64 * width, y], [width, height])) }
            }
        };
        Drawing { height: top + self.rows.len() as f64 * height + 8.0, shapes }
    }

    fn value(&self, row: usize, column: usize) -> Option<f64> {
        self.values.get(row)?.get(column).copied().filter(|value| value.is_finite())
    }

    fn cell(&self, row: usize, column: usize, range: &Range, [x, y]: [f64; 2], [width, height]: [f64; 2]) -> Markup {
        let value = self.value(row, column);
        let words = value.map_or("–".into(), short);
        html! {
            @if let Some((class, opacity)) = value.map(|value| range.shade(value)) {
                rect class=(class) fill-opacity=(format!("{opacity:.3}")) x=(n(x)) y=(n(y)) width=(n(width - 1.0)) height=(n(height - 1.0)) {}
            }
            @if text_width(&words) <= width - 2.0 { (text(x + width / 2.0, y + height / 2.0 + 4.5, "middle", "cell", &words)) }
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&self.title, [""]);
        table.columns.extend(self.columns.iter().cloned());
        for (i, name) in self.rows.iter().enumerate() {
            let cells = (0..self.columns.len()).map(|j| Cell::from(self.value(i, j)));
            table.rows.push([Cell::from(name.as_str())].into_iter().chain(cells).collect());
        }
        table
    }
}

/// Two decimals where that says something, otherwise the usual form.
fn short(value: f64) -> String {
    match value.abs() {
        0.1..100.0 => format_number((value * 100.0).round() / 100.0),
        _ => format_number(value),
    }
}

/// Five shades from the lowest to the highest value.
pub(super) fn colour_scale(range: &Range, left: f64, right: f64, top: f64) -> Markup {
    let (low, high) = (format_number(range.low), format_number(range.high));
    let from = left + text_width(&low) + 6.0;
    let step = 22.0;
    html! {
        (text(left, top + 14.0, "start", "quiet", &low))
        @for i in 0..5 {
            @let (class, opacity) = range.shade(range.low + (range.high - range.low) * f64::from(i) / 4.0);
            rect class=(class) fill-opacity=(format!("{opacity:.3}")) x=(n(from + f64::from(i) * step)) y=(n(top + 2.0)) width=(n(step)) height="16" {}
        }
        (text((from + 5.0 * step + 6.0).min(right), top + 14.0, "start", "quiet", &high))
    }
}
