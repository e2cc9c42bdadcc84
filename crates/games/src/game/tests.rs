use super::*;

/// Two players with two and one variables and every kind of coupling.
fn losses<R: Real>(x: &[R]) -> Vec<R> {
    let [a, b, c] = [x[0], x[1], x[2]];
    vec![
        a.square() + a * b.tanh() + (b + c).softplus() * a.exp() + (a * b).sigmoid() - (b / (c.square() + 2.0)).atan(),
        c.powi(4) + (a * c).sin() + c / (b.square() + 2.0) + (a + 3.0).ln() * c.cosh() - (c + 4.0).sqrt() * b.sinh().cos(),
    ]
}

fn mixed() -> Game {
    Game::from_losses(&[2, 1], |x| losses(x)).unwrap()
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_and_jacobians_are_central_differences(x in prop::array::uniform3(-1.0..1.0f64)) {
            let (step, game) = (1e-5, mixed());
            let moved = |k: usize, by: f64| { let mut x = x; x[k] += by; x };
            let field = game.field(&x);
            for (k, player) in [(0, 0), (1, 0), (2, 1)] {
                let slope = (losses(&moved(k, step))[player] - losses(&moved(k, -step))[player]) / (2.0 * step);
                prop_assert!((field[k] - slope).abs() < 1e-8 * (1.0 + slope.abs()));
            }
            let found = game.jacobian(&x);
            for k in 0..3 {
                let (ahead, behind) = (game.field(&moved(k, step)), game.field(&moved(k, -step)));
                for i in 0..3 {
                    let slope = (ahead[i] - behind[i]) / (2.0 * step);
                    prop_assert!((found[(i, k)] - slope).abs() < 1e-6 * (1.0 + slope.abs()), "{i} {k}");
                }
            }
        }

        #[test]
        fn enclosures_hold_everywhere_in_a_box(
            middle in prop::array::uniform3(-1.0..1.0f64),
            radius in prop::array::uniform3(0.0..0.5f64),
            share in prop::array::uniform3(-1.0..=1.0f64),
        ) {
            let game = mixed();
            let region: Vec<Interval> = (0..3).map(|i| Interval::new(middle[i] - radius[i], middle[i] + radius[i]).unwrap()).collect();
            let x: Vec<f64> = (0..3).map(|i| (middle[i] + share[i] * radius[i]).clamp(region[i].lo(), region[i].hi())).collect();
            let (enclosed, found) = (game.jacobian_box(&region), game.jacobian(&x));
            // The values inside are rounded, too.
            let holds = |e: &Interval, x: f64| e.lo() <= x + 1e-12 * (1.0 + x.abs()) && x - 1e-12 * (1.0 + x.abs()) <= e.hi();
            prop_assert!(enclosed.iter().zip(found.transpose().iter()).all(|(e, &x)| holds(e, x)), "{enclosed:?} {found:?}");
            prop_assert!(game.field_box(&region).iter().zip(game.field(&x)).all(|(e, x)| holds(e, x)));
        }
    }
}

#[test]
fn a_part_that_is_undefined_makes_all_undefined() {
    // Neither the Jacobian nor the field has the logarithm, and in the second nothing has.
    for factor in [1.0, 0.0] {
        let game = Game::from_losses(&[1, 1], |x| vec![x[0].square() + x[0].ln() * factor, x[1].square()]).unwrap();
        let boxed = |lo: f64| game.jacobian_box(&[Interval::new(lo, lo + 1.0).unwrap(), Interval::point(1.0)]);
        assert!(boxed(0.5)[0].is_bounded(), "{:?}", boxed(0.5));
        assert_eq!(boxed(-0.5)[0], Interval::ENTIRE);
        assert_eq!(boxed(-3.0)[3], Interval::ENTIRE);
        assert!(game.is_finite_at(&[1.0, 1.0]) && !game.is_finite_at(&[-1.0, 1.0]));
    }
    let game = Game::from_field(&[1, 1], |x| vec![x[0] + 0.0 / x[1], x[1]]).unwrap();
    assert!(!game.is_finite_at(&[1.0, 0.0]) && game.is_finite_at(&[1.0, 1.0]));
    let undefined = Game::from_field(&[1, 1], |x| vec![x[0] + Symbol::constant(-1.0).ln() * 0.0, x[1]]).unwrap();
    assert!(!undefined.is_finite_at(&[1.0, 1.0]) && !undefined.field_box(&[Interval::point(1.0); 2])[0].is_bounded());
}

#[test]
fn linear_formulas_are_affine() {
    let game = Game::from_losses(&[1, 1], |x| vec![x[0].square() + 3.0 * x[0] * x[1], x[1].square() - x[1] / 3.0]).unwrap();
    assert!(game.is_affine() && !mixed().is_affine());
    let jacobian = DMatrix::from_row_slice(2, 2, &[2.0, 3.0, 0.0, 2.0]);
    assert_eq!(game.jacobian(&[0.3, 0.7]), jacobian);
    let same = Game::affine(&[1, 1], jacobian, vec![0.0, -1.0 / 3.0]).unwrap();
    assert_eq!(same.field(&[1.0, 2.0]), [8.0, 4.0 - 1.0 / 3.0]);
    assert_eq!(same.field(&[1.0, 2.0]), game.field(&[1.0, 2.0]));
}

