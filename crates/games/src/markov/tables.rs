//! Whether tables make a Markov game.

use super::{MarkovError, SUM_TOLERANCE, Tables};
use crate::rigorous::Interval;

pub(super) fn check(what: String, expected: usize, got: usize) -> Result<(), MarkovError> {
    if expected == got { Ok(()) } else { Err(MarkovError::Dimension { what, expected, got }) }
}

pub(super) fn at_least(what: String, expected: usize, got: usize) -> Result<(), MarkovError> {
    if got >= expected { Ok(()) } else { Err(MarkovError::Dimension { what, expected, got }) }
}

pub(super) fn check_sizes(tables: &Tables) -> Result<(), MarkovError> {
    let Tables { actions, rewards, transitions, start, .. } = tables;
    let (players, states) = (actions.len(), start.len());
    at_least("players, at least".into(), 2, players)?;
    for (player, &actions) in actions.iter().enumerate() {
        at_least(format!("actions of player {}, at least", player + 1), 2, actions)?;
    }
    at_least("states, at least".into(), 1, states)?;
    // No table is as long as what is too much for a number.
    let joint = actions.iter().fold(1usize, |product, &actions| product.saturating_mul(actions));
    check("players with rewards".into(), players, rewards.len())?;
    for (player, rewards) in rewards.iter().enumerate() {
        check(format!("states with rewards of player {}", player + 1), states, rewards.len())?;
        for (state, row) in rewards.iter().enumerate() {
            check(format!("joint actions with rewards of player {} in state {state}", player + 1), joint, row.len())?;
        }
    }
    check("states with transitions".into(), states, transitions.len())?;
    for (state, rows) in transitions.iter().enumerate() {
        check(format!("joint actions with transitions in state {state}"), joint, rows.len())?;
        for (place, row) in rows.iter().enumerate() {
            let joint = shown_actions(actions, place);
            check(format!("next states in state {state} for joint action {joint}"), states, row.len())?;
        }
    }
    Ok(())
}

pub(super) fn check_numbers(tables: &Tables) -> Result<(), MarkovError> {
    let &Tables { discount, temperature, .. } = tables;
    let bad = |what: String, value, expected| Err(MarkovError::MarkovSpec { what, value, expected });
    if !(0.0..1.0).contains(&discount) {
        return bad("the discount".into(), discount, "at least 0 and below 1");
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return bad("the temperature".into(), temperature, "positive and finite");
    }
    for (player, rewards) in tables.rewards.iter().enumerate() {
        for (state, row) in rewards.iter().enumerate() {
            if let Some(place) = row.iter().position(|reward| !reward.is_finite()) {
                let joint = shown_actions(&tables.actions, place);
                let what = format!("the reward of player {} in state {state} for joint action {joint}", player + 1);
                return bad(what, row[place], "finite");
            }
        }
    }
    Ok(())
}

/// The actions of a joint action.
pub(super) fn shown_actions(actions: &[usize], mut joint: usize) -> String {
    let mut each: Vec<String> = Vec::with_capacity(actions.len());
    for count in actions.iter().rev() {
        each.push((joint % count).to_string());
        joint /= count;
    }
    each.reverse();
    format!("({})", each.join(", "))
}

/// A row of probabilities, of which the last is what the others leave, and at least 0.
pub(super) fn distribution(row: &[f64], what: impl Fn() -> String) -> Result<Vec<f64>, MarkovError> {
    if let Some(state) = row.iter().position(|share| !(*share >= 0.0 && share.is_finite())) {
        let what = format!("the probability of state {state} of {}", what());
        return Err(MarkovError::MarkovSpec { what, value: row[state], expected: "at least 0 and finite" });
    }
    let total: f64 = row.iter().sum();
    if (total - 1.0).abs() > SUM_TOLERANCE {
        let what = format!("the sum of the probabilities of {}", what());
        return Err(MarkovError::MarkovSpec { what, value: total, expected: "1 within 1e-9" });
    }
    let mut shares: Vec<f64> = row.iter().map(|share| if total == 1.0 { *share } else { share / total }).collect();
    let Some((last, others)) = shares.split_last_mut() else { return Ok(shares) };
    let left = |others: &[f64]| others.iter().fold(Interval::point(1.0), |left, &share| left - Interval::point(share));
    // What is too much is taken from the greatest, whose last digit is the coarsest.
    let mut rest = left(others);
    while rest.lo() < 0.0 {
        let Some(greatest) = others.iter_mut().max_by(|a, b| a.total_cmp(b)) else { break };
        *greatest = (*greatest + rest.lo()).next_down();
        rest = left(others);
    }
    *last = rest.midpoint();
    Ok(shares)
}
