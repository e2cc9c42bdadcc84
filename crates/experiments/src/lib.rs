//! One file per paper: its claims, the run, the figures.
//!
//! An [`Experiment`] is plain data and one function. It declares its claims up front, with thresholds that do not
//! depend on what comes out; [`reproduce`] runs it and judges each claim.
//!
//! ```
//! use gradus_base::{Cancel, Silent};
//! use gradus_experiments::{Bound, ByProfile, ClaimSpec, Context, Experiment, ExperimentError, OptionKind, OptionSpec, Outcome};
//! use gradus_experiments::{Profile, Settings, Status, reproduce};
//! use gradus_report::{Bar, BarChart};
//!
//! static HALVING: Experiment = Experiment {
//!     slug: "halving",
//!     title: "Halving Converges",
//!     authors: "A. Author",
//!     year: 2020,
//!     arxiv: None,
//!     summary: "Halves a number again and again.",
//!     data: "None.",
//!     takes_data: false,
//!     claims: &[ClaimSpec {
//!         id: "limit",
//!         text: "Halving comes close to zero",
//!         metric: "last value",
//!         bound: Bound::AtMost(1e-3),
//!         profiles: &Profile::ALL,
//!         ..ClaimSpec::DEFAULT
//!     }],
//!     options: &[OptionSpec { name: "steps", help: "Number of halvings.", default: "20", kind: OptionKind::Integer(1, 1000) }],
//!     seeds: ByProfile { smoke: 1, quick: 3, full: 3 },
//!     seconds: ByProfile { smoke: 0.1, quick: 0.1, full: 0.1 },
//!     run,
//! };
//!
//! fn run(context: &Context) -> Result<Outcome, ExperimentError> {
//!     let steps = context.integer("steps")?;
//!     let mut limits = Vec::new();
//!     for seed in context.seeds() {
//!         limits.push(context.part(&format!("seed-{seed}"), || {
//!             let mut value = 1.0 + seed as f64;
//!             for step in 0..steps {
//!                 context.check()?;
//!                 value /= 2.0;
//!                 context.progress(step + 1, steps, "halving");
//!             }
//!             Ok(value)
//!         })?);
//!     }
//!     let mut outcome = Outcome::default();
//!     let bars = vec![Bar::of_seeds("last value", &limits)];
//!     let chart = BarChart { title: "Last value".into(), alt: "It is close to zero.".into(), bars, ..Default::default() };
//!     outcome.figures.push(chart.figure("limit"));
//!     outcome.measure("limit", limits);
//!     Ok(outcome)
//! }
//!
//! let done = reproduce(&HALVING, &Settings::default(), &Cancel::new(), &mut Silent)?;
//! assert_eq!(done.status, Status::Holds);
//! # Ok::<(), ExperimentError>(())
//! ```

mod claim;
mod common;
mod context;
mod error;
mod experiment;
mod fisher_merging;
mod icl_gradient_descent;
mod small_gain_nash;

pub use claim::{Bound, ClaimSpec, PaperValue};
pub use common::statistics::{mean, student_interval};
pub use context::{Context, Settings};
pub use error::ExperimentError;
pub use experiment::{ByProfile, Experiment, OptionKind, OptionSpec, Outcome, Reproduction, Status, reproduce};
pub use gradus_base::Interrupted;
pub use gradus_report::Profile;
pub use small_gain_nash::certificate_figures;

/// Every experiment, by slug. A new one is its module above and its line here.
pub static ALL: &[&Experiment] = &[&fisher_merging::EXPERIMENT, &icl_gradient_descent::EXPERIMENT, &small_gain_nash::EXPERIMENT];
