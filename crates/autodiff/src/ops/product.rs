//! Matrix products.

use crate::kernels::Buffer;
use crate::kernels::matmul::{Finish, Matrix, multiply};
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

/// `C = op(A) op(B)` for matrices, to each row of which a third operand may be added; a flag says that the operand is stored
/// transposed.
struct Product<T: Scalar> {
    a: Tensor<T>,
    b: Tensor<T>,
    transposed: [bool; 2],
}

impl<T: Scalar> Rule<T> for Product<T> {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [ta, tb] = self.transposed;
        if cx.wants(2) {
            cx.add(2, cx.sum_to(&g, &g.shape()[g.rank() - 1..]));
        }
        if g.rank() == 3 {
            return self.backward_stacked(&g, cx);
        }
        if cx.wants(0) {
            let b = cx.get(&self.b);
            cx.add(0, if ta { b.product(&g, tb, true) } else { g.product(&b, false, !tb) });
        }
        if cx.wants(1) {
            let a = cx.get(&self.a);
            cx.add(1, if tb { g.product(&a, true, ta) } else { a.product(&g, !ta, false) });
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        parent == 0 && !self.transposed[0] && self.a.shape()[0].is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, _: bool) -> Option<Factor<T>> {
        // The rows of the product must be those of the examples: each example's rows are a chunk of `a`.
        if !Rule::<T>::keeps_examples(self, 0, batch) {
            return None;
        }
        match parent {
            1 => {}
            2 => return Factor::of_repeated(g, &g.shape()[1..], batch),
            _ => return None,
        }
        let (a, g) = (self.a.clone(), g.clone());
        let (rows, columns) = if self.transposed[1] { (g, a) } else { (a, g) };
        Some(Factor::Outer { rows, columns })
    }
}

impl<T: Scalar> Product<T> {
    /// As [`Rule::backward`], for gradients `[stack, m, n]`. The first operand's are one product over all their rows.
    fn backward_stacked(&self, g: &Tensor<T>, cx: &mut Cx<'_, T>) {
        let [ta, tb] = self.transposed;
        let &[count, m, n] = g.shape() else { return };
        if cx.wants(0) {
            let b = cx.get(&self.b);
            let inner = self.a.shape()[usize::from(!ta)];
            let gradient = g.reshape(&[count * m, n]).product(&b, false, !tb).reshape(&[count, m, inner]);
            cx.add(0, if ta { gradient.t() } else { gradient });
        }
        if cx.wants(1) {
            let a = cx.get(&self.a);
            // One product over the gradients side by side, `op(a)ᵀ [m, stack · n]`.
            let side_by_side = g.permute(&[1, 0, 2]).reshape(&[m, count * n]);
            let gradient = a.product(&side_by_side, !ta, false);
            let inner = gradient.shape()[0];
            let order: [usize; 3] = if tb { [1, 2, 0] } else { [1, 0, 2] };
            cx.add(1, gradient.reshape(&[inner, count, n]).permute(&order));
        }
    }
}

/// `C[i] = op(A[i]) op(B[i])` for each `i` of a leading axis.
struct BatchedProduct<T: Scalar> {
    a: Tensor<T>,
    b: Tensor<T>,
    transposed: [bool; 2],
}

impl<T: Scalar> Rule<T> for BatchedProduct<T> {
    fn name(&self) -> &'static str {
        "batched matmul"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [ta, tb] = self.transposed;
        if cx.wants(0) {
            let b = cx.get(&self.b);
            cx.add(0, if ta { b.batched(&g, tb, true) } else { g.batched(&b, false, !tb) });
        }
        if cx.wants(1) {
            let a = cx.get(&self.a);
            cx.add(1, if tb { g.batched(&a, true, ta) } else { a.batched(&g, !ta, false) });
        }
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.a.shape()[0].is_multiple_of(batch)
    }
}

fn matrix<T: Scalar>(x: &Tensor<T>, transposed: bool) -> Matrix<'_, T> {
    Matrix { values: x.as_slice(), distance: x.shape()[1], transposed }
}

fn sizes(a: &[usize], b: &[usize], ta: bool, tb: bool) -> Option<[usize; 3]> {
    let (m, k) = if ta { (a[1], a[0]) } else { (a[0], a[1]) };
    let (k2, n) = if tb { (b[1], b[0]) } else { (b[0], b[1]) };
    (k == k2).then_some([m, n, k])
}

impl<T: Scalar> Tensor<T> {
    /// `op(self) op(other)` for matrices, each transposed when its flag is set.
    #[track_caller]
    pub(crate) fn product(&self, other: &Self, ta: bool, tb: bool) -> Self {
        self.product_plus(other, ta, tb, None)
    }

    /// As [`Tensor::product`], with a row added to each row.
    #[track_caller]
    fn product_plus(&self, other: &Self, ta: bool, tb: bool, bias: Option<&Self>) -> Self {
        let Some([m, n, k]) = sizes(self.shape(), other.shape(), ta, tb) else {
            panic!("matmul: shapes {} and {} do not fit", self.shape_ref(), other.shape_ref())
        };
        let mut values = Buffer::stale(m * n);
        let finish = Finish { add: false, bias: bias.map(Tensor::as_slice) };
        multiply([m, n, k], matrix(self, ta), matrix(other, tb), &mut values, n, finish, rayon::current_num_threads());
        let y = Tensor::raw(values, crate::tensor::checked(&[m, n]));
        y.record([self.node().cloned(), other.node().cloned(), bias.and_then(|bias| bias.node().cloned())], || Product {
            a: self.clone(),
            b: other.clone(),
            transposed: [ta, tb],
        })
    }

