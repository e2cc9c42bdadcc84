//! Lion.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_fraction, check_like, check_not_negative};

/// Lion (Chen et al. 2023, algorithm 2): `θ ← θ − η (sign(β₁ m + (1 − β₁) g) + λ θ)`, then `m ← β₂ m + (1 − β₂) g`.
/// Every element moves by η, so that η is three to ten times smaller than Adam's, and λ as much larger (section 5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion {
    /// The learning rate η, at least 0.
    pub learning_rate: f64,
    /// β₁ in `[0, 1)`: the share of the momentum in what gives the sign.
    pub beta1: f64,
    /// The decay β₂ of the momentum, in `[0, 1)`.
    pub beta2: f64,
    /// The decoupled decay λ, at least 0.
    pub weight_decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { learning_rate: 1e-4, beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// What [`Lion`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct LionState<P: Params> {
    /// The running mean m of the gradient.
    pub momentum: P,
}

impl Lion {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_fraction("beta1", self.beta1)?;
        check_fraction("beta2", self.beta2)?;
        check_not_negative("weight_decay", self.weight_decay)
    }
}

impl<P: Params> Rule<P> for Lion {
    type State = LionState<P>;

    fn state_at(&self, _step: u64, params: &P) -> LionState<P> {
        LionState { momentum: params.zeros_like() }
    }

    fn check(&self, params: &P, gradient: &P, state: &LionState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the momentum", &state.momentum, params)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut LionState<P>) {
        let c = P::Elem::from_f64;
        let (rate, shrink) = (c(self.learning_rate), c(1.0 - self.learning_rate * self.weight_decay));
        let (keep1, new1) = (c(self.beta1), c(1.0 - self.beta1));
        let (keep2, new2) = (c(self.beta2), c(1.0 - self.beta2));
        for ((x, m), g) in params.leaves_mut().into_iter().zip(state.momentum.leaves_mut()).zip(gradient.leaves()) {
            Tensor::update2(x, m, g, |[x, m], g| [shrink * x - rate * sign(keep1 * m + new1 * g), keep2 * m + new2 * g]);
        }
    }
}

/// 1, −1 or, for 0 and NaN, the value itself.
#[inline(always)]
fn sign<T: Scalar>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        x
    }
}
