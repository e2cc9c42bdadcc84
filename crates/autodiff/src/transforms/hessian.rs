//! Second derivatives of scalar functions.

use rand::{Rng, RngExt};

use super::{blocks, gradients, jacobian, jacobian_matrix, left, outside, stop_gradient, units, value_and_grad, variables};
use crate::node::{Level, Pass};
use crate::params::assert_alike;
use crate::{Params, Scalar, Tensor, TensorError, grad};

/// The Hessian of a scalar function times `v`: the gradient of the gradient's component along `v`. For several products at
/// one point, [`linearize_gradient`] is cheaper.
///
/// ```
/// use gradus_autodiff::{Tensor, hvp};
/// let f = |x: &Tensor<f64>| (x * &(x * x)).sum();
/// let x = Tensor::vector(&[1.0, 2.0]);
/// assert_eq!(hvp(f, &x, &Tensor::vector(&[1.0, 1.0])).to_vec(), [6.0, 12.0]);
/// ```
///
/// # Panics
/// When the value has more than one element, or `v` has other tensors than `params`: another number, or other shapes.
#[track_caller]
pub fn hvp<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P, v: &P) -> P {
    assert_alike("hvp", params, v);
    grad(|p: &P| grad(f, p).dot(v), params)
}

/// The Hessian of a scalar function of one tensor, `[input.., input..]`. [`hessian_matrix`] takes any model.
///
/// ```
/// use gradus_autodiff::{Tensor, hessian};
/// let f = |x: &Tensor<f64>| x.square().sum() + x.sum().square();
/// assert_eq!(hessian(f, &Tensor::vector(&[3.0, 4.0])).to_vec(), [4.0, 2.0, 2.0, 4.0]);
/// ```
///
/// # Panics
/// When the value has more than one element, and as [`jacobian`] does.
#[track_caller]
pub fn hessian<T: Scalar>(f: impl FnOnce(&Tensor<T>) -> Tensor<T>, x: &Tensor<T>) -> Tensor<T> {
    jacobian(|x: &Tensor<T>| grad(f, x), x)
}

/// The Hessian of a scalar function of a model as one matrix `[parameters, parameters]`, in the order of
/// [`Params::flatten`]: for small models. [`linearize_gradient`] needs no matrix.
///
/// ```
/// use gradus_autodiff::{Tensor, hessian_matrix};
/// let f = |(a, b): &(Tensor<f64>, Tensor<f64>)| (a.square() * b).sum();
/// let h = hessian_matrix(f, &(Tensor::scalar(2.0), Tensor::scalar(3.0)));
/// assert_eq!((h.shape(), h.to_vec()), (&[2, 2][..], vec![6.0, 4.0, 4.0, 0.0]));
/// ```
///
/// # Panics
/// When the value has more than one element, and as [`jacobian_matrix`] does.
#[track_caller]
pub fn hessian_matrix<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> Tensor<P::Elem> {
    let flat = |gradient: &P| {
        let parts: Vec<Tensor<P::Elem>> = gradient.leaves().into_iter().map(|g| g.reshape(&[g.count()])).collect();
        if parts.is_empty() { Tensor::zeros(&[0]) } else { Tensor::concat(&parts, 0) }
    };
    jacobian_matrix(|p: &P| flat(&grad(f, p)), params)
}

/// The value, the gradient and the Hessian of a scalar function at a point, the last as a linear map that can be applied
/// many times: [`linearize_gradient`] makes it.
pub struct LinearizedGradient<P: Params> {
    params: P,
    value: Tensor<P::Elem>,
    gradient: P,
    /// The gradient's tensors, recorded as functions of the variables `ids` of the level `bit`.
    recorded: Vec<Tensor<P::Elem>>,
    bit: u64,
    ids: Vec<u64>,
}