    #[track_caller]
    pub(super) fn batched(&self, other: &Self, ta: bool, tb: bool) -> Self {
        let count = self.shape()[0];
        let Some(size @ [m, n, k]) = sizes(&self.shape()[1..], &other.shape()[1..], ta, tb) else {
            panic!("matmul: shapes {} and {} do not fit", self.shape_ref(), other.shape_ref())
        };
        let shape = crate::tensor::checked(&[count, m, n]);
        let mut values = Buffer::stale(shape.count());
        let one = |i: usize, out: &mut [T]| {
            let (a, b) = (&self.as_slice()[i * m * k..(i + 1) * m * k], &other.as_slice()[i * k * n..(i + 1) * k * n]);
            T::gemm(size, (a, ta), (b, tb), out, false, 1);
        };
        if m * n > 0 {
            use crate::kernels::parallel::*;
            if count * m * n * k < crate::kernels::PARALLEL {
                values.chunks_exact_mut(m * n).enumerate().for_each(|(i, out)| one(i, out));
            } else {
                values.par_chunks_exact_mut(m * n).enumerate().for_each(|(i, out)| one(i, out));
            }
        }
        let y = Tensor::raw(values, shape);
        y.record([self.node().cloned(), other.node().cloned(), None], || BatchedProduct {
            a: self.clone(),
            b: other.clone(),
            transposed: [ta, tb],
        })
    }

    /// The matrix product over the last two axes, leading axes broadcast; a vector on either side is a row or a column.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_matmul`] returns the error instead.
    #[track_caller]
    pub fn matmul(&self, other: &Self) -> Self {
        super::arithmetic::or_panic(self.try_matmul(other))
    }

    /// [`Tensor::matmul`], or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_matmul(&self, other: &Self) -> Result<Self, TensorError> {
        let mismatch = || TensorError::Mismatch { operation: "matmul", left: self.shape().to_vec(), right: other.shape().to_vec() };
        let (a, b) = (self.shape(), other.shape());
        match (a.len(), b.len()) {
            (0, _) | (_, 0) => Err(mismatch()),
            (1, 1) => Ok(self.unsqueeze(0).try_matmul(&other.unsqueeze(1)).map_err(|_| mismatch())?.reshape(&[])),
            (1, _) => {
                let y = self.unsqueeze(0).try_matmul(other).map_err(|_| mismatch())?;
                Ok(y.reshape(&[&y.shape()[..y.rank() - 2], &y.shape()[y.rank() - 1..]].concat()))
            }
            (_, 1) => {
                let y = self.try_matmul(&other.unsqueeze(-1)).map_err(|_| mismatch())?;
                Ok(y.reshape(&y.shape()[..y.rank() - 1]))
            }
            (rank, 2) => {
                let k = a[rank - 1];
                if k != b[0] {
                    return Err(mismatch());
                }
                let rows = a[..rank - 1].iter().product();
                Shape::new(&[&a[..rank - 1], &b[1..]].concat())?;
                let y = self.reshape(&[rows, k]).product(other, false, false);
                Ok(y.reshape(&[&a[..rank - 1], &b[1..]].concat()))
            }
            (left, right) => {
                let (lead_a, matrix_a) = a.split_at(left - 2);
                let (lead_b, matrix_b) = b.split_at(right - 2);
                let lead = Shape::new(lead_a)?.broadcast(&Shape::new(lead_b)?).ok_or_else(mismatch)?;
                if matrix_a[1] != matrix_b[0] {
                    return Err(mismatch());
                }
                Shape::new(&[&lead[..], &[matrix_a[0], matrix_b[1]]].concat())?;
                let wide = |x: &Self, matrix: &[usize]| {
                    let y = x.broadcast_to(&[&lead[..], matrix].concat());
                    y.reshape(&[&[lead.count()], matrix].concat())
                };
                let y = wide(self, matrix_a).batched(&wide(other, matrix_b), false, false);
                Ok(y.reshape(&[&lead[..], &[matrix_a[0], matrix_b[1]]].concat()))
            }
        }
    }

    /// `x Wᵀ + b` over the last axis: `x` is `[.., input]`, `weight` `[output, input]`, `bias` `[output]`.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_linear`] returns the error instead.
    #[track_caller]
    pub fn linear(&self, weight: &Self, bias: Option<&Self>) -> Self {
        super::arithmetic::or_panic(self.try_linear(weight, bias))
    }

    /// [`Tensor::linear`], or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_linear(&self, weight: &Self, bias: Option<&Self>) -> Result<Self, TensorError> {
        let (x, w) = (self.shape(), weight.shape());
        let mismatch =
            |other: &Self| TensorError::Mismatch { operation: "linear", left: self.shape().to_vec(), right: other.shape().to_vec() };
        if x.is_empty() || w.len() != 2 || x[x.len() - 1] != w[1] {
            return Err(mismatch(weight));
        }
        if let Some(bias) = bias.filter(|bias| bias.shape() != [w[0]]) {
            return Err(mismatch(bias));
        }
        let lead = &x[..x.len() - 1];
        if let &[rows] = lead {
            Shape::new(&[rows, w[0]])?;
            return Ok(self.product_plus(weight, false, true, bias));
        }
        Shape::new(&[lead, &w[..1]].concat())?;
        let y = self.reshape(&[lead.iter().product(), w[1]]).product_plus(weight, false, true, bias);
        y.try_reshape(&[lead, &w[..1]].concat())
    }
}
