use nalgebra::SymmetricEigen;

use super::*;
use crate::small_gain::{
    BlockBounds, Certified, Certifier, Equilibrium, Invariant, MapCertifier, MapVerdict, Mode, Region, Search, Tolerance, Update, Verdict,
};

fn toy() -> Game {
    Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 10.0, 0.05, 1.0]), vec![0.0; 2]).unwrap()
}

fn waves() -> Game {
    Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].cos()]).unwrap()
}

/// Two players with two variables each.
fn pairs() -> Game {
    let game = Game::from_losses(&[2, 2], |x| {
        let own = |a: usize, b: usize| x[a].square() + 1.5 * x[b].square() + 0.3 * x[a] * x[b] + (x[a] - x[b]).softplus();
        vec![own(0, 1) + 0.3 * (x[0] * x[2]).sin() + x[1].tanh() * x[3], own(2, 3) + 0.2 * x[0] * x[3] - 0.2 * x[1].cos() * x[2]]
    });
    game.unwrap()
}

fn certified(game: &Game, region: Region, mode: Mode) -> Certified {
    let search = Search { tolerance: Tolerance::Relative(1e-3), most_boxes: 2_000 };
    match (Certifier { search, mode, ..Certifier::default() }).certify(game, &region).unwrap() {
        Verdict::Certified(found) => *found,
        other => panic!("{other:?}"),
    }
}

fn box_of(side: f64, count: usize) -> Region {
    Region::local(&vec![-side; count], &vec![side; count]).unwrap()
}

/// Games with certificates of every shape: one leaf, many, one with a cover of each bound, none of a box, players with several variables, players that are confined.
fn examples() -> Vec<(Game, Certificate)> {
    let constrained = Region::constrained(&[0.5, 0.0], &[1.0, 1.0]).unwrap();
    let all = [
        (toy(), Region::Free, Mode::Uniform),
        (toy(), box_of(1.0, 2), Mode::Uniform),
        (waves(), box_of(1.0, 2), Mode::Uniform),
        (waves(), box_of(1.0, 2), Mode::PerBox),
        (waves(), constrained, Mode::Uniform),
        (pairs(), box_of(1.0, 4), Mode::Uniform),
        (pairs(), box_of(1.0, 4), Mode::PerBox),
    ];
    all.into_iter().map(|(game, region, mode)| (certified(&game, region, mode).certificate, game)).map(|(c, game)| (game, c)).collect()
}

#[test]
fn certificates_are_accepted() {
    for (game, certificate) in examples() {
        assert_eq!(check(&certificate, Some(&game)), Ok(Verified::Verified));
        assert_eq!(check(&certificate, None), Ok(Verified::VerifiedGivenBounds));
    }
    let shapes: Vec<usize> = examples().iter().map(|(_, certificate)| certificate.leaves.len()).collect();
    assert!(shapes[0] == 1 && shapes[3] > 10 && shapes[6] > 1 && !examples()[5].1.covers.is_empty(), "{shapes:?}");
}

