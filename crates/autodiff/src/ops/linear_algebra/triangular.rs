//! Triangular matrices: taking a triangle, and systems of equations.

use super::super::arithmetic::or_panic;
use super::{each_block, matrices, system, unflattened, with_columns};
use crate::kernels::{Buffer, pointwise, triangular};
use crate::node::{Cx, Rule};
use crate::{Scalar, Tensor, TensorError};

/// Which system of equations [`Tensor::solve_triangular`] solves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Triangular {
    /// The upper triangle of `A` is read instead of the lower.
    pub upper: bool,
    /// The system is `Aᵀ X = B` instead of `A X = B`.
    pub transposed: bool,
    /// The diagonal of `A` counts as ones and is not read.
    pub unit_diagonal: bool,
    /// The matrix stands on the right: `X A = B`, or `X Aᵀ = B`, with `B [.., k, n]`.
    pub right: bool,
}

/// Elements on one side of a diagonal, zeros elsewhere.
struct Triangle {
    upper: bool,
    offset: isize,
    matrices: usize,
}

impl<T: Scalar> Rule<T> for Triangle {
    fn name(&self) -> &'static str {
        if self.upper { "triu" } else { "tril" }
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        cx.add(0, g.triangle(self.upper, self.offset));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.matrices.is_multiple_of(batch)
    }
}

/// `op(A) X = B` for `A [count, n, n]` and `X, B [count, n, k]`.
struct Solve<T: Scalar> {
    a: Tensor<T>,
    x: Tensor<T>,
    form: Triangular,
}

impl<T: Scalar> Rule<T> for Solve<T> {
    fn name(&self) -> &'static str {
        "solve_triangular"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let Triangular { upper, transposed, unit_diagonal, .. } = self.form;
        let a = cx.get(&self.a);
        let pulled = solve(&a, &g, Triangular { transposed: !transposed, ..self.form });
        if cx.wants(0) {
            let x = cx.output(&self.x);
            let whole = if transposed { x.matmul(&pulled.t()) } else { pulled.matmul(&x.t()) };
            let diagonal = isize::from(unit_diagonal);
            cx.add(0, -whole.triangle(upper, if upper { diagonal } else { -diagonal }));
        }
        if cx.wants(1) {
            cx.add(1, pulled);
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, _: usize, batch: usize) -> bool {
        self.a.shape()[0].is_multiple_of(batch)
    }
}

/// `X` of `op(A) X = B` for `A [count, n, n]` and `B [count, n, k]`, or a stack of such `B`.
#[track_caller]
pub(super) fn solve<T: Scalar>(a: &Tensor<T>, b: &Tensor<T>, form: Triangular) -> Tensor<T> {
    with_columns(b, |b| {
        let &[count, n, k] = b.shape() else { return b.clone() };
        let mut values: Buffer<T> = pointwise::map(b.as_slice(), |b| b);
        let threads = if count == 1 { rayon::current_num_threads() } else { 1 };
        each_block(&mut values, n * k, count * n * n * k, |i, block| {
            triangular::solve(&a.as_slice()[i * n * n..(i + 1) * n * n], n, block, k, form, threads);
        });
        let x = Tensor::raw(values, *b.shape_ref());
        let saved = x.detach();
        x.record([a.node().cloned(), b.node().cloned(), None], || Solve { a: a.clone(), x: saved, form })
    })
}

impl<T: Scalar> Tensor<T> {
    /// The elements of each matrix `[.., rows, columns]` at and below a diagonal, zeros above: the main diagonal, or the one
    /// `offset` places above it (below, when negative).
    #[track_caller]
    pub fn tril(&self, offset: isize) -> Self {
        or_panic(self.try_tril(offset))
    }

