//! The pictures of the guide's pages on certificates of games, drawn by the library that the pages are about.
//!
//! The test compares them with the files in `docs/src/images`; `GRADUS_WRITE_FIGURES=1 cargo test -p gradus-experiments chapter` writes these.

use std::ops::ControlFlow;
use std::path::PathBuf;

use gradus_games::dynamics::{Euler, Record, Stop, simulate};
use gradus_games::game::Game;
use gradus_games::markov::MarkovGame;
use gradus_games::scalar::Real;
use gradus_games::small_gain::{
    BlockBounds, Certified, Certifier, MapCertifier, MapVerdict, Mode, Monitor, Rates, Region, Rule, Search, Structure, Tolerance, Update,
    Verdict, advise, optimal_weights,
};
use gradus_games::zoo::{self, cooperative_tables};
use gradus_report::{Figure, LineChart, Panels, Reference, Scale, Series};
use nalgebra::DMatrix;

use super::certificate::{band_chart, certificate_figures, ellipse};
use super::figures::leaf_map;
use super::linear::{self, RATIO};
use super::toy::{self, START, TIME_STEP};

/// Curvatures of the one player of the first step.
const ONE: [f64; 2] = [1.0, 4.0];
/// Up to which place the needle is drawn, from 0.
const NEEDLE_END: f64 = 0.4;

/// All pictures, in the order of the pages.
fn figures() -> Vec<Figure> {
    vec![descent(), norms(), weights(), needle(), advice(), steps(), inside(), leaves(), maps(), signs(), policies(), learners(), monitor()]
}

fn grid(from: f64, to: f64, count: u32) -> impl Iterator<Item = f64> + Clone {
    (0..=count).map(move |i| from + (to - from) * f64::from(i) / f64::from(count))
}

fn certified(game: &Game, region: &Region, mode: Mode, tolerance: f64) -> Certified {
    let search = Search { tolerance: Tolerance::Relative(tolerance), most_boxes: 20_000 };
    match (Certifier { mode, search, ..Certifier::default() }).certify(game, region).unwrap() {
        Verdict::Certified(found) => *found,
        other => panic!("{other:?}"),
    }
}

/// One player: what is known of a step from both curvatures, and from the field's rates alone.
fn descent() -> Figure {
    let [mu, most] = ONE;
    let rates = Rates::new(mu, most).unwrap();
    let truth = |h: f64| (1.0 - h * mu).abs().max((1.0 - h * most).abs());
    LineChart {
        title: "One player: by what a step of gradient descent multiplies distances".into(),
        alt: format!(
            "With curvatures from {mu} to {most} a step contracts below 2/L = {}; the bound that needs no symmetry, √(1 - 2hμ + h²L²), is \
             below 1 up to 2μ/L² = {}.",
            rates.symmetric_euler_limit(),
            rates.euler_limit()
        ),
        x_label: "step h".into(),
        y_label: "factor on distances".into(),
        series: vec![
            Series::new("gradient of a loss: max |1 − hμ|, |1 − hL|", grid(0.0, 0.6, 60).map(|h| (h, truth(h)))),
            Series::new("any field: √(1 − 2hμ + h²L²)", grid(0.0, 0.3, 60).map(|h| (h, rates.euler_factor(h)))),
        ],
        references: vec![Reference::new("no contraction above", 1.0)],
        ..Default::default()
    }
    .figure("descent")
}