/// Each change makes a claim stronger or breaks the form; none may be accepted, with or without the game.
#[test]
fn forgeries_are_rejected() {
    let change: Vec<(&str, fn(&mut Certificate))> = vec![
        ("alpha is positive", |c| c.alpha = -c.alpha),
        ("alpha is finite", |c| c.alpha = f64::NAN),
        ("beta is at least alpha", |c| c.beta = 0.5 * c.alpha),
        ("beta is finite", |c| c.beta = f64::INFINITY),
        ("beta", |c| c.beta *= 0.5),
        ("a weight", |c| c.weights[0] = -1.0),
        ("a weight of zero", |c| c.weights[1] = 0.0),
        ("an infinite weight", |c| c.weights[1] = f64::INFINITY),
        ("one weight less", |c| c.weights.truncate(1)),
        ("a player less", |c| c.dimensions.truncate(1)),
        ("a player without variables", |c| c.dimensions[0] = 0),
        ("too many variables", |c| c.dimensions[0] = usize::MAX),
        ("no leaves", |c| c.leaves.clear()),
        ("a leaf twice", |c| c.leaves.push(c.leaves[0].clone())),
        ("a coupling of a player to itself", |c| c.leaves[0].coupling[(1, 1)] = 0.1),
        ("a coupling below zero", |c| c.leaves[0].coupling[(0, 1)] = -0.1),
        ("a coupling that is none", |c| c.leaves[0].coupling[(0, 1)] = f64::NAN),
        ("fewer couplings", |c| c.leaves[0].coupling = DMatrix::zeros(1, 2)),
        ("an own norm below zero", |c| c.leaves[0].own_lipschitz[0] = -1.0),
        ("an own norm below the curvature", |c| c.leaves[0].own_lipschitz[0] = 0.5 * c.leaves[0].curvature[0]),
        ("an infinite curvature", |c| c.leaves[0].curvature[0] = f64::INFINITY),
        ("a witness below zero", |c| c.leaves[0].margin_witness[0] *= -1.0),
        ("a witness of zeros", |c| c.leaves[0].margin_witness.fill(0.0)),
        ("a witness that is infinite", |c| c.leaves[0].lipschitz_witness[1] = f64::INFINITY),
        ("another witness", |c| c.leaves[0].lipschitz_witness[0] *= 1e9),
        ("a step of zero", |c| c.steps[0].h = 0.0),
        ("a step below zero", |c| c.steps[0].h *= -1.0),
        ("a step that is none", |c| c.steps[0].h = f64::NAN),
        ("the limit itself", |c| c.steps[0].h = 2.0 * c.alpha / (c.beta * c.beta)),
        ("a step beyond the limit", |c| c.steps[0].h = 2.1 * c.alpha / (c.beta * c.beta)),
        ("a factor of one", |c| c.steps[0].factor = Some(1.0)),
        ("a smaller factor", |c| c.steps[0].factor = c.steps[0].factor.map(|factor| 0.99 * factor)),
        ("a negative factor", |c| c.steps[0].factor = c.steps[0].factor.map(|factor| -factor)),
        ("no factor", |c| c.steps[0].factor = None),
        ("another rule for the step", |c| c.steps[0].rule = Rule::Rk4),
        ("another basis for the step", |c| c.steps[0].basis = Basis::Rk4Incremental),
        ("a rigorous guideline", |c| {
            let last = c.steps.len() - 1;
            c.steps[last] = Step { rule: Rule::Rk4, basis: Basis::Guideline, h: 2.5 / c.beta, factor: Some(0.9), rigor: Rigor::Rigorous };
        }),
        ("a guideline with a factor", |c| {
            let last = c.steps.len() - 1;
            c.steps[last] = Step { rule: Rule::Rk4, basis: Basis::Guideline, h: 2.5 / c.beta, factor: Some(0.9), rigor: Rigor::Heuristic };
        }),
        ("a longer guideline", |c| {
            let last = c.steps.len() - 1;
            c.steps[last] =
                Step { rule: Rule::Rk4, basis: Basis::Guideline, h: 2.6 / c.beta, factor: None, rigor: Rigor::AsymptoticLinear };
        }),
        ("an equilibrium elsewhere", |c| {
            let centre = vec![0.9; c.dimensions.iter().sum()];
            c.equilibrium = Some(Equilibrium { centre, radius: 1e-9 });
        }),
        ("no ball for the equilibrium", |c| {
            (c.ball, c.projected) = (None, None);
            c.equilibrium.get_or_insert(Equilibrium { centre: vec![0.0; 2], radius: 1.0 });
        }),
        ("a residual below zero", |c| {
            let centre = c.ball.as_ref().map_or_else(|| vec![0.6; 2], |ball| ball.centre.clone());
            c.ball = Some(Ball { centre, residual: -1.0, invariant_radius: c.region.as_ref().map(|_| 0.0) });
        }),
        ("a ball of another size", |c| c.ball = Some(Ball { centre: vec![0.0; 7], residual: 0.0, invariant_radius: None })),
    ];
    for (game, certificate) in examples() {
        for (what, change) in &change {
            let mut forged = certificate.clone();
            change(&mut forged);
            for game in [None, Some(&game)] {
                assert!(check(&forged, game).is_err(), "{what} passes for {:?}", certificate.region);
            }
        }
    }
}

