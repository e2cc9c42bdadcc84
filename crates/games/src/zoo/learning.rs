//! Learners who train against or with each other.

use nalgebra::{DMatrix, DVector};

use super::quadratic::affine_example;
use super::{Example, ZooError, at_least, check, cube, not_negative, positive};
use crate::expression::Symbol;
use crate::game::Game;
use crate::scalar::Real;

/// Rows of a table: what is known, and what is to be told from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    /// Features, row by row: `[targets.len(), width]`.
    pub features: &'a [f64],
    /// A number for each row.
    pub targets: &'a [f64],
}

impl Rows<'_> {
    /// The number of features, if all rows have as many, one or more, and all numbers are finite.
    fn width(&self) -> Result<usize, ZooError> {
        at_least("rows", 1, self.targets.len())?;
        at_least("features of each row", 1, self.features.len() / self.targets.len())?;
        let width = self.features.len() / self.targets.len();
        check("features of all rows", width * self.targets.len(), self.features.len())?;
        let numbers = self.features.iter().chain(self.targets);
        match numbers.copied().find(|x| !x.is_finite()) {
            Some(value) => Err(ZooError::InvalidParameter { name: "an entry of the rows", value, expected: "finite" }),
            None => Ok(width),
        }
    }
}

/// A generator `θ` and a discriminator `ψ` that tells it from a point at 0 (the Dirac-GAN, Mescheder, Geiger and Nowozin 2018), with
/// regularisation of the discriminator (their `R₁`: `γ ψ²/2`) and of the generator (`ρ θ²/2`):
///
/// ```text
/// f_θ = -softplus(-ψθ) + ρ θ²/2,   f_ψ = softplus(-ψθ) + γ ψ²/2
/// ```
///
/// (constants are left out). The equilibrium is 0, with `J = [[ρ, 1/2], [-1/2, γ]]` there; without regularisation gradient play circles
/// around it and does not converge. The generator's own curvature is at least `ρ - ψ²/4`: 0 in the original game.
///
/// # Errors
/// [`ZooError::InvalidParameter`] for negative regularisation.
pub fn dirac_gan(discriminator: f64, generator: f64) -> Result<Example, ZooError> {
    not_negative("the discriminator's regularisation", discriminator)?;
    not_negative("the generator's regularisation", generator)?;
    let game = Game::from_losses(&[1, 1], |x| {
        let told = (-(x[0] * x[1])).softplus();
        vec![x[0].square() * (0.5 * generator) - told, x[1].square() * (0.5 * discriminator) + told]
    })?;
    let note = "the smallest adversarial network, with regularisation";
    Ok(Example { name: "dirac gan", game, region: cube(2, -0.5, 0.5)?, equilibrium: Some(vec![0.0; 2]), note })
}

/// Least squares against an adversary who moves the targets (robust least squares: El Ghaoui and Lebret 1997; as a min–max problem: Yang,
/// Kiyavash and He 2020), for the `n` rows of `A` with targets `b`:
///
/// ```text
/// min over x, max over y of  [ |A x - y|² - λ |y - b|² ] / (2n) + ρ |x|²/2
/// ```
///
/// With `λ > 1` the adversary's problem is concave, and the equilibrium is the ridge regression with `ρ n (λ-1)/λ` in place of the penalty:
/// it is computed from the linear system of the game.
///
/// # Errors
/// [`ZooError::Dimension`] for rows that do not fit, [`ZooError::InvalidParameter`] unless `ρ > 0` and `λ > 1`.
pub fn robust_regression(rows: Rows<'_>, penalty: f64, lambda: f64) -> Result<Example, ZooError> {
    let width = rows.width()?;
    positive("the penalty", penalty)?;
    if !(lambda > 1.0 && lambda.is_finite()) {
        return Err(ZooError::InvalidParameter { name: "lambda", value: lambda, expected: "finite and above 1" });
    }
    let count = rows.targets.len();
    let features = DMatrix::from_row_slice(count, width, rows.features);
    let scale = 1.0 / count as f64;
    let mut jacobian = DMatrix::zeros(width + count, width + count);
    let own = scale * features.tr_mul(&features) + DMatrix::from_diagonal_element(width, width, penalty);
    jacobian.view_mut((0, 0), (width, width)).copy_from(&own);
    jacobian.view_mut((0, width), (width, count)).copy_from(&(-scale * features.transpose()));
    jacobian.view_mut((width, 0), (count, width)).copy_from(&(scale * &features));
    (width..width + count).for_each(|k| jacobian[(k, k)] = scale * (lambda - 1.0));
    let mut offset = DVector::zeros(width + count);
    offset.rows_mut(width, count).copy_from(&(-scale * lambda * DVector::from_column_slice(rows.targets)));
    let game = Game::affine(&[width, count], jacobian, offset.as_slice().to_vec())?;
    affine_example("robust regression", game, "least squares against an adversary who moves the targets")
}

