//! Figures as SVG: each is drawn from a plain struct of numbers and carries these numbers as a table.
//!
//! Every figure is 400 units wide with text of 13 units, so that on a phone's 358 pixels the text is still 11 pixels
//! high. Colours are CSS variables with a light and a dark value; series differ in marker and dash as well.

mod axis;
mod bar;
mod draw;
mod heat_map;
mod histogram;
mod line;
mod panels;

use serde::{Deserialize, Serialize};

pub use axis::Scale;
pub use bar::{Bar, BarChart};
pub use heat_map::HeatMap;
pub use histogram::{Histogram, Sample};
pub use line::{LineChart, Point, Series, Shades};
pub use panels::{Panel, Panels};

use crate::Table;
use draw::Drawing;

/// A figure: the picture, what it shows in words, and the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Short name within the system, used for the file: letters, digits and `-`.
    pub name: String,
    /// What the figure shows; its caption.
    pub title: String,
    /// What a reader who sees the figure learns from it, in words.
    pub alt: String,
    /// The picture, complete as a file of its own.
    pub svg: String,
    /// The numbers behind the picture.
    pub table: Table,
}

impl Figure {
    fn new(name: &str, title: &str, alt: &str, drawing: Drawing, mut table: Table) -> Self {
        table.title = title.into();
        let name = file_name(name);
        let svg = drawing.svg(&name, title, alt);
        Self { name, title: title.into(), alt: alt.into(), svg, table }
    }
}

/// Keeps letters, digits and `-`; anything else becomes `-`.
fn file_name(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if kept.is_empty() { "figure".into() } else { kept }
}

/// A value to compare with, drawn across the figure: a baseline, a threshold, the paper's number.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Where the line crosses the axis of the values.
    pub value: f64,
    /// Its name in the legend.
    pub name: String,
}

impl Reference {
    /// A line called `name` at `value`.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { value, name: name.into() }
    }
}

#[cfg(test)]
mod tests;
