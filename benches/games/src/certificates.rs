//! Certifying and checking.

use gradus_games::game::Game;
use gradus_games::rigorous::Interval;
use gradus_games::small_gain::{Certifier, Mode, Region, Structure, Verdict, check};
use gradus_games::zoo;

use crate::Failure;
use crate::group::{Case, Floor, Group, Quotient, Side};

/// How many times as fast as the certifier the checker must be, where the certifier had to search.
const LEAST_RATIO: f64 = 20.0;
/// What the nonlinear game of six variables may take, in ms.
const MOST_MS: f64 = 60e3;
/// The game of six variables.
pub(crate) const SIX: &str = "ring of planes";

/// The Markov game of four variables, and what it may take, in ms.
const MARKOV: &str = "cooperative markov";
const MARKOV_MS: f64 = 10e3;

const GAMES: [(&str, Mode); 12] = [
    ("waves", Mode::Uniform),
    ("waves", Mode::PerBox),
    ("ring", Mode::Uniform),
    (SIX, Mode::Uniform),
    ("cournot exponential", Mode::Uniform),
    ("kelly auction", Mode::Uniform),
    ("smooth traffic", Mode::Uniform),
    ("dirac gan", Mode::Uniform),
    ("federated personalised", Mode::Uniform),
    (MARKOV, Mode::Uniform),
    (MARKOV, Mode::BlockLmi(Structure::Full)),
    ("zero-sum markov", Mode::BlockLmi(Structure::Full)),
];

/// An example game by its name, with its region. The network of the collection has no margin at its equilibrium: here it is regularised more.
pub(crate) fn example(name: &str) -> Result<(Game, Vec<Interval>), Failure> {
    let regularised = zoo::dirac_gan(1.0, 0.6)?;
    let found = std::iter::once(regularised).chain(zoo::all()?).find(|example| example.name == name);
    let found = found.ok_or_else(|| Failure::Unexpected(format!("there is no example game {name:?}")))?;
    Ok((found.game, found.region))
}

pub(crate) fn group() -> Result<Group, Failure> {
    let quotient = |name, under, floor| Quotient { name, over: 0, under, floor };
    Ok(Group {
        title: "Certifying and checking",
        sides: vec!["certify", "check with the game", "check without"],
        quotients: vec![quotient("certify / check", 1, Some(Floor::AtLeast(LEAST_RATIO))), quotient("certify / check without", 2, None)],
        cases: GAMES.into_iter().map(case).collect::<Result<_, _>>()?,
    })
}

fn case((name, mode): (&str, Mode)) -> Result<Case, Failure> {
    let (game, sides) = example(name)?;
    let region = Region::Local(sides);
    let certifier = Certifier { mode, ..Certifier::default() };
    let found = match certifier.certify(&game, &region)? {
        Verdict::Certified(found) => found,
        other => return Err(Failure::Unexpected(format!("{name} has no certificate: {other:?}"))),
    };
    let leaves = found.certificate.leaves.len();
    let (certificate, again, game_of_check) = (found.certificate.clone(), found.certificate.clone(), game.clone());
    check(&certificate, Some(&game))?;
    let signs = certificate.whole.is_some();
    let sides = vec![
        Side::calls(move || certifier.certify(&game, &region)),
        Side::calls(move || check(&certificate, Some(&game_of_check))),
        Side::calls(move || check(&again, None)),
    ];
    let mut case = Case::new(format!("{name}, {}", mode.name()), sides);
    case.note = format!("{} boxes, {leaves} leaves, margin {:.6}", found.boxes, found.certificate.alpha);
    // Where nothing was searched for, the checker's work is all that there is.
    case.judged = found.boxes > 1 && !signs;
    case.most_ms = [(SIX, MOST_MS), (MARKOV, MARKOV_MS)].into_iter().find(|(of, _)| *of == name).map(|(_, most)| most);
    Ok(case)
}
