//! Games as text: JSON with the players' losses as formulas, with the matrix of an affine game, or with the tables of a Markov game.
//!
//! ```
//! use gradus_games::file::GameFile;
//!
//! let text = br#"{"format":"gradus-game/1",
//!  "players":[{"name":"leader","variables":["x1","x2"],"loss":"x1^2 + k*x1*x2 + x2^2 + sin(y)*x1"},
//!             {"name":"follower","variables":["y"],"loss":"y^2 - 0.3*x1*y"}],
//!  "parameters":{"k":0.5}, "region":{"x1":[-1,1],"x2":[-1,1],"y":[-0.5,0.5]}, "constrained":false}"#;
//! let file = GameFile::parse(text)?;
//! assert_eq!(file.players, ["leader", "follower"]);
//! assert_eq!(file.variables, ["x1", "x2", "y"]);
//! assert_eq!(file.game.dimensions(), [2, 1]);
//! assert_eq!(file.game.field(&[1.0, 2.0, 0.0]), [3.0, 4.5, -0.3]);
//! assert_eq!(file.region.map(|region| region[2].hi()), Some(0.5));
//!
//! let wrong = GameFile::parse(br#"{"format":"gradus-game/1","players":[
//!     {"name":"a","variables":["x"],"loss":"x^2 + y*z"},{"name":"b","variables":["y"],"loss":"y^2"}],
//!     "region":{"x":[-1,1],"y":[-1,1]}}"#);
//! let error = wrong.unwrap_err();
//! assert_eq!(error.code(), "Formula");
//! assert_eq!(error.to_string(), "loss of player `a`, column 9: unknown name `z`; the nearest known one is `x`");
//! # Ok::<(), gradus_games::file::GameFileError>(())
//! ```
//!
//! | key | what it is |
//! |---|---|
//! | `format` | `"gradus-game/1"` |
//! | `players` | of each its `name`, its `variables`, and either its `loss` or its `field`: one formula, or one for each variable |
//! | `quadratic` | instead of `players`: `dims`, `jacobian` (row by row) and `offset` of `F(x) = jacobian x + offset` |
//! | `markov` | instead of `players`: a tabular [Markov game](crate::markov), whose players follow the natural gradient |
//! | `parameters` | names for numbers; may be left out |
//! | `region` | of each variable its two ends; may be left out with `quadratic` |
//! | `constrained` | whether the players cannot leave the region; `false` if left out |
//!
//! `dims` says how many variables each player has. They are called `x1`, `x2`, …
//!
//! | key in `markov` | what it is |
//! |---|---|
//! | `states` | how many states there are |
//! | `actions` | of each player, how many actions it has: 2 or more, the same in all states |
//! | `discount` | `γ`, at least 0 and below 1 |
//! | `temperature` | `τ`, above 0 |
//! | `rewards` | `rewards[player][state][joint action]` |
//! | `transitions` | `transitions[state][joint action][next state]`: probabilities, whose sums differ from 1 by 1e-9 at most |
//! | `start` | `start[state]`: the probabilities of the first state |
//! | `entropy` | how much the entropy of a policy in a state counts: `"uniform"`, or `"occupancy"` for as much as the state is occupied; `"uniform"` if left out |
//!
//! Joint actions are in the order in which the last player's action changes fastest. Variables are differences of logits, to those of
//! the last action: `u1_s0_a0` is the first player's in the first state for the first action, `u2_s0_a0` the second player's. The region
//! must be given, and is `{"logits": [lo, hi]}`: the same two ends for each of them.
//!
//! ```
//! use gradus_games::file::GameFile;
//!
//! let text = br#"{"format":"gradus-game/1",
//!  "markov":{"states":1,"actions":[2,2],"discount":0.5,"temperature":1,
//!            "rewards":[[[1,-1,-1,1]],[[-1,1,1,-1]]],"transitions":[[[1],[1],[1],[1]]],"start":[1]},
//!  "region":{"logits":[-1,1]}}"#;
//! let file = GameFile::parse(text)?;
//! assert_eq!(file.variables, ["u1_s0_a0", "u2_s0_a0"]);
//! assert_eq!(file.game.jacobian(&[0.0, 0.0]).row(0)[1], -1.0);
//! # Ok::<(), gradus_games::file::GameFileError>(())
//! ```
//!
//! Names consist of letters `A` to `Z` and `a` to `z`, digits and `_`, do not start with a digit, mean one thing, and are none of a
//! [formula]'s functions and constants.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use nalgebra::DMatrix;

