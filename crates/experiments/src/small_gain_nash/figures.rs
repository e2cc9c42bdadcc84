//! The figures and tables of the page.

use gradus_games::game::Game;
use gradus_games::small_gain::{BlockBounds, Certified};
use gradus_report::{Cell, Figure, HeatMap, LineChart, Panels, Reference, Scale, Series, Shades, Table};

use super::certificate::{band_chart, ellipse, local_margin, shades};
use super::games::{CERTIFICATES, Compared, Cost, TOLERANCES};
use super::linear::{self, ENSEMBLE, FLOWS, Many, Member, NOISE, Noisy, Point, RATIO, TABLE};
use super::stability::{euler_radius, euler_threshold, matrix_rk4_threshold, rk4_radius, rk4_threshold};
use super::steps::{GAMES, RULES, Runs};
use super::table;
use super::toy::{self, RESOLVENT_POINTS, START, TIME_STEP, Toy};
use crate::{ExperimentError, Outcome, mean, student_interval};

/// The flow of the toy in the plane, with the ball and the ellipse that it starts on.
pub(super) fn portrait() -> Result<Figure, ExperimentError> {
    let path = |start: [f64; 2]| -> Result<Vec<(f64, f64)>, ExperimentError> {
        let run = toy::decay(start, 20.0)?;
        Ok(run.states.iter().step_by(12).map(|state| (state[0], state[1])).collect())
    };
    // Both from the same ball and ellipse, one line for both.
    let mut paths = path(START)?;
    paths.push((f64::NAN, f64::NAN));
    paths.extend(path(START.map(|x| -x))?);
    let ball = START[0].hypot(START[1]);
    let metric = (START[0].powi(2) + RATIO * START[1].powi(2)).sqrt();
    Ok(LineChart {
        title: "Two players leave the Euclidean ball, and not the ellipse".into(),
        alt: format!(
            "From two opposite points at a distance of {ball:.3} the flow first leaves the ball of this radius, to a distance of 0.676, \
             and then comes to rest in the middle; it stays in the ellipse x1² + 200 x2² = {:.2} and crosses smaller ones inwards.",
            metric * metric
        ),
        x_label: "x1, the first player's number".into(),
        y_label: "x2, the second player's (drawn ten times as large)".into(),
        series: vec![
            Series::new("flow", paths),
            Series::new("Euclidean ball", ellipse([0.0; 2], [ball, ball])),
            Series::new("ball of the metric (1, 200)", ellipse([0.0; 2], [metric, metric / RATIO.sqrt()])),
            Series::new("starts", [(START[0], START[1]), (f64::NAN, f64::NAN), (-START[0], -START[1])]),
        ],
        ..Default::default()
    }
    .figure("portrait"))
}

/// What is known of the toy: its flow in both norms, its band, and its numbers beside those in closed form.
pub(super) fn toy(outcome: &mut Outcome, toy: &Toy) -> Result<(), ExperimentError> {
    let run = toy::decay(START, 8.0)?;
    let first = run.samples[0];
    let curve = |name: &str, f: fn(&gradus_games::dynamics::Sample) -> Option<f64>| {
        let start = f(&first).unwrap_or(f64::NAN);
        let points = run.samples.iter().step_by(10);
        Series::new(name, points.filter_map(|sample| Some((sample.step as f64 * TIME_STEP, f(sample)? / start))).collect::<Vec<_>>())
    };
    let decay = Series::new("certified, e^(−0.293 t)", (0..=40).map(|i| (0.2 * f64::from(i), (-toy.margin * 0.2 * f64::from(i)).exp())));
    outcome.figures.push(
        LineChart {
            title: "The same flow in both norms".into(),
            alt: format!(
                "The Euclidean distance from the equilibrium grows {:.2} times until t = {:.2}; the distance in the metric falls \
                 throughout, at least at the certified rate {:.3}.",
                toy.growth[0], toy.growth[1], toy.margin
            ),
            x_label: "time".into(),
            y_label: "distance from the equilibrium over that at the start".into(),
            y_scale: Scale::Log,
            series: vec![curve("Euclidean", |sample| sample.distance), curve("metric (1, 200)", |sample| sample.metric_distance), decay],
            ..Default::default()
        }
        .figure("flow-decay"),
    );
    if let Some(bounds) = &toy.bounds {
        outcome.figures.extend(band_chart(bounds, toy.ratio, "Ratios of weights in whose metric the toy contracts", "timescale-band"));
    }
    let root = 0.5f64.sqrt();
    let rows: [(&str, f64, f64); 15] = [
        ("smaller eigenvalue", toy.eigenvalues[0], 1.0 - root),
        ("greater eigenvalue", toy.eigenvalues[1], 1.0 + root),
        ("Euclidean margin", toy.euclidean, -4.025),
        ("best ratio of weights", toy.ratio, 200.0),
        ("margin at it", toy.margin, 0.292_893_219),
        ("band of margin 0, from", toy.bands[0][0], 34.314_575_05),
        ("band of margin 0, to", toy.bands[0][1], 1_165.685_424_95),
        ("band of margin 0.1, from", toy.bands[1][0], 47.120_965_88),
        ("band of margin 0.1, to", toy.bands[1][1], 848.879_034_12),
        ("Lipschitz constant in the metric", toy.lipschitz, 1.707_106_78),
        ("Euclidean norm of the Jacobian", toy.euclidean_norm, 10.099_507_37),
        ("greatest certified step", toy.euler, 0.201_010_13),
        ("growth of the Euclidean distance", toy.growth[0], 3.186_094),
        ("time of the greatest distance", toy.growth[1], 1.136),
        ("1 if the metric distance falls throughout", f64::from(toy.metric_falls), 1.0),
    ];
    let rows = rows.map(|(name, here, expected)| vec![name.into(), here.into(), expected.into()]);
    outcome.tables.push(table("The game of two numbers", &["quantity", "computed", "expected"], rows));
    Ok(())
}

