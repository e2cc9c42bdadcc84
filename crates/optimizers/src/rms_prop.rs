//! RMSProp.

use gradus_autodiff::{Params, Scalar, Tensor};

use crate::{OptimizerError, Rule, check_fraction, check_like, check_not_negative, check_positive, missing};

/// RMSProp (Tieleman, Hinton 2012, lecture 6.5), centred as by Graves (2013, equations 38–45) on demand, with the
/// settings and defaults of PyTorch: `s ← α s + (1 − α) g²`, `v ← μ v + g / (√s + ε)`, `θ ← θ − η v`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// The learning rate η, at least 0.
    pub learning_rate: f64,
    /// The decay α of the mean square, in `[0, 1)`.
    pub decay: f64,
    /// ε, positive; added to the root of the mean square.
    pub epsilon: f64,
    /// The momentum μ in `[0, 1)`; 0 keeps no velocity.
    pub momentum: f64,
    /// Whether the squared running mean of the gradient is taken from the mean square, which leaves the variance.
    pub centered: bool,
    /// λ, at least 0: the gradient of ½ λ ‖θ‖² is added to the gradient.
    pub weight_decay: f64,
    /// The form of TensorFlow 1, on which published actor-critic results stand: ε is added under the root, and the mean
    /// square starts at 1.
    pub tensorflow: bool,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { learning_rate: 1e-2, decay: 0.99, epsilon: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0, tensorflow: false }
    }
}

/// What [`RmsProp`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct RmsPropState<P: Params> {
    /// The running mean of the squared gradient.
    pub mean_square: P,
    /// The running mean of the gradient; none unless centred.
    pub mean: Option<P>,
    /// The velocity v; none without momentum.
    pub velocity: Option<P>,
}

impl RmsProp {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_not_negative("learning_rate", self.learning_rate)?;
        check_fraction("decay", self.decay)?;
        check_positive("epsilon", self.epsilon)?;
        check_fraction("momentum", self.momentum)?;
        check_not_negative("weight_decay", self.weight_decay)
    }
}

impl<P: Params> Rule<P> for RmsProp {
    type State = RmsPropState<P>;

    fn state_at(&self, _step: u64, params: &P) -> RmsPropState<P> {
        RmsPropState {
            mean_square: if self.tensorflow { params.map(|_, x| x.ones_like()) } else { params.zeros_like() },
            mean: self.centered.then(|| params.zeros_like()),
            velocity: (self.momentum > 0.0).then(|| params.zeros_like()),
        }
    }

    fn check(&self, params: &P, gradient: &P, state: &RmsPropState<P>) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the gradient", gradient, params)?;
        check_like("the mean square", &state.mean_square, params)?;
        for (what, kept, needed) in [("the mean", &state.mean, self.centered), ("the velocity", &state.velocity, self.momentum > 0.0)] {
            match kept {
                Some(kept) => check_like(what, kept, params)?,
                None if needed => return Err(missing(what, params)),
                None => {}
            }
        }
        Ok(())
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut RmsPropState<P>) {
        let c = P::Elem::from_f64;
        let zero = P::Elem::ZERO;
        let (rate, momentum, decay) = (c(self.learning_rate), c(self.momentum), c(self.weight_decay));
        let (keep, new) = (c(self.decay), c(1.0 - self.decay));
        let (keep_mean, new_mean) = if self.centered { (keep, new) } else { (zero, zero) };
        let (inside, outside) = if self.tensorflow { (c(self.epsilon), zero) } else { (zero, c(self.epsilon)) };
        // A mean of 0 is what is not centred, and a velocity of 0 what has no momentum.
        let step = |[x, s, m, v]: [P::Elem; 4], g: P::Elem| {
            let g = g + decay * x;
            let s = keep * s + new * (g * g);
            let m = keep_mean * m + new_mean * g;
            // Rounding may leave less than nothing of a variance; what is not a number stays.
            let square = s - m * m;
            let square = if square < zero { zero } else { square };
            let v = momentum * v + g / ((square + inside).sqrt() + outside);
            [x - rate * v, s, m, v]
        };
        let mut means = state.mean.iter_mut().flat_map(P::leaves_mut);
        let mut velocities = state.velocity.iter_mut().flat_map(P::leaves_mut);
        for ((x, s), g) in params.leaves_mut().into_iter().zip(state.mean_square.leaves_mut()).zip(gradient.leaves()) {
            match (means.next(), velocities.next()) {
                (None, None) => Tensor::update2(x, s, g, |[x, s], g| {
                    let [x, s, _, _] = step([x, s, zero, zero], g);
                    [x, s]
                }),
                (Some(m), None) => Tensor::update3(x, s, m, g, |[x, s, m], g| {
                    let [x, s, m, _] = step([x, s, m, zero], g);
                    [x, s, m]
                }),
                (None, Some(v)) => Tensor::update3(x, s, v, g, |[x, s, v], g| {
                    let [x, s, _, v] = step([x, s, zero, v], g);
                    [x, s, v]
                }),
                (Some(m), Some(v)) => Tensor::update4([x, s, m, v], g, step),
            }
        }
    }
}
