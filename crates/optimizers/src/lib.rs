//! Update rules for models that are plain data. A rule is a small value; its state has the shape of the model.
//!
//! ```
//! use gradus_autodiff::{Tensor, value_and_grad};
//! use gradus_optimizers::{Adam, Rule};
//!
//! let rule = Adam { learning_rate: 0.1, ..Adam::default() };
//! let mut x: Tensor = Tensor::vector(&[3.0, -2.0]);
//! let mut state = rule.init(&x);
//! for _ in 0..200 {
//!     let (_, gradient) = value_and_grad(|x: &Tensor| x.square().sum(), &x);
//!     rule.step(&mut x, &gradient, &mut state)?;
//! }
//! assert!(x.square().sum().item() < 1e-3);
//! # Ok::<(), gradus_optimizers::OptimizerError>(())
//! ```

mod adam;
mod clip;
mod sgd;

pub use adam::{Adam, AdamState};
pub use clip::clip_norm;
pub use sgd::{Sgd, SgdState};

use gradus_autodiff::Params;

/// What is wrong with a rule's settings or its arguments.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// A setting outside its range.
    #[error("{name} is {value}, but must be {expected}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// The gradient or the state belongs to another model.
    #[error("{what} has {found} elements, but the model has {expected}")]
    Shape {
        /// Which argument.
        what: &'static str,
        /// Its number of elements.
        found: usize,
        /// The model's.
        expected: usize,
    },
}

/// An update rule: how a gradient changes a model.
pub trait Rule<P: Params> {
    /// What the rule remembers between steps: tensors with names, so that it can be saved like a model.
    type State: Params<Elem = P::Elem>;

    /// The state before the first step.
    fn init(&self, params: &P) -> Self::State {
        self.state_at(0, params)
    }

    /// A state of zeros that counts from `step`: what a saved state's tensors are read into.
    fn state_at(&self, step: u64, params: &P) -> Self::State;

    /// One update of `params` along `gradient`.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range, [`OptimizerError::Shape`] for a gradient or state of
    /// another model. `params` and `state` are then unchanged.
    fn step(&self, params: &mut P, gradient: &P, state: &mut Self::State) -> Result<(), OptimizerError>;
}

fn check(name: &'static str, value: f64, valid: bool, expected: &'static str) -> Result<(), OptimizerError> {
    if valid { Ok(()) } else { Err(OptimizerError::Setting { name, value, expected }) }
}

fn check_like<P: Params>(what: &'static str, other: &P, params: &P) -> Result<(), OptimizerError> {
    let (theirs, own) = (other.leaves(), params.leaves());
    if theirs.len() == own.len() && theirs.iter().zip(&own).all(|(a, b)| a.shape() == b.shape()) {
        Ok(())
    } else {
        Err(OptimizerError::Shape { what, found: other.count(), expected: params.count() })
    }
}

#[cfg(test)]
mod tests;