/// Margins, steps and phase diagrams over coupling strengths.
pub(super) fn strengths(outcome: &mut Outcome, points: &[Point]) -> Result<(), ExperimentError> {
    outcome.figures.push(margins(points));
    outcome.figures.push(phase_diagrams()?);
    let rows = points.iter().filter(|point| TABLE.contains(&point.lambda)).map(|point| {
        let step = |f: fn(&super::linear::Steps) -> Option<f64>| Cell::from(point.steps.as_ref().and_then(f));
        vec![
            point.lambda.into(),
            point.euclidean.into(),
            point.margin.into(),
            point.lipschitz.into(),
            step(|steps| Some(steps.euler)),
            point.euler_threshold.into(),
            step(|steps| Some(steps.incremental)),
            step(|steps| steps.map),
            step(|steps| Some(steps.guideline)),
            point.rk4_threshold.into(),
        ]
    });
    let columns = [
        "λ",
        "Euclidean margin",
        "margin",
        "Lipschitz constant",
        "gradient play, certified",
        "gradient play, true",
        "Runge–Kutta, any field",
        "Runge–Kutta, this map",
        "Runge–Kutta, guideline",
        "Runge–Kutta, true",
    ];
    outcome.tables.push(table("Margins and greatest steps, measured on the large matrices", &columns, rows));
    Ok(())
}

/// How fast flows come to rest, beside what the authors' code fitted.
pub(super) fn flow_rates(outcome: &mut Outcome, rates: &[[f64; 2]]) {
    let rows = FLOWS.iter().zip(rates).map(|(&(lambda, theirs), &[margin, rate])| [lambda, margin, rate, theirs].map(Cell::from).into());
    let columns = ["λ", "margin", "rate of the flow, fitted from t = 10 to 20", "paper's code, fitted"];
    outcome.tables.push(table("Rates of flows in the metric", &columns, rows));
}

fn margins(points: &[Point]) -> Figure {
    let curve = |name: &str, f: fn(&Point) -> f64| Series::new(name, points.iter().map(|point| (point.lambda, f(point))));
    let dots = points.iter().step_by(5).flat_map(|point| [(point.lambda, point.truth), (f64::NAN, f64::NAN)]);
    LineChart {
        title: "Contraction margins and the strength of the couplings".into(),
        alt: "The Euclidean margin falls below zero at a strength of 0.2; the margin of the best weights, which is the true one in their \
              metric, at 1.41, seven times as late."
            .into(),
        x_label: "coupling strength λ".into(),
        y_label: "margin".into(),
        series: vec![
            curve("best weights", |point| point.margin),
            curve("Euclidean, down to −2", |point| if point.euclidean >= -2.0 { point.euclidean } else { f64::NAN }),
            Series::new("true in the metric", dots),
        ],
        references: vec![Reference::new("no contraction below", 0.0)],
        ..Default::default()
    }
    .figure("margins")
}

