use nalgebra::DMatrix;

use super::checker::check_map;
use super::*;
use crate::small_gain::{CertificateError, Tolerance};

fn linear(entries: [f64; 4]) -> Game {
    Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &entries), vec![0.0; 2]).unwrap()
}

/// Regularised matching pennies.
fn pennies() -> Game {
    linear([1.0, 5.0, -5.0, 1.0])
}

fn waves() -> Game {
    Game::from_field(&[1, 1], |x| vec![x[0] + x[0].powi(3) / 2.0 + 2.0 * x[1].sin(), x[1] + 0.3 * x[1].powi(3) + 0.2 * x[0].sin()]).unwrap()
}

/// Two players, of two variables and one.
fn three() -> Game {
    let game = Game::from_losses(&[2, 1], |x| {
        let own = x[0].square() + 0.7 * x[1].square() + 0.2 * x[0] * x[1] + (x[0] - x[1]).cosh() * 0.1;
        vec![own + (x[0] + x[1]) * x[2] * 0.8, x[2].square() * 0.8 + x[2].powi(4) * 0.05 - x[0] * x[2] * 0.8 + 0.1 * x[1].sin() * x[2]]
    });
    game.unwrap()
}

fn box_of(side: f64, count: usize) -> Region {
    Region::local(&vec![-side; count], &vec![side; count]).unwrap()
}

fn verdict(game: &Game, region: &Region, update: Update, weights: &[f64]) -> MapVerdict {
    let search = Search { tolerance: Tolerance::Absolute(1e-2), most_boxes: 3_000 };
    MapCertifier { update, weights: weights.to_vec(), search }.certify(game, region).unwrap()
}

fn certified(game: &Game, region: &Region, update: Update, weights: &[f64]) -> MapCertificate {
    match verdict(game, region, update, weights) {
        MapVerdict::Contracts { certificate, attained, .. } => {
            assert!(certificate.q >= attained - 1e-13);
            *certificate
        }
        other => panic!("{other:?}"),
    }
}

fn updates() -> Vec<Update> {
    vec![
        Update::Euler { h: 0.2 },
        Update::Rk4 { h: 0.4 },
        Update::Extragradient { h: 0.2 },
        Update::Optimistic { h: 0.1 },
        Update::Consensus { h: 0.1, gamma: 0.2 },
        Update::Preconditioned { steps: vec![0.25, 0.15] },
    ]
}

/// Certificates of every shape.
fn examples() -> Vec<(Game, MapCertificate)> {
    let mut all = Vec::new();
    for update in updates() {
        all.push((waves(), certified(&waves(), &box_of(0.25, 2), update.clone(), &[1.0, 8.0])));
        all.push((three(), certified(&three(), &box_of(0.3, 3), update.clone(), &[1.0, 1.0])));
        let free = certified(&linear([1.0, 0.5, -0.5, 1.0]), &Region::Free, update, &[1.0, 1.0]);
        all.push((linear([1.0, 0.5, -0.5, 1.0]), free));
    }
    let confined = Region::constrained(&[0.1, -0.5], &[0.6, 0.5]).unwrap();
    all.push((waves(), certified(&waves(), &confined, Update::Euler { h: 0.2 }, &[1.0, 8.0])));
    all
}

#[test]
fn certificates_of_all_updates_are_accepted() {
    for (game, certificate) in examples() {
        assert_eq!(check_map(&certificate, &game), Ok(()), "{:?} {:?}", certificate.update, certificate.region);
        let point = certificate.fixed_point.as_ref().unwrap_or_else(|| panic!("{:?} {:?}", certificate.update, certificate.region));
        assert!(point.radius < 1e-12, "{point:?}");
        let confined = certificate.invariant == Invariant::Projected;
        assert!(point.centre.iter().all(|x| x.abs() < 1e-9) || confined || game == three());
        if confined {
            // At the face, where the first player would go on.
            assert_eq!(point.centre[0], 0.1);
        }
    }
    let invariants: Vec<Invariant> = examples().iter().map(|(_, certificate)| certificate.invariant).collect();
    assert!(invariants.contains(&Invariant::Projected) && invariants.contains(&Invariant::Region), "{invariants:?}");
    assert!(invariants.iter().any(|invariant| matches!(invariant, Invariant::Ball { .. })), "{invariants:?}");
}