/// Evaluates a scalar function and its gradient once and records them; each [`LinearizedGradient::hvp`] is then one pass
/// back through that recording, and evaluates nothing again. Conjugate gradients at a fixed point want this.
///
/// It is a value like any other: inside another derivative its products are differentiated, as functions of the point and
/// of the vector; products at a constant point may be taken on several threads at once. It holds what was recorded until it
/// is dropped.
///
/// ```
/// use gradus_autodiff::{Tensor, linearize_gradient};
/// let at = linearize_gradient(|x: &Tensor<f64>| (x * &(x * x)).sum(), &Tensor::vector(&[1.0, 2.0]));
/// assert_eq!((at.value().item(), at.gradient().to_vec()), (9.0, vec![3.0, 12.0]));
/// assert_eq!(at.hvp(&Tensor::vector(&[1.0, 0.0])).to_vec(), [6.0, 0.0]);
/// assert_eq!(at.hvp(&Tensor::vector(&[0.0, 1.0])).to_vec(), [0.0, 12.0]);
/// ```
///
/// # Panics
/// When the value has more than one element.
#[track_caller]
pub fn linearize_gradient<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> LinearizedGradient<P> {
    let level = Level::enter();
    let (model, ids) = variables(params, level.bit);
    let (value, gradient) = value_and_grad(f, &model);
    LinearizedGradient {
        params: stop_gradient(params),
        value: outside(&value, level.bit),
        recorded: gradient.leaves().into_iter().cloned().collect(),
        gradient: gradient.map(|_, g| outside(g, level.bit)),
        bit: level.bit,
        ids,
    }
}

impl<P: Params> LinearizedGradient<P> {
    /// The function's value at the point.
    pub fn value(&self) -> &Tensor<P::Elem> {
        &self.value
    }

    /// The gradient at the point.
    pub fn gradient(&self) -> &P {
        &self.gradient
    }

    /// The Hessian times `v`.
    ///
    /// # Panics
    /// When `v` has other tensors than the parameters: another number, or other shapes.
    #[track_caller]
    pub fn hvp(&self, v: &P) -> P {
        assert_alike("hvp", &self.params, v);
        let seeds = self.recorded.iter().cloned().zip(v.leaves().into_iter().cloned());
        gradients(&self.params, Pass::new(self.bit, &self.ids).run(seeds))
    }

    /// The diagonal of the Hessian, exactly: as many products as there are parameters, 128 of them in one pass.
    ///
    /// # Panics
    /// When a value on the way has 8 axes: the stacked products take one.
    #[track_caller]
    pub fn diagonal(&self) -> P {
        let mut own = self.recorded.iter().zip(&self.ids);
        self.params.map(|_, x| {
            let Some((g, &id)) = own.next() else { return x.zeros_like() };
            let entries: Vec<Tensor<P::Elem>> = blocks(x.count()).map(|(first, count)| self.entries(g, id, x, first, count)).collect();
            if entries.is_empty() { x.zeros_like() } else { left(Tensor::concat(&entries, 0)).reshape(x.shape()) }
        })
    }

    /// Entries `first..first + count` of the diagonal that belong to one tensor, `[count]`.
    fn entries(&self, g: &Tensor<P::Elem>, id: u64, x: &Tensor<P::Elem>, first: usize, count: usize) -> Tensor<P::Elem> {
        let seeds = units(first, count, x.shape());
        let (own, beyond) = ([id], self.ids.last().copied().unwrap_or(id));
        let pass = Pass { beyond, ..Pass::stacked(self.bit, &own, count) };
        let Some(rows) = pass.run([(g.clone(), seeds)]).pop().flatten() else {
            return Tensor::zeros(&[count]);
        };
        let columns: Vec<usize> = (first..first + count).collect();
        rows.reshape(&[count, x.count()]).gather(1, &columns, &[count, 1]).reshape(&[count])
    }
}

/// The diagonal of the Hessian of a scalar function of a model, exactly: one recorded gradient, and as many
/// Hessian-vector products as there are parameters, 128 of them in one pass. [`hessian_diagonal_estimate`] needs fewer.
///
/// ```
/// use gradus_autodiff::{Tensor, hessian_diagonal};
/// let f = |x: &Tensor<f64>| (x * &(x * x)).sum() + x.sum().square();
/// assert_eq!(hessian_diagonal(f, &Tensor::vector(&[1.0, 2.0])).to_vec(), [8.0, 14.0]); // 6 x + 2
/// ```
///
/// # Panics
/// When the value has more than one element, or a value on the way has 8 axes: the stacked products take one.
#[track_caller]
pub fn hessian_diagonal<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    linearize_gradient(f, params).diagonal()
}

/// The trace of the Hessian, exactly: the sum of [`hessian_diagonal`].
///
/// # Panics
/// As [`hessian_diagonal`].
#[track_caller]
pub fn hessian_trace<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> Tensor<P::Elem> {
    sum(&hessian_diagonal(f, params))
}

