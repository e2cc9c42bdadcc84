//! Exponential moving average of weights.

use gradus_autodiff::{Params, Scalar};

use crate::{OptimizerError, Rule, check, check_like};

/// An exponential moving average of a model's weights (Polyak, Juditsky 1992; Tarvainen, Valpola 2017):
/// `average ← d average + (1 − d) θ`. Buffers, such as running statistics, are copied.
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_optimizers::Ema;
///
/// let ema = Ema { decay: 0.5, ..Ema::default() };
/// let mut state = ema.init(&Tensor::vector(&[0.0]));
/// ema.update(&mut state, &Tensor::vector(&[1.0f64]))?;
/// ema.update(&mut state, &Tensor::vector(&[1.0]))?;
/// assert_eq!(state.average.item(), 0.75);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ema {
    /// The decay d, in `[0, 1]`: 0.999 averages over about the last 1000 updates.
    pub decay: f64,
    /// What the first updates do.
    pub start: EmaStart,
}

/// What the first updates of an [`Ema`] do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmaStart {
    /// The average starts as the initial model, which fades by the decay alone.
    #[default]
    Initial,
    /// The initial model has no weight: the average is Adam's bias-corrected mean of the models after it. With a decay
    /// of 1 it is their plain mean, stochastic weight averaging (Izmailov et al. 2018).
    Corrected,
    /// The decay of update n, from 1, is at most `(1 + n) / (10 + n)`, so that the initial model fades soon.
    WarmUp,
}

impl Default for Ema {
    fn default() -> Self {
        Self { decay: 0.999, start: EmaStart::Initial }
    }
}

/// What [`Ema`] remembers: continuing from a copy gives the same bits.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct EmaState<P: Params> {
    /// Updates made.
    #[params(skip)]
    pub step: u64,
    /// The average, a model.
    #[params(flatten)]
    pub average: P,
}

impl Ema {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check("decay", self.decay, (0.0..=1.0).contains(&self.decay), "in [0, 1]")
    }

    /// The average before the first update: the model.
    pub fn init<P: Params>(&self, model: &P) -> EmaState<P> {
        EmaState { step: 0, average: model.clone() }
    }

    /// Takes `model` into the average.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a decay outside its range, [`OptimizerError::Tensors`] and
    /// [`OptimizerError::Shape`] for another model. `state` is then unchanged.
    pub fn update<P: Params>(&self, state: &mut EmaState<P>, model: &P) -> Result<(), OptimizerError> {
        self.check(state, model)?;
        self.take(state, model);
        Ok(())
    }

    fn check<P: Params>(&self, state: &EmaState<P>, model: &P) -> Result<(), OptimizerError> {
        self.validate()?;
        check_like("the average", &state.average, model)
    }

    fn take<P: Params>(&self, state: &mut EmaState<P>, model: &P) {
        state.step += 1;
        let weight = P::Elem::from_f64(self.weight(state.step));
        for (average, x) in state.average.leaves_mut().into_iter().zip(model.leaves()) {
            average.update(x, |average, x| average + weight * (x - average));
        }
        for (average, x) in state.average.buffers_mut().into_iter().zip(model.buffers()) {
            *average = x.clone();
        }
    }

    /// The weight of the model of update `n`, from 1.
    fn weight(&self, n: u64) -> f64 {
        let (n, decay) = (n as f64, self.decay);
        match self.start {
            EmaStart::Initial => 1.0 - decay,
            EmaStart::Corrected if decay == 1.0 => 1.0 / n,
            EmaStart::Corrected => (1.0 - decay) / (1.0 - decay.powf(n)),
            EmaStart::WarmUp => 1.0 - decay.min((1.0 + n) / (10.0 + n)),
        }
    }
}

/// A rule with an average of the weights that it makes: the average belongs to the state, and is saved with it.
///
/// ```
/// use gradus_autodiff::{Tensor, grad};
/// use gradus_optimizers::{Averaged, Ema, Rule, Sgd};
///
/// let rule = Averaged { rule: Sgd { learning_rate: 0.25, ..Sgd::default() }, ema: Ema { decay: 0.5, ..Ema::default() } };
/// let mut x = Tensor::vector(&[4.0f64]);
/// let mut state = rule.init(&x);
/// let gradient = grad(|x: &Tensor<f64>| x.square().sum(), &x);
/// rule.step(&mut x, &gradient, &mut state)?;
/// assert_eq!((x.item(), state.ema.average.item()), (2.0, 3.0));
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Averaged<R> {
    /// The rule.
    pub rule: R,
    /// How the weights after each step are averaged.
    pub ema: Ema,
}

/// What [`Averaged`] remembers.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AveragedState<P: Params, S> {
    /// The average.
    pub ema: EmaState<P>,
    /// The rule's own state.
    pub rule: S,
}

impl<P: Params, R: Rule<P>> Rule<P> for Averaged<R> {
    type State = AveragedState<P, R::State>;

    fn state_at(&self, step: u64, params: &P) -> Self::State {
        AveragedState { ema: EmaState { step, average: params.clone() }, rule: self.rule.state_at(step, params) }
    }

    fn check(&self, params: &P, gradient: &P, state: &Self::State) -> Result<(), OptimizerError> {
        self.ema.check(&state.ema, params)?;
        self.rule.check(params, gradient, &state.rule)
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut Self::State) {
        self.rule.update(params, gradient, &mut state.rule);
        self.ema.take(&mut state.ema, params);
    }
}
