//! What tells a transformer the places of its tokens.

use gradus_autodiff::{Scalar, Tensor};

/// What is added to the embeddings of tokens. Rotary positions ([`Rotary`]) are not added: attention applies them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// Nothing.
    #[default]
    None,
    /// A learned vector for each place.
    Learned,
    /// [`sinusoidal`] vectors.
    Sinusoidal,
}

/// Sines and cosines of the given places (or times), `[places, width]`: element 2i of place p is `sin(p / 10000^(2i / width))`,
/// element 2i + 1 the cosine (Vaswani et al. 2017, section 3.5).
///
/// ```
/// let rows = gradus_models::sinusoidal::<f64>(&[0.0, 1.0], 2);
/// assert_eq!(rows.to_vec(), [0.0, 1.0, 1f64.sin(), 1f64.cos()]);
/// ```
#[track_caller]
pub fn sinusoidal<T: Scalar>(places: &[f64], width: usize) -> Tensor<T> {
    Tensor::from_fn(&[places.len(), width], |i| {
        let (place, element) = (places[i / width], i % width);
        let angle = place / 10_000f64.powf((element - element % 2) as f64 / width as f64);
        T::from_f64(if element % 2 == 0 { angle.sin() } else { angle.cos() })
    })
}

/// Rotary positions (Su et al. 2021): pairs of elements of queries and keys are turned by angles proportional to the place,
/// so that their products depend on distances alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// The base of the frequencies: pair i of d / 2 turns by `theta^(-2i / d)` at each place.
    pub theta: f64,
    /// Which elements are a pair.
    pub pairing: Pairing,
    /// How the frequencies are changed for texts that are longer than those of the first training.
    pub scaling: RotaryScaling,
}

impl Default for Rotary {
    fn default() -> Self {
        Self { theta: 10_000.0, pairing: Pairing::Halves, scaling: RotaryScaling::None }
    }
}

/// Which elements of a vector are turned together. The two differ by a fixed order of the elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// Element i of the first half with element i of the second: LLaMA as `transformers` stores it.
    #[default]
    Halves,
    /// Elements 2i and 2i + 1: the paper, and Meta's own LLaMA files.
    Neighbours,
}

/// How rotary frequencies are changed for longer texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    #[default]
    None,
    /// All are divided by the factor (Chen et al. 2023).
    Linear {
        /// How many times longer texts become.
        factor: f64,
    },
    /// Those of long waves are divided by the factor, those of short waves kept, and between the two it goes over smoothly: as
    /// LLaMA 3.1.
    ByWavelength {
        /// How many times longer texts become.
        factor: f64,
        /// Waves longer than `original_context / low` are divided by the factor.
        low: f64,
        /// Waves shorter than `original_context / high` are kept.
        high: f64,
        /// The length of texts in the first training.
        original_context: f64,
    },
}

impl RotaryScaling {
    fn frequency(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::ByWavelength { factor, low, high, original_context } => {
                let waves = original_context * frequency / std::f64::consts::TAU;
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / factor)
            }
        }
    }
}

impl Rotary {
    /// Queries or keys `[.., n, d]` of the places `first`, `first + 1`, …, turned.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// use gradus_models::Rotary;
    ///
    /// let x: Tensor<f64> = Tensor::from_vec(vec![1.0, 0.0, 1.0, 0.0], &[2, 2])?;
    /// let turned = Rotary::default().call(&x, 0);
    /// assert_eq!(turned.to_vec(), [1.0, 0.0, 1f64.cos(), 1f64.sin()]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Unless d is even.
    #[track_caller]
    pub fn call<T: Scalar>(&self, x: &Tensor<T>, first: usize) -> Tensor<T> {
        let &[.., n, d] = x.shape() else { panic!("Rotary: shape {:?}, not [.., n, d]", x.shape()) };
        assert!(d % 2 == 0, "Rotary: vectors of odd length, shape {:?}", x.shape());
        let half = d / 2;
        let frequency = |pair: usize| self.scaling.frequency(self.theta.powf(-2.0 * pair as f64 / d as f64));
        let frequencies: Vec<f64> = (0..half).map(frequency).collect();
        let angle = |i: usize| (first + i / half) as f64 * frequencies[i % half];
        let of = |f: fn(f64) -> f64| Tensor::from_fn(&[n, half], |i| T::from_f64(f(angle(i))));
        let (cos, sin) = (of(f64::cos), of(f64::sin));
        let turn = |a: &Tensor<T>, b: &Tensor<T>| [a * &cos - b * &sin, a * &sin + b * &cos];
        match self.pairing {
            Pairing::Halves => Tensor::concat(&turn(&x.narrow(-1, 0, half), &x.narrow(-1, half, half)), -1),
            Pairing::Neighbours => {
                let lead = &x.shape()[..x.rank() - 1];
                let pairs = x.reshape(&[lead, &[half, 2]].concat());
                let element = |i| pairs.narrow(-1, i, 1).reshape(&[lead, &[half]].concat());
                Tensor::stack(&turn(&element(0), &element(1)), -1).reshape(x.shape())
            }
        }
    }
}
