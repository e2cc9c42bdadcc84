//! One file per paper: its claims, the run, the figures.
//!
//! An [`Experiment`] is plain data and one function. It declares its claims up front, with thresholds that do not
//! depend on what comes out; [`reproduce`] runs it and judges each claim.

mod claim;
mod common;
mod context;
mod error;
mod experiment;

pub use claim::{Bound, ClaimSpec, PaperValue};
pub use common::statistics::{mean, student_interval};
pub use context::{Context, Settings};
pub use error::ExperimentError;
pub use experiment::{Experiment, OptionKind, OptionSpec, Outcome, Reproduction, Seconds, Status, reproduce};
pub use gradus_base::Interrupted;
pub use gradus_report::Profile;

/// Every experiment, by slug. A new one is its module above and its line here.
pub static ALL: &[&Experiment] = &[];
