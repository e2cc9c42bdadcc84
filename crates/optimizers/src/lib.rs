//! How models that are plain data are optimised: update rules with schedules and parameter groups, averages of weights,
//! sharpness-aware gradients, and minimisers with line searches.
//!
//! A rule is a small value; its state has the shape of the model.
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
//!
//! A smooth function without noise is minimised to rounding by [`Lbfgs`] or [`NewtonCg`].

mod adagrad;
mod adam;
mod adam_w;
mod adamax;
mod ams_grad;
mod clip;
mod conjugate_gradients;
mod ema;
mod groups;
mod lbfgs;
mod line_search;
mod lion;
mod minimise;
mod newton_cg;
mod rms_prop;
mod sam;
mod schedule;
mod sgd;
mod vector;

pub use adagrad::{Adagrad, AdagradState};
pub use adam::{Adam, AdamState};
pub use adam_w::AdamW;
pub use adamax::{Adamax, AdamaxState};
pub use ams_grad::{AmsGrad, AmsGradState};
pub use clip::{clip_norm, clip_value};
pub use conjugate_gradients::{CgSolution, CgStatus, ConjugateGradients};
pub use ema::{Averaged, AveragedState, Ema, EmaStart, EmaState};
pub use groups::{Group, Grouped};
pub use lbfgs::Lbfgs;
pub use line_search::{LinePoint, LineSearch, LineStatus, StrongWolfe};
pub use lion::{Lion, LionState};
pub use minimise::{Minimum, Status, Stopping};
pub use newton_cg::NewtonCg;
pub use rms_prop::{RmsProp, RmsPropState};
pub use sam::{Sam, SamGradient};
pub use schedule::{Schedule, Scheduled, ScheduledState};
pub use sgd::{Sgd, SgdState};

use gradus_autodiff::{Params, Path};

/// What is wrong with settings or arguments.
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
    /// The gradient or the state has another number of tensors than the model; 0 for what a rule's setting needs and the
    /// state lacks.
    #[error("{what} has {found} tensors, but the model has {expected}")]
    Tensors {
        /// Which argument.
        what: &'static str,
        /// Its number of tensors.
        found: usize,
        /// The model's.
        expected: usize,
    },
    /// A tensor of the gradient or of the state has another shape than the model's.
    #[error("{what} has shape {found:?}, but the model's tensor {tensor:?} has {expected:?}")]
    Shape {
        /// Which argument.
        what: &'static str,
        /// The tensor's name; empty for a model of one tensor.
        tensor: String,
        /// The argument's shape.
        found: Vec<usize>,
        /// The model's.
        expected: Vec<usize>,
    },
    /// The pattern of a parameter group fits no tensor of the model.
    #[error("the group's pattern {pattern:?} fits no tensor of the model")]
    Pattern {
        /// The pattern.
        pattern: String,
    },
}

/// An update rule: how a gradient changes a model. Values that are not finite are not looked for: a gradient with NaN
/// makes parameters and state NaN.
pub trait Rule<P: Params> {
    /// What the rule remembers between steps: tensors with names, so that it can be saved like a model.
    type State: Params<Elem = P::Elem>;

    /// The state before the first step.
    fn init(&self, params: &P) -> Self::State {
        self.state_at(0, params)
    }

    /// A fresh state that counts from `step`: what a saved state's tensors are read into.
    fn state_at(&self, step: u64, params: &P) -> Self::State;

    /// What [`step`](Self::step) refuses, without a step.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a setting outside its range, [`OptimizerError::Tensors`] and
    /// [`OptimizerError::Shape`] for a gradient or state of another model.
    fn check(&self, params: &P, gradient: &P, state: &Self::State) -> Result<(), OptimizerError>;

    /// One update of `params` along `gradient`, for arguments that pass [`check`](Self::check); others may panic.
    fn update(&self, params: &mut P, gradient: &P, state: &mut Self::State);

    /// One update of `params` along `gradient`.
    ///
    /// # Errors
    /// Those of [`check`](Self::check). `params` and `state` are then unchanged.
    fn step(&self, params: &mut P, gradient: &P, state: &mut Self::State) -> Result<(), OptimizerError> {
        self.check(params, gradient, state)?;
        self.update(params, gradient, state);
        Ok(())
    }
}

fn check(name: &'static str, value: f64, valid: bool, expected: &'static str) -> Result<(), OptimizerError> {
    if valid { Ok(()) } else { Err(OptimizerError::Setting { name, value, expected }) }
}

fn check_not_negative(name: &'static str, value: f64) -> Result<(), OptimizerError> {
    check(name, value, value >= 0.0 && value.is_finite(), "finite and at least 0")
}

fn check_positive(name: &'static str, value: f64) -> Result<(), OptimizerError> {
    check(name, value, value > 0.0 && value.is_finite(), "finite and positive")
}

fn check_fraction(name: &'static str, value: f64) -> Result<(), OptimizerError> {
    check(name, value, (0.0..1.0).contains(&value), "in [0, 1)")
}

fn check_like<P: Params>(what: &'static str, other: &P, params: &P) -> Result<(), OptimizerError> {
    let (theirs, own) = (other.leaves(), params.leaves());
    if theirs.len() != own.len() {
        return Err(OptimizerError::Tensors { what, found: theirs.len(), expected: own.len() });
    }
    match theirs.iter().zip(&own).position(|(a, b)| a.shape() != b.shape()) {
        None => Ok(()),
        Some(i) => {
            let (found, expected) = (theirs[i].shape().to_vec(), own[i].shape().to_vec());
            Err(OptimizerError::Shape { what, tensor: names(params).swap_remove(i), found, expected })
        }
    }
}

/// What the state lacks, which a setting needs.
fn missing<P: Params>(what: &'static str, params: &P) -> OptimizerError {
    OptimizerError::Tensors { what, found: 0, expected: params.leaves().len() }
}

/// The names of the differentiable tensors.
fn names<P: Params>(params: &P) -> Vec<String> {
    let mut names = Vec::new();
    params.for_each(&mut Path::default(), &mut |path, _| names.extend((!path.is_buffer()).then(|| path.name().to_owned())));
    names
}

#[cfg(test)]
mod tests;