/// The toy's flow in the plane, and its distance in both norms.
fn norms() -> Figure {
    let run = toy::decay(START, 8.0).unwrap();
    let (ball, metric) = (START[0].hypot(START[1]), (START[0].powi(2) + RATIO * START[1].powi(2)).sqrt());
    let plane = LineChart {
        title: "The path of play, from (0.15, −0.15)".into(),
        x_label: "x1, the first player's number".into(),
        y_label: "x2, the second player's (scale stretched)".into(),
        series: vec![
            Series::new("path", run.states.iter().step_by(12).map(|state| (state[0], state[1]))),
            Series::new("circle through the start", ellipse([0.0; 2], [ball, ball])),
            Series::new("ellipse x1² + 200 x2² through the start", ellipse([0.0; 2], [metric, metric / RATIO.sqrt()])),
        ],
        ..Default::default()
    };
    let curve = |name: &str, f: fn(&gradus_games::dynamics::Sample) -> Option<f64>| {
        let first = f(&run.samples[0]).unwrap();
        let points = run.samples.iter().step_by(10);
        Series::new(name, points.map(|sample| (sample.step as f64 * TIME_STEP, f(sample).unwrap() / first)))
    };
    let promised = (-(1.0 - 0.5f64.sqrt())).exp();
    let time = LineChart {
        title: "Distance from the equilibrium".into(),
        x_label: "time".into(),
        y_label: "distance, over that at the start".into(),
        series: vec![
            curve("Euclidean", |sample| sample.distance),
            curve("weights (1, 200)", |sample| sample.metric_distance),
            Series::new("promised: e^(−0.293 t)", grid(0.0, 8.0, 40).map(|t| (t, promised.powf(t)))),
        ],
        ..Default::default()
    };
    Panels {
        title: "The same play in two norms".into(),
        alt: "The path leaves the circle through its start, to more than three times its radius, and stays in the ellipse; the Euclidean \
              distance grows 3.19 times until t = 1.14, and the distance with the weights 1 and 200 falls throughout, faster than promised."
            .into(),
        panels: vec![plane.into(), time.into()],
        columns: 1,
    }
    .figure("norms")
}

fn weights() -> Figure {
    let bounds = linear::bounds(&toy::jacobian(1.0), &[1, 1]).unwrap();
    band_chart(&bounds, RATIO, "The margin of the toy over the ratio of weights", "weights").unwrap()
}

/// The coupling that the corners do not see.
fn needle() -> Figure {
    let coupling = |x: f64| 0.5 + 5.0 * (-(200.0 * (x - 0.3141)).powi(2)).exp();
    let dots = grid(0.0, NEEDLE_END, 4).flat_map(|x| [(x, coupling(x)), (f64::NAN, f64::NAN)]);
    LineChart {
        title: "A coupling with a peak that samples miss".into(),
        alt: "The coupling is 0.5 at every sample, and 5.5 at x = 0.3141, on a peak about a hundredth wide.".into(),
        x_label: "x, the first player's number (a part of the region)".into(),
        y_label: "coupling of the first player to the second".into(),
        series: vec![
            Series::new("coupling", grid(0.0, NEEDLE_END, 800).map(|x| (x, coupling(x)))),
            Series::new("samples, one each tenth", dots),
        ],
        references: vec![Reference::new("most that there is a certificate for", 1.0 / 0.3)],
        ..Default::default()
    }
    .figure("needle")
}

/// The three players of the page.
fn three() -> BlockBounds {
    let coupling = DMatrix::from_row_slice(3, 3, &[0.0, 0.2, 1.5, 1.2, 0.0, 0.1, 0.3, 1.4, 0.0]);
    BlockBounds::new(vec![1.0, 1.5, 1.0], coupling, vec![1.0, 1.5, 1.0]).unwrap()
}

/// A game that is refused, and what one player's curvature would do.
fn advice() -> Figure {
    const TARGET: f64 = 0.1;
    let bounds = three();
    let advice = advise(&bounds, TARGET);
    let raised = |player: usize, by: f64| {
        let mut curvature = bounds.curvature().to_vec();
        curvature[player] += by;
        let raised = BlockBounds::new(curvature.clone(), bounds.coupling().clone(), curvature).unwrap();
        optimal_weights(&raised).supremum
    };
    let mut series: Vec<Series> =
        (0..3).map(|k| Series::new(format!("raise player {k} alone"), grid(0.0, 7.0, 70).map(|by| (by, raised(k, by))))).collect();
    let dots = (0..3).filter_map(|k| Some((advice.raise_one[k]?, TARGET)));
    series.push(Series::new("advised", dots.flat_map(|dot| [dot, (f64::NAN, f64::NAN)])));
    LineChart {
        title: "A refused game of three, and how much curvature each player would have to add".into(),
        alt: format!(
            "The margin is {:.2} as the game is. Raising one player's curvature alone brings it to {TARGET} at {}.",
            advice.margin,
            (0..3).filter_map(|k| Some(format!("{:.2} (player {k})", advice.raise_one[k]?))).collect::<Vec<_>>().join(", ")
        ),
        x_label: "curvature that is added to one player's loss".into(),
        y_label: "greatest margin of any weights".into(),
        series,
        references: vec![Reference::new("the margin that is wanted, 0.1", TARGET)],
        ..Default::default()
    }
    .figure("advice")
}

