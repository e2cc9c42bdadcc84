//! Metrics of one player's variables, and of all players'.

use nalgebra::{DMatrix, DVector, DVectorView, SymmetricEigen};

use super::GeometryError;

/// A metric `|v|² = vᵀ P v` with a symmetric positive definite matrix `P`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    matrix: DMatrix<f64>,
    /// Lower triangular `L` with `P = L Lᵀ`.
    factor: DMatrix<f64>,
    /// Eigenvalues and, as columns, eigenvectors.
    values: DVector<f64>,
    vectors: DMatrix<f64>,
}

impl Metric {
    /// The metric of the matrix `P`; errors name the `player` whose it is.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for a matrix that is not square or empty, [`GeometryError::NonFinite`],
    /// [`GeometryError::MetricNotSymmetric`], and [`GeometryError::MetricNotPositiveDefinite`] when its least eigenvalue is not above the
    /// rounding errors of the greatest.
    pub fn new(player: usize, matrix: DMatrix<f64>) -> Result<Self, GeometryError> {
        let size = matrix.nrows();
        if size == 0 {
            return Err(GeometryError::Dimension { what: "rows of a metric, at least", expected: 1, got: 0 });
        }
        super::check("columns of a metric", size, matrix.ncols())?;
        super::check_finite("the metric", matrix.as_slice())?;
        let asymmetric = |i: usize, j: usize| (matrix[(i, j)] - matrix[(j, i)]).abs() > 1e-12 * matrix.amax();
        if let Some((row, column)) = (0..size).flat_map(|i| (0..i).map(move |j| (i, j))).find(|&(i, j)| asymmetric(i, j)) {
            return Err(GeometryError::MetricNotSymmetric { player, row, column });
        }
        let matrix = 0.5 * (&matrix + matrix.transpose());
        let SymmetricEigen { eigenvalues: values, eigenvectors: vectors } = SymmetricEigen::new(matrix.clone());
        let lambda_min = values.min();
        let singular = lambda_min <= size as f64 * f64::EPSILON * values.amax();
        match matrix.clone().cholesky() {
            Some(cholesky) if !singular => Ok(Self { matrix, factor: cholesky.unpack(), values, vectors }),
            _ => Err(GeometryError::MetricNotPositiveDefinite { player, lambda_min }),
        }
    }

    /// The Euclidean metric.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for a size of 0.
    pub fn identity(size: usize) -> Result<Self, GeometryError> {
        Self::new(0, DMatrix::identity(size, size))
    }

    /// The metric of a game, `M(w) = blkdiag(w_i P_i)`.
    ///
    /// # Errors
    /// [`GeometryError::Dimension`] for another number of weights than metrics, [`GeometryError::InvalidWeight`].
    pub fn of_game(weights: &[f64], metrics: &[Self]) -> Result<Self, GeometryError> {
        super::check("weights", metrics.len(), weights.len())?;
        if let Some(player) = weights.iter().position(|w| !(*w > 0.0 && w.is_finite())) {
            return Err(GeometryError::InvalidWeight { player, value: weights[player] });
        }
        let size = metrics.iter().map(Self::size).sum();
        // Each block is definite, so all are, however far their weights are apart.
        let joint = |part: &dyn Fn(f64, &Self) -> DMatrix<f64>| {
            let mut joint = DMatrix::zeros(size, size);
            let mut start = 0;
            for (weight, metric) in weights.iter().zip(metrics) {
                joint.view_mut((start, start), (metric.size(), metric.size())).copy_from(&part(*weight, metric));
                start += metric.size();
            }
            joint
        };
        let matrix = joint(&|weight, metric| weight * &metric.matrix);
        let factor = joint(&|weight, metric| weight.sqrt() * &metric.factor);
        let vectors = joint(&|_, metric| metric.vectors.clone());
        let values = weights.iter().zip(metrics).flat_map(|(weight, metric)| metric.values.iter().map(move |value| weight * value));
        let values = DVector::from_iterator(size, values);
        Ok(Self { matrix, factor, values, vectors })
    }

    /// Number of variables.
    pub fn size(&self) -> usize {
        self.matrix.nrows()
    }

    /// The matrix `P`.
    pub fn matrix(&self) -> &DMatrix<f64> {
        &self.matrix
    }

    /// The inner product `uᵀ P v`.
    ///
    /// # Panics
    /// When a vector has another size than the metric.
    #[track_caller]
    pub fn inner(&self, u: &[f64], v: &[f64]) -> f64 {
        (&self.matrix * column(v)).dot(&column(u))
    }

    /// The length `√(vᵀ P v)`.
    ///
    /// # Panics
    /// When the vector has another size than the metric.
    #[track_caller]
    pub fn norm(&self, v: &[f64]) -> f64 {
        self.factor.tr_mul(&column(v)).norm()
    }

    /// Whether different variables have nothing to do with each other.
    pub(super) fn is_diagonal(&self) -> bool {
        let size = self.size();
        (0..size).all(|i| (0..i).all(|j| self.matrix[(i, j)] == 0.0))
    }

    /// Whether it is the Euclidean metric up to a factor.
    pub(super) fn is_scalar(&self) -> bool {
        self.is_diagonal() && self.matrix.diagonal().iter().all(|entry| *entry == self.matrix[(0, 0)])
    }

    pub(super) fn factor(&self) -> &DMatrix<f64> {
        &self.factor
    }

    pub(super) fn eigen(&self) -> (&DVector<f64>, &DMatrix<f64>) {
        (&self.values, &self.vectors)
    }

    /// The metric of `size` variables from `start` on.
    pub(super) fn part(&self, start: usize, size: usize) -> Result<Self, GeometryError> {
        Self::new(0, self.matrix.view((start, start), (size, size)).into_owned())
    }
}

pub(super) fn column(x: &[f64]) -> DVectorView<'_, f64> {
    DVectorView::from_slice(x, x.len())
}
