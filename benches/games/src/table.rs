//! Margins, Lipschitz constants and stability thresholds of linear games with couplings of 61 strengths (Sharma 2025, the linear–quadratic
//! game of 32 and 32 variables).

use std::collections::BTreeMap;

use gradus_base::stream;
use gradus_games::small_gain::{LinearFamily, SmallGainError};
use nalgebra::DMatrix;
use rand::RngExt;
use serde::Serialize;

use crate::group::{Case, Floor, Group, Quotient, Side};
use crate::peer::Peer;
use crate::{Failure, SEED};

/// How many times as fast as NumPy, used plainly, the table must be.
const LEAST_RATIO: f64 = 10.0;
/// How far outputs may be apart.
const TOLERANCE: f64 = 1e-9;
const HALF: usize = 32;
/// How hard the first player is pushed, and the second.
const PUSHES: [f64; 2] = [10.0, 0.05];

/// What both sides begin with.
#[derive(Clone, Serialize)]
struct Inputs {
    /// `K` of the games `I + λ K`, row by row.
    matrix: Vec<Vec<f64>>,
    /// Variables of each player.
    dimensions: [usize; 2],
    weights: [f64; 2],
    /// The `λ`.
    strengths: Vec<f64>,
}

/// Arrays with one number for each strength.
type Columns = BTreeMap<String, Vec<f64>>;

fn inputs() -> (Inputs, DMatrix<f64>) {
    let mut rng = stream(SEED, "orthogonal matrix", 0);
    let orthogonal = DMatrix::from_fn(HALF, HALF, |_, _| 2.0 * rng.random::<f64>() - 1.0).qr().q();
    let mut matrix = DMatrix::zeros(2 * HALF, 2 * HALF);
    matrix.view_mut((0, HALF), (HALF, HALF)).copy_from(&(&orthogonal * PUSHES[0]));
    matrix.view_mut((HALF, 0), (HALF, HALF)).copy_from(&(orthogonal.transpose() * PUSHES[1]));
    let inputs = Inputs {
        matrix: matrix.row_iter().map(|row| row.iter().copied().collect()).collect(),
        dimensions: [HALF; 2],
        weights: [PUSHES[1] / PUSHES[0], 1.0],
        strengths: (0..61).map(|k| 2.5 * f64::from(k) / 60.0).collect(),
    };
    (inputs, matrix)
}

fn ours(inputs: &Inputs, matrix: &DMatrix<f64>) -> Result<Columns, SmallGainError> {
    let family = LinearFamily::new(matrix, &inputs.dimensions, &inputs.weights)?;
    let mut columns = Columns::new();
    for &strength in &inputs.strengths {
        let bounds = family.bounds(strength)?;
        let row = [
            ("euclidean margin", family.euclidean_margin(strength)),
            ("margin", bounds.margin(&inputs.weights)?),
            ("true margin", family.metric_margin(strength)),
            ("lipschitz", bounds.lipschitz(&inputs.weights)?),
            ("euler threshold", family.spectral_euler_threshold(strength)),
            ("rk4 threshold", family.spectral_rk4_threshold(strength)),
        ];
        row.into_iter().for_each(|(name, value)| columns.entry(name.into()).or_default().push(value));
    }
    Ok(columns)
}

/// Why two tables are not the same, if they are not.
fn disagreement(ours: &Columns, theirs: &Columns) -> Option<String> {
    if !ours.keys().eq(theirs.keys()) || ours.iter().any(|(name, column)| column.len() != theirs[name].len()) {
        return Some(format!("the outputs are {:?} instead of {:?}", theirs.keys(), ours.keys()));
    }
    ours.iter().find_map(|(name, column)| {
        let apart = column.iter().zip(&theirs[name]).map(|(a, b)| (a - b).abs());
        // The greatest, and NaN if one is.
        let apart = apart.fold(0.0, |most: f64, apart| if apart > most || apart.is_nan() { apart } else { most });
        (apart.is_nan() || apart > TOLERANCE).then(|| format!("{name}: outputs differ by {apart:.1e}, more than {TOLERANCE:.0e}"))
    })
}

pub(crate) fn group(peer: Option<&Peer>) -> Result<Group, Failure> {
    let (inputs, matrix) = inputs();
    let expected = ours(&inputs, &matrix)?;
    let mut case = Case::new("six quantities of 61 games of 64 variables", Vec::new());
    case.note = "decompositions once for all games against once for each".into();
    let mut group = Group { title: "A table of linear games", sides: vec!["ours"], quotients: Vec::new(), cases: Vec::new() };
    let mut peers = Vec::new();
    if let Some(peer) = peer {
        for (workload, name, floor) in
            [("table", "NumPy, plain", Some(Floor::AtLeast(LEAST_RATIO))), ("table-once", "NumPy, decomposed once", None)]
        {
            let found = peer.outputs(workload, &inputs)?;
            case.disagreement = case.disagreement.or_else(|| disagreement(&expected, &found).map(|why| format!("{name}: {why}")));
            group.sides.push(name);
            group.quotients.push(Quotient {
                name: if floor.is_some() { "plain / ours" } else { "once / ours" },
                over: peers.len() + 1,
                under: 0,
                floor,
            });
            peers.push(peer.side(workload, 3));
        }
    }
    case.sides.push(Side::calls(move || ours(&inputs, &matrix)));
    case.sides.extend(peers);
    group.cases.push(case);
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_paper() {
        let (inputs, matrix) = inputs();
        let columns = ours(&inputs, &matrix).unwrap();
        // Strengths 0.25, 0.5, 1 and 1.375 of Sharma's table.
        for (row, expected) in [
            (6, [-0.25625, 0.823_223, 0.823_223, 1.176_777, 1.699_558, 2.366_884]),
            (12, [-1.5125, 0.646_447, 0.646_447, 1.353_553, 1.477_592, 2.057_764]),
            (24, [-4.025, 0.292_893, 0.292_893, 1.707_107, 1.171_573, 1.631_587]),
            (33, [-5.909_375, 0.027_728, 0.027_728, 1.972_272, 1.014_059, 1.412_226]),
        ] {
            let names = ["euclidean margin", "margin", "true margin", "lipschitz", "euler threshold", "rk4 threshold"];
            for (name, expected) in names.into_iter().zip(expected) {
                assert!((columns[name][row] - expected).abs() < 1e-6, "{name} {row}: {} {expected}", columns[name][row]);
            }
        }
    }

    #[test]
    fn what_differs_is_named() {
        let columns = |value: f64| Columns::from([("margin".to_owned(), vec![1.0, value])]);
        assert_eq!(disagreement(&columns(2.0), &columns(2.0 + 1e-10)), None);
        assert!(disagreement(&columns(2.0), &columns(2.1)).unwrap().contains("margin: outputs differ by 1.0e-1"));
        assert!(disagreement(&columns(2.0), &columns(f64::NAN)).is_some() && disagreement(&columns(2.0), &Columns::new()).is_some());
    }
}
