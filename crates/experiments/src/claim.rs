use gradus_report::{Claim, Direction, Paper, Profile, Threshold, Verdict};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::{mean, student_interval};

/// What an experiment declares about a claim before anything runs.
///
/// ```
/// use gradus_experiments::{Bound, ClaimSpec};
///
/// static CLAIM: ClaimSpec = ClaimSpec {
///     id: "gain",
///     text: "Fisher merging beats plain averaging",
///     metric: "accuracy gain, percentage points",
///     bound: Bound::AtLeast(0.7),
///     ..ClaimSpec::DEFAULT
/// };
/// assert!(CLAIM.gate);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClaimSpec {
    /// Short name within the experiment.
    pub id: &'static str,
    /// The paper's claim as a sentence, in our words.
    pub text: &'static str,
    /// What is measured, with its unit.
    pub metric: &'static str,
    /// What the mean over seeds must satisfy.
    pub bound: Bound,
    /// Another bound for the quick profile, where the specification gives one for fewer seeds.
    pub quick_bound: Option<Bound>,
    /// The paper's own number.
    pub paper: Option<PaperValue>,
    /// Whether the exit status depends on the claim, in the profiles that measure it; `false` for a provisional one.
    pub gate: bool,
    /// The profiles in which the experiment measures the claim; in the others it `needs-more`, whatever the run measured.
    pub profiles: &'static [Profile],
}

impl ClaimSpec {
    /// A gated claim of the quick and full profiles, without a number of the paper: for `..ClaimSpec::DEFAULT`.
    pub const DEFAULT: Self = Self {
        id: "",
        text: "",
        metric: "",
        bound: Bound::AtLeast(0.0),
        quick_bound: None,
        paper: None,
        gate: true,
        profiles: &[Profile::Quick, Profile::Full],
    };

    /// The bound of a profile.
    pub fn bound(&self, profile: Profile) -> Bound {
        match (profile, self.quick_bound) {
            (Profile::Quick, Some(bound)) => bound,
            _ => self.bound,
        }
    }

    /// The claim with what was measured for it: one value per seed, or none at all, as in a profile without it.
    pub fn judge(&self, profile: Profile, values: &[f64]) -> Claim {
        let bound = self.bound(profile);
        let measured = (!values.is_empty()).then(|| mean(values));
        let verdict = match measured {
            None => Verdict::NeedsMore,
            Some(mean) if bound.admits(mean) => Verdict::Holds,
            Some(_) => Verdict::DoesNotHold,
        };
        let (direction, threshold) = bound.parts();
        Claim {
            id: self.id.into(),
            text: self.text.into(),
            metric: self.metric.into(),
            direction,
            threshold,
            measured: measured.filter(|mean| mean.is_finite()),
            interval: if direction == Direction::Exact { None } else { student_interval(values) },
            seeds: values.len(),
            paper: self.paper.map(|paper| Paper { value: paper.value, source: paper.source.into() }),
            gate: self.gate,
            profiles: self.profiles.into(),
            verdict,
        }
    }
}

/// What a mean must satisfy. A mean that is not finite satisfies nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// `mean >= threshold`.
    AtLeast(f64),
    /// `mean <= threshold`.
    AtMost(f64),
    /// `low <= mean <= high`.
    Within(f64, f64),
    /// `mean == value`.
    Exact(f64),
}

impl Bound {
    /// Whether a mean satisfies the bound.
    pub fn admits(self, mean: f64) -> bool {
        let satisfies = match self {
            Self::AtLeast(threshold) => mean >= threshold,
            Self::AtMost(threshold) => mean <= threshold,
            Self::Within(low, high) => (low..=high).contains(&mean),
            Self::Exact(value) => mean == value,
        };
        mean.is_finite() && satisfies
    }

    fn parts(self) -> (Direction, Threshold) {
        match self {
            Self::AtLeast(value) => (Direction::AtLeast, Threshold::Value(value)),
            Self::AtMost(value) => (Direction::AtMost, Threshold::Value(value)),
            Self::Within(low, high) => (Direction::Within, Threshold::Range([low, high])),
            Self::Exact(value) => (Direction::Exact, Threshold::Value(value)),
        }
    }
}

