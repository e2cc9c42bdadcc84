//! The work of a branch and bound at each box: the Jacobian of the game of six variables at intervals.

use gradus_games::game::Game;
use gradus_games::rigorous::Interval;

use crate::Failure;
use crate::certificates::{SIX, example};
use crate::group::{Case, Floor, Group, Quotient, Side};
use crate::jacobians;
use crate::peer::Peer;

/// How many times as fast as intervals in Python ours must be.
const LEAST_RATIO: f64 = 20.0;
const BOXES: usize = 64;

/// For each box, the ends of each entry row by row, or of each side.
type Ends = Vec<Vec<[f64; 2]>>;

fn ends(intervals: &[Vec<Interval>]) -> Ends {
    intervals.iter().map(|row| row.iter().map(|x| [x.lo(), x.hi()]).collect()).collect()
}

fn ours(game: &Game, boxes: &[Vec<Interval>]) -> Vec<Vec<Interval>> {
    let mut scratch = Vec::new();
    let at = |sides: &Vec<Interval>| {
        let mut out = Vec::with_capacity(sides.len() * sides.len());
        game.jacobian_with(sides, &mut scratch, &mut out);
        out
    };
    boxes.iter().map(at).collect()
}

/// Why not both enclose the same, if they cannot.
fn disagreement(ours: &Ends, theirs: &Ends) -> Option<String> {
    if !ours.iter().map(Vec::len).eq(theirs.iter().map(Vec::len)) {
        return Some("another number of entries".into());
    }
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    // Both sides enclose the truth closely, or one of them does not.
    let apart = |([a, b], [c, d]): (&[f64; 2], &[f64; 2])| !(a <= d && c <= b && (a - c).abs() < 1e-9 && (b - d).abs() < 1e-9);
    pairs.clone().position(apart).map(|place| {
        let pair = pairs.clone().nth(place);
        format!("enclosures are apart: {pair:?}")
    })
}

pub(crate) fn group(peer: Option<&Peer>) -> Result<Group, Failure> {
    let (game, region) = example(SIX)?;
    let boxes = jacobians::boxes(&region, BOXES);
    let expected = ends(&ours(&game, &boxes));
    let mut group = Group { title: "Enclosures of a Jacobian", sides: vec!["ours"], quotients: Vec::new(), cases: Vec::new() };
    let mut case = Case::new(format!("{SIX}, {BOXES} boxes"), Vec::new());
    if let Some(peer) = peer {
        case.disagreement = disagreement(&expected, &peer.outputs("boxes", &ends(&boxes))?);
        group.sides.push("mpmath");
        group.quotients.push(Quotient { name: "mpmath / ours", over: 1, under: 0, floor: Some(Floor::AtLeast(LEAST_RATIO)) });
    }
    case.sides.push(Side::calls(move || ours(&game, &boxes)));
    case.sides.extend(peer.map(|peer| peer.side("boxes", 3)));
    group.cases.push(case);
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enclosures_that_are_apart_are_named() {
        let [near, far] = [vec![vec![[1.0, 2.0]]], vec![vec![[2.5, 3.0]]]];
        assert_eq!(disagreement(&near, &near), None);
        assert!(disagreement(&near, &far).unwrap().contains("2.5") && disagreement(&near, &Vec::new()).is_some());
    }
}
