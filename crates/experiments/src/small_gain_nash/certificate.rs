//! A certificate as pictures.

use gradus_games::game::Game;
use gradus_games::small_gain::{BlockBounds, Certified, Rates, Region, block_margin, timescale_band};
use gradus_report::{Figure, LineChart, Panels, Reference, Scale, Series, Shades};
use nalgebra::{DMatrix, SymmetricEigen};

/// Cells along each axis of a map.
const CELLS: usize = 24;

/// What a certificate says, in pictures: maps of the local margin through the centre of the region for the up to three pairs of variables
/// that influence each other most, with the ball of the metric that fits into the region and the ball that holds the equilibrium; for two
/// players the band of weights; and by what steps contract. `variables` are their names, one each.
///
/// ```
/// use gradus_experiments::certificate_figures;
/// use gradus_games::small_gain::{Certifier, Region, Verdict};
/// use gradus_games::zoo;
///
/// let waves = zoo::waves()?;
/// let region = Region::Local(waves.region);
/// let Verdict::Certified(found) = Certifier::default().certify(&waves.game, &region)? else { unreachable!() };
/// let figures = certificate_figures(&waves.game, &["x".into(), "y".into()], &found, &region);
/// let names: Vec<&str> = figures.iter().map(|figure| figure.name.as_str()).collect();
/// assert_eq!(names, ["certificate-map-1", "certificate-band", "certificate-steps"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn certificate_figures(game: &Game, variables: &[String], found: &Certified, region: &Region) -> Vec<Figure> {
    let map = Map::new(game, found, region);
    let pairs = map.pairs();
    let name = |k: usize| variables.get(k).cloned().unwrap_or_else(|| format!("x{}", k + 1));
    let mut figures: Vec<Figure> =
        pairs.iter().enumerate().map(|(i, &pair)| map.figure(pair, pair.map(name), &format!("certificate-map-{}", i + 1))).collect();
    if let ([first, second], None) = (&found.certificate.weights[..], &found.certificate.whole) {
        figures.extend(band_chart(&found.bounds, second / first, "Ratios of weights with a margin", "certificate-band"));
    }
    figures.push(steps(found.rates(), game.is_affine() && !matches!(region, Region::Constrained(_))));
    figures
}

/// What maps of all pairs of variables have in common.
struct Map<'a> {
    game: &'a Game,
    found: &'a Certified,
    centre: Vec<f64>,
    /// The metric, and its inverse.
    metric: DMatrix<f64>,
    inverse: DMatrix<f64>,
    sides: Vec<[f64; 2]>,
    /// Whether the sides are those of a region.
    bounded: bool,
}

impl<'a> Map<'a> {
    fn new(game: &'a Game, found: &'a Certified, region: &Region) -> Self {
        let certificate = &found.certificate;
        let metric = certificate.metric_matrix();
        let inverse = metric.clone().cholesky().map_or_else(|| DMatrix::identity(game.size(), game.size()), |factor| factor.inverse());
        let sides = match region {
            Region::Free => None,
            Region::Local(sides) | Region::Constrained(sides) => Some(sides.iter().map(|side| [side.lo(), side.hi()]).collect::<Vec<_>>()),
        };
        let ball = certificate.ball.as_ref().map(|ball| ball.centre.clone());
        let middle = || sides.as_ref().map(|sides| sides.iter().map(|[low, high]| 0.5 * (low + high)).collect());
        let centre = ball.or_else(middle).unwrap_or_else(|| vec![0.0; game.size()]);
        let bounded = sides.is_some();
        // Of all points, those around the equilibrium, as far as the metric's unit ball reaches.
        let around = || centre.iter().zip(&inverse.diagonal()).map(|(c, square)| [c - square.sqrt(), c + square.sqrt()]).collect();
        let sides = sides.unwrap_or_else(around);
        Self { game, found, centre, metric, inverse, sides, bounded }
    }

    /// The up to three pairs of variables that influence each other most in the metric, the strongest first.
    fn pairs(&self) -> Vec<[usize; 2]> {
        let jacobian = self.game.jacobian(&self.centre);
        let size = self.game.size();
        let influence = |[i, j]: [usize; 2]| {
            let stretch = (self.metric[(i, i)] / self.metric[(j, j)]).sqrt();
            (stretch * jacobian[(i, j)]).abs() + (jacobian[(j, i)] / stretch).abs()
        };
        let mut pairs: Vec<[usize; 2]> = (0..size).flat_map(|i| (i + 1..size).map(move |j| [i, j])).collect();
        pairs.sort_by(|a, b| influence(*b).total_cmp(&influence(*a)));
        pairs.truncate(3);
        pairs
    }

