//! What gradient descent teaches networks.
//!
//! - [`in_context::gradient_descent`]: linear self-attention that performs gradient descent on the examples in its
//!   context, its training, and the measures that tell whether a trained model is gradient descent.
//!
//! ```
//! use gradus_learning::in_context::gradient_descent::{LinearSelfAttention, RegressionTasks, Reference, Stack};
//!
//! // Two steps of gradient descent written as the weights of one attention layer that is applied twice.
//! let tasks = RegressionTasks { dimension: 3, context: 5, input_range: 2.0, ..RegressionTasks::default() };
//! let batch = tasks.sample::<f64>(100, &mut gradus_base::stream(1, "example", 0))?;
//! let stack = Stack::recurrent(LinearSelfAttention::gd_construction(3, 1, 5, 0.7, None)?, 1, 2);
//! let attention = stack.predict(&batch)?;
//! let descent = Reference::GradientDescent { eta: 0.7, steps: 2 }.predict(&batch)?;
//! let difference = (attention.last().unwrap() - &descent).abs().max_axis(0).item();
//! assert!(difference < 1e-12);
//! # Ok::<(), gradus_learning::in_context::gradient_descent::InContextError>(())
//! ```

pub mod in_context;

/// The examples of the pages about this crate.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/src/systems/icl-gradient-descent.md")]
    mod book {}
}
