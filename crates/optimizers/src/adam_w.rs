//! AdamW: Adam with decoupled weight decay.

use gradus_autodiff::Params;

use crate::{Adam, AdamState, OptimizerError, Rule, check_not_negative};

/// AdamW (Loshchilov, Hutter 2019, algorithm 2): before [`Adam`]'s step, `θ ← (1 − η λ) θ`. The learning rate scales the
/// decay too, as the paper's schedule multiplier η does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The step size η, at least 0.
    pub learning_rate: f64,
    /// The decay β₁ of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// The decay β₂ of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// ε, positive; added to the root of the second moment.
    pub epsilon: f64,
    /// λ, at least 0. The default is PyTorch's; the paper tunes it.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamW {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        self.adam().validate()?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    fn adam(&self) -> Adam {
        let &Self { learning_rate, beta1, beta2, epsilon, .. } = self;
        Adam { learning_rate, beta1, beta2, epsilon, weight_decay: 0.0 }
    }
}

impl<P: Params> Rule<P> for AdamW {
    type State = AdamState<P>;

    fn state_at(&self, step: u64, params: &P) -> AdamState<P> {
        AdamState::new(step, params)
    }

    fn check(&self, params: &P, gradient: &P, state: &AdamState<P>) -> Result<(), OptimizerError> {
        check_not_negative("weight_decay", self.weight_decay)?;
        self.adam().check(params, gradient, state)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut AdamState<P>) {
        self.adam().shrink_and_step(1.0 - self.learning_rate * self.weight_decay, params, gradient, state);
    }
}
