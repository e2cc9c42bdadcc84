//! What multipliers show of all metrics of a structure.

use std::ops::Range;

use nalgebra::DMatrix;

/// Variables on which all metrics of a structure are multiples of the identity, or anything.
pub(super) enum Group {
    /// Multiples of the identity.
    Trace(Range<usize>),
    /// Any positive definite matrix.
    Block(Range<usize>),
}

/// A number that the margin of no metric of a structure exceeds, to rounding; `∞` if the multipliers show none.
///
/// For positive semidefinite `Z_k` and any `M`, the margin is at most `Σ_k tr(Z_k M J_k) / Σ_k tr(Z_k M)`, as each matrix
/// `M J_k + J_kᵀ M - 2 α M` is positive semidefinite. Of numerator and denominator only the groups' own parts count, so that it is at most
/// the greatest such ratio of a group alone: an eigenvalue, or a ratio of traces. Groups that hardly count are tried to be left out: the
/// multipliers restricted to the variables of the others are some too.
pub(super) fn bound(jacobians: &[DMatrix<f64>], multipliers: &[DMatrix<f64>], mut groups: Vec<Group>) -> f64 {
    let weight = |group: &Group| {
        let of = group.variables();
        let traces = multipliers.iter().map(|z| of.clone().map(|a| z[(a, a)]).sum::<f64>());
        traces.sum::<f64>() / of.len() as f64
    };
    groups.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    // Falls in what follows of the weights are where to cut; a few of them are enough.
    let mut cuts: Vec<usize> = (1..groups.len()).collect();
    cuts.sort_by(|&a, &b| (weight(&groups[a]) / weight(&groups[a - 1])).total_cmp(&(weight(&groups[b]) / weight(&groups[b - 1]))));
    cuts.truncate(3);
    let all = groups.len();
    cuts.into_iter().chain([all]).map(|kept| of_groups(jacobians, multipliers, &groups[..kept])).fold(f64::INFINITY, f64::min)
}

/// The bound of multipliers that are restricted to the variables of some groups.
fn of_groups(jacobians: &[DMatrix<f64>], multipliers: &[DMatrix<f64>], groups: &[Group]) -> f64 {
    let variables: Vec<usize> = groups.iter().flat_map(|group| group.variables()).collect();
    let restricted = |matrix: &DMatrix<f64>| matrix.select_rows(&variables).select_columns(&variables);
    let (mut above, mut below) = (DMatrix::zeros(variables.len(), variables.len()), DMatrix::zeros(variables.len(), variables.len()));
    for (jacobian, multiplier) in jacobians.iter().zip(multipliers) {
        let z = restricted(multiplier);
        if z.clone().cholesky().is_none() {
            return f64::INFINITY;
        }
        let product = restricted(jacobian) * &z;
        above += 0.5 * (&product + product.transpose());
        below += z;
    }
    let mut first = 0;
    let ratios = groups.iter().map(|group| {
        let own = first..first + group.variables().len();
        first = own.end;
        let part = |matrix: &DMatrix<f64>| matrix.view((own.start, own.start), (own.len(), own.len())).into_owned();
        group.greatest_ratio(&part(&above), part(&below))
    });
    ratios.fold(f64::NEG_INFINITY, f64::max)
}

impl Group {
    fn variables(&self) -> Range<usize> {
        match self {
            Self::Trace(of) | Self::Block(of) => of.clone(),
        }
    }

    /// The greatest `tr(M A) / tr(M B)` of any metric `M` of these variables, with a positive definite `B`.
    fn greatest_ratio(&self, above: &DMatrix<f64>, below: DMatrix<f64>) -> f64 {
        if matches!(self, Self::Trace(_)) {
            let ratio = above.trace() / below.trace();
            return if ratio.is_nan() { f64::INFINITY } else { ratio };
        }
        let ratio = || {
            let factor = below.cholesky()?.unpack();
            let half = factor.solve_lower_triangular(above)?;
            let whole = factor.solve_lower_triangular(&half.transpose())?;
            whole.iter().all(|entry| entry.is_finite()).then(|| (0.5 * (&whole + whole.transpose())).symmetric_eigenvalues().max())
        };
        ratio().unwrap_or(f64::INFINITY)
    }
}
