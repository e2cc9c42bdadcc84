//! What every Gradus command reports with: the result schema ([`Results`]), SVG figures ([`Figure`]) and
//! self-contained HTML pages.
//!
//! This crate knows nothing of what was measured. A figure carries the numbers behind it; a page needs no network
//! and no script, follows the reader's light or dark theme, and reflows on a phone.
//!
//! ```
//! use gradus_report::{LineChart, Scale, Series};
//!
//! let figure = LineChart {
//!     title: "Accuracy and the number of examples".into(),
//!     alt: "Accuracy rises from 0.70 with one example to 0.79 with 128.".into(),
//!     x_label: "examples".into(),
//!     y_label: "accuracy".into(),
//!     x_scale: Scale::Log,
//!     series: vec![Series::new("Fisher", [(1.0, 0.70), (16.0, 0.78), (128.0, 0.79)])],
//!     ..Default::default()
//! }
//! .figure("accuracy");
//! assert!(figure.svg.starts_with("<svg"));
//! assert_eq!(figure.table.rows.len(), 3);
//! ```

mod error;
mod figure;
mod files;
mod html;
mod schema;
mod table;

pub use error::ReportError;
pub use figure::{Bar, BarChart, Figure, HeatMap, Histogram, LineChart, Panel, Panels, Point, Reference, Sample, Scale, Series, Shades};
pub use files::{check_folder, read_results, save, save_document, save_json, save_page};
pub use html::{Document, duration, index_page, system_page};
pub use schema::{
    Claim, Direction, FigureFile, Machine, Paper, Profile, Results, SCHEMA, SYSTEM_SCHEMA, System, SystemReport, Threshold, Verdict,
};
pub use table::{Cell, Table, format_number};

#[cfg(test)]
mod tests;