#[test]
fn forgeries_of_boxes_are_rejected() {
    let change: Vec<(&str, fn(&mut Certificate))> = vec![
        ("no region", |c| c.region = None),
        ("a larger region", |c| {
            let region = c.region.as_mut().unwrap();
            region[0] = Interval::new(region[0].lo(), region[0].hi() + 0.1).unwrap();
        }),
        ("a region with a side less", |c| c.region.as_mut().unwrap().truncate(1)),
        ("a region without a width", |c| c.region.as_mut().unwrap()[0] = Interval::point(0.7)),
        ("a leaf less", |c| drop(c.leaves.pop())),
        ("a smaller leaf", |c| {
            c.leaves[0].region[0] = Interval::new(c.leaves[0].region[0].lo(), c.leaves[0].region[0].hi() - 0.01).unwrap()
        }),
        ("a leaf without a box", |c| c.leaves[0].region.clear()),
        ("a cut less", |c| c.tree = c.tree.split_off(1)),
        ("a branch too many", |c| c.tree.push(Branch::Leaf(c.leaves.len()))),
        ("a leaf twice in the tree", |c| c.tree.push(Branch::Leaf(0))),
        ("a cut of no variable", |c| c.tree.insert(0, Branch::Split { axis: 99, at: 0.6 })),
        ("a cut outside", |c| c.tree.insert(0, Branch::Split { axis: 0, at: 5.0 })),
        ("a cut at the end", |c| c.tree.insert(0, Branch::Split { axis: 0, at: c.region.as_ref().unwrap()[0].lo() })),
        ("a cut that is none", |c| c.tree.insert(0, Branch::Split { axis: 0, at: f64::NAN })),
        ("an invariant radius that is none", |c| {
            let ball = c.ball.get_or_insert(Ball { centre: vec![0.6; 2], residual: 0.0, invariant_radius: None });
            ball.invariant_radius = None;
        }),
        ("a larger invariant radius", |c| {
            let centre = c.ball.as_ref().map_or_else(|| vec![0.6; 2], |ball| ball.centre.clone());
            c.ball = Some(Ball { centre, residual: 0.0, invariant_radius: Some(1e3) });
        }),
        ("a centre outside", |c| {
            c.equilibrium = None;
            c.ball = Some(Ball { centre: vec![1.5; c.dimensions.iter().sum()], residual: 0.0, invariant_radius: Some(0.0) });
        }),
        ("a residual that is too large for an equilibrium", |c| {
            c.equilibrium = None;
            let centre = c.region.as_ref().unwrap().iter().map(|side| side.midpoint()).collect();
            c.ball = Some(Ball { centre, residual: 1e3, invariant_radius: Some(0.0) });
        }),
        ("a claim without conditions", |c| (c.ball, c.equilibrium, c.constrained, c.conditional) = (None, None, false, false)),
    ];
    for (game, certificate) in examples().into_iter().skip(1) {
        for (what, change) in &change {
            let mut forged = certificate.clone();
            change(&mut forged);
            for game in [None, Some(&game)] {
                assert!(check(&forged, game).is_err(), "{what} passes for {:?}", certificate.region);
            }
        }
    }
    // Leaves in another order.
    let (_, mut certificate) = examples().swap_remove(3);
    certificate.leaves.swap(0, 1);
    assert_eq!(check(&certificate, None), Err(CertificateError::Tiling { leaf: 0 }));
}

#[test]
fn tight_claims_cannot_be_strengthened_at_all() {
    // One leaf, and every claim as strong as can be shown: in the last digits nothing more passes.
    let certificate = certified(&toy(), box_of(1.0, 2), Mode::Uniform).certificate;
    let change: Vec<fn(&mut Certificate)> = vec![
        |c| c.alpha *= 1.0 + 1e-13,
        |c| c.beta *= 1.0 - 1e-13,
        |c| c.weights[1] *= 1.0 + 1e-6,
        |c| c.leaves[0].margin_witness[0] *= 1.0 + 1e-12,
        |c| c.leaves[0].lipschitz_witness[0] *= 1.0 + 1e-12,
        |c| c.steps[0].factor = c.steps[0].factor.map(|factor| factor * (1.0 - 1e-14)),
        |c| c.steps[1].factor = c.steps[1].factor.map(|factor| factor * (1.0 - 1e-14)),
        |c| c.ball.as_mut().unwrap().invariant_radius = c.ball.as_ref().unwrap().invariant_radius.map(|radius| radius * (1.0 + 1e-13)),
    ];
    for (k, change) in change.iter().enumerate() {
        let mut forged = certificate.clone();
        change(&mut forged);
        assert!(check(&forged, None).is_err(), "{k}");
    }
}