/// Digits that a step wins, over coupling strength and step, with what is certified.
fn phase_diagrams() -> Result<Figure, ExperimentError> {
    const STRENGTHS: usize = 30;
    const STEPS: usize = 30;
    const MOST: f64 = 0.5;
    let strength = |i: f64| 1.5 * i / STRENGTHS as f64;
    let values: Vec<_> = (0..STRENGTHS).map(|i| linear::eigenvalues(&toy::jacobian(strength(i as f64 + 0.5)))).collect::<Result<_, _>>()?;
    let field = |most: f64, radius: fn(&[nalgebra::Complex<f64>], f64) -> f64| {
        let won = |row: usize, i: usize| (-radius(&values[i], most * (row as f64 + 0.5) / STEPS as f64).log10()).clamp(-MOST, MOST);
        Some(Shades {
            label: "digits that a step wins in the end (blue) or loses (orange), up to 0.5".into(),
            x: (0..=STRENGTHS).map(|i| strength(i as f64)).collect(),
            y: (0..=STEPS).map(|i| most * i as f64 / STEPS as f64).collect(),
            values: (0..STEPS).map(|row| (0..STRENGTHS).map(|i| won(row, i)).collect()).collect(),
        })
    };
    let along = |name: &str, f: &dyn Fn(f64) -> Result<Option<f64>, ExperimentError>| -> Result<Series, ExperimentError> {
        let point = |i: u32| {
            let lambda = 1.4 * f64::from(i) / 40.0;
            Ok(f(lambda)?.map(|step| (lambda, step)))
        };
        let points: Vec<Option<(f64, f64)>> = (0..=40).map(point).collect::<Result<_, ExperimentError>>()?;
        Ok(Series::new(name, points.into_iter().flatten()))
    };
    let rates = |lambda: f64| -> Result<Option<gradus_games::small_gain::Rates>, ExperimentError> {
        let bounds = linear::bounds(&toy::jacobian(lambda), &[1, 1])?;
        let best = gradus_games::small_gain::optimal_weights(&bounds);
        Ok(gradus_games::small_gain::Rates::new(best.margin, bounds.lipschitz(&best.weights)?).ok())
    };
    let threshold = |lambda: f64, f: fn(&[nalgebra::Complex<f64>]) -> f64| Ok(Some(f(&linear::eigenvalues(&toy::jacobian(lambda))?)));
    let map = |lambda: f64| {
        Ok(rates(lambda)?.map(|rates| {
            let matrix = linear::scaled(&toy::jacobian(lambda), [1.0, RATIO]);
            matrix_rk4_threshold(&matrix, 3.0 / rates.lipschitz())
        }))
    };
    let panel = |title: &str, series, shades| LineChart {
        title: title.into(),
        x_label: "coupling strength λ".into(),
        y_label: "step h".into(),
        series,
        shades,
        ..Default::default()
    };
    let euler = vec![
        along("certified, 2α/β²", &|lambda| Ok(rates(lambda)?.map(|rates| rates.euler_limit())))?,
        along("true threshold", &|lambda| threshold(lambda, euler_threshold))?,
    ];
    let rk4 = vec![
        along("certified for any field", &|lambda| Ok(rates(lambda)?.map(|rates| rates.rk4_limit())))?,
        along("certified for this map", &map)?,
        along("guideline, 2.5/β", &|lambda| Ok(rates(lambda)?.map(|rates| rates.rk4_guideline())))?,
        along("true threshold", &|lambda| threshold(lambda, rk4_threshold))?,
    ];
    Ok(Panels {
        title: "Where steps converge, and where that is certified".into(),
        alt: "For gradient play the certified step lies well inside the stable area and reaches zero with the margin at λ = 1.41. For \
              Runge–Kutta the step for any field lies far inside, the guideline a little, and the step certified for the map on the edge \
              of the stable area."
            .into(),
        panels: vec![
            panel("Gradient play", euler, field(2.5, euler_radius)).into(),
            panel("Runge–Kutta", rk4, field(3.0, rk4_radius)).into(),
        ],
        columns: 1,
    }
    .figure("phase-diagrams"))
}