    /// [`Tensor::tril`], or that there are fewer than two axes.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_tril(&self, offset: isize) -> Result<Self, TensorError> {
        self.try_axis("tril", -2)?;
        Ok(self.triangle(false, offset))
    }

    /// The elements of each matrix `[.., rows, columns]` at and above a diagonal, zeros below: the main diagonal, or the one
    /// `offset` places above it (below, when negative).
    #[track_caller]
    pub fn triu(&self, offset: isize) -> Self {
        or_panic(self.try_triu(offset))
    }

    /// [`Tensor::triu`], or that there are fewer than two axes.
    ///
    /// # Errors
    /// [`TensorError::Axis`].
    #[track_caller]
    pub fn try_triu(&self, offset: isize) -> Result<Self, TensorError> {
        self.try_axis("triu", -2)?;
        Ok(self.triangle(true, offset))
    }

    /// One triangle of each matrix of the last two axes.
    #[track_caller]
    pub(super) fn triangle(&self, upper: bool, offset: isize) -> Self {
        let [count, rows, columns] = self.around(self.rank() - 2);
        let mut values: Buffer<T> = pointwise::map(self.as_slice(), |x| x);
        for (at, row) in values.chunks_exact_mut(columns.max(1)).enumerate() {
            // The first place beyond the diagonal for the lower triangle, the diagonal's own for the upper.
            let diagonal = ((at % rows) as isize).saturating_add(offset);
            let split = (if upper { diagonal } else { diagonal.saturating_add(1) }).clamp(0, row.len() as isize) as usize;
            if upper { row[..split].fill(T::ZERO) } else { row[split..].fill(T::ZERO) }
        }
        let y = Tensor::raw(values, *self.shape_ref());
        y.record([self.node().cloned(), None, None], || Triangle { upper, offset, matrices: count })
    }

    /// `X` of `A X = B` for this tensor's triangular matrices `A [.., n, n]` and right sides `B [.., n, k]`, whose leading axes
    /// broadcast; a vector `[n]` is one right side. Only the triangle that `form` names is read, and it alone gets a gradient.
    ///
    /// ```
    /// use gradus_autodiff::{Tensor, Triangular};
    /// let a = Tensor::from_vec(vec![2.0, 0.0, 1.0, 4.0], &[2, 2])?;
    /// let x = a.solve_triangular(&Tensor::vector(&[2.0, 9.0]), Triangular::default());
    /// assert_eq!(x.to_vec(), [1.0, 2.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// Where [`Tensor::try_solve_triangular`] returns an error.
    #[track_caller]
    pub fn solve_triangular(&self, b: &Self, form: Triangular) -> Self {
        or_panic(self.try_solve_triangular(b, form))
    }

    /// [`Tensor::solve_triangular`], or what is wrong.
    ///
    /// # Errors
    /// [`TensorError::Axis`] and [`TensorError::Argument`] for a tensor that has no square matrices, [`TensorError::Mismatch`],
    /// [`TensorError::Rank`], [`TensorError::TooLarge`]; [`TensorError::Singular`] for a zero on the diagonal.
    #[track_caller]
    pub fn try_solve_triangular(&self, b: &Self, form: Triangular) -> Result<Self, TensorError> {
        const OPERATION: &str = "solve_triangular";
        if form.right {
            let left = Triangular { right: false, transposed: !form.transposed, ..form };
            // The shapes as they were given.
            let mismatch = || TensorError::Mismatch { operation: OPERATION, left: self.shape().to_vec(), right: b.shape().to_vec() };
            let columns = b.try_t().map_err(|_| mismatch())?;
            return match self.try_solve_triangular(&columns, left) {
                Err(TensorError::Mismatch { .. }) => Err(mismatch()),
                solved => solved?.try_t(),
            };
        }
        let (flat, _) = matrices(OPERATION, self)?;
        let (a, right, lead) = system(OPERATION, self, b)?;
        if !form.unit_diagonal {
            let n = flat.shape()[1];
            let zero = flat.as_slice().chunks_exact((n * n).max(1)).enumerate().find_map(|(matrix, values)| {
                let pivot = (0..n).find(|i| values[i * n + i] == T::ZERO)?;
                Some(TensorError::Singular { operation: OPERATION, matrix, pivot })
            });
            zero.map_or(Ok(()), Err)?;
        }
        unflattened(&solve(&a, &right, form), &lead, b.rank() == 1)
    }
}
