//! Firms, bidders and drivers.

use super::{Example, ZooError, around, at_least, cube, not_negative, positive, side};
use crate::expression::Symbol;
use crate::game::Game;
use crate::scalar::Real;

/// A firm's costs of making a quantity `q`: `linear_cost · q + quadratic_cost · q²`.
#[derive(Debug, Clone, PartialEq)]
pub struct Firm {
    /// Its name.
    pub name: String,
    /// The cost of the first unit, 0 or more.
    pub linear_cost: f64,
    /// By how much units become dearer, 0 or more.
    pub quadratic_cost: f64,
    /// The most it can make.
    pub capacity: f64,
}

/// The price at which a market takes a quantity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Demand {
    /// `intercept - slope · Q`.
    Linear {
        /// The price of nothing.
        intercept: f64,
        /// What each unit takes off it.
        slope: f64,
    },
    /// `intercept · e^(-decay · Q)`.
    Exponential {
        /// The price of nothing.
        intercept: f64,
        /// The share that each small unit takes off it.
        decay: f64,
    },
}

impl Demand {
    fn price<'g>(self, quantity: Symbol<'g>) -> Symbol<'g> {
        match self {
            Self::Linear { intercept, slope } => -(quantity * slope) + intercept,
            Self::Exponential { intercept, decay } => (-(quantity * decay)).exp() * intercept,
        }
    }
}

/// Firms that choose quantities (Cournot 1838): `f_i = c_i q_i + d_i q_i² - q_i p(Q)` with the price `p` of the sum `Q` of all.
///
/// The region is `0 ≤ q_i ≤ capacity`. With linear demand `p = a - bQ` the equilibrium is `q_i = (a - c_i - bQ)/(b + 2 d_i)`,
/// `Q = Σ (a - c_i)/(b + 2 d_i) / (1 + Σ b/(b + 2 d_i))`, where that is in the region.
///
/// # Errors
/// [`ZooError::Dimension`] for fewer than two firms, [`ZooError::InvalidParameter`] for negative costs, and capacities and parameters of
/// the demand that are not positive.
pub fn cournot(firms: &[Firm], demand: Demand) -> Result<Example, ZooError> {
    at_least("firms", 2, firms.len())?;
    for firm in firms {
        not_negative("a linear cost", firm.linear_cost)?;
        not_negative("a quadratic cost", firm.quadratic_cost)?;
        positive("a capacity", firm.capacity)?;
    }
    let (Demand::Linear { intercept, slope } | Demand::Exponential { intercept, decay: slope }) = demand;
    positive("the intercept of the demand", intercept)?;
    positive("the slope or decay of the demand", slope)?;
    let game = Game::from_losses(&vec![1; firms.len()], |q| {
        let price = demand.price(sum(q));
        firms.iter().zip(q).map(|(firm, &q)| (q * firm.quadratic_cost + firm.linear_cost - price) * q).collect()
    })?;
    let region = firms.iter().map(|firm| side(0.0, firm.capacity)).collect::<Result<Vec<_>, _>>()?;
    let equilibrium = match demand {
        Demand::Linear { intercept, slope } => {
            let quantities = linear_equilibrium(firms, intercept, slope);
            quantities.iter().zip(&region).all(|(q, side)| side.contains(*q)).then_some(quantities)
        }
        Demand::Exponential { .. } => None,
    };
    Ok(Example { name: "cournot", game, region, equilibrium, note: "firms that choose quantities, up to their capacities" })
}

fn linear_equilibrium(firms: &[Firm], intercept: f64, slope: f64) -> Vec<f64> {
    let answer = |firm: &Firm| (intercept - firm.linear_cost) / (slope + 2.0 * firm.quadratic_cost);
    let ease: f64 = firms.iter().map(|firm| slope / (slope + 2.0 * firm.quadratic_cost)).sum();
    let total = firms.iter().map(answer).sum::<f64>() / (1.0 + ease);
    firms.iter().map(|firm| (intercept - firm.linear_cost - slope * total) / (slope + 2.0 * firm.quadratic_cost)).collect()
}

