//! Distributions of regression tasks.

use gradus_autodiff::{Scalar, Tensor};
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, StandardNormal};
use serde::{Deserialize, Serialize};

use super::Batch;
use super::error::{InContextError, Result, option, positive};

/// How inputs are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputLaw {
    /// Each entry uniform on `[−r/2, r/2]`, where r is the input range.
    #[default]
    Uniform,
    /// Each entry exponential; the inputs and the query are then divided by the Frobenius norm of all inputs of the
    /// context and multiplied by r. The three laws after the first are the paper's shifts (appendix A.5).
    Exponential,
    /// Each entry normal, scaled as for [`Exponential`](Self::Exponential).
    Normal,
    /// Each entry Laplace, scaled as for [`Exponential`](Self::Exponential).
    Laplace,
    /// One of the three shifted laws for each task.
    Mixed,
}

/// Linear regression tasks `y = W x` without noise (section 3.1 of the paper). The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionTasks {
    /// Entries of an input, d.
    pub dimension: usize,
    /// Examples in the context, N.
    pub context: usize,
    /// Entries of a target.
    pub outputs: usize,
    /// r: inputs are uniform on `[−r/2, r/2]`, not on `[−r, r]`; for the other laws see [`InputLaw`].
    pub input_range: f64,
    /// Standard deviation of the entries of W.
    pub weight_scale: f64,
    /// Examples whose targets are replaced by standard normal noise; at most `context`.
    pub distractors: usize,
    /// How inputs are drawn.
    pub law: InputLaw,
}

impl Default for RegressionTasks {
    fn default() -> Self {
        Self { dimension: 10, context: 10, outputs: 1, input_range: 1.0, weight_scale: 1.0, distractors: 0, law: InputLaw::Uniform }
    }
}

impl RegressionTasks {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] or [`InContextError::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        if self.context == 0 {
            return Err(InContextError::EmptyContext);
        }
        positive("dimension", self.dimension)?;
        positive("outputs", self.outputs)?;
        option("input_range", self.input_range, self.input_range > 0.0 && self.input_range.is_finite(), "finite and positive")?;
        option("weight_scale", self.weight_scale, self.weight_scale > 0.0 && self.weight_scale.is_finite(), "finite and positive")?;
        option("distractors", self.distractors as f64, self.distractors <= self.context, "at most the number of examples")
    }

    /// `count` independent tasks. Both precisions draw the same numbers.
    ///
    /// # Errors
    /// As [`validate`](Self::validate); [`InContextError::EmptyContext`] for no task; [`InContextError::NonFinite`] when a
    /// number is too large for the precision.
    pub fn sample<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Result<Batch<T>> {
        self.validate()?;
        self.draw(count, rng).checked()
    }

    /// [`sample`](Self::sample) of a valid distribution, whose numbers may be too large for the precision.
    fn draw<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Batch<T> {
        let (n, d, o) = (self.context, self.dimension, self.outputs);
        let (mut inputs, mut targets) = (Vec::with_capacity(count * n * d), Vec::with_capacity(count * n * o));
        let (mut queries, mut query_targets) = (Vec::with_capacity(count * d), Vec::with_capacity(count * o));
        let (mut x, mut w) = (vec![0.0; (n + 1) * d], vec![0.0; o * d]);
        for _ in 0..count {
            w.fill_with(|| self.weight_scale * normal(rng));
            self.sample_inputs(&mut x, rng);
            let rows = x.iter().map(|&x| T::from_f64(x));
            inputs.extend(rows.clone().take(n * d));
            queries.extend(rows.skip(n * d));
            let first = targets.len();
            for (i, row) in x.chunks_exact(d).enumerate() {
                let to = if i < n { &mut targets } else { &mut query_targets };
                to.extend(w.chunks_exact(d).map(|w| T::from_f64(w.iter().zip(row).map(|(w, x)| w * x).sum())));
            }
            self.distract(&mut targets[first..], rng);
        }
        Batch::generated(
            filled(inputs, &[count, n, d]),
            filled(targets, &[count, n, o]),
            filled(queries, &[count, d]),
            filled(query_targets, &[count, o]),
        )
    }

    /// Fills `x` with the inputs of the context and, behind them, of the query.
    fn sample_inputs(&self, x: &mut [f64], rng: &mut impl Rng) {
        let law = match self.law {
            InputLaw::Mixed => [InputLaw::Exponential, InputLaw::Normal, InputLaw::Laplace][rng.random_range(0..3)],
            law => law,
        };
        match law {
            InputLaw::Uniform => {
                let r = self.input_range;
                return x.fill_with(|| r * (rng.random::<f64>() - 0.5));
            }
            InputLaw::Normal => x.fill_with(|| normal(rng)),
            InputLaw::Laplace => x.fill_with(|| if rng.random::<bool>() { exponential(rng) } else { -exponential(rng) }),
            InputLaw::Exponential | InputLaw::Mixed => x.fill_with(|| exponential(rng)),
        }
        let context = &x[..self.context * self.dimension];
        let scale = self.input_range / context.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x *= scale);
    }

    fn distract<T: Scalar>(&self, targets: &mut [T], rng: &mut impl Rng) {
        if self.distractors == 0 {
            return;
        }
        for i in rand::seq::index::sample(rng, self.context, self.distractors) {
            targets[i * self.outputs..(i + 1) * self.outputs].fill_with(|| T::from_f64(normal(rng)));
        }
    }
}

/// Regression tasks `y = a sin(x + φ)` (section 4 of the paper). The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SineTasks {
    /// Examples in the context, N.
    pub context: usize,
    /// The bounds between which the amplitude is uniform.
    pub amplitude: [f64; 2],
    /// The bounds between which the phase is uniform.
    pub phase: [f64; 2],
    /// The bounds between which inputs are uniform.
    pub input: [f64; 2],
}

impl Default for SineTasks {
    fn default() -> Self {
        Self { context: 10, amplitude: [0.1, 0.5], phase: [0.0, std::f64::consts::PI], input: [-5.0, 5.0] }
    }
}

impl SineTasks {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] or [`InContextError::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        if self.context == 0 {
            return Err(InContextError::EmptyContext);
        }
        for (name, [low, high]) in [("amplitude", self.amplitude), ("phase", self.phase), ("input", self.input)] {
            option(name, high, low.is_finite() && high.is_finite() && low <= high, "a finite range whose ends are in order")?;
        }
        Ok(())
    }

    /// `count` independent tasks with one input and one output. Both precisions draw the same numbers.
    ///
    /// # Errors
    /// As [`RegressionTasks::sample`].
    pub fn sample<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Result<Batch<T>> {
        self.validate()?;
        self.draw(count, rng).checked()
    }

    /// [`sample`](Self::sample) of a valid distribution, whose numbers may be too large for the precision.
    fn draw<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Batch<T> {
        let n = self.context;
        let (mut inputs, mut targets) = (Vec::with_capacity(count * n), Vec::with_capacity(count * n));
        let (mut queries, mut query_targets) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
        for _ in 0..count {
            let (amplitude, phase) = (between(self.amplitude), between(self.phase));
            for i in 0..=n {
                let x = between(self.input);
                let y = amplitude * (x + phase).sin();
                let (xs, ys) = if i < n { (&mut inputs, &mut targets) } else { (&mut queries, &mut query_targets) };
                xs.push(T::from_f64(x));
                ys.push(T::from_f64(y));
            }
        }
        Batch::generated(
            filled(inputs, &[count, n, 1]),
            filled(targets, &[count, n, 1]),
            filled(queries, &[count, 1]),
            filled(query_targets, &[count, 1]),
        )
    }
}