/// The waves with the margin at each point, and the boxes that prove it.
pub(super) fn leaf_map(game: &Game, found: &Certified) -> Result<Figure, ExperimentError> {
    let certificate = &found.certificate;
    let mut edges = Vec::new();
    let mut least = f64::INFINITY;
    for leaf in &certificate.leaves {
        let bounds = BlockBounds::new(leaf.curvature.clone(), leaf.coupling.clone(), leaf.own_lipschitz.clone())?;
        least = least.min(bounds.margin(&certificate.weights)?);
        let [x, y] = [&leaf.region[0], &leaf.region[1]];
        edges.extend([(x.lo(), y.lo()), (x.hi(), y.lo()), (x.hi(), y.hi()), (x.lo(), y.hi()), (x.lo(), y.lo()), (f64::NAN, f64::NAN)]);
    }
    let centre = certificate.equilibrium.as_ref().map(|ball| ball.centre.clone()).unwrap_or_default();
    let mut series = vec![Series::new(format!("{} boxes of the proof", certificate.leaves.len()), edges)];
    if let [x, y] = centre[..] {
        series.push(Series::new("equilibrium", [(x, y)]));
    }
    let sides = [[-1.0, 1.0]; 2];
    let local = shades(sides, |x, y| local_margin(&game.jacobian(&[x, y]), game.dimensions(), &certificate.weights));
    Ok(LineChart {
        title: "Where a nonlinear game contracts how much, and the boxes that prove it".into(),
        alt: format!(
            "The margin at points of the square is positive everywhere; {} boxes prove that it is nowhere below {least:.3}.",
            certificate.leaves.len()
        ),
        x_label: "x, the first player's number".into(),
        y_label: "y, the second player's".into(),
        series,
        shades: Some(local),
        ..Default::default()
    }
    .figure("leaf-map"))
}

/// The certificate of a market in numbers.
pub(super) fn market(names: &[String], found: &Certified) -> Table {
    let certificate = &found.certificate;
    let centre = certificate.equilibrium.as_ref().map(|ball| &ball.centre);
    let rows = names.iter().enumerate().map(|(i, name)| {
        let most = |f: fn(&nalgebra::DMatrix<f64>, usize) -> f64| Cell::from(f(found.bounds.coupling(), i));
        vec![
            name.as_str().into(),
            certificate.weights[i].into(),
            found.bounds.curvature()[i].into(),
            most(|coupling, i| coupling.row(i).sum()),
            Cell::from(centre.map(|centre| centre[i])),
        ]
    });
    let title = format!("A market with a certificate: margin {:.4}, Lipschitz constant {:.4}", certificate.alpha, certificate.beta);
    table(&title, &["firm", "weight", "own curvature", "pushed by the others", "quantity in equilibrium"], rows)
}

/// Quartiles of values, the median in the middle.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    if values.is_empty() { [f64::NAN; 3] } else { [0.25, 0.5, 0.75].map(at) }
}