/// `‖P(-hH)‖₂` of a Runge–Kutta step.
fn rk4_norm(matrix: &DMatrix<f64>, h: f64) -> f64 {
    let size = matrix.nrows();
    let horner = |inner: DMatrix<f64>, k: f64| DMatrix::identity(size, size) - matrix * inner * (h / k);
    [4.0, 3.0, 2.0, 1.0].into_iter().fold(DMatrix::identity(size, size), horner).singular_values().max()
}

/// What steps do at most: of gradient play and Runge–Kutta on the toy, and of the usual long step on a matrix that it does not contract.
fn steps() -> Figure {
    let rates = Rates::new(1.0 - 0.5f64.sqrt(), 1.0 + 0.5f64.sqrt()).unwrap();
    let scaled = linear::scaled(&toy::jacobian(1.0), [1.0, RATIO]);
    let toy = LineChart {
        title: "The toy, weights (1, 200)".into(),
        x_label: "step h".into(),
        y_label: "factor on distances in the metric".into(),
        x_scale: Scale::Log,
        series: vec![
            Series::new("gradient play", grid(0.01, 0.3, 58).map(|h| (h, rates.euler_factor(h)))),
            Series::new("Runge–Kutta, any field", grid(0.01, 0.13, 48).map(|h| (h, rates.rk4_factor(h)))),
            Series::new("Runge–Kutta, this map", grid(0.01, 1.7, 169).map(|h| (h, rk4_norm(&scaled, h)))),
            Series::new("guideline 2.5/β", [(rates.rk4_guideline(), rk4_norm(&scaled, rates.rk4_guideline()))]),
        ],
        references: vec![Reference::new("no contraction above", 1.0)],
        ..Default::default()
    };
    let entries = [1.61217655, 1.50296799, -1.23986516, -1.04325286, 1.79326069, 1.0564413, 0.57288189, -0.71369289, 0.09727499];
    let matrix = DMatrix::from_row_slice(3, 3, &entries);
    let guideline = 2.5 / matrix.singular_values().max();
    let counter = LineChart {
        title: "A field H x whose guideline step does not contract".into(),
        x_label: "step h".into(),
        y_label: "norm of one Runge–Kutta step".into(),
        series: vec![
            Series::new("norm", grid(0.0, 1.1, 55).map(|h| (h, rk4_norm(&matrix, h)))),
            Series::new("guideline 2.5/β", [(guideline, rk4_norm(&matrix, guideline))]),
        ],
        references: vec![Reference::new("no contraction above", 1.0)],
        ..Default::default()
    };
    Panels {
        title: "Factors of steps".into(),
        alt: format!(
            "Gradient play contracts up to h = {:.3}, Runge–Kutta on any field with these rates up to {:.3}, and on this linear one up to \
             1.632. In the second panel the guideline step has the norm {:.3}.",
            rates.euler_limit(),
            rates.rk4_limit(),
            rk4_norm(&matrix, guideline)
        ),
        panels: vec![toy.into(), counter.into()],
        columns: 1,
    }
    .figure("steps")
}

/// The ball from which runs stay in the region.
fn inside() -> Figure {
    let waves = zoo::waves().unwrap();
    let region = Region::Local(waves.region);
    let found = certified(&waves.game, &region, Mode::Uniform, 1e-3);
    let names = ["x, the first player's number".to_string(), "y, the second player's".to_string()];
    let figure = certificate_figures(&waves.game, &names, &found, &region).swap_remove(0);
    Figure { name: "inside".into(), ..figure }
}

