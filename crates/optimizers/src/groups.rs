//! Parameter groups by name pattern.

use std::collections::BTreeMap;

use gradus_autodiff::{Params, Tensor};
use gradus_base::matches;

use crate::{OptimizerError, Rule, check_like, missing, names};

/// The tensors whose name fits a pattern, and their rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Group<R> {
    /// Fits names as [`gradus_base::matches`] does: each `*` stands for any characters.
    pub pattern: String,
    /// The rule for these tensors; none freezes them, and nothing is remembered of them.
    pub rule: Option<R>,
}

/// Rules of their own for groups of tensors. The first group whose pattern fits a tensor's name has it; `rule` has those
/// that no pattern fits. Each tensor has a state of its own under its name.
///
/// ```
/// use gradus_autodiff::{Params, Tensor};
/// use gradus_optimizers::{AdamW, Grouped, Rule};
///
/// #[derive(Clone, Params)]
/// struct Layer {
///     weight: Tensor,
///     bias: Tensor,
/// }
///
/// let rule = AdamW { learning_rate: 0.1, weight_decay: 0.5, ..AdamW::default() };
/// let rule = Grouped::new(rule).group("*.bias", AdamW { weight_decay: 0.0, ..rule }).freeze("0.*");
/// let mut layers = vec![Layer { weight: Tensor::ones(&[2]), bias: Tensor::ones(&[2]) }; 2];
/// let gradient = layers.zeros_like();
/// let mut state = rule.init(&layers);
/// rule.step(&mut layers, &gradient, &mut state)?;
/// assert_eq!(layers[0].weight.to_vec(), [1.0, 1.0]);
/// assert_eq!(layers[1].weight.to_vec(), [0.95, 0.95]);
/// assert_eq!(layers[1].bias.to_vec(), [1.0, 1.0]);
/// # Ok::<(), gradus_optimizers::OptimizerError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Grouped<R> {
    /// The rule for tensors that no pattern fits; none freezes them.
    pub rule: Option<R>,
    /// The groups, from the first that is asked.
    pub groups: Vec<Group<R>>,
}

impl<R> Grouped<R> {
    /// No groups yet: `rule` for every tensor.
    pub fn new(rule: R) -> Self {
        Self { rule: Some(rule), groups: Vec::new() }
    }

    /// With one more group, asked last.
    #[must_use]
    pub fn group(mut self, pattern: impl Into<String>, rule: R) -> Self {
        self.groups.push(Group { pattern: pattern.into(), rule: Some(rule) });
        self
    }

    /// With one more group, asked last, of tensors that never change.
    #[must_use]
    pub fn freeze(mut self, pattern: impl Into<String>) -> Self {
        self.groups.push(Group { pattern: pattern.into(), rule: None });
        self
    }

    /// The rule of the tensor of this name; none if it is frozen.
    pub fn rule_of(&self, name: &str) -> Option<&R> {
        let group = self.groups.iter().find(|group| matches(&group.pattern, name));
        group.map_or(self.rule.as_ref(), |group| group.rule.as_ref())
    }
}

impl<P: Params, R: Rule<Tensor<P::Elem>>> Rule<P> for Grouped<R> {
    type State = BTreeMap<String, R::State>;

    fn state_at(&self, step: u64, params: &P) -> Self::State {
        let names = names(params).into_iter().zip(params.leaves());
        names.filter_map(|(name, x)| self.rule_of(&name).map(|rule| (name, rule.state_at(step, x)))).collect()
    }

    fn check(&self, params: &P, gradient: &P, state: &Self::State) -> Result<(), OptimizerError> {
        check_like("the gradient", gradient, params)?;
        let names = names(params);
        if let Some(group) = self.groups.iter().find(|group| !names.iter().any(|name| matches(&group.pattern, name))) {
            return Err(OptimizerError::Pattern { pattern: group.pattern.clone() });
        }
        for (name, (x, g)) in names.iter().zip(params.leaves().into_iter().zip(gradient.leaves())) {
            let Some(rule) = self.rule_of(name) else { continue };
            rule.check(x, g, state.get(name).ok_or_else(|| missing("the state of a tensor", x))?)?;
        }
        Ok(())
    }

    fn update(&self, params: &mut P, gradient: &P, state: &mut Self::State) {
        let names = names(params);
        for (name, (x, g)) in names.iter().zip(params.leaves_mut().into_iter().zip(gradient.leaves())) {
            if let (Some(rule), Some(state)) = (self.rule_of(name), state.get_mut(name)) {
                rule.update(x, g, state);
            }
        }
    }
}
