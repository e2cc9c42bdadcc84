//! Jacobians, by rows or by columns.

use super::forward::PushForward;
use super::{blocks, left, units, variables};
use crate::node::{Level, Pass};
use crate::{Params, Scalar, Tensor};

/// With this many times more outputs than parameters, columns are made instead of rows: the rows' backward pass has to be
/// recorded for them, which small Jacobians feel. Measured on matrix products with `tanh`, in ms for rows and columns:
/// 0.010 and 0.011 for 20 outputs by 10 inputs, 0.135 and 0.073 for 128 by 64, 10.9 and 0.6 for 1024 by 64.
const COLUMNS_PAY: usize = 2;

/// The Jacobian of a function of a model: a model whose tensors are `[output.., parameter..]`. For a function of one
/// tensor that is its Jacobian `[output.., input..]`.
///
/// It is made by rows ([`jacobian_reverse`]), or by columns ([`jacobian_forward`]) where there are at least twice as
/// many outputs as parameters. The function is evaluated once.
///
/// ```
/// use gradus_autodiff::{Tensor, jacobian};
/// let polar = |x: &Tensor<f64>| {
///     let (r, angle) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
///     Tensor::concat(&[&r * &angle.cos(), &r * &angle.sin()], 0)
/// };
/// assert_eq!(jacobian(polar, &Tensor::vector(&[2.0, 0.0])).to_vec(), [1.0, 0.0, 0.0, 2.0]);
/// ```
///
/// # Panics
/// When the output and a parameter have more than 8 axes together, or a value between them has 8: stacked rows or columns
/// take one.
#[track_caller]
pub fn jacobian<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    Evaluated::new(f, params).either().model()
}

/// [`jacobian`] by rows: one backward pass for every 128 outputs. It pays where there are fewer outputs than parameters.
///
/// # Panics
/// As [`jacobian`].
#[track_caller]
pub fn jacobian_reverse<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    Evaluated::new(f, params).rows().model()
}

/// [`jacobian`] by columns: one push-forward for every 128 parameters of each tensor. It pays where there are many more
/// outputs than parameters.
///
/// # Panics
/// As [`jacobian`].
#[track_caller]
pub fn jacobian_forward<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> P {
    Evaluated::new(f, params).columns().model()
}

/// The [`jacobian`] of a function of a model as one matrix `[outputs, parameters]`, the parameters in the order of
/// [`Params::flatten`]. [`Tensor::to_dmatrix`] makes a nalgebra matrix of it.
///
/// ```
/// use gradus_autodiff::{Tensor, jacobian_matrix};
/// // A neural tangent kernel is the product of this matrix with its transpose.
/// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// let model = (Tensor::vector(&[0.5, -0.5]), Tensor::scalar(1.0));
/// let j = jacobian_matrix(|(w, b): &(Tensor<f64>, Tensor<f64>)| x.matmul(w) + b, &model);
/// assert_eq!(j.to_vec(), [1.0, 2.0, 1.0, 3.0, 4.0, 1.0]);
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
///
/// # Panics
/// When a value between parameters and outputs has 8 axes: stacked rows or columns take one.
#[track_caller]
pub fn jacobian_matrix<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> Tensor<P::Elem> {
    let parts = Evaluated::new(f, params).either();
    if parts.blocks.is_empty() { Tensor::zeros(&[parts.outputs.iter().product(), 0]) } else { left(Tensor::concat(&parts.blocks, 1)) }
}

/// A function that was evaluated on variables of a level, which is left when this is dropped.
struct Evaluated<'a, P: Params> {
    params: &'a P,
    level: Level,
    ids: Vec<u64>,
    y: Tensor<P::Elem>,
}

/// The Jacobian with respect to each tensor of a model, `[outputs, size]`.
struct Parts<'a, P: Params> {
    params: &'a P,
    outputs: Vec<usize>,
    blocks: Vec<Tensor<P::Elem>>,
}

impl<'a, P: Params> Evaluated<'a, P> {
    #[track_caller]
    fn new(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &'a P) -> Self {
        let level = Level::enter();
        let (model, ids) = variables(params, level.bit);
        Self { params, level, ids, y: f(&model) }
    }

    fn either(self) -> Parts<'a, P> {
        if self.y.count() / COLUMNS_PAY >= self.params.count() { self.columns() } else { self.rows() }
    }

    fn rows(self) -> Parts<'a, P> {
        let leaves = self.params.leaves();
        let mut rows: Vec<Vec<Tensor<P::Elem>>> = leaves.iter().map(|_| Vec::new()).collect();
        for (first, count) in blocks(self.y.count()) {
            let cotangents = units(first, count, self.y.shape());
            let found = Pass::stacked(self.level.bit, &self.ids, count).run([(self.y.clone(), cotangents)]);
            for ((x, rows), found) in leaves.iter().zip(&mut rows).zip(found) {
                let size = [count, x.count()];
                rows.push(found.map_or_else(|| Tensor::zeros(&size), |found| found.reshape(&size)));
            }
        }
        let blocks = leaves.iter().zip(&rows).map(|(x, rows)| joined(rows, x.count())).collect();
        Parts { params: self.params, outputs: self.y.shape().to_vec(), blocks }
    }

    fn columns(self) -> Parts<'a, P> {
        let outputs = self.y.shape().to_vec();
        let size = self.y.count();
        let forward = PushForward::record(self.y, self.level.bit, &self.ids);
        let of = |(i, x): (usize, &Tensor<P::Elem>)| {
            let columns = blocks(x.count()).map(|(first, count)| {
                let tangents = units(first, count, x.shape());
                forward.push([(i, tangents)], Some(count)).reshape(&[count, size])
            });
            joined(&columns.collect::<Vec<_>>(), size).t()
        };
        let blocks = self.params.leaves().into_iter().enumerate().map(of).collect();
        Parts { params: self.params, outputs, blocks }
    }
}

/// Stacks of rows of the given size, joined.
fn joined<T: Scalar>(rows: &[Tensor<T>], size: usize) -> Tensor<T> {
    if rows.is_empty() { Tensor::zeros(&[0, size]) } else { Tensor::concat(rows, 0) }
}

impl<P: Params> Parts<'_, P> {
    #[track_caller]
    fn model(self) -> P {
        let mut blocks = self.blocks.into_iter();
        // There is a block for each tensor.
        self.params.map(|_, x| blocks.next().map_or_else(|| x.clone(), left).reshape(&[&self.outputs[..], x.shape()].concat()))
    }
}