fn leaves() -> Figure {
    let waves = zoo::waves().unwrap();
    // So loose that the boxes can be told apart.
    let found = certified(&waves.game, &Region::Local(waves.region), Mode::PerBox, 3e-2);
    Figure { name: "leaves".into(), ..leaf_map(&waves.game, &found).unwrap() }
}

/// By what steps of several rules multiply distances where each player only answers the other.
fn maps() -> Figure {
    let game = Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, 5.0, -5.0, 1.0]), vec![0.0; 2]).unwrap();
    let norm = |update: Update| {
        let certifier = MapCertifier { update, weights: vec![1.0; 2], search: Search::default() };
        match certifier.certify(&game, &Region::Free).unwrap() {
            MapVerdict::Contracts { certificate, .. } => certificate.q,
            MapVerdict::Expands { norm, .. } => norm,
            other @ MapVerdict::Inconclusive { .. } => panic!("{other:?}"),
        }
    };
    let curve = |name: &str, most: f64, update: fn(f64) -> Update| {
        Series::new(name, std::iter::once((0.0, 1.0)).chain(grid(most / 36.0, most, 35).map(|h| (h, norm(update(h))))))
    };
    LineChart {
        title: "Steps of other rules, certified as maps".into(),
        alt: "On J = [[1, 5], [-5, 1]] gradient play contracts below 0.077 and by little; optimistic steps contract below about 0.12, \
              extragradient below about 0.25, Runge–Kutta steps below about 0.57."
            .into(),
        x_label: "step h".into(),
        y_label: "norm of one step in the metric".into(),
        series: vec![
            curve("gradient play", 0.1, |h| Update::Euler { h }),
            curve("optimistic", 0.15, |h| Update::Optimistic { h }),
            curve("extragradient", 0.28, |h| Update::Extragradient { h }),
            curve("Runge–Kutta", 0.6, |h| Update::Rk4 { h }),
        ],
        references: vec![Reference::new("no contraction above", 1.0)],
        ..Default::default()
    }
    .figure("maps")
}

/// Opposite couplings of every strength: norms, and signs.
fn signs() -> Figure {
    let game = |push: f64| Game::affine(&[1, 1], DMatrix::from_row_slice(2, 2, &[1.0, push, -push, 1.0]), vec![0.0; 2]).unwrap();
    let norms = |push: f64| {
        let bounds = BlockBounds::new(vec![1.0; 2], DMatrix::from_row_slice(2, 2, &[0.0, push, push, 0.0]), vec![1.0; 2]).unwrap();
        optimal_weights(&bounds).margin
    };
    let with_signs = |push: f64| certified(&game(push), &Region::Free, Mode::BlockLmi(Structure::Full), 1e-6).certificate.alpha;
    LineChart {
        title: "Couplings that cancel: margins by norms and with signs".into(),
        alt: "With norms the margin of [[1, c], [-c, 1]] is 1 - c and negative beyond c = 1; with signs it is 1 for all c.".into(),
        x_label: "strength c of the couplings".into(),
        y_label: "margin".into(),
        series: vec![
            Series::new("by norms", grid(0.0, 5.0, 20).map(|push| (push, norms(push)))),
            Series::new("with signs, proven", grid(0.0, 5.0, 20).map(|push| (push, with_signs(push)))),
        ],
        references: vec![Reference::new("no contraction below", 0.0)],
        ..Default::default()
    }
    .figure("signs")
}

