//! Games of quadratic losses, whose Jacobians are the same everywhere.

use nalgebra::{DMatrix, DVector};

use super::{Example, ZooError, around, at_least, check, cube, finite, positive};
use crate::game::Game;

/// Two players with a number each, `f₁ = μ₁ x₁²/2 + a x₁ x₂`, `f₂ = μ₂ x₂²/2 + b x₁ x₂` (Sharma 2025).
///
/// The equilibrium is 0. Gradient play contracts in the metric `(1, a/b)` at the rate `(μ₁+μ₂)/2 - √(((μ₁-μ₂)/2)² + ab)` if `ab` is
/// positive, whereas in the Euclidean metric it need not.
///
/// # Errors
/// [`ZooError::InvalidParameter`] for what is not finite.
pub fn scalar_quadratic(mu1: f64, mu2: f64, a: f64, b: f64) -> Result<Example, ZooError> {
    [("mu1", mu1), ("mu2", mu2), ("a", a), ("b", b)].iter().try_for_each(|&(name, value)| finite(name, value))?;
    Ok(Example {
        name: "scalar quadratic",
        game: Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[mu1, a, b, mu2]), vec![0.0; 2])?,
        region: cube(2, -1.0, 1.0)?,
        equilibrium: Some(vec![0.0; 2]),
        note: "couplings of very different strengths: monotone in a weighted metric only",
    })
}

/// Two players who pull each other around, `J = [[1, s], [-s, 1]]`: zero-sum, `f₁ = x₁²/2 + s x₁ x₂`, `f₂ = x₂²/2 - s x₁ x₂`.
///
/// The equilibrium is 0, and the Euclidean margin is 1 for every strength; bounds by norms alone cannot tell it from `[[1, s], [s, 1]]`,
/// and have the margin `1 - s`. Gradient play contracts for steps below `2/(1 + s²)`.
///
/// # Errors
/// [`ZooError::InvalidParameter`] for what is not finite.
pub fn rotation(strength: f64) -> Result<Example, ZooError> {
    finite("strength", strength)?;
    Ok(Example {
        name: "rotation",
        game: Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, strength, -strength, 1.0]), vec![0.0; 2])?,
        region: cube(2, -1.0, 1.0)?,
        equilibrium: Some(vec![0.0; 2]),
        note: "zero-sum: monotone, but not by what norms of couplings say",
    })
}

/// Any number of players, `f_i = x_iᵀ Q_i x_i / 2 + Σ_j x_iᵀ A_ij x_j + b_iᵀ x_i`, of `own` matrices `Q_i`, `couplings` `(i, j, A_ij)` and
/// the entries of `linear` `b`. What is not listed is 0; what is listed twice is summed.
///
/// The equilibrium solves a linear system; it is one if all `Q_i` are positive semidefinite, and the only one if the Jacobian is regular.
///
/// # Errors
/// [`ZooError::Dimension`] for matrices whose sizes do not fit, fewer than two players, or couplings of players who do not exist or to
/// themselves; [`ZooError::Game`] for what is not finite.
pub fn linear_quadratic(own: &[DMatrix<f64>], couplings: &[(usize, usize, DMatrix<f64>)], linear: &[f64]) -> Result<Example, ZooError> {
    at_least("players", 2, own.len())?;
    let dimensions: Vec<usize> = own.iter().map(DMatrix::nrows).collect();
    let start = |player: usize| dimensions[..player].iter().sum::<usize>();
    let size = start(own.len());
    check("entries of the linear part", size, linear.len())?;
    let mut jacobian = DMatrix::zeros(size, size);
    for (i, matrix) in own.iter().enumerate() {
        check("columns of an own matrix", dimensions[i], matrix.ncols())?;
        // The gradient of xᵀQx/2 sees the symmetric part only.
        jacobian.view_mut((start(i), start(i)), matrix.shape()).copy_from(&(0.5 * (matrix + matrix.transpose())));
    }
    for (i, j, matrix) in couplings {
        if i == j || *i >= own.len() || *j >= own.len() {
            return Err(ZooError::Dimension { what: "players of a coupling, different and below", expected: own.len(), got: *i.max(j) });
        }
        check("rows of a coupling", dimensions[*i], matrix.nrows())?;
        check("columns of a coupling", dimensions[*j], matrix.ncols())?;
        let mut block = jacobian.view_mut((start(*i), start(*j)), matrix.shape());
        block += matrix;
    }
    let game = Game::affine(&dimensions, jacobian, linear.to_vec())?;
    affine_example("linear quadratic", game, "players of several variables, with couplings in both directions and in one")
}