#[test]
fn norms_of_linear_games() {
    let toy = linear([1.0, 10.0, 0.05, 1.0]);
    let euler = certified(&toy, &Region::Free, Update::Euler { h: 1.0 }, &[1.0, 200.0]);
    assert!((euler.q - 0.5f64.sqrt()).abs() < 1e-12 && euler.invariant == Invariant::Region);
    assert!(matches!(verdict(&toy, &Region::Free, Update::Euler { h: 1.0 }, &[1.0, 1.0]), MapVerdict::Expands { norm, .. } if norm > 9.0));
    // Just below and above the first step at which the Runge–Kutta method does not contract.
    let limit = crate::small_gain::affine_rk4_limit(&toy.jacobian(&[0.0; 2]), &[1, 1], &[1.0, 200.0]).unwrap();
    let rk4 = |h| verdict(&toy, &box_of(1.0, 2), Update::Rk4 { h }, &[1.0, 200.0]);
    assert!(matches!(rk4(limit * (1.0 - 1e-9)), MapVerdict::Contracts { .. }));
    assert!(matches!(rk4(limit * (1.0 + 1e-9)), MapVerdict::Expands { .. }));
}

#[test]
fn steps_that_gradient_play_may_not_take() {
    let contracts = |update: Update| {
        let free = verdict(&pennies(), &Region::Free, update, &[1.0, 1.0]);
        if let MapVerdict::Contracts { certificate, .. } = &free {
            assert_eq!(check_map(certificate, &pennies()), Ok(()));
        }
        matches!(free, MapVerdict::Contracts { .. })
    };
    assert!(contracts(Update::Euler { h: 0.0769 }) && !contracts(Update::Euler { h: 0.077 }));
    for longer in [
        Update::Extragradient { h: 0.15 },
        Update::Optimistic { h: 0.1 },
        Update::Rk4 { h: 0.5 },
        Update::Consensus { h: 0.077, gamma: 0.1 },
    ] {
        assert!(contracts(longer.clone()), "{longer:?}");
    }
}

#[test]
fn optimistic_states_are_its_iterates() {
    let (game, h) = (waves(), 0.15);
    let (mut before, mut now) = (vec![0.3, -0.2], vec![0.25, -0.1]);
    let p: Vec<f64> = now.iter().zip(game.field(&before)).map(|(x, f)| x + h * f).collect();
    let mut state: Vec<f64> = p.iter().copied().chain(p.iter().zip(&before).map(|(p, x)| p - x)).collect();
    for _ in 0..20 {
        let (f, g) = (game.field(&now), game.field(&before));
        let next: Vec<f64> = (0..2).map(|i| now[i] - h * (2.0 * f[i] - g[i])).collect();
        (before, now) = (now, next);
        state = Update::Optimistic { h }.apply(&game, &state);
        let remembered: Vec<f64> = (0..2).map(|i| state[i] - state[2 + i]).collect();
        assert!(remembered.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-14));
    }
}

