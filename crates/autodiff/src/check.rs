//! Checks of derivatives, for users' own tests too: against central differences ([`gradient`], [`second_order`], both at
//! once by [`both_orders`]), and of the ways to one derivative against each other ([`modes`]). With the feature `proptest`,
//! `strategies` has random shapes, broadcastable pairs of them, and tensors.

#[cfg(any(test, feature = "proptest"))]
pub mod strategies;

use crate::{Params, Tensor, TensorError, grad, hvp, jacobian_forward, jacobian_reverse, jvp, vjp};

/// How a derivative disagrees with what it was compared with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{derivative_of}: component {index} is {derivative}, expected {expected} (tolerance {tolerance})")]
pub struct Disagreement {
    /// Which derivative, by which way.
    pub derivative_of: &'static str,
    /// Which component of the flattened derivative.
    pub index: usize,
    /// What the transform returned.
    pub derivative: f64,
    /// What central differences, or the other way to the same derivative, give.
    pub expected: f64,
    /// The tolerance, relative to `1 + |expected|`.
    pub tolerance: f64,
}

/// Compares `grad` of a scalar function with central differences of step `h`, to `tolerance` relative to `1 + |difference|`.
///
/// # Errors
/// The first [`Disagreement`].
pub fn gradient<P: Params<Elem = f64>>(f: impl Fn(&P) -> Tensor<f64>, at: &P, h: f64, tolerance: f64) -> Result<(), Disagreement> {
    let derivative = grad(&f, at).flatten();
    let difference = |i| Ok((f(&moved(at, i, h)?).item() - f(&moved(at, i, -h)?).item()) / (2.0 * h));
    compare("gradient", derivative.as_slice(), tolerance, difference)
}

/// Compares `hvp` along `v` with central differences of the gradient.
///
/// # Errors
/// The first [`Disagreement`].
pub fn second_order<P: Params<Elem = f64>>(
    f: impl Fn(&P) -> Tensor<f64>,
    at: &P,
    v: &P,
    h: f64,
    tolerance: f64,
) -> Result<(), Disagreement> {
    let derivative = hvp(&f, at, v).flatten();
    let difference = (grad(&f, &at.axpy(h, v)).flatten() - grad(&f, &at.axpy(-h, v)).flatten()) / (2.0 * h);
    compare("Hessian-vector product", derivative.as_slice(), tolerance, |i| Ok(difference[i]))
}

/// Compares both orders of derivative of a function with central differences of step 1e-5: the gradient to 1e-6, a
/// Hessian-vector product along a fixed random direction to 1e-5. The function may return any shape: fixed, uneven
/// weights make a scalar of it.
///
/// ```
/// use gradus_autodiff::{Tensor, check};
/// let x = Tensor::vector(&[0.3, -1.2, 2.0]);
/// check::both_orders(|x: &Tensor<f64>| x.tanh() * x, &x)?;
/// // What is wrong is told by the component:
/// let wrong = |x: &Tensor<f64>| gradus_autodiff::custom_vjp(|x| x.square(), |x, g| x * g, x);
/// assert_eq!(check::both_orders(wrong, &x).unwrap_err().index, 0);
/// # Ok::<(), check::Disagreement>(())
/// ```
///
/// # Errors
/// The first [`Disagreement`].
pub fn both_orders<P: Params<Elem = f64>>(f: impl Fn(&P) -> Tensor<f64>, at: &P) -> Result<(), Disagreement> {
    let scalar = |x: &P| weighted(&f(x));
    gradient(scalar, at, 1e-5, 1e-6)?;
    let v = at.normal_like(&mut gradus_base::stream(0, "check", 0));
    second_order(scalar, at, &v, 1e-5, 1e-5)
}

/// `Σ y ∘ c` for fixed, uneven weights `c`.
fn weighted(y: &Tensor<f64>) -> Tensor<f64> {
    (y * Tensor::from_fn(y.shape(), |i| 0.3 + (i as f64 * 0.7).sin())).sum()
}

/// Compares the ways to a Jacobian with each other, to 1e-10: rows that are pulled back together ([`jacobian_reverse`]), one
/// row at a time ([`vjp`]), columns that are pushed forward together ([`jacobian_forward`]), and one fixed random direction
/// ([`jvp`]). They differ where a rule is wrong for stacked gradients, or not linear in the gradient.
///
/// # Errors
/// The first [`Disagreement`].
pub fn modes(f: impl Fn(&Tensor<f64>) -> Tensor<f64>, x: &Tensor<f64>) -> Result<(), Disagreement> {
    const TOLERANCE: f64 = 1e-10;
    let (y, pullback) = vjp(&f, x);
    let together = jacobian_reverse(&f, x).reshape(&[y.count(), x.count()]);
    for i in 0..y.count() {
        let row = pullback(&Tensor::from_fn(y.shape(), |j| f64::from(i == j)));
        compare("row of the Jacobian", together.narrow(0, i, 1).as_slice(), TOLERANCE, |j| Ok(row.as_slice()[j]))?;
    }
    let columns = jacobian_forward(&f, x);
    compare("Jacobian by columns", columns.as_slice(), TOLERANCE, |i| Ok(together.as_slice()[i]))?;
    let v = x.normal_like(&mut gradus_base::stream(0, "check", 1));
    let along = together.matmul(&v.reshape(&[x.count()]));
    compare("forward mode", jvp(&f, x, &v).1.as_slice(), TOLERANCE, |i| Ok(along.as_slice()[i]))
}

fn moved<P: Params<Elem = f64>>(at: &P, i: usize, h: f64) -> Result<P, TensorError> {
    let mut flat = at.flatten();
    flat[i] += h;
    at.unflatten(&flat)
}

fn compare(
    derivative_of: &'static str,
    derivative: &[f64],
    tolerance: f64,
    expected: impl Fn(usize) -> Result<f64, TensorError>,
) -> Result<(), Disagreement> {
    for (index, &derivative) in derivative.iter().enumerate() {
        let expected = expected(index).unwrap_or(f64::NAN);
        let close = (derivative - expected).abs() <= tolerance * (1.0 + expected.abs());
        if !close {
            return Err(Disagreement { derivative_of, index, derivative, expected, tolerance });
        }
    }
    Ok(())
}