/// An affine game with its equilibrium, if there is one, and a region of radius 1 around that.
pub(super) fn affine_example(name: &'static str, game: Game, note: &'static str) -> Result<Example, ZooError> {
    let zero = vec![0.0; game.size()];
    let solved = game.jacobian(&zero).lu().solve(&-DVector::from_vec(game.field(&zero)));
    let equilibrium = solved.filter(|x| x.iter().all(|x| x.is_finite())).map(|x| x.as_slice().to_vec());
    let region = around(equilibrium.as_deref().unwrap_or(&zero), 1.0)?;
    Ok(Example { name, game, region, equilibrium, note })
}

/// Two players with `size` numbers each and random matrices, `Q_i = R_iᵀR_i + I`, `A₁₂ = 10 λ R`, `A₂₁ = λ Rᵀ/20`, where the entries of the
/// `R_i` are standard normal, and `R` is such a matrix divided by its spectral norm (the ensemble of Sharma 2025).
///
/// `normal` gives standard normal numbers; `R₁`, `R₂`, `R` are drawn one after another, column by column. The equilibrium is 0.
///
/// # Errors
/// [`ZooError::Dimension`] for a size of 0, [`ZooError::InvalidParameter`], [`ZooError::Game`].
pub fn random_linear_quadratic(size: usize, lambda: f64, normal: &mut impl FnMut() -> f64) -> Result<Example, ZooError> {
    at_least("variables of a player", 1, size)?;
    finite("lambda", lambda)?;
    let mut draw = || DMatrix::from_fn(size, size, |_, _| normal());
    let own = [draw(), draw()].map(|root| root.tr_mul(&root) + DMatrix::identity(size, size));
    let coupling = draw();
    finite("a number of the generator", coupling.sum())?;
    let norm = coupling.singular_values().max();
    positive("the norm of a random matrix", norm)?;
    let unit = coupling / norm;
    let couplings = [(0, 1, 10.0 * lambda * &unit), (1, 0, 0.05 * lambda * unit.transpose())];
    let example = linear_quadratic(&own, &couplings, &vec![0.0; 2 * size])?;
    Ok(Example { name: "random linear quadratic", note: "an ensemble with couplings of very different strengths", ..example })
}

/// Two players who pull each other around by a matrix, and regularise: `f₁ = xᵀA y + μ₁ |x|²/2`, `f₂ = -xᵀA y + μ₂ |y|²/2`.
///
/// The equilibrium is 0, and the Euclidean margin `min(μ₁, μ₂)` whatever the matrix. Without regularisation gradient play diverges.
///
/// # Errors
/// [`ZooError::Dimension`] for an empty matrix; [`ZooError::InvalidParameter`] for a `μ` that is not positive; [`ZooError::Game`].
pub fn bilinear_regularised(matrix: &DMatrix<f64>, mu1: f64, mu2: f64) -> Result<Example, ZooError> {
    at_least("entries of the matrix", 1, matrix.len())?;
    positive("mu1", mu1)?;
    positive("mu2", mu2)?;
    let (rows, columns) = matrix.shape();
    let own = [DMatrix::from_diagonal_element(rows, rows, mu1), DMatrix::from_diagonal_element(columns, columns, mu2)];
    let couplings = [(0, 1, matrix.clone()), (1, 0, -matrix.transpose())];
    let example = linear_quadratic(&own, &couplings, &vec![0.0; rows + columns])?;
    Ok(Example { name: "bilinear regularised", note: "zero-sum, with couplings of a matrix", ..example })
}
