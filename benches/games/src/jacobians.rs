//! Jacobians at intervals and at points.

use gradus_base::stream;
use gradus_games::game::Game;
use gradus_games::rigorous::Interval;
use gradus_games::scalar::Real;
use gradus_games::zoo;
use rand::RngExt;

use crate::group::{Case, Floor, Group, Quotient, Side};
use crate::{Failure, SEED};

/// How many times as long as at a point it may take at intervals.
const MOST_RATIO: f64 = 8.0;
/// Places at which a Jacobian is computed in a call.
const PLACES: usize = 64;

/// Boxes in a region, each with an eighth of its sides.
pub(crate) fn boxes(region: &[Interval], count: usize) -> Vec<Vec<Interval>> {
    let mut rng = stream(SEED, "boxes", region.len() as u64);
    let mut part = |side: &Interval| {
        let width = (side.hi() - side.lo()) / 8.0;
        let lo = side.lo() + rng.random::<f64>() * 7.0 * width;
        Interval::new(lo, (lo + width).min(side.hi())).unwrap_or(*side)
    };
    (0..count).map(|_| region.iter().map(&mut part).collect()).collect()
}

/// The Jacobian at each place, with room that is kept.
fn at<R: Real + 'static>(game: &Game, places: Vec<Vec<R>>) -> Side {
    let (game, mut scratch, mut out) = (game.clone(), Vec::new(), Vec::new());
    Side::calls(move || {
        for x in &places {
            game.jacobian_with(x, &mut scratch, &mut out);
            std::hint::black_box(&out);
        }
    })
}

pub(crate) fn group() -> Result<Group, Failure> {
    let mut cases = Vec::new();
    for zoo::Example { name, game, region, .. } in zoo::all()?.into_iter().filter(|example| !example.game.is_affine()) {
        let boxes = boxes(&region, PLACES);
        let points = boxes.iter().map(|sides| sides.iter().map(|side| side.midpoint()).collect()).collect::<Vec<Vec<f64>>>();
        let sides = vec![at(&game, points), at(&game, boxes.clone()), {
            let game = game.clone();
            Side::calls(move || boxes.iter().for_each(|sides| drop(std::hint::black_box(game.jacobian_box(sides)))))
        }];
        let mut case = Case::new(name, sides);
        case.note = format!("{} variables", game.size());
        cases.push(case);
    }
    let quotient = |name, over, floor| Quotient { name, over, under: 0, floor };
    Ok(Group {
        title: "Jacobians at 64 points and boxes",
        sides: vec!["f64", "intervals", "mean value form"],
        quotients: vec![quotient("intervals / f64", 1, Some(Floor::AtMost(MOST_RATIO))), quotient("mean value form / f64", 2, None)],
        cases,
    })
}
