use maud::html;

use super::Figure;
use super::axis::{Axis, Scale};
use super::draw::{Drawing, Key, Plot, WIDTH, colour, dashes, points};
use crate::{Cell, Table};

/// How values are distributed: the share of each sample that falls into bins of equal width.
///
/// ```
/// use gradus_report::{Histogram, Sample};
///
/// let figure = Histogram {
///     title: "Fisher information by layer".into(),
///     alt: "The second layer's entries are larger.".into(),
///     label: "log10 of the Fisher information".into(),
///     samples: vec![Sample::new("layer 1", [-6.1, -5.0, -4.2]), Sample::new("layer 2", [-3.0, -2.5])],
///     bins: 4,
/// }
/// .figure("fisher");
/// assert_eq!(figure.table.rows.len(), 4);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// What is distributed, with its unit.
    pub label: String,
    /// What is compared.
    pub samples: Vec<Sample>,
    /// Number of bins, at least 1 and at most 200.
    pub bins: usize,
}

impl Default for Histogram {
    /// 24 bins, nothing in them.
    fn default() -> Self {
        Self { title: String::new(), alt: String::new(), label: String::new(), samples: Vec::new(), bins: 24 }
    }
}

/// Values under one name. Those that are not finite are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Its name in the legend.
    pub name: String,
    /// The values, in any order.
    pub values: Vec<f64>,
}

impl Sample {
    /// Values under a name.
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.into(), values: values.into_iter().collect() }
    }
}

impl Histogram {
    /// The figure, as the file `name.svg`.
    pub fn figure(&self, name: &str) -> Figure {
        Figure::new(name, &self.title, &self.alt, self.draw([0.0, WIDTH]), self.table())
    }

    fn bins(&self) -> usize {
        self.bins.clamp(1, 200)
    }

    fn axis(&self, most: usize) -> Axis {
        Axis::around(self.samples.iter().flat_map(|sample| sample.values.iter().copied()), Scale::Linear, most)
    }

    /// The share of each bin, by sample.
    fn shares(&self, axis: &Axis) -> Vec<Vec<f64>> {
        let (low, high) = axis.range();
        let bins = self.bins();
        let share = |sample: &Sample| {
            let mut counts = vec![0.0; bins];
            let inside = sample.values.iter().filter(|value| (low..=high).contains(*value));
            for value in inside.clone() {
                counts[(((value - low) / (high - low) * bins as f64) as usize).min(bins - 1)] += 1.0;
            }
            let total = inside.count().max(1) as f64;
            counts.iter().map(|count| count / total).collect()
        };
        self.samples.iter().map(share).collect()
    }

    pub(super) fn draw(&self, span: [f64; 2]) -> Drawing {
        let broad = span[1] - span[0] > WIDTH / 2.0;
        let axis = self.axis(if broad { 7 } else { 4 });
        let shares = self.shares(&axis);
        let (low, high) = axis.range();
        let plot = Plot {
            span,
            y: Axis::around(shares.iter().flatten().copied().chain([0.0]), Scale::Linear, 5),
            x: axis,
            x_label: &self.label,
            y_label: "share of values",
            keys: self.samples.iter().enumerate().map(|(i, sample)| Key::Area(i, &sample.name)).collect(),
            height: if broad { 190.0 } else { 120.0 },
        };
        plot.draw(&[], |x, y| {
            let edge = |i: usize| x.place(low + (high - low) * i as f64 / self.bins() as f64);
            let outline = |shares: &[f64]| -> Vec<[f64; 2]> {
                let steps = shares.iter().enumerate().filter_map(|(i, &share)| {
                    let height = y.place(share)?;
                    Some([[edge(i)?, height], [edge(i + 1)?, height]])
                });
                let ground = |at: Option<f64>| Some([at?, y.place(0.0)?]);
                ground(edge(0)).into_iter().chain(steps.flatten()).chain(ground(edge(self.bins()))).collect()
            };
            html! {
                @for (i, shares) in shares.iter().enumerate() {
                    @let corners = points(&outline(shares));
                    g class=(colour(i)) {
                        polygon class="area" points=(corners) {}
                        polyline class="line" stroke-dasharray=(dashes(i)) points=(corners) {}
                    }
                }
            }
        })
    }

    pub(super) fn table(&self) -> Table {
        let axis = self.axis(7);
        let (shares, (low, high), bins) = (self.shares(&axis), axis.range(), self.bins());
        let edge = |i: usize| low + (high - low) * i as f64 / bins as f64;
        let mut table = Table::new(&self.title, ["from", "to"]);
        table.columns.extend(self.samples.iter().map(|sample| sample.name.clone()));
        for i in 0..bins {
            let row = [edge(i), edge(i + 1)].into_iter().chain(shares.iter().map(|shares| shares[i]));
            table.rows.push(row.map(Cell::from).collect());
        }
        table
    }
}