#[test]
fn updates_that_are_none_are_named() {
    let certify = |update, weights: &[f64], game: &Game, region: &Region| {
        MapCertifier { update, weights: weights.to_vec(), search: Search::default() }.certify(game, region)
    };
    for h in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for update in [
            Update::Euler { h },
            Update::Optimistic { h },
            Update::Consensus { h, gamma: 1.0 },
            Update::Preconditioned { steps: vec![0.1, h] },
        ] {
            let found = certify(update, &[1.0; 2], &waves(), &box_of(1.0, 2));
            assert!(matches!(found, Err(SmallGainError::InvalidBound { .. })), "{found:?}");
        }
    }
    let euler = || Update::Euler { h: 0.1 };
    let found = certify(Update::Preconditioned { steps: vec![0.1] }, &[1.0; 2], &waves(), &box_of(1.0, 2));
    assert!(matches!(found, Err(SmallGainError::Dimension { expected: 2, got: 1, .. })));
    assert!(matches!(certify(euler(), &[1.0, 0.0], &waves(), &box_of(1.0, 2)), Err(SmallGainError::InvalidWeight { player: 1, .. })));
    assert!(matches!(certify(euler(), &[1.0; 2], &waves(), &Region::Free), Err(SmallGainError::InvalidRegion { .. })));
    assert!(matches!(certify(euler(), &[1.0; 2], &waves(), &box_of(1.0, 3)), Err(SmallGainError::Dimension { .. })));
    // Without values of the field there is no map, whatever its Jacobian.
    let alone = Game::from_jacobian(&[1, 1], |x| vec![x[0].cosh(), x[1] * 0.0, x[0] * 0.0, x[1].cosh()]).unwrap();
    assert!(matches!(certify(euler(), &[1.0; 2], &alone, &box_of(1.0, 2)), Err(SmallGainError::NonFinite { .. })));
    let mut certificate = certified(&waves(), &box_of(0.5, 2), euler(), &[1.0, 8.0]);
    certificate.fixed_point = None;
    certificate.invariant = Invariant::None;
    assert!(check_map(&certificate, &waves()).is_ok() && check_map(&certificate, &alone).is_err());
    assert!(matches!(check_map(&certificate, &three()), Err(CertificateError::Hash(_))));
}