#[test]
fn bounds_that_the_game_does_not_have_are_rejected() {
    let change: Vec<(&str, fn(&mut Leaf, f64))> = vec![
        ("a curvature", |leaf, by| {
            leaf.curvature[0] += by;
            leaf.own_lipschitz[0] += by;
        }),
        ("a coupling", |leaf, by| leaf.coupling[(0, 1)] *= 1.0 - by),
        ("an own norm", |leaf, by| leaf.own_lipschitz[1] *= 1.0 - by),
    ];
    for (which, (game, certificate)) in examples().into_iter().enumerate() {
        for (what, change) in &change {
            let mut forged = certificate.clone();
            // Bounds of numbers are tight, those of larger blocks need not be.
            change(&mut forged.leaves[0], if game.size() == 2 { 1e-9 } else { 0.5 });
            // An own norm below the curvature is none, which is as good.
            let found = check(&forged, Some(&game));
            assert!(matches!(found, Err(CertificateError::Inequality { .. } | CertificateError::Format(_))), "{which} {what}: {found:?}");
        }
    }
    let (game, mut certificate) = examples().swap_remove(2);
    certificate.ball.as_mut().unwrap().residual = 0.0;
    certificate.equilibrium.as_mut().unwrap().radius = 0.0;
    assert_eq!(check(&certificate, Some(&game)), Err(CertificateError::Inequality { which: "the residual", leaf: None }));
    assert!(matches!(check(&certificate, Some(&pairs())), Err(CertificateError::Hash(_))));
    let other = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[3.0, 0.0, 0.0, 3.0]), vec![0.0; 2]).unwrap();
    assert!(check(&certificate, Some(&other)).is_err());
}

/// A field that bends sharply beyond a corner of the region: stages of Runge–Kutta steps that start inside would feel it.
#[test]
fn stages_that_leave_the_region_are_not_rigorous() {
    let game = Game::from_field(&[1, 1], |x| vec![x[0] - 2.0 + ((x[0] - 1.0) * 200.0).exp() / 200.0, x[1]]).unwrap();
    let mut found = certified(&game, box_of(1.0, 2), Mode::Uniform).certificate;
    assert!(found.conditional && found.steps.iter().all(|step| step.basis != Basis::Rk4Incremental));
    assert_eq!(check(&found, Some(&game)), Ok(Verified::Verified));
    let rates = crate::small_gain::Rates::new(found.alpha, found.beta).unwrap();
    let h = 0.5 * rates.rk4_limit();
    let factor = Some(rates.rk4_factor(h));
    found.steps.push(Step { rule: Rule::Rk4, basis: Basis::Rk4Incremental, h, factor, rigor: Rigor::Rigorous });
    assert_eq!(check(&found, Some(&game)), Err(CertificateError::Inequality { which: "a step", leaf: None }));
}