    /// The radius of the ball of the metric around the centre that fits between the sides.
    fn inscribed(&self) -> f64 {
        let squares = self.inverse.diagonal();
        let room = self.sides.iter().zip(&self.centre).zip(&squares);
        room.map(|(([low, high], c), square)| (c - low).min(high - c) / square.sqrt()).fold(f64::INFINITY, f64::min).max(0.0)
    }

    /// The margin of a Jacobian in the certificate's metric: with its signs, or by the norms of its blocks.
    fn margin(&self, jacobian: &DMatrix<f64>) -> f64 {
        let (dimensions, certificate) = (self.game.dimensions(), &self.found.certificate);
        let Some(whole) = &certificate.whole else { return local_margin(jacobian, dimensions, &certificate.weights) };
        let blocks: Vec<DMatrix<f64>> = whole.blocks.iter().zip(&certificate.weights).map(|(block, &w)| block * w).collect();
        block_margin(std::slice::from_ref(jacobian), dimensions, &blocks).unwrap_or(f64::NAN)
    }

    fn figure(&self, [i, j]: [usize; 2], names: [String; 2], name: &str) -> Figure {
        let certificate = &self.found.certificate;
        let at = [self.centre[i], self.centre[j]];
        let plane = [self.metric[(i, i)], self.metric[(i, j)], self.metric[(j, j)]];
        let inscribed = self.inscribed();
        let mut series = vec![Series::new(
            if self.bounded { "largest ball of the metric in the region" } else { "unit ball of the metric" },
            ball(at, plane, inscribed),
        )];
        if let Some(ball) = &certificate.equilibrium {
            // What would be too small to see is a point.
            series.push(match ball.radius < 0.02 * inscribed {
                true => Series::new("equilibrium", [(ball.centre[i], ball.centre[j])]),
                false => Series::new("ball with the equilibrium", self::ball([ball.centre[i], ball.centre[j]], plane, ball.radius)),
            });
        }
        let local = shades([self.sides[i], self.sides[j]], |x, y| {
            let mut point = self.centre.clone();
            (point[i], point[j]) = (x, y);
            self.margin(&self.game.jacobian(&point))
        });
        let least = local.values.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let most = local.values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let flat = most - least <= 1e-9 * most.abs();
        if flat && self.bounded {
            let [[left, right], [bottom, top]] = [self.sides[i], self.sides[j]];
            series.push(Series::new("region", [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]));
        }
        LineChart {
            title: match flat {
                true => format!("{} and {}: the margin is {least:.4} everywhere", names[0], names[1]),
                false => format!("Local margin over {} and {}", names[0], names[1]),
            },
            alt: format!(
                "In the certificate's metric the margin at points of this slice is at least {least:.4}; {:.4} is certified for the whole \
                 region.",
                certificate.alpha
            ),
            x_label: names[0].clone(),
            y_label: names[1].clone(),
            series,
            shades: (!flat).then_some(local),
            ..Default::default()
        }
        .figure(name)
    }
}

/// The margin of a Jacobian at a point, by the norms of its blocks, in the metric of the players' weights; NaN where it is not finite.
pub(super) fn local_margin(jacobian: &DMatrix<f64>, dimensions: &[usize], weights: &[f64]) -> f64 {
    if jacobian.iter().any(|entry| !entry.is_finite()) {
        return f64::NAN;
    }
    let starts: Vec<usize> = dimensions.iter().scan(0, |end, size| Some(std::mem::replace(end, *end + size))).collect();
    let block = |i: usize, j: usize| jacobian.view((starts[i], starts[j]), (dimensions[i], dimensions[j])).into_owned();
    let norm = |i: usize, j: usize| (weights[i] / weights[j]).sqrt() * block(i, j).singular_values().max();
    let entry = |i: usize, j: usize| match i == j {
        true => SymmetricEigen::new(0.5 * (block(i, i) + block(i, i).transpose())).eigenvalues.min(),
        false => -0.5 * (norm(i, j) + norm(j, i)),
    };
    SymmetricEigen::new(DMatrix::from_fn(dimensions.len(), dimensions.len(), entry)).eigenvalues.min()
}

/// A function of two variables as shades with a label for margins.
pub(super) fn shades([across, up]: [[f64; 2]; 2], f: impl Fn(f64, f64) -> f64) -> Shades {
    let edges = |[low, high]: [f64; 2]| (0..=CELLS).map(|i| low + (high - low) * i as f64 / CELLS as f64).collect::<Vec<f64>>();
    let middle = |[low, high]: [f64; 2], i: usize| low + (high - low) * (i as f64 + 0.5) / CELLS as f64;
    let row = |k: usize| (0..CELLS).map(|i| f(middle(across, i), middle(up, k))).collect();
    Shades { label: "margin at each point".into(), x: edges(across), y: edges(up), values: (0..CELLS).map(row).collect() }
}