use crate::expression::Symbol;
use crate::game::{Game, GameError, Player};
use crate::rigorous::Interval;
use formula::{FormulaError, Names, shown};
use json::{Document, Entries, Object, PlayerKeys, QuadraticKeys};
use markov::of_markov;

pub mod certificate;
pub mod estimate;
pub mod formula;
mod json;
mod markov;
mod number;
pub mod verdict;

/// The format that is read.
pub const FORMAT: &str = "gradus-game/1";
/// The longest file, in bytes.
pub const MOST_BYTES: usize = 16 << 20;
/// The most variables of players with formulas, and of Markov games: their second derivatives are as many as its third power.
pub const MOST_VARIABLES: usize = 256;

/// A game that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct GameFile {
    /// The players' names; `player1`, `player2`, … where a file has none.
    pub players: Vec<String>,
    /// The variables' names: player by player.
    pub variables: Vec<String>,
    /// The game.
    pub game: Game,
    /// Each variable's side of the region; where a file has none, all numbers are allowed.
    pub region: Option<Vec<Interval>>,
    /// Whether the players cannot leave the region.
    pub constrained: bool,
}

/// Why a game's file is refused. Messages are of one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GameFileError {
    /// No JSON, other keys, values of another kind, numbers out of range, or a file that is too long.
    #[error("{message}")]
    Format {
        /// What is wrong, and where.
        message: String,
    },
    /// A formula that cannot be read.
    #[error("{formula}, column {column}: {message}")]
    Formula {
        /// The player of the formula; 0 is the first.
        player: usize,
        /// The character of the formula at which it goes wrong; 1 is the first.
        column: usize,
        /// Which of the player's formulas.
        formula: String,
        /// What is wrong.
        message: String,
    },
    /// A name that means something else in formulas.
    #[error("{message}")]
    Name {
        /// The player whose variable has the name, if one does; 0 is the first.
        player: Option<usize>,
        /// Which name, and what else it means.
        message: String,
    },
    /// Formulas that are too long together.
    #[error("{message}")]
    TooLarge {
        /// Which limit they pass.
        message: String,
    },
    /// Too few or too many players or variables, or sizes that do not fit.
    #[error("{message}")]
    Dimension {
        /// Which.
        message: String,
    },
    /// A region that is missing, of other variables, or empty.
    #[error("{message}")]
    InvalidRegion {
        /// What is wrong with it.
        message: String,
    },
    /// A number that is not finite.
    #[error("{message}")]
    NonFinite {
        /// Which.
        message: String,
    },
    /// A Markov game's number that is out of its range, or probabilities that do not sum to 1.
    #[error("{message}")]
    MarkovSpec {
        /// Which, with its player, state and joint action.
        message: String,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl GameFileError {
    /// The kind of error, for other programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Format { .. } => "Format",
            Self::Formula { .. } | Self::Name { .. } | Self::TooLarge { .. } => "Formula",
            Self::Dimension { .. } => "Dimension",
            Self::InvalidRegion { .. } => "InvalidRegion",
            Self::NonFinite { .. } => "NonFinite",
            Self::MarkovSpec { .. } => "MarkovSpec",
            Self::Io(_) => "Io",
        }
    }
}

impl From<GameError> for GameFileError {
    fn from(error: GameError) -> Self {
        let message = error.to_string();
        match error {
            GameError::Dimension { .. } => Self::Dimension { message },
            GameError::TooLarge { .. } => Self::TooLarge { message },
            GameError::NonFinite { .. } => Self::NonFinite { message },
        }
    }
}

fn format_error(message: impl Into<String>) -> GameFileError {
    GameFileError::Format { message: message.into() }
}

fn dimension(message: impl Into<String>) -> GameFileError {
    GameFileError::Dimension { message: message.into() }
}

fn invalid_region(message: impl Into<String>) -> GameFileError {
    GameFileError::InvalidRegion { message: message.into() }
}

impl GameFile {
    /// Reads a game from the bytes of a file.
    ///
    /// # Errors
    /// All of [`GameFileError`] but [`Io`](GameFileError::Io).
    pub fn parse(bytes: &[u8]) -> Result<Self, GameFileError> {
        let Object(document) = serde_json::from_str::<Object<Document>>(text(bytes)?).map_err(of_json)?;
        if document.format != FORMAT {
            return Err(format_error(format!("the format is `{}`, and only `{FORMAT}` is known", shown(&document.format))));
        }
        let Document { players, quadratic, markov, parameters, region, constrained, .. } = document;
        match (players, quadratic, markov) {
            (Some(players), None, None) => {
                let players = players.into_iter().map(|Object(player)| player).collect();
                of_players(players, &parameters, region, constrained)
            }
            (None, Some(Object(quadratic)), None) => of_quadratic(quadratic, &parameters, region, constrained),
            (None, None, Some(Object(markov))) => of_markov(markov, &parameters, region, constrained),
            (None, None, None) => Err(format_error("neither `players` nor `quadratic` nor `markov`: one of them must be given")),
            (Some(_), Some(_), Some(_)) => Err(format_error("`players`, `quadratic` and `markov`: only one of them may be given")),
            (players, quadratic, _) => {
                let first = if players.is_some() { "players" } else { "quadratic" };
                let second = if players.is_some() && quadratic.is_some() { "quadratic" } else { "markov" };
                Err(format_error(format!("both `{first}` and `{second}`: only one of them may be given")))
            }
        }
    }