/// A run of natural and of plain policy gradients.
fn policies() -> Figure {
    let markov = MarkovGame::new(cooperative_tables()).unwrap();
    let (natural, plain) = (markov.game().unwrap(), markov.policy_gradient_game().unwrap());
    let found = certified(&natural, &Region::local(&[-0.2; 4], &[0.2; 4]).unwrap(), Mode::Uniform, 1e-3);
    let (h, factor) = (0.5 * found.rates().euler_limit(), found.rates().euler_factor(0.5 * found.rates().euler_limit()));
    let start = [0.1, -0.05, 0.02, 0.08];
    let run = |game: &Game| -> Vec<Vec<f64>> { super::markov::play(game, &start, h).take(81).collect() };
    let (quick, slow) = (run(&natural), run(&plain));
    let over_start = |name: &str, f: &dyn Fn(&[f64]) -> f64, states: &[Vec<f64>]| {
        Series::new(name, states.iter().enumerate().map(|(step, u)| (step as f64, f(u) / f(&states[0]))))
    };
    let distance = |u: &[f64]| u.iter().fold(0.0, |sum: f64, x| sum.hypot(*x));
    let kl = |u: &[f64]| markov.kl(&[1.0; 2], &[0.0; 4], u).unwrap();
    LineChart {
        title: "A run of policy gradients".into(),
        alt: "On a logarithmic axis the distance by natural gradients falls faster than the certified factor says, and their divergence \
              twice as fast as that by plain gradients."
            .into(),
        x_label: "step, half of the greatest certified one".into(),
        y_label: "over its value at the start".into(),
        y_scale: Scale::Log,
        series: vec![
            over_start("distance, natural gradients", &distance, &quick),
            Series::new("certified factor", (0..=80).map(|step| (f64::from(step), factor.powi(step)))),
            over_start("KL divergence, natural", &kl, &quick),
            over_start("KL divergence, plain", &kl, &slow),
        ],
        ..Default::default()
    }
    .figure("policies")
}

/// The filter and the spammer of the second page: how much each pays for large numbers.
fn spam(rho: f64, lambda: f64, shift: f64) -> Game {
    let game = Game::from_losses(&[2, 1], move |x| {
        let (v, c, s) = (x[0], x[1], x[2]);
        let score = v * (shift - s) + c;
        let filter = 0.5 * (c - v).softplus() + 0.5 * (-score).softplus() + 0.5 * rho * (v.square() + c.square());
        vec![filter, 0.5 * score.softplus() + 0.5 * lambda * s.square()]
    });
    game.unwrap()
}

/// What is advised for both, in place of 0.05.
const ADVISED: [f64; 2] = [0.59, 0.58];

fn spam_region() -> Region {
    Region::local(&[-0.5, -1.0, -0.5], &[1.5, 1.0, 1.0]).unwrap()
}

/// Where runs of the first and of the advised version of the game lead.
fn learners() -> Figure {
    let panel = |title: &str, game: &Game, h: f64| {
        let record = Record { every: 1, ..Record::default() };
        let stop = Stop { steps: 150, ..Stop::default() };
        let run = simulate(game, &mut Euler { step: h }, &[0.0, 0.0, 0.8], &stop, &record, |_, _| ControlFlow::Continue(())).unwrap();
        let curve = |name: &str, k: usize| Series::new(name, run.states.iter().enumerate().map(move |(i, x)| (i as f64, x[k])));
        LineChart {
            title: title.into(),
            x_label: "step".into(),
            y_label: "the players' numbers".into(),
            series: vec![curve("v", 0), curve("c", 1), curve("s", 2)],
            ..Default::default()
        }
    };
    Panels {
        title: "The filter and the spammer, as first written and as advised".into(),
        alt: "As first written the spammer's number leaves the region, which ends at 1, and all three swing for 150 steps. As advised all \
              are at rest after about 30."
            .into(),
        panels: vec![
            panel("ρ = λ = 0.05: refused", &spam(0.05, 0.05, 1.0), 0.3).into(),
            panel("ρ = 0.59, λ = 0.58: certified", &spam(ADVISED[0], ADVISED[1], 1.0), 0.3).into(),
        ],
        columns: 1,
    }
    .figure("learners")
}