#[test]
fn symmetric_steps_and_updates_of_their_own() {
    // A potential game, and one that a metric makes symmetric.
    let potential = Game::from_losses(&[2, 1], |x| {
        let all = (x[0] * x[2]).sin() * 0.3 + x[0].square() + x[1].square() + x[2].square() + 0.2 * x[0] * x[1] * x[2];
        vec![all, all]
    });
    let scaled = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 2.0, 0.25, 1.0]), vec![0.0; 2]);
    for (game, region) in [(potential.unwrap(), box_of(0.5, 3)), (scaled.unwrap(), Region::Free)] {
        let mut found = certified(&game, region.clone(), Mode::Uniform).certificate;
        let step = found.symmetric_step(&game).unwrap();
        assert!(step.h > found.steps[0].h && step.factor.unwrap() < found.steps[0].factor.unwrap(), "{step:?} {:?}", found.steps[0]);
        found.steps.push(step);
        assert_eq!(check(&found, Some(&game)), Ok(Verified::Verified));
        assert_eq!(check(&found, None), Err(CertificateError::Inequality { which: "a step", leaf: None }));
        let last = found.steps.len() - 1;
        let changes: [fn(&mut Step); 4] = [
            |step| step.factor = step.factor.map(|factor| factor * (1.0 - 1e-9)),
            |step| step.h *= 1.05,
            |step| step.rule = Rule::Rk4,
            |step| step.factor = None,
        ];
        for change in changes {
            let mut forged = found.clone();
            change(&mut forged.steps[last]);
            assert!(check(&forged, Some(&game)).is_err());
        }
        // An update with a proof of its own, with the game and without.
        found.steps.truncate(last);
        let search = Search { tolerance: Tolerance::Relative(1e-2), most_boxes: 2_000 };
        let certifier = MapCertifier { update: Update::Rk4 { h: 0.2 }, weights: found.weights.clone(), search };
        let MapVerdict::Contracts { certificate, .. } = certifier.certify(&game, &region).unwrap() else { panic!("it contracts") };
        found.maps.push(*certificate);
        assert_eq!(check(&found, Some(&game)), Ok(Verified::Verified));
        assert_eq!(check(&found, None), Ok(Verified::VerifiedGivenBounds));
        let changes: [fn(&mut MapCertificate); 7] = [
            |map| map.q *= 0.99,
            |map| map.leaves[0].norm = 2.0,
            |map| map.weights[0] = -1.0,
            |map| map.update = Update::Rk4 { h: -0.2 },
            |map| map.dimensions = vec![1, 1, 1],
            |map| map.fixed_point.as_mut().unwrap().radius = -1.0,
            |map| map.invariant = Invariant::None,
        ];
        for change in changes {
            let mut forged = found.clone();
            change(&mut forged.maps[0]);
            assert!(check(&forged, Some(&game)).is_err() && check(&forged, None).is_err());
        }
        found.maps[0].update = Update::Rk4 { h: 5.0 };
        assert!(check(&found, Some(&game)).is_err());
    }
    // Where couplings differ in sign, nothing is symmetric.
    let skew = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 0.5, -0.5, 1.0]), vec![0.0; 2]).unwrap();
    assert_eq!(certified(&skew, Region::Free, Mode::Uniform).certificate.symmetric_step(&skew), None);
}

#[test]
fn projections_of_updates_are_those_of_the_game() {
    // Nobody is confined: a projection would make a fixed point at a face that is no equilibrium of this game.
    let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 0.5, 0.5, 1.0]), vec![0.0; 2]).unwrap();
    let certifier = MapCertifier { update: Update::Euler { h: 0.5 }, weights: vec![1.0; 2], search: Search::default() };
    let face = Region::constrained(&[0.5; 2], &[1.0; 2]).unwrap();
    let MapVerdict::Contracts { certificate: map, .. } = certifier.certify(&game, &face).unwrap() else { panic!("it contracts") };
    assert_eq!(map.invariant, Invariant::Projected);
    let mut found = certified(&game, box_of(1.0, 2), Mode::Uniform).certificate;
    found.maps.push(*map.clone());
    assert!(check(&found, Some(&game)).is_err() && check(&found, None).is_err());
    let mut confined = certified(&game, face, Mode::Uniform).certificate;
    confined.maps.push(*map);
    assert_eq!(check(&confined, Some(&game)), Ok(Verified::Verified));
}

#[test]
fn deep_trees_take_memory_for_one_box() {
    // Each cut of a box with many sides halves what is left; no leaf ever comes.
    let mut found = certified(&toy(), box_of(1.0, 2), Mode::Uniform).certificate;
    let size = 2_000;
    found.dimensions = vec![size, size];
    found.region = Some(vec![Interval::new(-1.0, 1.0).unwrap(); 2 * size]);
    found.tree = (0..2 * size).map(|axis| Branch::Split { axis, at: 0.0 }).collect();
    assert!(matches!(check(&found, None), Err(CertificateError::Tiling { leaf: 0 })));
}