/// Where training tasks come from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskDistribution {
    /// Linear regression.
    Regression(RegressionTasks),
    /// Sine waves.
    Sine(SineTasks),
}

impl TaskDistribution {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`InContextError::EmptyContext`] or [`InContextError::InvalidOption`].
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Regression(tasks) => tasks.validate(),
            Self::Sine(tasks) => tasks.validate(),
        }
    }

    /// `count` independent tasks.
    ///
    /// # Errors
    /// As [`RegressionTasks::sample`].
    pub fn sample<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Result<Batch<T>> {
        match self {
            Self::Regression(tasks) => tasks.sample(count, rng),
            Self::Sine(tasks) => tasks.sample(count, rng),
        }
    }

    /// [`sample`](Self::sample) of a valid distribution, whose numbers may be too large for the precision.
    pub(super) fn draw<T: Scalar>(&self, count: usize, rng: &mut impl Rng) -> Batch<T> {
        match self {
            Self::Regression(tasks) => tasks.draw(count, rng),
            Self::Sine(tasks) => tasks.draw(count, rng),
        }
    }

    /// Entries of an input.
    pub fn dimension(&self) -> usize {
        match self {
            Self::Regression(tasks) => tasks.dimension,
            Self::Sine(_) => 1,
        }
    }

    /// Entries of a target.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Regression(tasks) => tasks.outputs,
            Self::Sine(_) => 1,
        }
    }

    /// Examples in the context.
    pub fn context(&self) -> usize {
        match self {
            Self::Regression(tasks) => tasks.context,
            Self::Sine(tasks) => tasks.context,
        }
    }
}

impl From<RegressionTasks> for TaskDistribution {
    fn from(tasks: RegressionTasks) -> Self {
        Self::Regression(tasks)
    }
}

impl From<SineTasks> for TaskDistribution {
    fn from(tasks: SineTasks) -> Self {
        Self::Sine(tasks)
    }
}

fn normal(rng: &mut impl Rng) -> f64 {
    StandardNormal.sample(rng)
}

fn exponential(rng: &mut impl Rng) -> f64 {
    Exp1.sample(rng)
}

/// The tensor of these values, whose number the caller made to fit.
pub(super) fn filled<T: Scalar>(values: Vec<T>, shape: &[usize]) -> Tensor<T> {
    Tensor::from_vec(values, shape).unwrap_or_else(|_| Tensor::zeros(shape))
}