/// The points of a ball of the metric `[[a, b], [b, c]]` of a plane, closed.
fn ball(centre: [f64; 2], [a, b, c]: [f64; 3], radius: f64) -> impl Iterator<Item = (f64, f64)> {
    // With the factor `L = [[p, 0], [q, r]]` of the metric, the points `L⁻ᵀ u` of the circle's points `u`.
    let p = a.sqrt();
    let q = b / p;
    let r = (c - q * q).max(f64::MIN_POSITIVE).sqrt();
    ellipse([0.0; 2], [radius, radius]).map(move |(x, y)| (centre[0] + (x - q * y / r) / p, centre[1] + y / r))
}

/// The points of an ellipse, closed.
pub(super) fn ellipse(centre: [f64; 2], axes: [f64; 2]) -> impl Iterator<Item = (f64, f64)> {
    let angle = |i: u32| std::f64::consts::TAU * f64::from(i) / 72.0;
    (0..=72).map(move |i| (centre[0] + axes[0] * angle(i).cos(), centre[1] + axes[1] * angle(i).sin()))
}

/// The margin over the ratio of two players' weights, with the band in which it is positive and the ratio that was chosen.
pub(super) fn band_chart(bounds: &BlockBounds, ratio: f64, title: &str, name: &str) -> Option<Figure> {
    let band = timescale_band(bounds, 0.0).ok()??;
    // An end without limit is drawn a hundred times away from the ratio.
    let low = if band.low > 0.0 { band.low } else { ratio / 100.0 };
    let high = if band.high.is_finite() { band.high } else { ratio * 100.0 };
    let width = (high / low).log10().max(0.2);
    let (from, to) = (low.log10() - 0.3 * width, high.log10() + 0.3 * width);
    let margin = |ratio: f64| bounds.margin(&[1.0, ratio]).unwrap_or(f64::NAN);
    let points = (0..=80).map(|i| 10f64.powf(from + (to - from) * f64::from(i) / 80.0));
    let bottom = margin(10f64.powf(from)).min(margin(10f64.powf(to)));
    Some(
        LineChart {
            title: title.into(),
            alt: format!(
                "The margin is positive for ratios from {:.4} to {:.4}; at the chosen ratio {ratio:.4} it is {:.4}.",
                band.low,
                band.high,
                margin(ratio)
            ),
            x_label: "ratio of the second player's weight to the first's".into(),
            y_label: "margin".into(),
            x_scale: Scale::Log,
            series: vec![
                Series::new("margin", points.map(|ratio| (ratio, margin(ratio)))),
                Series::new("band", [(low, bottom), (low, 0.0), (high, 0.0), (high, bottom)]),
                Series::new("chosen", [(ratio, margin(ratio))]),
            ],
            references: vec![Reference::new("no contraction below", 0.0)],
            ..Default::default()
        }
        .figure(name),
    )
}

/// By what steps multiply distances, and how far they may go.
fn steps(rates: Rates, linear: bool) -> Figure {
    let (euler, rk4) = (rates.euler_limit(), rates.rk4_limit());
    let curve = |name: &str, limit: f64, factor: fn(Rates, f64) -> f64| {
        Series::new(name, (1..=50).map(|i| 1.1 * limit * f64::from(i) / 50.0).map(|step| (step, factor(rates, step))))
    };
    let factors = LineChart {
        title: "Factor of a step".into(),
        x_label: "step".into(),
        y_label: "certified factor on distances".into(),
        series: vec![curve("gradient play", euler, Rates::euler_factor), curve("Runge–Kutta", rk4, Rates::rk4_factor)],
        references: vec![Reference::new("no contraction above", 1.0)],
        ..Default::default()
    };
    let guideline = if linear { "Runge–Kutta, guideline (in the end)" } else { "Runge–Kutta, guideline (no promise)" };
    let bars = [
        ("gradient play, best", rates.best_euler_step()),
        ("gradient play, limit", euler),
        ("Runge–Kutta, limit", rk4),
        (guideline, rates.rk4_guideline()),
    ];
    let limits = gradus_report::BarChart {
        title: "Steps".into(),
        label: "step".into(),
        bars: bars.into_iter().map(|(name, step)| gradus_report::Bar::new(name, step)).collect(),
        ..Default::default()
    };
    Panels {
        title: "Steps that contract".into(),
        alt: format!(
            "Gradient play contracts below {euler:.4}, by {:.4} at best; Runge–Kutta below {rk4:.4}.",
            rates.euler_factor(rates.best_euler_step())
        ),
        panels: vec![factors.into(), limits.into()],
        columns: 1,
    }
    .figure("certificate-steps")
}
