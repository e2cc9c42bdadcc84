//! Adam.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check, check_like};

/// Adam (Kingma, Ba 2015, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// The step size α, at least 0.
    pub learning_rate: f64,
    /// The decay β₁ of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// The decay β₂ of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// ε, positive; added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// What [`Adam`] remembers: continuing from a copy gives the same bits.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AdamState<P: Params> {
    /// Steps taken.
    #[params(skip)]
    pub step: u64,
    /// The running mean of the gradient.
    pub first_moment: P,
    /// The running mean of the squared gradient.
    pub second_moment: P,
}

impl Adam {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check("learning_rate", self.learning_rate, self.learning_rate >= 0.0 && self.learning_rate.is_finite(), "finite and at least 0")?;
        check("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "in [0, 1)")?;
        check("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "in [0, 1)")?;
        check("epsilon", self.epsilon, self.epsilon > 0.0 && self.epsilon.is_finite(), "finite and positive")
    }
}

impl<P: Params> Rule<P> for Adam {
    type State = AdamState<P>;

    fn state_at(&self, step: u64, params: &P) -> AdamState<P> {
        AdamState { step, first_moment: params.zeros_like(), second_moment: params.zeros_like() }
    }

    fn step(&self, params: &mut P, gradient: &P, state: &mut AdamState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the first moment", &state.first_moment, params)?;
        check_like("the second moment", &state.second_moment, params)?;
        state.step += 1;
        let c = P::Elem::from_f64;
        let corrected = |beta: f64| 1.0 - beta.powf(state.step as f64);
        let rate = c(self.learning_rate / corrected(self.beta1));
        let scale = c(1.0 / corrected(self.beta2).sqrt());
        let (keep1, new1) = (c(self.beta1), c(1.0 - self.beta1));
        let (keep2, new2) = (c(self.beta2), c(1.0 - self.beta2));
        let epsilon = c(self.epsilon);
        let moments = state.first_moment.leaves_mut().into_iter().zip(state.second_moment.leaves_mut());
        for ((x, (m, v)), g) in params.leaves_mut().into_iter().zip(moments).zip(gradient.leaves()) {
            Tensor::update3(x, m, v, g, |[x, m, v], g| {
                let m = keep1 * m + new1 * g;
                let v = keep2 * v + new2 * (g * g);
                [x - rate * m / (v.sqrt() * scale + epsilon), m, v]
            });
        }
        Ok(())
    }
}
