//! Transformers learn in-context by gradient descent (von Oswald, Niklasson, Randazzo, Sacramento, Mordvintsev,
//! Zhmoginov, Vladymyrov 2023, arXiv 2212.07677).
//!
//! A layer of linear self-attention can perform one step of gradient descent on the squared error of the regression
//! examples in its context (Proposition 1, [`LinearSelfAttention::gd_construction`]); repeated, it performs several, and
//! with a part that transforms the inputs it performs GD++ ([`LinearSelfAttention::gdpp_construction`], section 3 and
//! appendix A.10 of the paper). Layers trained on a stream of regression tasks ([`train`](train())) find the same algorithm:
//! [`align`] measures how close they come, [`interpolate`] averages a trained model with the constructed one.
//!
//! # Conventions
//! - A token is a **column** `e = (x, y)` of `dimension + outputs` entries, and the matrices of a layer act from the
//!   left: `e_j ← e_j + Σ_h P_h Σ_i V_h e_i (K_h e_i)·(Q_h e_j)`. Batches of tokens are stored as `[batch, token, entry]`.
//! - The query is the last token. Its target slot holds **minus the prediction**.
//! - Keys and values leave the query out unless [`AttentionOptions::include_query`] is set.
//! - Losses are `½ mean ‖y_q − ŷ‖²` over the tasks of a batch.
//!
//! ```
//! use gradus_base::{Cancel, Silent};
//! use gradus_learning::in_context::gradient_descent::*;
//!
//! let tasks = RegressionTasks { dimension: 2, context: 4, ..RegressionTasks::default() };
//! let options = TrainOptions { steps: 30, batch: 32, ..TrainOptions::default() };
//! let trained: Trained<f32> = train(&StackConfig::default(), &tasks.into(), &options, &mut Silent, &Cancel::new())?;
//! assert_eq!(trained.history.len(), 30);
//!
//! let test = tasks.sample(500, &mut gradus_base::stream(1, "test tasks", 0))?;
//! let reference = Reference::GradientDescent { eta: optimal_eta(&tasks)?.eta, steps: 1 };
//! let alignment = align(&trained.stack, &reference, &test)?;
//! assert!(alignment.model_cos.abs() <= 1.0); // 30 steps are too few to come close to 1
//! # Ok::<(), InContextError>(())
//! ```

mod alignment;
mod attention;
mod batch;
mod construction;
mod copying;
mod error;
mod json;
mod nonlinear;
mod reference;
mod stack;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens;
mod train;
mod tuning;

pub use alignment::{Alignment, OodAxis, OodPoint, align, interpolate, ood_curve};
pub use attention::{AttentionKind, AttentionOptions, Head, LinearSelfAttention};
pub use batch::{Batch, Task};
pub use copying::{CopyAnalysis, copy_analysis};
pub use error::InContextError;
pub use nonlinear::{NonlinearConfig, NonlinearHead, NonlinearIcl, TokenMlp, TrainedNonlinear, train_nonlinear};
pub use reference::{Reference, gd, gd_plus_plus, gd_strict, kernel_smoother, least_squares, nearest_neighbour, ridge, step_limit};
pub use stack::{Stack, StackConfig};
pub use tasks::{InputLaw, RegressionTasks, SineTasks, TaskDistribution};
pub use tokens::{Token, TokenLayout, Tokens};
pub use train::{TrainOptions, Trained, train};
pub use tuning::{OneStepOptimum, TunedGd, TunedGdPlusPlus, optimal_eta, tune_gd, tune_gd_plus_plus};