pub(super) fn ensemble(outcome: &mut Outcome, members: &[Member]) {
    let values = |lambda: f64, f: fn(&Member) -> f64| members.iter().filter(|member| member.lambda == lambda).map(f).collect::<Vec<_>>();
    let curve = |name: &str, f: fn(&Member) -> f64| {
        Series::with_intervals(
            name,
            ENSEMBLE.map(|lambda| {
                let [low, median, high] = quartiles(values(lambda, f));
                (lambda, median, Some([low, high]))
            }),
        )
    };
    outcome.figures.push(
        LineChart {
            title: "Random games: certified, true and Euclidean margins".into(),
            alt: "Medians over the seeds, with quartiles. The certified margin falls from the true one at λ = 0 to below zero between \
                  1.25 and 1.67; the true margin in the metric stays positive throughout; the Euclidean one is negative from 0.83 on."
                .into(),
            x_label: "coupling strength λ".into(),
            y_label: "margin: median and quartiles over the seeds".into(),
            series: vec![
                curve("best weights", |member| member.margin),
                curve("true in the metric", |member| member.truth),
                curve("Euclidean", |member| member.euclidean),
            ],
            references: vec![Reference::new("no contraction below", 0.0)],
            ..Default::default()
        }
        .figure("ensemble"),
    );
    let share = |lambda: f64, f: fn(&Member) -> bool| {
        let all = members.iter().filter(|member| member.lambda == lambda);
        all.clone().filter(|member| f(member)).count() as f64 / all.count() as f64
    };
    let theirs = [
        (1.0, 1.0, Some(1.0)),
        (1.0, 1.0, Some(0.737)),
        (1.0, 0.1333, Some(0.460)),
        (1.0, 0.0, Some(0.153)),
        (0.0, 0.0, None),
        (0.0, 0.0, None),
        (0.0, 0.0, None),
    ];
    let with_signs = |lambda: f64| {
        let refused: Vec<f64> = members.iter().filter(|member| member.lambda == lambda).filter_map(|member| member.signs).collect();
        (!refused.is_empty()).then(|| refused.iter().filter(|margin| **margin > 0.0).count() as f64 / refused.len() as f64)
    };
    let rows = ENSEMBLE.iter().zip(theirs).map(|(&lambda, (certified, monotone, ratio))| {
        let quality = quartiles(values(lambda, |member| member.margin / member.truth))[1];
        vec![
            lambda.into(),
            share(lambda, |member| member.margin > 0.0).into(),
            certified.into(),
            share(lambda, |member| member.euclidean > 0.0).into(),
            monotone.into(),
            share(lambda, |member| member.truth > 0.0).into(),
            1.0.into(),
            quality.into(),
            ratio.into(),
            quartiles(values(lambda, |member| member.guideline))[1].into(),
            0.8976.into(),
            Cell::from(with_signs(lambda)),
        ]
    });
    let columns = [
        "λ",
        "certified",
        "paper's code",
        "Euclidean-monotone",
        "paper's code",
        "truly monotone in the metric",
        "paper's code",
        "certified over true margin, median",
        "paper's code",
        "guideline over true step, median",
        "paper's code",
        "of those refused, certified with signs",
    ];
    outcome.tables.push(table("The ensemble beside the authors' code, which was run with 30 seeds of its own", &columns, rows));
}

pub(super) fn comparison(outcome: &mut Outcome, compared: &[Compared]) {
    // Two decimals, which fit into a cell.
    let shown = |margin: f64| (100.0 * margin.max(-2.0)).round() / 100.0;
    outcome.figures.push(
        HeatMap {
            title: "Games and certificates: which margin each finds".into(),
            alt: "The scalar game is certified by the best weights and not by equal ones. The rotation is refused by all that see norms \
                  only; Rosen's condition and metrics of matrices see signs and certify it. The needle is refused on its region, and looks fine at its equilibrium."
                .into(),
            label: "margin: positive (blue) is proven, but for the local spectrum; below −2 shown as −2; – where none was shown".into(),
            columns: CERTIFICATES.map(String::from).into(),
            rows: compared.iter().map(|game| game.name.clone()).collect(),
            values: compared.iter().map(|game| game.margins.iter().map(|margin| margin.map_or(f64::NAN, shown)).collect()).collect(),
        }
        .figure("comparison"),
    );
    let rows = compared.iter().map(|game| {
        let margins = game.margins.iter().map(|&margin| Cell::from(margin));
        [Cell::from(game.name.as_str())].into_iter().chain(margins).chain([game.verdict.as_str().into()]).collect()
    });
    let columns: Vec<&str> = ["game"].into_iter().chain(CERTIFICATES).chain(["the last eight hold, fail or are open"]).collect();
    outcome.tables.push(table("Margins of games by certificate", &columns, rows));
}

