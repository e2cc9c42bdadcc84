//! The best weights of many players, and a whole certificate with a verified margin.

use gradus_base::stream;
use gradus_games::game::Game;
use gradus_games::small_gain::{BlockBounds, Certifier, Region, Verdict, optimal_weights};
use nalgebra::DMatrix;
use rand::RngExt;

use crate::group::{Case, Group, Side};
use crate::{Failure, SEED};

/// What the weights of 100 players may take, in ms.
const MOST_MS: f64 = 5.0;

/// Bounds of `players` that all push each other, each with all others about half as hard as its curvature allows.
fn dense(players: usize) -> (Vec<f64>, DMatrix<f64>) {
    let mut rng = stream(SEED, "dense bounds", players as u64);
    let curvature = (0..players).map(|_| 1.0 + rng.random::<f64>()).collect();
    let coupling = DMatrix::from_fn(players, players, |i, j| if i == j { 0.0 } else { rng.random::<f64>() * 1.5 / players as f64 });
    (curvature, coupling)
}

pub(crate) fn group() -> Result<Group, Failure> {
    let mut cases = Vec::new();
    for players in [10, 100, 300] {
        let (curvature, coupling) = dense(players);
        let bounds = BlockBounds::new(curvature.clone(), coupling, curvature)?;
        let mut case = Case::new(format!("best weights, {players} players"), vec![Side::calls(move || optimal_weights(&bounds))]);
        case.most_ms = (players == 100).then_some(MOST_MS);
        cases.push(case);
    }
    let (curvature, coupling) = dense(100);
    let jacobian = DMatrix::from_fn(100, 100, |i, j| if i == j { curvature[i] } else { coupling[(i, j)] });
    let game = Game::affine(&[1; 100], jacobian, vec![1.0; 100])?;
    for (name, region) in [("everywhere", Region::Free), ("in a box", Region::local(&[-100.0; 100], &[100.0; 100])?)] {
        let game = game.clone();
        let certify = move || Certifier::default().certify(&game, &region);
        let Verdict::Certified(found) = certify()? else { return Err(Failure::Unexpected("the linear game has no certificate".into())) };
        let mut case = Case::new(format!("whole certificate of a linear game {name}, 100 players"), vec![Side::calls(certify)]);
        case.note = format!("margin {:.3}", found.certificate.alpha);
        cases.push(case);
    }
    Ok(Group { title: "Best weights of many players", sides: vec!["ours"], quotients: Vec::new(), cases })
}
