//! The certificates of update maps in a certificate's file.

use serde::{Deserialize, Serialize};

use super::super::number::Number;
use super::{BranchKeys, CertificateError, ends, numbers, object, objects, required_object, sides, values};
use crate::small_gain::{Branch, FixedPoint, Invariant, MapCertificate, MapLeaf, Update};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MapKeys {
    basis: Basis,
    update: UpdateKeys,
    /// `q`.
    factor: Number,
    w: Vec<Number>,
    #[serde(deserialize_with = "required_object")]
    region: Option<BoxKeys>,
    tree: Vec<BranchKeys>,
    #[serde(deserialize_with = "objects")]
    leaves: Vec<MapLeafKeys>,
    invariant: InvariantKeys,
    #[serde(deserialize_with = "required_object")]
    fixed_point: Option<FixedPointKeys>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Basis {
    Map,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UpdateKeys {
    #[serde(deserialize_with = "object")]
    Euler(StepKeys),
    #[serde(deserialize_with = "object")]
    Rk4(StepKeys),
    #[serde(deserialize_with = "object")]
    Extragradient(StepKeys),
    #[serde(deserialize_with = "object")]
    Optimistic(StepKeys),
    #[serde(deserialize_with = "object")]
    Consensus(ConsensusKeys),
    #[serde(deserialize_with = "object")]
    Preconditioned(StepsKeys),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepKeys {
    h: Number,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsensusKeys {
    h: Number,
    gamma: Number,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepsKeys {
    h: Vec<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxKeys {
    lo: Vec<Number>,
    hi: Vec<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MapLeafKeys {
    lo: Vec<Number>,
    hi: Vec<Number>,
    norm: Number,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InvariantKeys {
    Region,
    Projected,
    #[serde(deserialize_with = "object")]
    Ball(BallKeys),
    None,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BallKeys {
    radius: Number,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedPointKeys {
    centre: Vec<Number>,
    residual: Number,
    radius: Number,
}

impl From<&MapCertificate> for MapKeys {
    fn from(map: &MapCertificate) -> Self {
        let leaf = |leaf: &MapLeaf| {
            let (lo, hi) = ends(&leaf.region);
            MapLeafKeys { lo, hi, norm: Number(leaf.norm) }
        };
        let point = |point: &FixedPoint| FixedPointKeys {
            centre: numbers(&point.centre),
            residual: Number(point.residual),
            radius: Number(point.radius),
        };
        Self {
            basis: Basis::Map,
            update: UpdateKeys::from(&map.update),
            factor: Number(map.q),
            w: numbers(&map.weights),
            region: map.region.as_deref().map(ends).map(|(lo, hi)| BoxKeys { lo, hi }),
            tree: map.tree.iter().map(BranchKeys::from).collect(),
            leaves: map.leaves.iter().map(leaf).collect(),
            invariant: match map.invariant {
                Invariant::Region => InvariantKeys::Region,
                Invariant::Projected => InvariantKeys::Projected,
                Invariant::Ball { radius } => InvariantKeys::Ball(BallKeys { radius: Number(radius) }),
                Invariant::None => InvariantKeys::None,
            },
            fixed_point: map.fixed_point.as_ref().map(point),
        }
    }
}

impl MapKeys {
    /// The certificate, of a game with players of these sizes.
    pub(super) fn certificate(self, dimensions: &[usize]) -> Result<MapCertificate, CertificateError> {
        let leaf = |leaf: MapLeafKeys| Ok(MapLeaf { region: sides(&leaf.lo, &leaf.hi)?, norm: leaf.norm.0 });
        let point =
            |point: FixedPointKeys| FixedPoint { centre: values(&point.centre), residual: point.residual.0, radius: point.radius.0 };
        Ok(MapCertificate {
            dimensions: dimensions.to_vec(),
            update: Update::from(self.update),
            weights: values(&self.w),
            q: self.factor.0,
            region: self.region.map(|region| sides(&region.lo, &region.hi)).transpose()?,
            tree: self.tree.iter().map(Branch::from).collect(),
            leaves: self.leaves.into_iter().map(leaf).collect::<Result<_, CertificateError>>()?,
            invariant: match self.invariant {
                InvariantKeys::Region => Invariant::Region,
                InvariantKeys::Projected => Invariant::Projected,
                InvariantKeys::Ball(ball) => Invariant::Ball { radius: ball.radius.0 },
                InvariantKeys::None => Invariant::None,
            },
            fixed_point: self.fixed_point.map(point),
        })
    }
}

impl From<&Update> for UpdateKeys {
    fn from(update: &Update) -> Self {
        let step = |h: f64| StepKeys { h: Number(h) };
        match update {
            Update::Euler { h } => Self::Euler(step(*h)),
            Update::Rk4 { h } => Self::Rk4(step(*h)),
            Update::Extragradient { h } => Self::Extragradient(step(*h)),
            Update::Optimistic { h } => Self::Optimistic(step(*h)),
            Update::Consensus { h, gamma } => Self::Consensus(ConsensusKeys { h: Number(*h), gamma: Number(*gamma) }),
            Update::Preconditioned { steps } => Self::Preconditioned(StepsKeys { h: numbers(steps) }),
        }
    }
}

impl From<UpdateKeys> for Update {
    fn from(keys: UpdateKeys) -> Self {
        match keys {
            UpdateKeys::Euler(step) => Self::Euler { h: step.h.0 },
            UpdateKeys::Rk4(step) => Self::Rk4 { h: step.h.0 },
            UpdateKeys::Extragradient(step) => Self::Extragradient { h: step.h.0 },
            UpdateKeys::Optimistic(step) => Self::Optimistic { h: step.h.0 },
            UpdateKeys::Consensus(keys) => Self::Consensus { h: keys.h.0, gamma: keys.gamma.0 },
            UpdateKeys::Preconditioned(keys) => Self::Preconditioned { steps: values(&keys.h) },
        }
    }
}
