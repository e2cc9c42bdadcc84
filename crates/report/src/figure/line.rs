use maud::{Markup, html};

use super::axis::{Axis, Scale};
use super::draw::{Drawing, Key, LINE, Plot, WIDTH, colour, dashes, marker, n, points, text, text_width, whisker, wrap};
use super::heat_map::{Range, colour_scale};
use super::{Figure, Reference};
use crate::{Cell, Table};

/// Series with more points than this are drawn without markers.
const MOST_MARKERS: usize = 30;

/// Curves over a common axis.
///
/// ```
/// use gradus_report::{LineChart, Reference, Scale, Series};
///
/// let figure = LineChart {
///     title: "Accuracy and the number of examples".into(),
///     alt: "The accuracy rises with the number of examples and levels off at 64.".into(),
///     x_label: "examples".into(),
///     y_label: "accuracy".into(),
///     x_scale: Scale::Log,
///     series: vec![Series::new("Fisher", [(1.0, 0.71), (16.0, 0.78), (128.0, 0.79)])],
///     references: vec![Reference::new("plain average", 0.77)],
///     ..Default::default()
/// }
/// .figure("accuracy");
/// assert_eq!(figure.table.rows.len(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineChart {
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// What runs along the bottom, with its unit.
    pub x_label: String,
    /// What runs upwards, with its unit.
    pub y_label: String,
    /// Scale of the bottom axis.
    pub x_scale: Scale,
    /// Scale of the upright axis.
    pub y_scale: Scale,
    /// The curves.
    pub series: Vec<Series>,
    /// Whether the name of a series of one point stands at the point, and not in the legend.
    pub named_points: bool,
    /// Level lines to compare with.
    pub references: Vec<Reference>,
    /// Shades behind the curves.
    pub shades: Option<Shades>,
}

/// A function of both axes as shades: the darker the larger, or two hues around zero where there are both signs.
///
/// ```
/// use gradus_report::{LineChart, Series, Shades};
///
/// let figure = LineChart {
///     title: "Where the iteration converges".into(),
///     alt: "Below the curve it does.".into(),
///     series: vec![Series::new("limit", [(0.0, 2.0), (1.0, 1.0)])],
///     shades: Some(Shades {
///         label: "digits won by a step".into(),
///         x: vec![0.0, 0.5, 1.0],
///         y: vec![0.0, 1.0, 2.0],
///         values: vec![vec![0.3, 0.2], vec![0.1, -0.4]],
///     }),
///     ..Default::default()
/// }
/// .figure("convergence");
/// assert_eq!(figure.table.rows.len(), 2 + 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shades {
    /// What the shades measure, with its unit.
    pub label: String,
    /// The edges of the columns, one more than these, increasing.
    pub x: Vec<f64>,
    /// The edges of the rows, in the same way.
    pub y: Vec<f64>,
    /// One vector per row, the lowest first. A value that is missing or not finite leaves its cell empty.
    pub values: Vec<Vec<f64>>,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the order of the line.
    pub points: Vec<Point>,
}

impl Series {
    /// A curve through points `(x, y)`.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| Point { x, y, interval: None });
        Self { name: name.into(), points: points.collect() }
    }

    /// A curve through points `(x, y, [low, high])`; the intervals become error bars.
    pub fn with_intervals(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64, Option<[f64; 2]>)>) -> Self {
        let points = points.into_iter().map(|(x, y, interval)| Point { x, y, interval });
        Self { name: name.into(), points: points.collect() }
    }
}

/// One point of a curve. A coordinate that is not finite, or has no place on a logarithmic axis, interrupts the line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Along the bottom.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// Lowest and highest value of `y`.
    pub interval: Option<[f64; 2]>,
}

impl LineChart {
    /// The figure, as the file `name.svg`.
    pub fn figure(&self, name: &str) -> Figure {
        Figure::new(name, &self.title, &self.alt, self.draw([0.0, WIDTH]), self.table())
    }