#[test]
fn players_of_both_kinds_play_one_game() {
    let both = Game::from_players::<GameError>(&[2, 1], |x| {
        let slope = 4.0 * x[2].powi(3) + x[0] * (x[0] * x[2]).cos() + 1.0 / (x[1].square() + 2.0);
        let last = slope + (x[0] + 3.0).ln() * x[2].sinh() + 0.5 / (x[2] + 4.0).sqrt() * -x[1].sinh().cos();
        Ok(vec![Player::Loss(losses(x)[0]), Player::Field(vec![last])])
    });
    let (x, whole, both) = ([0.3, -0.4, 0.7], mixed(), both.unwrap());
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(near(&whole.field(&x), &both.field(&x)), "{:?} {:?}", whole.field(&x), both.field(&x));
    assert!(near(whole.jacobian(&x).as_slice(), both.jacobian(&x).as_slice()));
    let short = Game::from_players::<GameError>(&[2, 1], |x| Ok(vec![Player::Field(vec![x[0]]), Player::Loss(x[2])]));
    assert!(matches!(short, Err(GameError::Dimension { expected: 2, got: 1, .. })));
}

#[test]
fn values_into_room_are_the_same_values() {
    let affine = Game::affine(&[2, 1], DMatrix::from_fn(3, 3, |i, j| (i * 3 + j) as f64 - 3.5), vec![1.0, -2.0, 0.5]).unwrap();
    for game in [mixed(), affine] {
        let (mut scratch, mut field, mut jacobian) = (Vec::new(), vec![f64::NAN; 3], DMatrix::zeros(3, 3));
        for x in [[0.3, -0.2, 0.9], [-1.0, 0.5, 0.0]] {
            game.field_into(&x, &mut scratch, &mut field);
            game.jacobian_into(&x, &mut scratch, &mut jacobian);
            assert_eq!((&field, &jacobian), (&game.field(&x), &game.jacobian(&x)));
        }
    }
}

#[test]
fn a_jacobian_alone_has_no_known_field() {
    let game = Game::from_jacobian(&[1, 1], |x| vec![x[0].cosh(), x[1], x[1] * -2.0, Symbol::constant(1.0)]).unwrap();
    let (x, region) = ([0.5, 2.0], [Interval::point(0.5), Interval::point(2.0)]);
    assert!(game.field(&x).iter().all(|f| f.is_nan()) && game.field_box(&region) == [Interval::ENTIRE; 2]);
    assert!(game.jacobian(&x)[(1, 0)] == -4.0 && game.jacobian_box(&region)[1] == Interval::point(2.0));
    // As far as is known it is finite, and it is another game than any with a field.
    assert!(game.is_finite_at(&x) && !game.is_affine() && game.canonical().contains("\njacobian\n"));
    assert!(matches!(Game::from_jacobian(&[1, 1], |x| x.to_vec()), Err(GameError::Dimension { expected: 4, got: 2, .. })));
}

#[test]
fn functions_are_known_at_points_only() {
    let field = |x: &[f64]| vec![x[0] + x[1].sin(), x[1]];
    let game = Game::from_functions(&[1, 1], field, |x| DMatrix::from_row_slice(2, 2, &[1.0, x[1].cos(), 0.0, 1.0])).unwrap();
    let (mut scratch, mut into, mut entries) = (Vec::new(), [0.0; 2], Vec::new());
    game.field_into(&[1.0, 2.0], &mut scratch, &mut into);
    game.jacobian_with(&[1.0, 0.0], &mut scratch, &mut entries);
    assert!(game.field(&[1.0, 2.0]) == into && entries == [1.0, 1.0, 0.0, 1.0] && game.is_finite_at(&into));
    assert!(
        game.field_box(&[Interval::point(0.0); 2]) == [Interval::ENTIRE; 2]
            && game.jacobian_box(&[Interval::point(0.0); 2])[3] == Interval::ENTIRE
    );
    assert!(!game.has_enclosures() && !game.is_affine() && game == game.clone());
}

#[test]
fn what_is_no_game_is_named() {
    let dimension = |found: Result<Game, GameError>| matches!(found, Err(GameError::Dimension { .. }));
    assert!(dimension(Game::from_field(&[2], |x| x.to_vec())));
    assert!(dimension(Game::from_field(&[2, 0], |x| x.to_vec())));
    assert!(dimension(Game::from_field(&[1, 1], |x| vec![x[0]])));
    assert!(dimension(Game::from_losses(&[1, 2], |x| x.to_vec())));
    assert!(dimension(Game::affine(&[1, 1], DMatrix::zeros(2, 3), vec![0.0; 2])));
    let endless = Game::from_field(&[1, 1], |x| vec![(0..MOST_STEPS).fold(x[0], |sum, _| sum.sin()), x[1]]);
    assert_eq!(endless, Err(GameError::TooLarge { most: MOST_STEPS }));
    let nan = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, f64::NAN, 0.0, 1.0]), vec![0.0; 2]);
    assert_eq!(nan, Err(GameError::NonFinite { what: "entry (0, 1) of the Jacobian".into() }));
}