pub(super) fn steps(outcome: &mut Outcome, runs: &Runs) {
    let first = |game: usize, rule: usize| {
        let sweep = runs.sweeps.iter().find(|sweep| (sweep.game, sweep.rule) == (game, rule));
        sweep.map_or(f64::NAN, |sweep| {
            let stable = sweep.diverged.iter().take_while(|(_, share)| *share == 0.0).last();
            stable.map_or(0.0, |(multiple, _)| *multiple)
        })
    };
    let least = |rule: usize| (0..GAMES.len()).map(|game| first(game, rule)).fold(f64::INFINITY, f64::min);
    outcome.figures.push(
        HeatMap {
            title: "How far beyond the certified step each rule still works".into(),
            alt: format!(
                "Gradient play diverges in no run up to {:.1} times its certified step, Runge–Kutta in none up to {:.1} times its own. \
                 For the other rules nothing is certified, and the step of gradient play serves as their unit: {}.",
                least(0),
                least(1),
                (2..RULES.len()).map(|rule| format!("{} up to {:.1}", RULES[rule], least(rule))).collect::<Vec<_>>().join(", ")
            ),
            label: "largest step of the sweep, which ends at 10, up to which no run diverges, over the certified step (of gradient play, \
                    for rules without one)"
                .into(),
            columns: ["scalar", "three players", "waves", "ring"].map(String::from).into(),
            rows: RULES.map(String::from).into(),
            values: (0..RULES.len()).map(|rule| (0..GAMES.len()).map(|game| first(game, rule)).collect()).collect(),
        }
        .figure("steps"),
    );
    let series = [0, 1].map(|rule| {
        let sweeps: Vec<_> = runs.sweeps.iter().filter(|sweep| sweep.rule == rule).collect();
        let multiples = sweeps.first().map(|sweep| sweep.diverged.iter().map(|(multiple, _)| *multiple).collect()).unwrap_or_else(Vec::new);
        let share = |place: usize| mean(&sweeps.iter().map(|sweep| sweep.diverged[place].1).collect::<Vec<_>>());
        Series::new(RULES[rule], multiples.into_iter().enumerate().map(|(place, multiple)| (multiple, share(place))))
    });
    outcome.figures.push(
        LineChart {
            title: "Runs that diverge, by step over the certified step".into(),
            alt: format!(
                "No run of gradient play diverges up to {:.1} times its certified step, none of Runge–Kutta up to {:.1} times its own; \
                 the sweep ends at 10.",
                least(0),
                least(1)
            ),
            x_label: "step over the certified step of the rule".into(),
            y_label: "share of runs that diverge, all games".into(),
            x_scale: Scale::Log,
            series: series.into(),
            ..Default::default()
        }
        .figure("divergence"),
    );
    let rows = GAMES.iter().enumerate().map(|(game, name)| {
        let exact = |rule: usize| Cell::from(runs.thresholds[game].map(|thresholds| thresholds[rule]));
        vec![(*name).into(), runs.limits[game][0].into(), exact(0), runs.limits[game][1].into(), exact(1)]
    });
    let columns = ["game", "gradient play, certified", "exact", "Runge–Kutta, certified", "exact"];
    outcome.tables.push(table("Certified and exact greatest steps", &columns, rows));
}

pub(super) fn noise(outcome: &mut Outcome, draws: &[Noisy]) {
    let values = |share: f64, f: fn(&Noisy) -> f64| draws.iter().filter(|draw| draw.share == share).map(f).collect::<Vec<_>>();
    let curve = |name: &str, f: fn(&Noisy) -> f64| {
        Series::with_intervals(name, NOISE.map(|share| (share, mean(&values(share, f)), student_interval(&values(share, f)))))
    };
    outcome.figures.push(
        LineChart {
            title: "Noise in the couplings: what bounds by norms give away".into(),
            alt: "As the couplings turn from an orthogonal matrix and its transpose into independent noise, the true margin rises more \
                  than the certified one, which stays below."
                .into(),
            x_label: "share of noise in the couplings, at λ = 1".into(),
            y_label: "margin: mean and 95 % interval over the draws".into(),
            series: vec![curve("best weights", |draw| draw.margin), curve("true in the metric", |draw| draw.truth)],
            ..Default::default()
        }
        .figure("noise"),
    );
    let theirs = [(1.0, 0.292_893), (1.084, 0.361_916), (1.204, 0.461_572), (1.408, 0.535_406), (1.684, 0.493_150)];
    let rows = NOISE.iter().zip(theirs).map(|(&share, (ratio, truth))| {
        vec![
            share.into(),
            mean(&values(share, |draw| draw.truth / draw.margin)).into(),
            ratio.into(),
            mean(&values(share, |draw| draw.truth)).into(),
            truth.into(),
        ]
    });
    let columns = ["share of noise", "true over certified margin, mean", "paper's code", "true margin, mean", "paper's code"];
    outcome.tables.push(table("Noise in the couplings beside the authors' code, which drew its own", &columns, rows));
}