/// Each change makes a claim stronger or breaks the form.
#[test]
fn forgeries_are_rejected() {
    let change: Vec<(&str, fn(&mut MapCertificate))> = vec![
        ("a factor of one", |c| c.q = 1.0),
        ("a factor of zero", |c| c.q = 0.0),
        ("a factor that is none", |c| c.q = f64::NAN),
        ("a smaller factor", |c| c.q *= 0.9),
        ("smaller norms", |c| {
            c.q *= 0.9;
            c.leaves.iter_mut().for_each(|leaf| leaf.norm *= 0.9);
        }),
        ("a norm that is none", |c| c.leaves[0].norm = f64::NAN),
        ("a norm below zero", |c| c.leaves[0].norm = -1.0),
        ("a weight", |c| c.weights[0] = -1.0),
        ("a weight of zero", |c| c.weights[1] = 0.0),
        ("an infinite weight", |c| c.weights[1] = f64::INFINITY),
        ("a weight less", |c| c.weights.truncate(1)),
        ("a weight more", |c| c.weights.push(1.0)),
        ("another metric", |c| c.weights[0] *= 1e6),
        ("another step", |c| c.update = Update::Euler { h: 100.0 }),
        ("a step that is none", |c| c.update = Update::Rk4 { h: f64::NAN }),
        ("a player less", |c| c.dimensions.truncate(1)),
        ("no leaves", |c| c.leaves.clear()),
        ("a leaf twice", |c| c.leaves.push(c.leaves[0].clone())),
        ("a fixed point without a set", |c| c.invariant = Invariant::None),
        ("a set without a fixed point", |c| c.fixed_point = None),
        ("a projection", |c| {
            c.invariant = Invariant::Projected;
            c.update = Update::Rk4 { h: c.update.step() };
        }),
        ("a huge ball", |c| c.invariant = Invariant::Ball { radius: 1e9 }),
        ("a ball without a radius", |c| c.invariant = Invariant::Ball { radius: 0.0 }),
        ("a ball that is none", |c| c.invariant = Invariant::Ball { radius: f64::NAN }),
        ("a fixed point elsewhere", |c| c.fixed_point.as_mut().unwrap().centre[0] += 0.05),
        ("a fixed point outside", |c| c.fixed_point.as_mut().unwrap().centre[0] = 1e3),
        ("a fixed point that is none", |c| c.fixed_point.as_mut().unwrap().centre[0] = f64::NAN),
        ("a variable less", |c| c.fixed_point.as_mut().unwrap().centre.truncate(1)),
        ("a residual below zero", |c| c.fixed_point.as_mut().unwrap().residual = -1.0),
        ("a radius below the residual's", |c| c.fixed_point.as_mut().unwrap().radius = -1e-300),
        ("a radius that is none", |c| c.fixed_point.as_mut().unwrap().radius = f64::INFINITY),
    ];
    let boxes: Vec<(&str, fn(&mut MapCertificate))> = vec![
        ("no region", |c| c.region = None),
        ("all states", |c| {
            c.region = None;
            c.tree.clear();
            c.leaves.truncate(1);
            c.leaves[0].region.clear();
        }),
        ("a larger region", |c| c.region.as_mut().unwrap()[0] = Interval::new(-1e3, 1e3).unwrap()),
        ("a region with a side less", |c| c.region.as_mut().unwrap().truncate(1)),
        ("a leaf less", |c| drop(c.leaves.pop())),
        ("a smaller leaf", |c| c.leaves[0].region[0] = Interval::point(c.leaves[0].region[0].lo())),
        ("a cut less", |c| c.tree = c.tree.split_off(1)),
        ("a cut outside", |c| c.tree.insert(0, Branch::Split { axis: 0, at: 1e3 })),
        ("a cut of no variable", |c| c.tree.insert(0, Branch::Split { axis: 99, at: 0.0 })),
    ];
    for (game, certificate) in examples() {
        let boxes = boxes.iter().filter(|(what, _)| certificate.region.is_some() && (*what != "all states" || !game.is_affine()));
        for (what, change) in change.iter().chain(boxes) {
            let mut forged = certificate.clone();
            change(&mut forged);
            assert!(check_map(&forged, &game).is_err(), "{what} passes for {:?} on {:?}", certificate.update, certificate.region);
        }
        // A region that the map leaves.
        if let Invariant::Ball { radius } = certificate.invariant {
            let forged = |invariant| MapCertificate { invariant, ..certificate.clone() };
            assert!(check_map(&forged(Invariant::Ball { radius: radius * (1.0 + 1e-12) }), &game).is_err());
            assert!(check_map(&forged(Invariant::Region), &game).is_err());
        }
    }
}

#[test]
fn a_region_without_a_fixed_point_is_conditional() {
    let region = Region::local(&[0.2, -0.5], &[0.6, 0.5]).unwrap();
    let certificate = certified(&waves(), &region, Update::Euler { h: 0.2 }, &[1.0, 8.0]);
    assert!(certificate.fixed_point.is_none() && certificate.invariant == Invariant::None);
    assert_eq!(check_map(&certificate, &waves()), Ok(()));
    let centre = vec![0.2, 0.0];
    let forged = MapCertificate {
        fixed_point: Some(FixedPoint { centre, residual: 0.0, radius: 0.0 }),
        invariant: Invariant::Region,
        ..certificate
    };
    assert!(check_map(&forged, &waves()).is_err());
}

#[test]
fn too_few_boxes_are_said() {
    let search = Search { tolerance: Tolerance::Absolute(1e-3), most_boxes: 1 };
    let found =
        MapCertifier { update: Update::Rk4 { h: 0.3 }, weights: vec![1.0, 8.0], search }.certify(&waves(), &box_of(1.0, 2)).unwrap();
    assert!(matches!(found, MapVerdict::Inconclusive { attained, bound, boxes: 1 } if attained < 1.0 && bound >= 1.0), "{found:?}");
    let cancel = Cancel::new();
    cancel.cancel();
    let certifier = MapCertifier { update: Update::Euler { h: 0.2 }, weights: vec![1.0, 8.0], search };
    assert_eq!(certifier.certify_until(&waves(), &box_of(1.0, 2), &cancel), Err(SmallGainError::Cancelled));
}