    pub(super) fn draw(&self, span: [f64; 2]) -> Drawing {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let heights = all().flat_map(|point| [point.y].into_iter().chain(point.interval.into_iter().flatten()));
        let levels = self.references.iter().map(|reference| reference.value);
        let single = |series: &Series| self.named_points && series.points.len() == 1;
        let in_legend = self.series.iter().enumerate().filter(|(_, series)| !single(series));
        let lines = in_legend.map(|(i, series)| Key::Line(i, &series.name));
        let broad = span[1] - span[0] > WIDTH / 2.0;
        let edges = |f: fn(&Shades) -> &Vec<f64>| self.shades.iter().flat_map(move |shades| f(shades).iter().copied());
        let plot = Plot {
            span,
            x: Axis::around(all().map(|point| point.x).chain(edges(|shades| &shades.x)), self.x_scale, if broad { 7 } else { 4 }),
            y: Axis::around(heights.chain(levels).chain(edges(|shades| &shades.y)), self.y_scale, 6),
            x_label: &self.x_label,
            y_label: &self.y_label,
            keys: lines.chain(self.references.iter().map(|reference| Key::Reference(&reference.name))).collect(),
            height: if broad { 210.0 } else { 130.0 },
        };
        let drawing = plot.draw(&self.references, |x, y| {
            let named = self.series.iter().filter(|series| single(series));
            let place = |series: &Series| Some([x.place(series.points[0].x)?, y.place(series.points[0].y)?]);
            let named: Vec<_> = named.filter_map(|series| Some((series.name.as_str(), place(series)?))).collect();
            html! {
                @if let Some(shades) = &self.shades { (shades.draw(x, y)) }
                @for (i, series) in self.series.iter().enumerate() { (series.draw(i, x, y)) }
                (names(&named, [x.place(x.range().0).unwrap_or(span[0]), span[1]]))
            }
        });
        match &self.shades {
            Some(shades) => shades.explain(drawing, span),
            None => drawing,
        }
    }

    pub(super) fn table(&self) -> Table {
        let intervals = self.series.iter().flat_map(|series| &series.points).any(|point| point.interval.is_some());
        let mut table = Table::new(&self.title, ["series", &self.x_label, &self.y_label]);
        if intervals {
            table.columns.extend(["lowest".into(), "highest".into()]);
        }
        for series in &self.series {
            for point in &series.points {
                let mut row: Vec<Cell> = vec![series.name.as_str().into(), point.x.into(), point.y.into()];
                if intervals {
                    row.extend([0, 1].map(|end| Cell::from(point.interval.map(|ends| ends[end]))));
                }
                table.rows.push(row);
            }
        }
        if let Some(shades) = &self.shades {
            table.columns.push(shades.label.clone());
            let width = table.columns.len();
            table.rows.iter_mut().for_each(|row| row.resize(width, Cell::Missing));
            for (x, y, value) in shades.cells() {
                let mut row: Vec<Cell> = vec!["shades".into(), x.into(), y.into()];
                row.resize(width - 1, Cell::Missing);
                row.push(value.into());
                table.rows.push(row);
            }
        }
        table
    }
}

impl Shades {
    /// Edges of a cell, from left to right and from below, with its value.
    fn frames(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2], f64)> + '_ {
        let rows = self.y.windows(2).zip(&self.values);
        rows.flat_map(|(y, row)| self.x.windows(2).zip(row).map(move |(x, value)| ([x[0], x[1]], [y[0], y[1]], *value)))
            .filter(|(_, _, value)| value.is_finite())
    }

    /// The middle of each cell with its value.
    fn cells(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        self.frames().map(|(x, y, value)| ((x[0] + x[1]) / 2.0, (y[0] + y[1]) / 2.0, value))
    }

    fn draw(&self, x: &Axis, y: &Axis) -> Markup {
        let range = Range::of(&self.values);
        // To the tenth that is written, so that neighbours leave no gap.
        let tenth = |pixel: f64| (pixel * 10.0).round() / 10.0;
        let place = |axis: &Axis, [from, to]: [f64; 2]| Some([tenth(axis.place(from)?), tenth(axis.place(to)?)]);
        // Neighbours of the same shade are one shape.
        let mut runs: Vec<([f64; 2], [f64; 2], &str, f64)> = Vec::new();
        for (across, up, value) in self.frames() {
            let (Some(across), Some(up)) = (place(x, across), place(y, up)) else { continue };
            let (class, opacity) = range.shade(value);
            let opacity = (opacity * 20.0).round() / 20.0;
            match runs.last_mut() {
                Some(last) if last.0[1] == across[0] && (last.1, last.2, last.3) == (up, class, opacity) => last.0[1] = across[1],
                _ => runs.push((across, up, class, opacity)),
            }
        }
        html! {
            g class="shades" shape-rendering="crispEdges" {
                @for ([left, right], [bottom, top], class, opacity) in runs {
                    rect class=(class) fill-opacity=(opacity) x=(n(left)) y=(n(top)) width=(n(right - left)) height=(n(bottom - top)) {}
                }
            }
        }
    }

    /// The chart with what the shades mean below it.
    fn explain(&self, chart: Drawing, span: [f64; 2]) -> Drawing {
        let [left, right] = [span[0] + 4.0, span[1] - 4.0];
        let lines = wrap(&self.label, right - left);
        let scale = chart.height + lines.len() as f64 * LINE + 4.0;
        let line = |i: usize| chart.height + (i as f64 + 1.0) * LINE - 4.0;
        let shapes = html! {
            (chart.shapes)
            @for (i, words) in lines.iter().enumerate() { (text(left, line(i), "start", "quiet", words)) }
            (colour_scale(&Range::of(&self.values), left, right, scale))
        };
        Drawing { height: scale + 26.0, shapes }
    }
}