/// As `{"direction": ">=", "threshold": 0.7}`, like a claim of `results.json`.
impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (direction, threshold) = self.parts();
        let mut object = serializer.serialize_struct("Bound", 2)?;
        object.serialize_field("direction", &direction)?;
        object.serialize_field("threshold", &threshold)?;
        object.end()
    }
}

/// A number that a paper reports, and where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PaperValue {
    /// The number, in the unit of the claim's metric.
    pub value: f64,
    /// The table, figure or section.
    pub source: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bound: Bound, values: &[f64], expected: Verdict) {
        let spec = ClaimSpec { bound, ..ClaimSpec::DEFAULT };
        assert_eq!(spec.judge(Profile::Full, values).verdict, expected, "{bound:?} {values:?}");
    }

    #[test]
    fn the_mean_is_compared_with_the_threshold() {
        use Verdict::{DoesNotHold, Holds, NeedsMore};
        check(Bound::AtLeast(2.0), &[1.0, 3.0], Holds);
        check(Bound::AtLeast(2.0), &[1.0, 2.9], DoesNotHold);
        check(Bound::AtMost(2.0), &[2.0], Holds);
        check(Bound::AtMost(2.0), &[2.5, 1.6], DoesNotHold);
        check(Bound::Within(0.97, 1.03), &[0.97], Holds);
        check(Bound::Within(0.97, 1.03), &[1.03], Holds);
        check(Bound::Within(0.97, 1.03), &[1.031], DoesNotHold);
        check(Bound::Exact(5.0), &[5.0, 5.0], Holds);
        check(Bound::Exact(5.0), &[5.000_001], DoesNotHold);
        check(Bound::Exact(0.1), &[0.1; 3], Holds);
        check(Bound::AtLeast(0.0), &[], NeedsMore);
    }

    #[test]
    fn a_mean_that_is_not_finite_satisfies_no_range() {
        check(Bound::AtLeast(0.0), &[1.0, f64::NAN], Verdict::DoesNotHold);
        check(Bound::AtLeast(0.0), &[1.0, f64::INFINITY], Verdict::DoesNotHold);
        check(Bound::Within(0.0, 1.0), &[f64::INFINITY], Verdict::DoesNotHold);
        let claim = ClaimSpec::DEFAULT.judge(Profile::Full, &[f64::NAN]);
        assert_eq!((claim.measured, claim.interval, claim.seeds), (None, None, 1));
    }

    #[test]
    fn one_value_has_no_interval_and_two_have() {
        assert_eq!(ClaimSpec::DEFAULT.judge(Profile::Full, &[1.0]).interval, None);
        let claim = ClaimSpec::DEFAULT.judge(Profile::Full, &[1.0, 2.0]);
        let [low, high] = claim.interval.unwrap();
        assert!((low + 4.853_102_368).abs() < 1e-6 && (high - 7.853_102_368).abs() < 1e-6);
        assert_eq!(claim.measured, Some(1.5));
        let exact = ClaimSpec { bound: Bound::Exact(1.5), ..ClaimSpec::DEFAULT };
        assert_eq!(exact.judge(Profile::Full, &[1.0, 2.0]).interval, None);
    }

    #[test]
    fn the_quick_profile_may_have_a_bound_of_its_own() {
        let spec = ClaimSpec { bound: Bound::AtLeast(0.7), quick_bound: Some(Bound::AtLeast(0.0)), ..ClaimSpec::DEFAULT };
        assert_eq!(spec.judge(Profile::Quick, &[0.5]).verdict, Verdict::Holds);
        assert_eq!(spec.judge(Profile::Full, &[0.5]).verdict, Verdict::DoesNotHold);
        assert_eq!(spec.judge(Profile::Smoke, &[0.5]).threshold, Threshold::Value(0.7));
    }
}