/// Clients with models of their own, tied to a shared one (Dinh, Tran and Nguyen 2020; Li, Hu, Beirami and Smith 2021), as a game in which
/// the server, who has the shared model `w`, is the last player:
///
/// ```text
/// f_i = mean over rows of softplus(-y aᵀv_i) + ρ |v_i|²/2 + λ |v_i - w|²/2,   f_server = mean over clients of λ |w - v_i|²/2
/// ```
///
/// Targets `y` are -1 or 1. Own curvatures are at least `ρ + λ` and `λ`, couplings `λ` and `λ/n` for `n` clients: the small-gain condition
/// always holds. In equilibrium the server has the mean of the clients' models; these are not known in closed form. They are within
/// `max |a| / ρ` of 0, so the region has this radius.
///
/// # Errors
/// [`ZooError::Dimension`] for no client or rows that do not fit, [`ZooError::InvalidParameter`] for other targets than -1 and 1, and what
/// is not positive.
pub fn federated_personalised(clients: &[Rows<'_>], penalty: f64, tie: f64) -> Result<Example, ZooError> {
    at_least("clients", 1, clients.len())?;
    positive("the penalty", penalty)?;
    positive("the tie", tie)?;
    let width = clients[0].width()?;
    for rows in clients {
        check("features of a client", width, rows.width()?)?;
        if let Some(&value) = rows.targets.iter().find(|target| target.abs() != 1.0) {
            return Err(ZooError::InvalidParameter { name: "a target", value, expected: "-1 or 1" });
        }
    }
    let game = Game::from_losses(&vec![width; clients.len() + 1], |x| {
        let server = &x[clients.len() * width..];
        let apart =
            |own: &[_]| own.iter().zip(server).fold(Symbol::constant(0.0), |sum, (&v, &w): (&Symbol<'_>, _)| sum + (v - w).square());
        let mut ties = Symbol::constant(0.0);
        let mut losses = Vec::new();
        for (rows, own) in clients.iter().zip(x.chunks(width)) {
            ties = ties + apart(own);
            losses.push(logistic_loss(*rows, own) + squares(own) * (0.5 * penalty) + apart(own) * (0.5 * tie));
        }
        losses.push(ties * (0.5 * tie / clients.len() as f64));
        losses
    })?;
    let longest = clients.iter().flat_map(|rows| rows.features.chunks(width)).map(|a| a.iter().map(|a| a * a).sum::<f64>().sqrt());
    let radius = longest.fold(0.0, f64::max) / penalty;
    let region = cube(width * (clients.len() + 1), -radius, radius)?;
    let note = "clients with models of their own, tied to a shared one";
    Ok(Example { name: "federated personalised", game, region, equilibrium: None, note })
}

/// The mean over rows of `softplus(-y aᵀv)`.
fn logistic_loss<'g>(rows: Rows<'_>, v: &[Symbol<'g>]) -> Symbol<'g> {
    let score = |a: &[f64]| a.iter().zip(v).fold(Symbol::constant(0.0), |sum, (&a, &v)| sum + v * a);
    let losses = rows.features.chunks(v.len()).zip(rows.targets).map(|(a, &target)| (score(a) * -target).softplus());
    losses.fold(Symbol::constant(0.0), |sum, loss| sum + loss) / rows.targets.len() as f64
}

fn squares<'g>(x: &[Symbol<'g>]) -> Symbol<'g> {
    x.iter().fold(Symbol::constant(0.0), |sum, x| sum + x.square())
}
