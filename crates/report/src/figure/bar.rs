use maud::{Markup, html};

use super::axis::{Axis, Scale};
use super::draw::{Drawing, Key, LINE, WIDTH, bottom_axis, colour, fit, legend, n, segment, text, text_width, whisker, wrap};
use super::{Figure, Reference};
use crate::{Cell, Table, format_number};

/// Height of one bar with its name.
const ROW: f64 = 42.0;

/// Level bars, one below the other, with the value of each seed as a dot.
///
/// ```
/// use gradus_report::{Bar, BarChart};
///
/// let figure = BarChart {
///     title: "Accuracy after merging".into(),
///     alt: "Fisher merging is two points above plain averaging.".into(),
///     label: "accuracy".into(),
///     bars: vec![Bar::of_seeds("average", &[0.755, 0.789]), Bar::of_seeds("Fisher", &[0.784, 0.808])],
///     ..Default::default()
/// }
/// .figure("accuracy");
/// assert!(figure.svg.contains("Fisher"));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarChart {
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// What the bars measure, with its unit.
    pub label: String,
    /// The bars, from the top down.
    pub bars: Vec<Bar>,
    /// Where every bar begins.
    pub baseline: f64,
    /// Upright lines to compare with.
    pub references: Vec<Reference>,
}

/// One bar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Where it ends.
    pub value: f64,
    /// Lowest and highest value, drawn as an error bar.
    pub interval: Option<[f64; 2]>,
    /// The values that `value` is the mean of, drawn as dots.
    pub seeds: Vec<f64>,
}

impl Bar {
    /// A bar without interval or dots.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value, ..Self::default() }
    }

    /// A bar up to the mean of `seeds`, with a dot for each.
    pub fn of_seeds(name: impl Into<String>, seeds: &[f64]) -> Self {
        let value = seeds.iter().sum::<f64>() / seeds.len() as f64;
        Self { name: name.into(), value, interval: None, seeds: seeds.into() }
    }
}

impl BarChart {
    /// The figure, as the file `name.svg`.
    pub fn figure(&self, name: &str) -> Figure {
        Figure::new(name, &self.title, &self.alt, self.draw([0.0, WIDTH]), self.table())
    }

    pub(super) fn draw(&self, span: [f64; 2]) -> Drawing {
        let [left, right] = [span[0] + 12.0, span[1] - 20.0];
        let values = self
            .bars
            .iter()
            .flat_map(|bar| [bar.value].into_iter().chain(bar.interval.into_iter().flatten()).chain(bar.seeds.iter().copied()));
        let levels = self.references.iter().map(|reference| reference.value).chain([self.baseline]);
        let ticks = if span[1] - span[0] > WIDTH / 2.0 { 7 } else { 4 };
        let x = Axis::around(values.chain(levels), Scale::Linear, ticks).between(left, right);
        let legend = legend(&self.keys(), left, right, 2.0);
        let top = legend.height + 6.0;
        let bottom = top + self.bars.len() as f64 * ROW + 4.0;
        let footing = wrap(&self.label, right - left);
        let shapes = html! {
            (legend.shapes)
            @for (at, _) in x.ticks() { (segment("grid", [at, top], [at, bottom])) }
            (bottom_axis(&x, [left, right], bottom))
            @for (i, bar) in self.bars.iter().enumerate() { (bar.draw(&x, self.baseline, top + i as f64 * ROW + 29.0)) }
            @for reference in &self.references {
                @if let Some(at) = x.place(reference.value) { (segment("reference", [at, top], [at, bottom])) }
            }
            @for (i, bar) in self.bars.iter().enumerate() { (bar.caption(top + i as f64 * ROW + 15.0, [left, right])) }
            @for (i, line) in footing.iter().enumerate() {
                (text((left + right) / 2.0, bottom + 36.0 + i as f64 * LINE, "middle", "quiet", line))
            }
        };
        Drawing { height: bottom + 24.0 + footing.len() as f64 * LINE + 6.0, shapes }
    }

    fn keys(&self) -> Vec<Key<'_>> {
        let mut keys: Vec<Key> = self.references.iter().map(|reference| Key::Reference(&reference.name)).collect();
        if self.bars.iter().any(|bar| !bar.seeds.is_empty()) {
            keys.push(Key::Dot("one seed"));
        }
        if self.bars.iter().any(|bar| bar.interval.is_some()) {
            keys.push(Key::Whisker("interval"));
        }
        keys
    }

    pub(super) fn table(&self) -> Table {
        let most = self.bars.iter().map(|bar| bar.seeds.len()).max().unwrap_or(0);
        let intervals = self.bars.iter().any(|bar| bar.interval.is_some());
        let mut table = Table::new(&self.title, ["bar", &self.label]);
        if intervals {
            table.columns.extend(["lowest".into(), "highest".into()]);
        }
        table.columns.extend((1..=most).map(|i| format!("seed {i}")));
        for bar in &self.bars {
            let mut row: Vec<Cell> = vec![bar.name.as_str().into(), bar.value.into()];
            if intervals {
                row.extend([0, 1].map(|end| Cell::from(bar.interval.map(|ends| ends[end]))));
            }
            row.extend((0..most).map(|i| Cell::from(bar.seeds.get(i).copied())));
            table.rows.push(row);
        }
        table
    }
}

impl Bar {
    fn draw(&self, x: &Axis, baseline: f64, middle: f64) -> Markup {
        html! {
            g class=(colour(0)) {
                @if let (Some(from), Some(to)) = (x.place(baseline), x.place(self.value)) {
                    rect class="bar" x=(n(from.min(to))) y=(n(middle - 8.0)) width=(n((to - from).abs())) height="16" {}
                }
                @if let Some([Some(low), Some(high)]) = self.interval.map(|ends| ends.map(|end| x.place(end))) {
                    (whisker([low, middle], [high, middle]))
                }
                @for at in self.seeds.iter().filter_map(|&seed| x.place(seed)) {
                    circle class="dot" cx=(n(at)) cy=(n(middle)) r="3" {}
                }
            }
        }
    }

    /// Name and value, above the bar.
    fn caption(&self, y: f64, [left, right]: [f64; 2]) -> Markup {
        let value = format_number(self.value);
        html! {
            (text(left, y, "start", "", &fit(&self.name, right - left - text_width(&value) - 10.0)))
            (text(right, y, "end", "", &value))
        }
    }
}
