//! Metrics with a matrix for each player, from linear matrix inequalities.

use gradus_base::stream;
use gradus_games::small_gain::{Structure, block_lmi};
use nalgebra::DMatrix;
use rand::RngExt;

use crate::group::{Case, Group, Side};
use crate::{Failure, SEED};

/// What four blocks of eight variables may take, in ms.
const MOST_MS: f64 = 1e3;
const BLOCKS: [usize; 4] = [8; 4];

/// Jacobians with a strong skew part and some noise, monotone in a metric that is not the Euclidean one.
fn jacobians(count: usize, size: usize) -> Vec<DMatrix<f64>> {
    let mut rng = stream(SEED, "block metrics", count as u64);
    let mut noise = |scale: f64| DMatrix::from_fn(size, size, |_, _| scale * (rng.random::<f64>() - 0.5));
    let stretch = DMatrix::from_fn(size, size, |i, j| if i == j { 1.0 + (i % 8) as f64 } else { 0.0 });
    let push = noise(2.0);
    let skew = &push - push.transpose();
    let back = stretch.map_with_location(|i, j, entry| if i == j { 1.0 / entry } else { 0.0 });
    (0..count).map(|_| &stretch * (DMatrix::identity(size, size) + &skew + noise(0.1)) * &back).collect()
}

pub(crate) fn group() -> Result<Group, Failure> {
    let mut cases = Vec::new();
    for structure in [Structure::Scalar, Structure::Diagonal, Structure::Full] {
        for count in [1, 4, 16] {
            let all = jacobians(count, BLOCKS.iter().sum());
            let found = block_lmi(&all, &BLOCKS, structure)?;
            let work = move || block_lmi(&all, &BLOCKS, structure);
            let mut case = Case::new(format!("4 blocks of 8, {structure:?}, {count} Jacobians"), vec![Side::calls(work)]);
            case.note = format!("margin {:.4}, no more than {:.4}", found.margin, found.upper);
            case.most_ms = Some(MOST_MS);
            cases.push(case);
        }
    }
    Ok(Group { title: "Metrics of blocks", sides: vec!["ours"], quotients: Vec::new(), cases })
}