#[test]
fn equilibria_of_nearly_flat_games_on_the_border() {
    // Without a border the equilibrium would be at (0, 0); a margin of 1e-9 leaves no factor of a step that is less than 1.
    let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1e-9, 0.0, 0.0, 1.0]), vec![0.0; 2]).unwrap();
    let found = certified(&game, Region::constrained(&[-1.0, 1.0], &[1.0, 2.0]).unwrap(), Mode::Uniform).certificate;
    let equilibrium = found.equilibrium.as_ref().unwrap();
    assert!(equilibrium.centre == [0.0, 1.0] && equilibrium.radius == 0.0, "{equilibrium:?}");
    assert_eq!(check(&found, Some(&game)), Ok(Verified::Verified));
}

#[test]
fn forgeries_of_covers_are_rejected() {
    let game = Game::from_field(&[1; 3], |x| {
        (0..3).map(|i| 20.0 * x[i].powi(5) - 50.0 / 3.0 * x[i].powi(3) + 7.25 * x[i] + 0.3 * x[(i + 1) % 3]).collect()
    });
    let game = game.unwrap();
    let found = certified(&game, box_of(1.0, 3), Mode::Uniform).certificate;
    assert!(found.covers.len() == 12 && check(&found, Some(&game)) == Ok(Verified::Verified));
    // With or without the game.
    let change: Vec<fn(&mut Certificate)> = vec![
        |c| c.covers.truncate(11),
        |c| c.covers.swap(0, 1),
        |c| c.covers.push(c.covers[0].clone()),
        |c| c.covers[0].tree.truncate(3),
        |c| c.covers[0].tree.clear(),
        |c| c.covers[0].tree.push(Branch::Leaf(0)),
        |c| c.covers[0].tree[0] = Branch::Split { axis: 0, at: 7.0 },
        |c| c.covers[0].tree[0] = Branch::Split { axis: 9, at: 0.0 },
        |c| c.leaves.push(c.leaves[0].clone()),
        |c| c.region = None,
        |c| c.region.as_mut().unwrap()[0] = Interval::new(-1.5, 1.0).unwrap(),
        |c| c.alpha *= 1.01,
    ];
    for (k, change) in change.iter().enumerate() {
        let mut forged = found.clone();
        change(&mut forged);
        assert!(check(&forged, None).is_err() && check(&forged, Some(&game)).is_err(), "{k}");
    }
    // With the game: a bound that is too good, on fewer boxes than it takes, or on none.
    let change: Vec<fn(&mut Certificate)> = vec![
        |c| {
            c.leaves[0].curvature[1] += 1e-3;
            c.leaves[0].own_lipschitz[1] += 1e-3;
        },
        |c| c.leaves[0].coupling[(0, 1)] *= 0.999,
        |c| c.leaves[0].own_lipschitz[2] *= 0.999,
        |c| c.covers[0].tree = vec![Branch::Leaf(0)],
        |c| c.covers.clear(),
    ];
    for (k, change) in change.iter().enumerate() {
        let mut forged = found.clone();
        change(&mut forged);
        assert!(matches!(check(&forged, Some(&game)), Err(CertificateError::Inequality { leaf: Some(_), .. })), "{k}");
    }
}

#[test]
fn equilibria_on_the_border() {
    // Without a border the equilibrium would be at (1.5, 0).
    let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 0.5, 0.2, 1.0]), vec![-1.5, -0.3]).unwrap();
    let found = certified(&game, Region::constrained(&[-1.0; 2], &[1.0; 2]).unwrap(), Mode::Uniform).certificate;
    let equilibrium = found.equilibrium.as_ref().unwrap();
    assert!((equilibrium.centre[0] - 1.0).abs() < 1e-14 && (equilibrium.centre[1] - 0.1).abs() < 1e-14 && equilibrium.radius < 1e-13);
    assert!(found.ball.is_none() && !found.conditional && check(&found, Some(&game)) == Ok(Verified::Verified));
    let change: Vec<fn(&mut Certificate)> = vec![
        |c| c.equilibrium.as_mut().unwrap().radius = 0.0,
        |c| c.equilibrium.as_mut().unwrap().centre[0] = 0.9,
        |c| c.projected.as_mut().unwrap().residual = -1.0,
        |c| c.projected.as_mut().unwrap().h = 0.0,
        |c| c.projected.as_mut().unwrap().h *= 1e-3,
        |c| c.projected.as_mut().unwrap().h = f64::INFINITY,
        |c| c.projected.as_mut().unwrap().h = f64::NAN,
        |c| c.projected.as_mut().unwrap().centre = vec![2.0, 0.1],
        |c| c.projected.as_mut().unwrap().centre.clear(),
        |c| c.constrained = false,
    ];
    for (k, change) in change.iter().enumerate() {
        let mut forged = found.clone();
        change(&mut forged);
        assert!(check(&forged, None).is_err(), "{k}");
    }
    let mut forged = found.clone();
    forged.projected.as_mut().unwrap().residual = 0.0;
    let centre = vec![1.0, 0.2];
    (forged.projected.as_mut().unwrap().centre, forged.equilibrium) = (centre.clone(), Some(Equilibrium { centre, radius: 0.0 }));
    let which = "the residual of the projected step";
    assert_eq!(check(&forged, Some(&game)), Err(CertificateError::Inequality { which, leaf: None }));
}

