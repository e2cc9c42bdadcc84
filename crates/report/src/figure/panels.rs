use maud::html;

use super::draw::{Drawing, LINE, WIDTH, n, text, wrap};
use super::{BarChart, Figure, HeatMap, Histogram, LineChart};
use crate::{Cell, Table};

/// Small charts in one figure, each under its own title.
///
/// ```
/// use gradus_report::{LineChart, Panels, Series};
///
/// let panel = |title: &str| LineChart { title: title.into(), series: vec![Series::new("loss", [(0.0, 1.0), (1.0, 0.5)])], ..Default::default() };
/// let figure = Panels {
///     title: "Loss of two models".into(),
///     alt: "Both fall by half.".into(),
///     panels: vec![panel("first").into(), panel("second").into()],
///     ..Default::default()
/// }
/// .figure("losses");
/// assert_eq!(figure.table.rows.len(), 4);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// The charts, row by row; their `alt` is not used.
    pub panels: Vec<Panel>,
    /// 1 or 2; two only for charts with short labels.
    pub columns: usize,
}

impl Default for Panels {
    /// Two columns, no chart.
    fn default() -> Self {
        Self { title: String::new(), alt: String::new(), panels: Vec::new(), columns: 2 }
    }
}

/// A chart inside [`Panels`].
#[derive(Clone, Debug, PartialEq)]
pub enum Panel {
    /// Curves.
    Line(LineChart),
    /// Bars.
    Bar(BarChart),
    /// Distributions.
    Histogram(Histogram),
    /// A matrix.
    HeatMap(HeatMap),
}

impl From<LineChart> for Panel {
    fn from(chart: LineChart) -> Self {
        Self::Line(chart)
    }
}

impl From<BarChart> for Panel {
    fn from(chart: BarChart) -> Self {
        Self::Bar(chart)
    }
}

impl From<Histogram> for Panel {
    fn from(chart: Histogram) -> Self {
        Self::Histogram(chart)
    }
}

impl From<HeatMap> for Panel {
    fn from(chart: HeatMap) -> Self {
        Self::HeatMap(chart)
    }
}

impl Panel {
    fn title(&self) -> &str {
        match self {
            Self::Line(chart) => &chart.title,
            Self::Bar(chart) => &chart.title,
            Self::Histogram(chart) => &chart.title,
            Self::HeatMap(chart) => &chart.title,
        }
    }

    fn draw(&self, span: [f64; 2]) -> Drawing {
        match self {
            Self::Line(chart) => chart.draw(span),
            Self::Bar(chart) => chart.draw(span),
            Self::Histogram(chart) => chart.draw(span),
            Self::HeatMap(chart) => chart.draw(span),
        }
    }

    fn table(&self) -> Table {
        match self {
            Self::Line(chart) => chart.table(),
            Self::Bar(chart) => chart.table(),
            Self::Histogram(chart) => chart.table(),
            Self::HeatMap(chart) => chart.table(),
        }
    }
}

impl Panels {
    /// The figure, as the file `name.svg`.
    pub fn figure(&self, name: &str) -> Figure {
        Figure::new(name, &self.title, &self.alt, self.draw(), self.table())
    }

    fn draw(&self) -> Drawing {
        let columns = self.columns.clamp(1, 2);
        let width = WIDTH / columns as f64;
        let mut top = 0.0;
        let mut rows = Vec::new();
        for row in self.panels.chunks(columns) {
            let drawn = row.iter().enumerate().map(|(i, panel)| {
                let left = i as f64 * width;
                (left, wrap(panel.title(), width - 16.0), panel.draw([left, left + width]))
            });
            let drawn: Vec<_> = drawn.collect();
            let titles = drawn.iter().map(|(_, title, _)| title.len()).max().unwrap_or(0) as f64 * LINE + 4.0;
            let height = drawn.iter().map(|(_, _, drawing)| drawing.height).fold(0.0, f64::max);
            rows.push((top, titles, drawn));
            top += titles + height + 10.0;
        }
        let shapes = html! {
            @for (top, titles, drawn) in &rows {
                @for (left, title, drawing) in drawn {
                    @for (i, line) in title.iter().enumerate() { (text(left + 4.0, top + (i as f64 + 1.0) * LINE - 4.0, "start", "", line)) }
                    g transform=(format!("translate(0 {})", n(top + titles))) { (drawing.shapes) }
                }
            }
        };
        Drawing { height: top, shapes }
    }

    /// All rows below one another; panels whose columns differ from the first one's name theirs in each cell.
    fn table(&self) -> Table {
        let tables: Vec<Table> = self.panels.iter().map(Panel::table).collect();
        let longest = tables.iter().max_by_key(|table| table.columns.len());
        let mut columns = longest.map(|table| table.columns.clone()).unwrap_or_default();
        let alike = tables.windows(2).all(|pair| pair[0].columns == pair[1].columns);
        if !alike {
            columns = (1..=columns.len()).map(|i| format!("value {i}")).collect();
        }
        let mut whole = Table { title: self.title.clone(), columns: [vec!["panel".into()], columns].concat(), rows: Vec::new() };
        for (panel, table) in self.panels.iter().zip(tables) {
            for row in table.rows {
                let named =
                    table.columns.iter().zip(row).map(|(column, cell)| if alike { cell } else { format!("{column}: {cell}").into() });
                let mut cells: Vec<Cell> = [Cell::from(panel.title())].into_iter().chain(named).collect();
                cells.resize(whole.columns.len(), Cell::Missing);
                whole.rows.push(cells);
            }
        }
        whole
    }
}
