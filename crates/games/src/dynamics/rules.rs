//! The update rules.

use nalgebra::DMatrix;

use super::{Dynamics, DynamicsError, Memory, check, check_step};
use crate::game::Game;
use crate::geometry::{Metric, Set};

/// `x ← x - h direction`.
fn descend(x: &mut [f64], step: f64, direction: &[f64]) {
    x.iter_mut().zip(direction).for_each(|(x, d)| *x -= step * d);
}

/// `Jᵀ v` into `out`.
fn transposed_product(jacobian: &DMatrix<f64>, v: &[f64], out: &mut Vec<f64>) {
    out.clear();
    out.extend(jacobian.column_iter().map(|column| column.iter().zip(v).map(|(a, v)| a * v).sum::<f64>()));
}

/// `J v` into `out`.
fn product(jacobian: &DMatrix<f64>, v: &[f64], out: &mut Vec<f64>) {
    out.clear();
    out.resize(v.len(), 0.0);
    for (column, v) in jacobian.column_iter().zip(v) {
        column.iter().zip(&mut *out).for_each(|(a, sum)| *sum += a * v);
    }
}

/// Projects what is finite; what is not stays, to be seen.
fn project(set: &Set, metric: Option<&Metric>, x: &mut [f64]) -> Result<(), DynamicsError> {
    if x.iter().all(|x| x.is_finite()) {
        match metric {
            Some(metric) => set.project_in(metric, x)?,
            None => set.project(x)?,
        }
    }
    Ok(())
}

fn check_set(game: &Game, set: &Set) -> Result<(), DynamicsError> {
    check("numbers of the set", game.size(), set.size())
}

fn check_finite_parameter(name: &'static str, value: f64) -> Result<(), DynamicsError> {
    if value.is_finite() { Ok(()) } else { Err(DynamicsError::InvalidParameter { name, value, expected: "finite" }) }
}

/// Simultaneous gradient play, `x ← x - h F(x)`: the Euler method for the flow `x' = -F(x)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Euler {
    /// The step size `h`.
    pub step: f64,
}

impl Dynamics for Euler {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        descend(x, self.step, &memory.field);
        Ok(())
    }
}

/// Projected gradient play, `x ← Proj(x - h F(x))` (Goldstein 1964).
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectedEuler {
    /// The step size `h`.
    pub step: f64,
    /// The set of all players' variables.
    pub set: Set,
    /// The metric of all players' variables in which is projected; Euclidean if none.
    pub metric: Option<Metric>,
}

impl Dynamics for ProjectedEuler {
    fn check(&self, game: &Game) -> Result<(), DynamicsError> {
        check_set(game, &self.set)?;
        if let Some(metric) = &self.metric {
            check("numbers of the metric", game.size(), metric.size())?;
        }
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        descend(x, self.step, &memory.field);
        project(&self.set, self.metric.as_ref(), x)
    }
}

/// The classical Runge–Kutta method of order 4 for the flow `x' = -F(x)` (Kutta 1901).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rk4 {
    /// The step size `h`.
    pub step: f64,
}

impl Dynamics for Rk4 {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        let [mut stage, mut total, ..] = std::mem::take(&mut memory.vectors);
        total.clear();
        total.resize(x.len(), 0.0);
        stage.clear();
        stage.extend_from_slice(x);
        // How far each stage is from the one before it, and how much it counts.
        for (next, weight) in [(0.5, 1.0), (0.5, 2.0), (1.0, 2.0), (0.0, 1.0)] {
            memory.compute_field(game, &stage);
            total.iter_mut().zip(&memory.field).for_each(|(total, f)| *total += weight * f);
            stage.copy_from_slice(x);
            descend(&mut stage, next * self.step, &memory.field);
        }
        descend(x, self.step / 6.0, &total);
        memory.vectors = [stage, total, Vec::new(), Vec::new()];
        Ok(())
    }
}

/// Extragradient, `x ← Proj(x - h F(y))` with `y = Proj(x - h F(x))` (Korpelevich 1976).
#[derive(Debug, Clone, PartialEq)]
pub struct Extragradient {
    /// The step size `h`.
    pub step: f64,
    /// The set of all players' variables; all numbers if none.
    pub set: Option<Set>,
}

impl Dynamics for Extragradient {
    fn check(&self, game: &Game) -> Result<(), DynamicsError> {
        self.set.as_ref().map_or(Ok(()), |set| check_set(game, set))?;
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        let mut ahead = std::mem::take(&mut memory.vectors[0]);
        ahead.clear();
        ahead.extend_from_slice(x);
        descend(&mut ahead, self.step, &memory.field);
        if let Some(set) = &self.set {
            project(set, None, &mut ahead)?;
        }
        memory.compute_field(game, &ahead);
        memory.vectors[0] = ahead;
        descend(x, self.step, &memory.field);
        self.set.as_ref().map_or(Ok(()), |set| project(set, None, x))
    }
}