pub(super) fn players(outcome: &mut Outcome, games: &[Many]) {
    let rows = [3, 5].map(|players| {
        let all: Vec<&Many> = games.iter().filter(|game| game.players == players).collect();
        let certified: Vec<[f64; 2]> = all.iter().filter_map(|game| game.steps).collect();
        let share = |f: &dyn Fn(&Many) -> bool| all.iter().filter(|game| f(game)).count() as f64 / all.len() as f64;
        vec![
            Cell::from(players as f64),
            share(&|game| game.equal > 0.0).into(),
            share(&|game| game.best > 0.0).into(),
            share(&|game| game.truth > 0.0).into(),
            quartiles(all.iter().filter(|game| game.best > 0.0).map(|game| game.best / game.truth).collect())[1].into(),
            quartiles(certified.iter().map(|[limit, exact]| exact / limit).collect())[1].into(),
        ]
    });
    let columns = [
        "players",
        "certified with equal weights",
        "certified with the best weights",
        "truly monotone in that metric",
        "certified over true margin, median",
        "true over certified step, median",
    ];
    outcome.tables.push(table("Random games of three and of five players with four variables each", &columns, rows));
}

pub(super) fn costs(outcome: &mut Outcome, costs: &[Cost]) {
    let of = |tolerance: f64| costs.iter().filter(move |cost| cost.tolerance == tolerance);
    let series = TOLERANCES.map(|tolerance| {
        let points = of(tolerance).filter(|cost| cost.complete).map(|cost| (cost.size as f64, cost.boxes as f64));
        Series::new(format!("gap {tolerance}"), points)
    });
    let middle = TOLERANCES[1];
    let ends = of(middle).filter(|cost| cost.complete).map(|cost| format!("{} boxes for {} variables", cost.boxes, cost.size));
    let ends: Vec<String> = ends.collect();
    let ends = [ends.first(), ends.last()].map(|end| end.cloned().unwrap_or_default());
    outcome.figures.push(
        LineChart {
            title: "What bounds cost as games grow".into(),
            alt: format!(
                "On rings each bound depends on three variables, and is searched on boxes of its own: to a gap of {middle}, {} and {}.",
                ends[0], ends[1]
            ),
            x_label: "variables: a ring of as many players".into(),
            y_label: "boxes until every bound is within the gap of the truth".into(),
            y_scale: Scale::Log,
            series: series.into(),
            ..Default::default()
        }
        .figure("boxes"),
    );
    let rows = costs.iter().map(|cost| {
        let complete = if cost.complete { "yes" } else { "no" };
        let numbers = [cost.size as f64, cost.tolerance, cost.boxes as f64, cost.seconds];
        numbers.map(Cell::from).into_iter().chain([Cell::from(cost.margin), complete.into()]).collect()
    });
    let columns = ["variables", "gap", "boxes", "seconds on this machine", "certified margin", "all bounds within the gap"];
    outcome.tables.push(table("Branch and bound on rings", &columns, rows));
}

/// Both resolvents, every eighth of their points.
pub(super) fn resolvents(values: &[Vec<Vec<f64>>; 2]) -> Figure {
    const EVERY: usize = 8;
    let spread = 0.5f64.sqrt();
    let panel = |title: &str, values: &Vec<Vec<f64>>| {
        let count = RESOLVENT_POINTS.div_ceil(EVERY);
        let edges = |low: f64, high: f64| (0..=count).map(|i| low + (high - low) * i as f64 / count as f64).collect();
        LineChart {
            title: title.into(),
            x_label: "real part of z".into(),
            y_label: "imaginary part of z".into(),
            series: vec![Series::new("eigenvalues", [(1.0 - spread, 0.0), (f64::NAN, 0.0), (1.0 + spread, 0.0)])],
            shades: Some(Shades {
                label: "log₁₀ of the resolvent's norm, clipped to 0.25 and 1.3, so that both share a scale".into(),
                x: edges(-0.5 - spread, 2.5 + spread),
                y: edges(-1.2, 1.2),
                values: values
                    .iter()
                    .step_by(EVERY)
                    .map(|row| row.iter().step_by(EVERY).map(|value| value.clamp(0.25, 1.3)).collect())
                    .collect(),
            }),
            ..Default::default()
        }
    };
    Panels {
        title: "Pseudospectra: how far eigenvalues can be trusted".into(),
        alt: "In the Euclidean metric the resolvent is large in a wide area around both eigenvalues and beyond the imaginary axis; in the \
              metric only close to each."
            .into(),
        panels: vec![panel("In the Euclidean metric", &values[0]).into(), panel("In the metric (1, 200)", &values[1]).into()],
        columns: 1,
    }
    .figure("pseudospectra")
}
