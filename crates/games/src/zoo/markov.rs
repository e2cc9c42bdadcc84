//! Players who meet again in states that they bring about.

use super::{Example, ZooError, at_least, check, cube};
use crate::markov::{EntropyWeight, MarkovGame, Tables};

/// What the players of a random Markov game want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interests {
    /// All the same: the losses have a potential, if entropies of all states count alike.
    Common,
    /// Of two players, the opposite of each other.
    Opposite,
    /// Each something else.
    General,
}

/// The tables of [`cooperative_markov_2x2`].
pub fn cooperative_tables() -> Tables {
    Tables {
        actions: vec![2, 2],
        discount: 0.9,
        temperature: 1.0,
        rewards: vec![vec![vec![1.0, -1.0, -1.0, 1.0]; 2]; 2],
        transitions: vec![vec![vec![0.9, 0.1], vec![0.5, 0.5], vec![0.5, 0.5], vec![0.1, 0.9]]; 2],
        start: vec![1.0, 0.0],
        entropy: EntropyWeight::Uniform,
    }
}

/// Two players with two actions, who get 1 for doing the same and -1 for not, in two states: both doing the first leads to the first state
/// in 9 of 10 cases, both doing the second to the second, and anything else to either alike (Sharma 2025). The discount is 0.9, the
/// temperature 1, the start the first state. In coordinates in which its metric is constant: see [`MarkovGame`].
///
/// The equilibrium is to do anything in both states, `u = 0`; there the curvatures are 1, and the couplings the occupancies of the states,
/// 0.55 and 0.45, so that the margin is 0.45.
///
/// # Errors
/// None is expected.
pub fn cooperative_markov_2x2() -> Result<Example, ZooError> {
    let game = MarkovGame::new(cooperative_tables())?.game()?;
    let note = "policies of two states, by natural gradients";
    Ok(Example { name: "cooperative markov", game, region: cube(4, -0.2, 0.2)?, equilibrium: Some(vec![0.0; 4]), note })
}

/// The tables of [`zero_sum_markov`].
pub fn zero_sum_tables() -> Tables {
    let stakes = [1.0, 0.5].map(|stake| vec![stake, -stake, -stake, stake]);
    let opposite = stakes.clone().map(|row| row.iter().map(|reward| -reward).collect());
    let cooperative = cooperative_tables();
    Tables {
        rewards: vec![stakes.to_vec(), opposite.to_vec()],
        transitions: vec![
            vec![vec![0.3, 0.7], vec![0.8, 0.2], vec![0.8, 0.2], vec![0.3, 0.7]],
            vec![vec![0.6, 0.4], vec![0.1, 0.9], vec![0.1, 0.9], vec![0.6, 0.4]],
        ],
        ..cooperative
    }
}

/// Matching pennies for stakes that change (a zero-sum stochastic game: Shapley 1953), with entropy regularisation: what the first player
/// gets for doing the same as the second, the second loses; 1 in the first state, and ½ in the second. When they match, the stakes change
/// with the probabilities 0.7 and 0.6, and if not with 0.2 and 0.1. Discount, temperature and start are those of [`cooperative_markov_2x2`].
///
/// The equilibrium is `u = 0`, and the Jacobian's symmetric part is the identity there: the couplings are opposite, which bounds by norms do
/// not see.
///
/// # Errors
/// None is expected.
pub fn zero_sum_markov() -> Result<Example, ZooError> {
    let game = MarkovGame::new(zero_sum_tables())?.game()?;
    let note = "matching pennies with stakes that change";
    Ok(Example { name: "zero-sum markov", game, region: cube(4, -0.2, 0.2)?, equilibrium: Some(vec![0.0; 4]), note })
}

/// Tables of a random Markov game with the `actions` of each player, the discount 0.9, the temperature 1 and entropies that count alike.
///
/// `uniform` gives numbers between 0 and 1. Rewards are drawn first, evenly from -1 to 1: state by state, for each joint action, and then
/// player by player where each wants something else. Then come the rows of the kernel and the start: numbers between 0 and 1, divided by
/// their sum.
///
/// ```
/// use gradus_games::markov::MarkovGame;
/// use gradus_games::zoo::{Interests, random_markov};
///
/// let mut numbers = [0.3, 0.9, 0.1, 0.7].into_iter().cycle();
/// let game = MarkovGame::new(random_markov(3, &[2, 3], Interests::General, &mut || numbers.next().unwrap())?)?.game()?;
/// assert_eq!(game.dimensions(), [3, 6]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ZooError::Dimension`] for no state, fewer than two players, other than two with opposite interests, or a player with fewer than two
/// actions; [`ZooError::InvalidParameter`] for numbers that are not between 0 and 1.
pub fn random_markov(
    states: usize,
    actions: &[usize],
    interests: Interests,
    uniform: &mut impl FnMut() -> f64,
) -> Result<Tables, ZooError> {
    at_least("states", 1, states)?;
    at_least("players", 2, actions.len())?;
    actions.iter().try_for_each(|&actions| at_least("actions of a player", 2, actions))?;
    if interests == Interests::Opposite {
        check("players of opposite interests", 2, actions.len())?;
    }
    let joint: usize = actions.iter().product();
    let mut draw = |count: usize| {
        let drawn: Vec<f64> = (0..count).map(|_| uniform()).collect();
        match drawn.iter().find(|x| !(0.0..=1.0).contains(*x)) {
            Some(&value) => Err(ZooError::InvalidParameter { name: "a number of the generator", value, expected: "between 0 and 1" }),
            None => Ok(drawn),
        }
    };
    let mut rewards = || {
        let row = |drawn: Vec<f64>| drawn.into_iter().map(|x| 2.0 * x - 1.0).collect();
        (0..states).map(|_| draw(joint).map(row)).collect::<Result<Vec<Vec<f64>>, ZooError>>()
    };
    let rewards = match interests {
        Interests::Common => vec![rewards()?; actions.len()],
        Interests::Opposite => {
            let own = rewards()?;
            let other = own.iter().map(|row| row.iter().map(|reward| -reward).collect()).collect();
            vec![own, other]
        }
        Interests::General => actions.iter().map(|_| rewards()).collect::<Result<_, _>>()?,
    };
    let mut row = || {
        let drawn = draw(states)?;
        let sum: f64 = drawn.iter().sum();
        // All 0 is alike, too.
        let share = |x: &f64| if sum > 0.0 { x / sum } else { 1.0 / states as f64 };
        Ok::<Vec<f64>, ZooError>(drawn.iter().map(share).collect())
    };
    let transitions = (0..states).map(|_| (0..joint).map(|_| row()).collect()).collect::<Result<_, ZooError>>()?;
    let start = row()?;
    Ok(Tables { actions: actions.to_vec(), discount: 0.9, temperature: 1.0, rewards, transitions, start, entropy: EntropyWeight::Uniform })
}