/// Optimistic gradient play, `x ← x - h (2 F(x) - F(x before))` (Popov 1980; Daskalakis, Ilyas, Syrgkanis and Zeng 2018, eq. 5). The first
/// step is gradient play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimisticGda {
    /// The step size `h`.
    pub step: f64,
}

impl Dynamics for OptimisticGda {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        if memory.past.len() != x.len() {
            memory.past.clone_from(&memory.field);
        }
        for ((x, f), past) in x.iter_mut().zip(&memory.field).zip(&memory.past) {
            *x -= self.step * (2.0 * f - past);
        }
        std::mem::swap(&mut memory.past, &mut memory.field);
        Ok(())
    }
}

/// Consensus optimization, `x ← x - h (F + γ JᵀF)` (Mescheder, Nowozin and Geiger 2017, eq. 9): gradient play that also descends on
/// `γ |F|²/2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConsensusOptimization {
    /// The step size `h`.
    pub step: f64,
    /// The weight `γ ≥ 0` of the descent.
    pub gamma: f64,
}

impl Dynamics for ConsensusOptimization {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        if !(self.gamma >= 0.0 && self.gamma.is_finite()) {
            return Err(DynamicsError::InvalidParameter { name: "gamma", value: self.gamma, expected: "finite and at least 0" });
        }
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        memory.compute_jacobian(game, x);
        transposed_product(&memory.jacobian, &memory.field, &mut memory.vectors[0]);
        descend(x, self.step, &memory.field);
        descend(x, self.step * self.gamma, &memory.vectors[0]);
        Ok(())
    }
}

/// Symplectic gradient adjustment, `x ← x - h (F + λ AᵀF)` with the antisymmetric part `A = (J - Jᵀ)/2` (Balduzzi et al. 2018; Letcher
/// et al. 2019, algorithm 1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SymplecticGradientAdjustment {
    /// The step size `h`.
    pub step: f64,
    /// The size `λ` of the adjustment.
    pub lambda: f64,
    /// Whether `λ` gets the sign of `⟨F, JᵀF⟩ ⟨AᵀF, JᵀF⟩ / d + 1/10`, with which the adjustment is drawn to stable fixed points and away
    /// from unstable ones.
    pub align: bool,
}

impl Dynamics for SymplecticGradientAdjustment {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_finite_parameter("lambda", self.lambda)?;
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        memory.compute_jacobian(game, x);
        let [transposed, adjustment, ..] = &mut memory.vectors;
        transposed_product(&memory.jacobian, &memory.field, transposed);
        product(&memory.jacobian, &memory.field, adjustment);
        adjustment.iter_mut().zip(&*transposed).for_each(|(a, t)| *a = 0.5 * (t - *a));
        let inner = |u: &[f64], v: &[f64]| u.iter().zip(v).map(|(u, v)| u * v).sum::<f64>();
        let alignment = inner(&memory.field, transposed) * inner(adjustment, transposed) / x.len() as f64 + 0.1;
        let lambda = if self.align && alignment < 0.0 { -self.lambda } else { self.lambda };
        descend(x, self.step, &memory.field);
        descend(x, self.step * lambda, adjustment);
        Ok(())
    }
}

/// Lookahead, `x ← x + α (y - x)`, where `y` is `steps` steps of another rule from `x` (Zhang, Lucas, Hinton and Ba 2019, algorithm 1; for
/// games: Chavdarova et al. 2021). One of its steps is all of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookAhead<D> {
    /// The rule that looks ahead.
    pub rule: D,
    /// Its number of steps, 1 or more.
    pub steps: usize,
    /// The share `α` in (0, 1] of the way that is kept.
    pub alpha: f64,
}

impl<D: Dynamics> Dynamics for LookAhead<D> {
    fn check(&self, game: &Game) -> Result<(), DynamicsError> {
        if self.steps == 0 {
            return Err(DynamicsError::InvalidParameter { name: "steps", value: 0.0, expected: "at least 1" });
        }
        if !(self.alpha > 0.0 && self.alpha <= 1.0) {
            return Err(DynamicsError::InvalidParameter { name: "alpha", value: self.alpha, expected: "in (0, 1]" });
        }
        self.rule.check(game)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        let mut slow = std::mem::take(&mut memory.anchor);
        slow.clear();
        slow.extend_from_slice(x);
        for _ in 0..self.steps {
            self.rule.step(game, x, memory)?;
        }
        x.iter_mut().zip(&slow).for_each(|(x, slow)| *x = slow + self.alpha * (*x - slow));
        memory.anchor = slow;
        Ok(())
    }
}

/// Alternating gradient play: one player after another makes a step, and each sees the steps before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlternatingGda {
    /// The step size `h`.
    pub step: f64,
}