#[cfg(feature = "rayon")]
#[test]
fn threads_do_not_matter() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| certified(&three(), &box_of(0.3, 3), Update::Rk4 { h: 0.4 }, &[1.0, 1.0]))
    };
    assert_eq!(with(1), with(4));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn steps_contract_as_much_as_is_said(which in 0usize..13, points in prop::array::uniform2(prop::array::uniform6(0.0..=1.0f64))) {
            thread_local!(static EXAMPLES: Vec<(Game, MapCertificate)> = examples());
            EXAMPLES.with(|examples| {
                let (game, certificate) = &examples[which];
                let size = certificate.weights.len() / certificate.dimensions.len() * game.size();
                let everywhere = vec![Interval::new(-3.0, 3.0).unwrap(); size];
                let region = certificate.region.as_ref().unwrap_or(&everywhere);
                let state = |shares: &[f64; 6]| {
                    region.iter().zip(shares).map(|(side, share)| side.lo() + share * (side.hi() - side.lo())).collect::<Vec<f64>>()
                };
                let [x, y] = [state(&points[0]), state(&points[1])];
                let of = checker::of_state(certificate);
                let weights: Vec<f64> = of.iter().zip(&certificate.weights).flat_map(|(&size, &w)| std::iter::repeat_n(w, size)).collect();
                let apart = |x: &[f64], y: &[f64]| x.iter().zip(y).zip(&weights).map(|((x, y), w)| w * (x - y) * (x - y)).sum::<f64>().sqrt();
                let [after_x, after_y] = [&x, &y].map(|x| certificate.update.apply(game, x));
                let (before, after) = (apart(&x, &y), apart(&after_x, &after_y));
                prop_assert!(after <= certificate.q * before * (1.0 + 1e-12) + 1e-15, "{after} {before} {}", certificate.q);
                let point = certificate.fixed_point.as_ref().unwrap();
                if let Invariant::Ball { radius } = certificate.invariant {
                    prop_assert!(apart(&x, &point.centre) > radius || apart(&after_x, &point.centre) <= radius + 1e-12);
                }
                if let (Invariant::Region, Some(region)) = (certificate.invariant, &certificate.region) {
                    prop_assert!(region.iter().zip(&after_x).all(|(side, &x)| side.lo() - 1e-12 <= x && x <= side.hi() + 1e-12));
                }
                Ok(())
            })?;
        }

        /// A number of a certificate is changed: it is rejected, or what it says is weaker.
        #[test]
        fn changed_certificates_are_rejected_or_weaker(which in 0usize..18, place in 0usize..1_000, factor in prop_oneof![0.0..2.0f64, 0.999..1.001f64, Just(f64::NAN), Just(-1.0)]) {
            thread_local!(static EXAMPLES: Vec<(Game, MapCertificate)> = examples());
            EXAMPLES.with(|examples| {
                let (game, certificate) = &examples[which];
                let mut forged = certificate.clone();
                let leaf = place % forged.leaves.len();
                let number = match place % 4 {
                    0 => &mut forged.q,
                    1 => &mut forged.leaves[leaf].norm,
                    2 => &mut forged.fixed_point.as_mut().unwrap().residual,
                    _ => &mut forged.fixed_point.as_mut().unwrap().radius,
                };
                *number *= factor;
                if check_map(&forged, game).is_ok() {
                    let tight = |c: &MapCertificate| c.leaves.iter().map(|leaf| leaf.norm).fold(0.0, f64::max);
                    prop_assert!(forged.q >= tight(&forged) && tight(&forged) >= tight(certificate) * (1.0 - 1e-3), "{place} {factor}");
                    let [new, old] = [&forged, certificate].map(|c| c.fixed_point.as_ref().unwrap());
                    prop_assert!(new.residual >= old.residual * 0.99 - 1e-15 && new.radius >= new.residual / (1.0 - forged.q) * (1.0 - 1e-9));
                }
                Ok(())
            })?;
        }
    }
}