/// What each of the firms in a table costs. Its columns, named in the first line:
///
/// ```text
/// firm,linear_cost,quadratic_cost,capacity
/// north,1.0,0.8,4
/// ```
///
/// Empty lines are left out, and spaces around entries; there are no quotes.
///
/// ```
/// use gradus_games::zoo::{ZooError, firms_from_csv};
///
/// let firms = firms_from_csv("firm,linear_cost,quadratic_cost,capacity\nnorth,1.0,0.8,4\nsouth,1.5,1,4\n")?;
/// assert_eq!((firms[1].name.as_str(), firms[1].linear_cost), ("south", 1.5));
/// let error = firms_from_csv("firm,linear_cost,quadratic_cost,capacity\nnorth,1.0,O.8,4\n").unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column `quadratic_cost`: `O.8` is not a number");
/// # Ok::<(), ZooError>(())
/// ```
///
/// # Errors
/// [`ZooError::Table`] for another first line, entries that are missing, too many, or no numbers in their ranges, and names that are empty
/// or come twice.
pub fn firms_from_csv(text: &str) -> Result<Vec<Firm>, ZooError> {
    const COLUMNS: [&str; 4] = ["firm", "linear_cost", "quadratic_cost", "capacity"];
    let table = |line: usize, column: &str, message: String| ZooError::Table { line, column: column.into(), message };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(line, text)| (line + 1, text.trim())).filter(|(_, text)| !text.is_empty());
    let (line, header) = lines.next().ok_or_else(|| table(1, "header", "the table is empty".into()))?;
    if !header.split(',').map(str::trim).eq(COLUMNS) {
        return Err(table(line, "header", format!("`{header}` is not `{}`", COLUMNS.join(","))));
    }
    let mut firms: Vec<Firm> = Vec::new();
    for (line, text) in lines {
        let entries: Vec<&str> = text.split(',').map(str::trim).collect();
        if entries.len() != COLUMNS.len() {
            let column = COLUMNS[entries.len().min(COLUMNS.len() - 1)];
            return Err(table(line, column, format!("there are {} entries, not {}", entries.len(), COLUMNS.len())));
        }
        let name = entries[0];
        if name.is_empty() || firms.iter().any(|firm| firm.name == name) {
            return Err(table(line, COLUMNS[0], format!("the name `{name}` is empty or not the first of its kind")));
        }
        let number = |column: usize, least: &str, holds: fn(f64) -> bool| {
            let entry = entries[column];
            let value = entry.parse::<f64>().map_err(|_| table(line, COLUMNS[column], format!("`{entry}` is not a number")))?;
            let valid = value.is_finite() && holds(value);
            if valid { Ok(value) } else { Err(table(line, COLUMNS[column], format!("{value} is not finite and {least}"))) }
        };
        firms.push(Firm {
            name: name.into(),
            linear_cost: number(1, "at least 0", |cost| cost >= 0.0)?,
            quadratic_cost: number(2, "at least 0", |cost| cost >= 0.0)?,
            capacity: number(3, "above 0", |capacity| capacity > 0.0)?,
        });
    }
    Ok(firms)
}

/// Bidders who share a good in proportion to their bids (Kelly 1997; Johari and Tsitsiklis 2004): `f_i = x_i - v_i x_i / (r + Σ x)`, with
/// the `values` `v_i` and a `reserve` `r > 0`, which gets a share too and keeps the losses smooth at 0.
///
/// Own curvatures are positive where bids are. With `n` equal values the equilibrium is the positive root of
/// `(r + n x)² = v (r + (n-1) x)`, if `v > r`. The region reaches from half of it to half as much again; from a small bid
/// to the largest value where it is not known.
///
/// # Errors
/// [`ZooError::Dimension`] for fewer than two bidders, [`ZooError::InvalidParameter`] for what is not positive.
pub fn kelly_auction(values: &[f64], reserve: f64) -> Result<Example, ZooError> {
    at_least("bidders", 2, values.len())?;
    values.iter().try_for_each(|value| positive("a value", *value))?;
    positive("the reserve", reserve)?;
    let game = Game::from_losses(&vec![1; values.len()], |x| {
        let total = sum(x) + reserve;
        values.iter().zip(x).map(|(&value, &bid)| bid - bid * value / total).collect()
    })?;
    let equal = values.iter().all(|value| *value == values[0]);
    let equilibrium = (equal && values[0] > reserve).then(|| vec![symmetric_bid(values.len() as f64, values[0], reserve); values.len()]);
    let region = match &equilibrium {
        Some(bids) => around(bids, 0.5 * bids[0])?,
        None => cube(values.len(), 0.1f64.min(0.5 * values[0]), values.iter().fold(0.0, |most: f64, v| most.max(*v)))?,
    };
    Ok(Example { name: "kelly auction", game, region, equilibrium, note: "bidders for shares of a good" })
}