fn sum<P: Params>(model: &P) -> Tensor<P::Elem> {
    model.leaves().into_iter().fold(Tensor::scalar(P::Elem::ZERO), |sum, x| sum + x.sum())
}

/// A mean of independent draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate<P> {
    /// The mean, an unbiased estimate. Inside another derivative it is differentiated.
    pub mean: P,
    /// The standard error of each entry of the mean; a constant.
    pub standard_error: P,
}

/// Hutchinson's estimate of the diagonal of the Hessian of a scalar function of a model: the mean of `z ∘ H z` over
/// `probes` random vectors `z` of signs (Bekas, Kokiopoulou and Saad, 2007). One recorded gradient and one pass for each
/// probe. The variance of an entry is the sum of the squares of the other entries of its row, over `probes`.
///
/// ```
/// use gradus_autodiff::{Tensor, hessian_diagonal_estimate};
/// // The Hessian is diagonal: one probe would be enough.
/// let f = |x: &Tensor<f64>| (x * &(x * x)).sum();
/// let found = hessian_diagonal_estimate(f, &Tensor::vector(&[1.0, 2.0]), 3, &mut gradus_base::stream(0, "probes", 0))?;
/// assert_eq!((found.mean.to_vec(), found.standard_error.to_vec()), (vec![6.0, 12.0], vec![0.0, 0.0]));
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
///
/// # Errors
/// [`TensorError::Argument`] for fewer than 2 probes, whose standard error is not defined.
#[track_caller]
pub fn hessian_diagonal_estimate<P: Params>(
    f: impl FnOnce(&P) -> Tensor<P::Elem>,
    params: &P,
    probes: usize,
    rng: &mut impl Rng,
) -> Result<Estimate<P>, TensorError> {
    estimate(f, params, probes, rng, |z, hz| z.zip_map(&hz, |z, hz| z * hz))
}

/// Hutchinson's estimate of the trace of the Hessian of a scalar function of a model: the mean of `zᵀ H z` over `probes`
/// random vectors `z` of signs (Hutchinson, 1990). One recorded gradient and one pass for each probe.
///
/// # Errors
/// [`TensorError::Argument`] for fewer than 2 probes, whose standard error is not defined.
#[track_caller]
pub fn hessian_trace_estimate<P: Params>(
    f: impl FnOnce(&P) -> Tensor<P::Elem>,
    params: &P,
    probes: usize,
    rng: &mut impl Rng,
) -> Result<Estimate<Tensor<P::Elem>>, TensorError> {
    estimate(f, params, probes, rng, |z, hz| z.dot(&hz))
}

/// The mean of what `measure` makes of random signs `z` and of `H z`.
#[track_caller]
fn estimate<P: Params, M: Params<Elem = P::Elem>>(
    f: impl FnOnce(&P) -> Tensor<P::Elem>,
    params: &P,
    probes: usize,
    rng: &mut impl Rng,
    measure: impl Fn(&P, P) -> M,
) -> Result<Estimate<M>, TensorError> {
    if probes < 2 {
        let what = format!("{probes} probes have no standard error: 2 are needed");
        return Err(TensorError::Argument { operation: "hessian estimate", what, shape: vec![probes] });
    }
    let at = linearize_gradient(f, params);
    let mut draw = || {
        let z = at.params.map(|_, x| Tensor::from_fn(x.shape(), |_| if rng.random() { P::Elem::ONE } else { -P::Elem::ONE }));
        measure(&z, at.hvp(&z))
    };
    // Welford's recurrence: sums of squares would cancel.
    let mut mean = draw();
    let mut squares = mean.zeros_like();
    for k in 2..=probes {
        let deviation = draw().axpy(-P::Elem::ONE, &mean);
        let weight = (k - 1) as f64 / k as f64;
        squares = squares.zip_map(&deviation, |sum, d| sum + d.detach().square().affine(P::Elem::from_f64(weight), P::Elem::ZERO));
        mean = mean.axpy(P::Elem::from_f64(1.0 / k as f64), &deviation);
    }
    let scale = P::Elem::from_f64(1.0 / (probes as f64 * (probes - 1) as f64));
    let standard_error = squares.map(|_, sum| sum.clone().affine(scale, P::Elem::ZERO).sqrt());
    Ok(Estimate { mean, standard_error })
}