impl Dynamics for AlternatingGda {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        let mut start = 0;
        for size in game.dimensions() {
            memory.compute_field(game, x);
            let own = start..start + size;
            descend(&mut x[own.clone()], self.step, &memory.field[own.clone()]);
            start = own.end;
        }
        Ok(())
    }
}

/// Gradient play on several timescales, `x_i ← x_i - h r_i ∇ᵢ f_i(x)` (two of them: Heusel et al. 2017).
#[derive(Debug, Clone, PartialEq)]
pub struct TtGda {
    /// The step size `h`.
    pub step: f64,
    /// The players' shares `r_i > 0` of it; 1 and a ratio for two players on two timescales.
    pub ratios: Vec<f64>,
}

impl Dynamics for TtGda {
    fn check(&self, game: &Game) -> Result<(), DynamicsError> {
        check("ratios", game.dimensions().len(), self.ratios.len())?;
        check_step(self.step)?;
        match self.ratios.iter().find(|ratio| !(**ratio > 0.0 && ratio.is_finite())) {
            Some(&value) => Err(DynamicsError::InvalidParameter { name: "a ratio", value, expected: "positive and finite" }),
            None => Ok(()),
        }
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        let mut start = 0;
        for (size, ratio) in game.dimensions().iter().zip(&self.ratios) {
            let own = start..start + size;
            descend(&mut x[own.clone()], self.step * ratio, &memory.field[own.clone()]);
            start = own.end;
        }
        Ok(())
    }
}

/// Newton's method for `F(x) = 0`, `x ← x - h J(x)⁻¹ F(x)`. It is drawn to every stationary point, whether players minimise there or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewtonGame {
    /// The step size `h`; 1 for the undamped method.
    pub step: f64,
}

impl Dynamics for NewtonGame {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        memory.compute_jacobian(game, x);
        if !solve(&mut memory.jacobian, &mut memory.field) {
            return Err(DynamicsError::SingularJacobian { point: x.to_vec() });
        }
        descend(x, self.step, &memory.field);
        Ok(())
    }
}

/// Solves a linear system in place, by Gaussian elimination with partial pivoting; `false` for a matrix that is singular up to rounding.
/// What is not finite leads to what is not.
fn solve(matrix: &mut DMatrix<f64>, right: &mut [f64]) -> bool {
    let size = right.len();
    let least = size as f64 * f64::EPSILON * matrix.amax();
    for k in 0..size {
        let pivot = (k..size).max_by(|&i, &j| matrix[(i, k)].abs().total_cmp(&matrix[(j, k)].abs())).unwrap_or(k);
        if matrix[(pivot, k)].abs() <= least {
            return false;
        }
        matrix.swap_rows(k, pivot);
        right.swap(k, pivot);
        for i in k + 1..size {
            let factor = matrix[(i, k)] / matrix[(k, k)];
            for j in k + 1..size {
                matrix[(i, j)] -= factor * matrix[(k, j)];
            }
            right[i] -= factor * right[k];
        }
    }
    for k in (0..size).rev() {
        let known: f64 = (k + 1..size).map(|j| matrix[(k, j)] * right[j]).sum();
        right[k] = (right[k] - known) / matrix[(k, k)];
    }
    true
}

/// Gradient descent on the Hamiltonian `|F|²/2` of the game, `x ← x - h JᵀF` (Balduzzi et al. 2018, section 2.3). It is drawn to every
/// stationary point, whether players minimise there or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HamiltonianDescent {
    /// The step size `h`.
    pub step: f64,
}

impl Dynamics for HamiltonianDescent {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        memory.compute_jacobian(game, x);
        transposed_product(&memory.jacobian, &memory.field, &mut memory.vectors[0]);
        descend(x, self.step, &memory.vectors[0]);
        Ok(())
    }
}

/// Stochastic gradient play, `x ← x - h (F(x) + noise)`: gradients from a noisy oracle (Robbins and Monro 1951).
///
/// With noise of mean 0 and `E|noise|² ≤ σ²` in the metric of a margin, it ends within the radius of
/// [`noise_radius_squared`](crate::small_gain::Rates::noise_radius_squared) in the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StochasticEuler<N> {
    /// The step size `h`.
    pub step: f64,
    /// Adds noise to the field.
    pub noise: N,
}

impl<N: FnMut(&mut [f64])> Dynamics for StochasticEuler<N> {
    fn check(&self, _: &Game) -> Result<(), DynamicsError> {
        check_step(self.step)
    }

    fn step(&mut self, game: &Game, x: &mut [f64], memory: &mut Memory) -> Result<(), DynamicsError> {
        memory.compute_field(game, x);
        (self.noise)(&mut memory.field);
        descend(x, self.step, &memory.field);
        Ok(())
    }
}
