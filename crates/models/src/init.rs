//! Initial values. `shape` is `[output, input]` for linear layers and `[filters, channels, height, width]` for
//! convolutions: the fan-in is the number of elements of one output, the fan-out that of one input.

use gradus_autodiff::{Scalar, Tensor};
use nalgebra::DMatrix;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};

fn fans(shape: &[usize]) -> (f64, f64) {
    let [outputs, inputs, window @ ..] = shape else { return (1.0, 1.0) };
    let window: usize = window.iter().product();
    ((inputs * window) as f64, (outputs * window) as f64)
}

/// Independent draws from N(0, `deviation`²).
#[track_caller]
pub fn normal<T: Scalar>(shape: &[usize], deviation: f64, rng: &mut impl Rng) -> Tensor<T> {
    Tensor::from_fn(shape, |_| T::from_f64(deviation * Distribution::<f64>::sample(&StandardNormal, rng)))
}

/// Independent draws from U(-`bound`, `bound`).
#[track_caller]
pub fn uniform<T: Scalar>(shape: &[usize], bound: f64, rng: &mut impl Rng) -> Tensor<T> {
    Tensor::from_fn(shape, |_| T::from_f64(bound * (2.0 * Distribution::<f64>::sample(&StandardUniform, rng) - 1.0)))
}

/// Normal with variance 2 / fan-in, for layers before a ReLU (He, Zhang, Ren, Sun 2015, eq. 10).
#[track_caller]
pub fn he_normal<T: Scalar>(shape: &[usize], rng: &mut impl Rng) -> Tensor<T> {
    normal(shape, (2.0 / fans(shape).0).sqrt(), rng)
}

/// Uniform with variance 2 / (fan-in + fan-out) (Glorot, Bengio 2010, eq. 16).
#[track_caller]
pub fn glorot_uniform<T: Scalar>(shape: &[usize], rng: &mut impl Rng) -> Tensor<T> {
    let (inputs, outputs) = fans(shape);
    uniform(shape, (6.0 / (inputs + outputs)).sqrt(), rng)
}

/// U(-1/√fan-in, 1/√fan-in): what PyTorch gives the weights and biases of its linear and convolutional layers; `fan_in` is
/// that of the weight.
#[track_caller]
pub fn torch_uniform<T: Scalar>(shape: &[usize], fan_in: usize, rng: &mut impl Rng) -> Tensor<T> {
    uniform(shape, 1.0 / (fan_in.max(1) as f64).sqrt(), rng)
}

/// The deviation of a standard normal that is cut off at two deviations.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// Normal draws, redrawn beyond two deviations of the underlying normal, scaled so that the result has `deviation`.
#[track_caller]
pub fn truncated_normal<T: Scalar>(shape: &[usize], deviation: f64, rng: &mut impl Rng) -> Tensor<T> {
    let mut draw = || loop {
        let x: f64 = StandardNormal.sample(rng);
        if x.abs() <= 2.0 {
            return x;
        }
    };
    Tensor::from_fn(shape, |_| T::from_f64(draw() * deviation / TRUNCATED_DEVIATION))
}

/// A matrix `[rows, columns]` with orthonormal rows or columns, whichever are fewer, uniform among them: the Q of a normal
/// matrix with the signs of R's diagonal (Mezzadri 2007).
#[track_caller]
pub fn orthogonal<T: Scalar>(rows: usize, columns: usize, rng: &mut impl Rng) -> Tensor<T> {
    let (tall, narrow) = (rows.max(columns), rows.min(columns));
    let qr = DMatrix::from_fn(tall, narrow, |_, _| Distribution::<f64>::sample(&StandardNormal, rng)).qr();
    let (mut q, r) = (qr.q(), qr.r());
    for j in 0..narrow {
        if r[(j, j)] < 0.0 {
            q.column_mut(j).neg_mut();
        }
    }
    Tensor::from_fn(&[rows, columns], |i| {
        let (row, column) = (i / columns, i % columns);
        T::from_f64(if rows >= columns { q[(row, column)] } else { q[(column, row)] })
    })
}