/// Names beside their points: to the right, or where they meet no other point or name.
fn names(points: &[(&str, [f64; 2])], [left, right]: [f64; 2]) -> Markup {
    const RADIUS: f64 = 6.5;
    const HEIGHT: f64 = 12.0;
    /// Left, right, upper and lower end.
    type Frame = [f64; 4];
    let meet = |a: &Frame, b: &Frame| a[0] < b[1] && b[0] < a[1] && a[2] < b[3] && b[2] < a[3];
    let mut taken: Vec<Frame> = points.iter().map(|(_, [x, y])| [x - RADIUS, x + RADIUS, y - RADIUS, y + RADIUS]).collect();
    let mut placed = Vec::new();
    for &(name, [x, y]) in points {
        let width = text_width(name);
        let (beside, above) = (RADIUS + 2.0, RADIUS + HEIGHT / 2.0 + 1.0);
        let sides = [(beside, 0.0), (-beside - width, 0.0), (-width / 2.0, -above), (-width / 2.0, above), (2.0, -above), (2.0, above)];
        let frame = |(dx, dy): (f64, f64)| [x + dx, x + dx + width, y + dy - HEIGHT / 2.0, y + dy + HEIGHT / 2.0];
        let free = |frame: &Frame| frame[0] >= left && frame[1] <= right && !taken.iter().any(|other| meet(frame, other));
        let frame = sides.map(frame).into_iter().find(free).unwrap_or(frame(sides[0]));
        taken.push(frame);
        placed.push((name, frame));
    }
    html! { @for (name, [x, _, _, bottom]) in placed { (text(x, bottom - 1.5, "start", "", name)) } }
}

impl Series {
    fn draw(&self, index: usize, x: &Axis, y: &Axis) -> Markup {
        let places: Vec<Option<[f64; 2]>> = self.points.iter().map(|point| Some([x.place(point.x)?, y.place(point.y)?])).collect();
        html! {
            g class=(format!("series {}", colour(index))) {
                @for piece in places.split(Option::is_none).filter(|piece| piece.len() > 1) {
                    @let corners: Vec<[f64; 2]> = piece.iter().flatten().copied().collect();
                    polyline class="line" stroke-dasharray=(dashes(index)) points=(points(&corners)) {}
                }
                @for point in &self.points {
                    @if let (Some(at), Some([Some(low), Some(high)])) = (x.place(point.x), point.interval.map(|ends| ends.map(|end| y.place(end)))) {
                        (whisker([at, low], [at, high]))
                    }
                }
                @if places.len() <= MOST_MARKERS {
                    @for [x, y] in places.iter().flatten() { (marker(index, *x, *y)) }
                } @else {
                    // A point without neighbours would leave no trace.
                    @for piece in places.split(Option::is_none).filter(|piece| piece.len() == 1) {
                        @for [x, y] in piece.iter().flatten() { circle class="mark" cx=(n(*x)) cy=(n(*y)) r="2.5" {} }
                    }
                }
            }
        }
    }
}
