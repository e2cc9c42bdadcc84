//! Markov games in files.

use super::json::{Entries, MarkovKeys};
use super::{GameFile, GameFileError, check_names, dimension, format_error, invalid_region, shown, side};
use crate::game::GameError;
use crate::markov::{EntropyWeight, MarkovError, MarkovGame, Tables};

/// The most variables of a Markov game, and the most rewards of a player: formulas with their second derivatives grow with the third power of
/// the one and with the other.
const MOST_VARIABLES: usize = 64;
const MOST_REWARDS: usize = 1_024;
/// The only key of the region of a Markov game.
const LOGITS: &str = "logits";

impl From<MarkovError> for GameFileError {
    fn from(error: MarkovError) -> Self {
        let message = error.to_string();
        match error {
            MarkovError::Dimension { .. } => Self::Dimension { message },
            MarkovError::MarkovSpec { .. } => Self::MarkovSpec { message },
        }
    }
}

pub(super) fn of_markov(
    keys: MarkovKeys,
    parameters: &Entries<f64>,
    region: Option<Entries<Vec<f64>>>,
    constrained: bool,
) -> Result<GameFile, GameFileError> {
    let entropy = match keys.entropy.as_deref() {
        None => EntropyWeight::default(),
        Some(name) => [EntropyWeight::Uniform, EntropyWeight::Occupancy]
            .into_iter()
            .find(|weight| weight.name() == name)
            .ok_or_else(|| format_error(format!("`entropy` is `{}`, and must be `uniform` or `occupancy`", shown(name))))?,
    };
    let MarkovKeys { states, actions, discount, temperature, rewards, transitions, start, .. } = keys;
    if start.len() != states {
        return Err(dimension(format!("`start` has {} entries, and `states` is {states}", start.len())));
    }
    let markov = MarkovGame::new(Tables { actions, discount, temperature, rewards, transitions, start, entropy })?;
    let dimensions = markov.dimensions();
    let size: usize = dimensions.iter().sum();
    if size > MOST_VARIABLES {
        return Err(dimension(format!("{size} variables: of a Markov game there may be {MOST_VARIABLES} at most")));
    }
    let rewards = markov.tables().rewards.first().map_or(0, |own| own.iter().map(Vec::len).sum());
    if rewards > MOST_REWARDS {
        return Err(dimension(format!("{rewards} states with joint actions: of a Markov game there may be {MOST_REWARDS} at most")));
    }
    let variables = markov.variables();
    check_names(&variables, &dimensions, parameters)?;
    let region = region.ok_or_else(|| invalid_region("`region` is missing: with `markov` it must be given"))?;
    if let Some((name, _)) = region.0.iter().find(|(name, _)| name != LOGITS) {
        return Err(invalid_region(format!("region of `{}`: a Markov game has a region of `{LOGITS}` and no other", shown(name))));
    }
    let side = side(LOGITS, region.0.first().map(|(_, ends)| ends.as_slice()))?;
    let players = (1..=dimensions.len()).map(|i| format!("player{i}")).collect();
    let too_large = |error| match error {
        GameError::TooLarge { most } => {
            let message = format!("{} states and {size} variables: their derivatives have more than {most} steps", markov.states());
            GameFileError::TooLarge { message }
        }
        error => error.into(),
    };
    Ok(GameFile { players, game: markov.game().map_err(too_large)?, region: Some(vec![side; size]), variables, constrained })
}