    /// Reads a game. Of what is too long, no more is read than shows it.
    ///
    /// # Errors
    /// All of [`GameFileError`].
    pub fn read(reader: impl Read) -> Result<Self, GameFileError> {
        let mut bytes = Vec::new();
        reader.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }
}

fn text(bytes: &[u8]) -> Result<&str, GameFileError> {
    if bytes.len() > MOST_BYTES {
        return Err(format_error(format!("more than {MOST_BYTES} bytes, which a game may have at most")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format_error(format!("no UTF-8 text at byte {}", error.valid_up_to() + 1)))?;
    if text.starts_with('\u{feff}') {
        return Err(format_error("the text starts with a byte order mark: it must be UTF-8 without one"));
    }
    Ok(text)
}

/// With the place first, so that it remains of a message that is too long.
fn of_json(error: serde_json::Error) -> GameFileError {
    let (line, column, message) = (error.line(), error.column(), error.to_string());
    let message = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
    format_error(format!("line {line}, column {column}: {}", formula::shown_up_to(message, 300)))
}

fn of_players(
    players: Vec<PlayerKeys>,
    parameters: &Entries<f64>,
    region: Option<Entries<Vec<f64>>>,
    constrained: bool,
) -> Result<GameFile, GameFileError> {
    let dimensions: Vec<usize> = players.iter().map(|player| player.variables.len()).collect();
    let size = check_dimensions(&dimensions)?;
    if size > MOST_VARIABLES {
        return Err(dimension(format!("{size} variables: with formulas there may be {MOST_VARIABLES} at most")));
    }
    players.iter().try_for_each(check_forms)?;
    let variables: Vec<String> = players.iter().flat_map(|player| player.variables.iter().cloned()).collect();
    check_names(&variables, &dimensions, parameters)?;
    let region = region.ok_or_else(|| invalid_region("`region` is missing: with `players` it must be given"))?;
    let region = sides(&variables, region)?;
    let names = Names::new(variables.iter().map(String::as_str), parameters.0.iter().map(|(name, value)| (name.as_str(), *value)));
    let game = Game::from_players(&dimensions, |x| {
        players.iter().enumerate().map(|(index, player)| formulas(index, player, &names, x)).collect::<Result<_, GameFileError>>()
    })?;
    let players = players.into_iter().map(|player| player.name).collect();
    Ok(GameFile { players, variables, game, region: Some(region), constrained })
}

fn of_quadratic(
    quadratic: QuadraticKeys,
    parameters: &Entries<f64>,
    region: Option<Entries<Vec<f64>>>,
    constrained: bool,
) -> Result<GameFile, GameFileError> {
    let QuadraticKeys { dims, jacobian, offset } = quadratic;
    let size = check_dimensions(&dims)?;
    if jacobian.len() != size {
        return Err(dimension(format!("`jacobian` has {} rows, and `dims` {size} variables", jacobian.len())));
    }
    if let Some((row, entries)) = jacobian.iter().enumerate().find(|(_, entries)| entries.len() != size) {
        return Err(dimension(format!("row {} of `jacobian` has {} entries, and `dims` {size} variables", row + 1, entries.len())));
    }
    if offset.len() != size {
        return Err(dimension(format!("`offset` has {} entries, and `dims` {size} variables", offset.len())));
    }
    let variables: Vec<String> = (1..=size).map(|k| format!("x{k}")).collect();
    check_names(&variables, &dims, parameters)?;
    if constrained && region.is_none() {
        return Err(invalid_region("`region` is missing: with `constrained` it must be given"));
    }
    let region = region.map(|region| sides(&variables, region)).transpose()?;
    let game = Game::affine(&dims, DMatrix::from_row_iterator(size, size, jacobian.into_iter().flatten()), offset)?;
    Ok(GameFile { players: (1..=dims.len()).map(|i| format!("player{i}")).collect(), variables, game, region, constrained })
}

/// The number of all variables.
fn check_dimensions(dimensions: &[usize]) -> Result<usize, GameFileError> {
    if dimensions.len() < 2 {
        return Err(dimension(format!("a game has at least 2 players, and this one {}", dimensions.len())));
    }
    if let Some(player) = dimensions.iter().position(|&size| size == 0) {
        return Err(dimension(format!("player {} has no variable", player + 1)));
    }
    let size = dimensions.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    size.ok_or_else(|| dimension("too many variables"))
}

fn check_forms(player: &PlayerKeys) -> Result<(), GameFileError> {
    let name = shown(&player.name);
    match (&player.loss, &player.field) {
        (Some(_), Some(_)) => Err(format_error(format!("player `{name}` has both `loss` and `field`: only one of them may be given"))),
        (None, None) => Err(format_error(format!("player `{name}` has neither `loss` nor `field`: one of them must be given"))),
        (None, Some(field)) if field.len() != player.variables.len() => {
            let (entries, variables) = (field.len(), player.variables.len());
            Err(dimension(format!("`field` of player `{name}` has {entries} formulas, and the player {variables} variables")))
        }
        _ => Ok(()),
    }
}

fn check_names(variables: &[String], dimensions: &[usize], parameters: &Entries<f64>) -> Result<(), GameFileError> {
    let owners = dimensions.iter().enumerate().flat_map(|(player, &size)| std::iter::repeat_n(player, size));
    let mut known = HashMap::new();
    for (name, player) in variables.iter().zip(owners) {
        check_name("variable", name, Some(player))?;
        if known.insert(name, player).is_some() {
            return Err(dimension(format!("variable `{}` is there twice", shown(name))));
        }
    }
    for (name, _) in &parameters.0 {
        check_name("parameter", name, None)?;
        if let Some(&player) = known.get(name) {
            return Err(GameFileError::Name {
                player: Some(player),
                message: format!("`{}` is both a variable and a parameter", shown(name)),
            });
        }
    }
    Ok(())
}

fn check_name(kind: &str, name: &str, player: Option<usize>) -> Result<(), GameFileError> {
    if !formula::is_name(name) {
        let rule = "letters, digits and `_`, and no digit at first";
        return Err(format_error(format!("{kind} `{}`: a name consists of {rule}", shown(name))));
    }
    if formula::is_reserved(name) {
        return Err(GameFileError::Name { player, message: format!("{kind} `{name}`: the name is that of a function or constant") });
    }
    Ok(())
}

/// Each variable's side of a region.
fn sides(variables: &[String], region: Entries<Vec<f64>>) -> Result<Vec<Interval>, GameFileError> {
    let known: HashSet<&String> = variables.iter().collect();
    if let Some((name, _)) = region.0.iter().find(|(name, _)| !known.contains(name)) {
        return Err(invalid_region(format!("region of `{}`: there is no such variable", shown(name))));
    }
    let sides: HashMap<String, Vec<f64>> = region.0.into_iter().collect();
    variables.iter().map(|name| side(name, sides.get(name).map(Vec::as_slice))).collect()
}

fn side(name: &str, ends: Option<&[f64]>) -> Result<Interval, GameFileError> {
    let wrong = |what: String| invalid_region(format!("region of `{}`{what}", shown(name)));
    match ends {
        None => Err(wrong(" is missing".into())),
        Some(&[lo, hi]) if lo < hi => Interval::new(lo, hi).ok_or_else(|| wrong(format!(": {lo} and {hi} are no ends"))),
        Some(&[lo, hi]) => Err(wrong(format!(": lo {lo} is not below hi {hi}"))),
        Some(ends) => Err(wrong(format!(": expected two numbers, got {}", ends.len()))),
    }
}

fn formulas<'g>(index: usize, player: &PlayerKeys, names: &Names<'_>, x: &[Symbol<'g>]) -> Result<Player<'g>, GameFileError> {
    let read = |text: &str, formula: String| {
        formula::parse(text, names, x).map_err(|FormulaError { column, message }| GameFileError::Formula {
            player: index,
            column,
            formula,
            message,
        })
    };
    let name = shown(&player.name);
    if let Some(loss) = &player.loss {
        return read(loss, format!("loss of player `{name}`")).map(Player::Loss);
    }
    let entries = player.variables.iter().zip(player.field.iter().flatten());
    let field = entries.map(|(variable, text)| read(text, format!("field of player `{name}` for `{}`", shown(variable))));
    field.collect::<Result<_, _>>().map(Player::Field)
}

#[cfg(test)]
mod tests;