/// The root of `n² x² + (2 n r - v (n-1)) x + r² - v r = 0` that is positive.
fn symmetric_bid(n: f64, value: f64, reserve: f64) -> f64 {
    let (b, c) = (2.0 * n * reserve - value * (n - 1.0), reserve * (reserve - value));
    let root = (b * b - 4.0 * n * n * c).sqrt();
    // Of the two forms, the one without cancellation.
    if b > 0.0 { -2.0 * c / (b + root) } else { (root - b) / (2.0 * n * n) }
}

/// A road from the one place to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The time it takes when it is empty.
    pub free_flow: f64,
    /// The flow at which it takes 15 % longer.
    pub capacity: f64,
}

/// Users who split their flows over parallel links, whose times grow with the flow `F` of all (atomic splittable routing: Orda, Rom and
/// Shimkin 1993; times of the Bureau of Public Roads 1964, `t(F) = t₀ (1 + 0.15 (F/c)⁴)`):
///
/// ```text
/// f_i = Σ_k [ x_ik t_k(F_k) + ρ x_ik²/2 ],   F_k = Σ_i x_ik
/// ```
///
/// A user's variables are the flows on all links but the last, which takes the rest of the user's demand; the region is where these are
/// from 0 to an even share of the demand and as much again. With equal links the equilibrium is an even split.
///
/// # Errors
/// [`ZooError::Dimension`] for fewer than two users or links, [`ZooError::InvalidParameter`] for what is not positive.
pub fn smooth_traffic(demands: &[f64], links: &[Link], regularisation: f64) -> Result<Example, ZooError> {
    at_least("users", 2, demands.len())?;
    at_least("links", 2, links.len())?;
    demands.iter().try_for_each(|demand| positive("a demand", *demand))?;
    for link in links {
        positive("a time", link.free_flow)?;
        positive("a capacity", link.capacity)?;
    }
    positive("the regularisation", regularisation)?;
    let free = links.len() - 1;
    let game = Game::from_losses(&vec![free; demands.len()], |x| {
        let flow = |user: usize, link: usize| {
            let own = &x[user * free..(user + 1) * free];
            if link < free { own[link] } else { -sum(own) + demands[user] }
        };
        let flows: Vec<Symbol<'_>> = (0..links.len()).map(|k| sum(&(0..demands.len()).map(|i| flow(i, k)).collect::<Vec<_>>())).collect();
        let time = |k: usize| ((flows[k] / links[k].capacity).powi(4) * 0.15 + 1.0) * links[k].free_flow;
        let part = |i: usize, k: usize| flow(i, k) * time(k) + flow(i, k).square() * (0.5 * regularisation);
        (0..demands.len()).map(|i| sum(&(0..links.len()).map(|k| part(i, k)).collect::<Vec<_>>())).collect()
    })?;
    let shares = demands.iter().flat_map(|demand| std::iter::repeat_n(demand / links.len() as f64, free));
    let region = shares.clone().map(|share| side(0.0, 2.0 * share)).collect::<Result<Vec<_>, _>>()?;
    let equilibrium = links.iter().all(|link| *link == links[0]).then(|| shares.collect());
    Ok(Example { name: "smooth traffic", game, region, equilibrium, note: "drivers on parallel roads with congestion" })
}

fn sum<'g>(x: &[Symbol<'g>]) -> Symbol<'g> {
    x.iter().fold(Symbol::constant(0.0), |sum, x| sum + *x)
}