/// What the monitor sees of a run whose data change.
fn monitor() -> Figure {
    const CHANGE: u32 = 12;
    let (game, changed) = (spam(ADVISED[0], ADVISED[1], 1.0), spam(ADVISED[0], ADVISED[1], 0.5));
    let found = certified(&game, &spam_region(), Mode::PerBox, 1e-3);
    let h = found.rates().best_euler_step();
    let mut watch = Monitor::new(&found.certificate, Rule::Euler, h).unwrap();
    let centre = &found.certificate.equilibrium.as_ref().unwrap().centre;
    let norm = |x: &[f64]| {
        let weights = [found.certificate.weights[0], found.certificate.weights[0], found.certificate.weights[1]];
        x.iter().zip(centre).zip(weights).map(|((x, c), w)| w * (x - c).powi(2)).sum::<f64>().sqrt()
    };
    let (mut x, mut ratios, mut flagged) = (vec![0.2, -0.1, 0.3], Vec::new(), Vec::new());
    watch.see(&x).unwrap();
    for state in 1..=24u32 {
        let before = norm(&x);
        let field = if state <= CHANGE { game.field(&x) } else { changed.field(&x) };
        x.iter_mut().zip(&field).for_each(|(x, f)| *x -= h * f);
        let ratio = (f64::from(state), norm(&x) / before);
        ratios.push(ratio);
        if watch.see(&x).is_err() {
            flagged.extend([ratio, (f64::NAN, f64::NAN)]);
        }
    }
    LineChart {
        title: "A run that is watched: the data change after state 12".into(),
        alt: format!(
            "Each step multiplies the distance by about 0.89, less than the certified factor {:.3}, until the data change; then by more \
             than 1, and every state is flagged.",
            watch.factor()
        ),
        x_label: "state".into(),
        y_label: "distance from the equilibrium over that before".into(),
        series: vec![Series::new("ratio", ratios), Series::new("flagged", flagged)],
        references: vec![Reference::new("certified factor", watch.factor())],
        ..Default::default()
    }
    .figure("monitor")
}

/// Whether two drawings are the same, but for the last digit of coordinates, which other machines' functions may round the other way.
fn agree(drawn: &str, stored: &str) -> bool {
    let number = |c: char| c.is_ascii_digit() || c == '.';
    let words = |text: &str| text.chars().filter(|&c| !number(c)).collect::<String>();
    let close = |a: &str, b: &str| {
        let decimals = |text: &str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let coordinate = decimals(a) <= 1 && decimals(b) <= 1;
        a == b || coordinate && a.parse::<f64>().ok().zip(b.parse::<f64>().ok()).is_some_and(|(a, b)| (a - b).abs() < 0.11)
    };
    let (a, b): (Vec<&str>, Vec<&str>) = (drawn.split(|c| !number(c)).collect(), stored.split(|c| !number(c)).collect());
    words(drawn) == words(stored) && a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| close(a, b))
}

#[test]
fn the_pictures_of_the_guide_are_what_the_library_draws() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let write = std::env::var_os("GRADUS_WRITE_FIGURES").is_some();
    let pages = ["small-gain-nash", "is-my-training-going-to-converge"]
        .map(|page| std::fs::read_to_string(docs.join("guide").join(page).with_extension("md")).unwrap_or_default());
    for figure in figures() {
        let name = format!("games-{}.svg", figure.name);
        let path = docs.join("images").join(&name);
        if write {
            std::fs::write(&path, &figure.svg).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(agree(&figure.svg, &stored), "{name} is not what is drawn: see the top of this file");
        assert!(write || pages.iter().any(|page| page.contains(&name)), "no page shows {name}");
    }
}

#[test]
fn drawings_agree_to_the_last_digit_of_coordinates() {
    assert!(agree("<a x=\"12.3\"/>", "<a x=\"12.4\"/>") && agree("0.293", "0.293"));
    for (a, b) in [("<a x=\"12.3\"/>", "<a x=\"12.5\"/>"), ("0.293", "0.294"), ("<a x=\"1\"/>", "<b x=\"1\"/>"), ("1 2", "1")] {
        assert!(!agree(a, b), "{a} {b}");
    }
}