#[test]
fn linear_claims_need_a_linear_game() {
    let mut certificate = certified(&waves(), box_of(1.0, 2), Mode::Uniform).certificate;
    certificate.steps[2].rigor = Rigor::AsymptoticLinear;
    assert_eq!(check(&certificate, None), Ok(Verified::VerifiedGivenBounds));
    assert!(check(&certificate, Some(&waves())).is_err());
    let all = certified(&toy(), Region::Free, Mode::Uniform).certificate;
    assert!(check(&all, Some(&toy())).is_ok() && check(&all, Some(&waves())).is_err());
}

/// Each leaf contracts in a metric of its own, and all in none: `[[1, a], [b, 1]]` with `ab < 1` and `a/b` between 1/200 and 200.
#[test]
fn a_metric_for_each_leaf_is_no_metric() {
    let region = vec![Interval::new(-1.0, 1.0).unwrap(); 2];
    let half = |lo: f64, hi: f64| vec![Interval::new(lo, hi).unwrap(), region[1]];
    let [a, b] = [(200.0f64 * 0.5).sqrt(), (0.5f64 / 200.0).sqrt()];
    for ratio in [1.0, 14.0, 200.0, 1.0 / 14.0, 1.0 / 200.0] {
        let weights = [1.0, ratio];
        let leaf = |region: Vec<Interval>, a: f64, b: f64| {
            let bounds = BlockBounds::new(vec![1.0; 2], DMatrix::from_row_slice(2, 2, &[0.0, a, b, 0.0]), vec![1.0; 2]).unwrap();
            crate::small_gain::verified::prove(region, &bounds, &weights)
        };
        let leaves = [leaf(half(-1.0, 0.0), a, b), leaf(half(0.0, 1.0), b, a)];
        assert!(leaves.iter().any(|(_, alpha, _)| *alpha < 0.0));
        let beta = leaves.iter().map(|(.., beta)| *beta).fold(0.0, f64::max);
        let certificate = Certificate {
            dimensions: vec![1, 1],
            region: Some(region.clone()),
            constrained: false,
            weights: weights.to_vec(),
            tree: vec![Branch::Split { axis: 0, at: 0.0 }, Branch::Leaf(0), Branch::Leaf(1)],
            leaves: leaves.into_iter().map(|(leaf, ..)| leaf).collect(),
            covers: Vec::new(),
            whole: None,
            alpha: 0.1,
            beta,
            steps: Vec::new(),
            maps: Vec::new(),
            ball: None,
            projected: None,
            equilibrium: None,
            conditional: true,
        };
        assert!(matches!(check(&certificate, None), Err(CertificateError::Inequality { which: "the margin", .. })));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Any number of a certificate, by its place.
    fn number(certificate: &mut Certificate, place: usize) -> &mut f64 {
        let Certificate { weights, leaves, alpha, beta, steps, ball, projected, equilibrium, .. } = certificate;
        let mut numbers: Vec<&mut f64> = vec![alpha, beta];
        numbers.extend(weights);
        numbers.extend(steps.iter_mut().flat_map(|step| std::iter::once(&mut step.h).chain(&mut step.factor)));
        numbers
            .extend(ball.iter_mut().flat_map(|ball| ball.centre.iter_mut().chain([&mut ball.residual]).chain(&mut ball.invariant_radius)));
        numbers.extend(projected.iter_mut().flat_map(|p| p.centre.iter_mut().chain([&mut p.h, &mut p.residual])));
        numbers.extend(equilibrium.iter_mut().flat_map(|equilibrium| equilibrium.centre.iter_mut().chain([&mut equilibrium.radius])));
        for leaf in leaves {
            let Leaf { curvature, coupling, own_lipschitz, margin_witness, lipschitz_witness, .. } = leaf;
            numbers.extend(
                curvature.iter_mut().chain(coupling.iter_mut()).chain(own_lipschitz).chain(margin_witness).chain(lipschitz_witness),
            );
        }
        let count = numbers.len();
        numbers.swap_remove(place % count)
    }

    /// Whether what a certificate claims is true of its own bounds, by eigenvalues and not by its witnesses.
    fn is_true(certificate: &Certificate) -> bool {
        let slack = 1e-9;
        let rates = certificate.leaves.iter().all(|leaf| {
            let own = leaf.own_lipschitz.iter().zip(&leaf.curvature).map(|(own, mu)| own.max(mu.abs())).collect();
            let bounds = BlockBounds::new(leaf.curvature.clone(), leaf.coupling.clone(), own).unwrap();
            let margin = bounds.margin(&certificate.weights).unwrap();
            margin >= certificate.alpha * (1.0 - slack) - slack
                && bounds.lipschitz(&certificate.weights).unwrap() <= certificate.beta * (1.0 + slack) + slack
        });
        let (alpha, beta) = (certificate.alpha, certificate.beta);
        let steps = certificate.steps.iter().filter(|step| step.basis == Basis::Euler).all(|step| {
            let factor = 1.0 - 2.0 * step.h * alpha + (step.h * beta).powi(2);
            step.factor.unwrap().powi(2) >= factor - slack && step.factor.unwrap() < 1.0
        });
        let ball = certificate.ball.as_ref().is_none_or(|ball| ball.residual >= 0.0);
        let equilibrium = certificate.equilibrium.as_ref().is_none_or(|e| {
            let inside = certificate.ball.as_ref().map(|ball| (&ball.centre, ball.residual / alpha));
            let at_border = certificate.projected.as_ref().map(|p| (&p.centre, p.residual * (1.0 + p.h * beta) / (p.h * alpha)));
            let (centre, radius) = inside.or(at_border).unwrap();
            e.centre == *centre && e.radius >= radius * (1.0 - slack)
        });
        alpha > 0.0 && rates && steps && ball && equilibrium
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_certificate_that_was_changed_anywhere_is_rejected_or_true(
            which in 0usize..7,
            place in 0usize..10_000,
            change in prop_oneof![0.0..2.0f64, 0.999..1.001f64, Just(-1.0), Just(0.0), Just(f64::NAN), Just(f64::INFINITY), 1.0..1e12f64],
        ) {
            thread_local!(static EXAMPLES: Vec<(Game, Certificate)> = examples());
            let (game, mut certificate) = EXAMPLES.with(|examples| examples[which].clone());
            *number(&mut certificate, place) *= change;
            if check(&certificate, None).is_ok() {
                prop_assert!(is_true(&certificate), "{certificate:?}");
            }
            // With the game, what is accepted is true of the game.
            if check(&certificate, Some(&game)).is_ok() {
                let size = game.size();
                for leaf in certificate.leaves.iter().filter(|leaf| !leaf.region.is_empty()) {
                    let middle: Vec<f64> = leaf.region.iter().map(|side| side.midpoint()).collect();
                    let jacobian = game.jacobian(&middle);
                    let half = size / 2;
                    let own = jacobian.view((0, 0), (half, half)).into_owned();
                    let curvature = SymmetricEigen::new(0.5 * (&own + own.transpose())).eigenvalues.min();
                    prop_assert!(leaf.curvature[0] <= curvature + 1e-9);
                    prop_assert!(leaf.coupling[(0, 1)] >= jacobian.view((0, half), (half, half)).into_owned().singular_values().max() - 1e-9);
                }
            }
        }
    }
}
