//! Stochastic gradient descent with momentum.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check, check_like};

/// Stochastic gradient descent with heavy-ball momentum (Polyak 1964), in PyTorch's form:
/// `v ← μ v + g`, `θ ← θ − η v`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// The learning rate η, at least 0.
    pub learning_rate: f64,
    /// The momentum μ in `[0, 1)`; 0 keeps no velocity.
    pub momentum: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 1e-2, momentum: 0.0 }
    }
}

/// What [`Sgd`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct SgdState<P: Params> {
    /// The velocity v; none without momentum.
    pub velocity: Option<P>,
}

impl Sgd {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check("learning_rate", self.learning_rate, self.learning_rate >= 0.0 && self.learning_rate.is_finite(), "finite and at least 0")?;
        check("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), "in [0, 1)")
    }
}

impl<P: Params> Rule<P> for Sgd {
    type State = SgdState<P>;

    fn state_at(&self, _step: u64, params: &P) -> SgdState<P> {
        SgdState { velocity: (self.momentum > 0.0).then(|| params.zeros_like()) }
    }

    fn step(&self, params: &mut P, gradient: &P, state: &mut SgdState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        let rate = P::Elem::from_f64(self.learning_rate);
        let Some(velocity) = &mut state.velocity else {
            if self.momentum > 0.0 {
                return Err(OptimizerError::Shape { what: "the velocity", found: 0, expected: params.count() });
            }
            for (x, g) in params.leaves_mut().into_iter().zip(gradient.leaves()) {
                x.update(g, |x, g| x - rate * g);
            }
            return Ok(());
        };
        check_like("the velocity", velocity, params)?;
        let momentum = P::Elem::from_f64(self.momentum);
        for ((x, v), g) in params.leaves_mut().into_iter().zip(velocity.leaves_mut()).zip(gradient.leaves()) {
            Tensor::update2(x, v, g, |[x, v], g| {
                let v = momentum * v + g;
                [x - rate * v, v]
            });
        }
        Ok(())
    }
}
