//! How much faster than each peer we want to be.

/// The ratio that a workload has to reach against a peer, and the one that we aim at.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) floor: f64,
    pub(crate) aim: Option<f64>,
}

/// Against PyTorch and JAX: floor and aim of each.
const PYTHON: [(&str, Option<(f64, f64)>, Option<(f64, f64)>); 15] = [
    ("W1", Some((1.3, 2.0)), Some((1.0, 1.2))),
    ("W2", Some((1.0, 1.3)), Some((1.5, 2.0))),
    ("W3", Some((1.2, 1.6)), Some((1.5, 2.5))),
    ("W4", Some((1.0, 1.5)), Some((2.0, 4.0))),
    ("W5", Some((30.0, 60.0)), Some((3.0, 6.0))),
    ("W6", Some((2.0, 4.0)), Some((1.0, 1.5))),
    ("W7", Some((2.0, 5.0)), Some((8.0, NONE))),
    ("W7-fisher", Some((2.0, 5.0)), Some((8.0, NONE))),
    ("W7-gram", Some((2.0, 5.0)), Some((8.0, NONE))),
    ("W7-norms", Some((2.0, 5.0)), Some((8.0, NONE))),
    ("W8", Some((5.0, 12.0)), Some((1.0, 2.0))),
    ("W9", Some((0.95, 1.15)), Some((1.5, NONE))),
    // Operator by operator against PyTorch, which works so too; in one pass against JAX, which fuses.
    ("W10", Some((1.0, 1.3)), None),
    ("W10-fused", None, Some((1.0, 1.5))),
    ("W11", Some((1.0, 1.2)), Some((0.95, 1.1))),
];

/// No aim beyond the floor.
const NONE: f64 = f64::NAN;

/// The target of a workload against a peer, if it has one.
pub(crate) fn target(workload: &str, peer: &str) -> Option<Target> {
    let (_, torch, jax) = PYTHON.iter().find(|(name, ..)| *name == workload)?;
    let (floor, aim) = match peer {
        "torch" => (*torch)?,
        "jax" => (*jax)?,
        "candle" | "burn" if workload == "W11" => (1.0, NONE),
        "candle" | "burn" => (2.0, NONE),
        _ => return None,
    };
    Some(Target { floor, aim: Some(aim).filter(|aim| !aim.is_nan()) })
}

impl Target {
    /// What a ratio reaches of it.
    pub(crate) fn reached(self, ratio: f64) -> &'static str {
        match self {
            Self { aim: Some(aim), .. } if ratio >= aim => "aim",
            Self { floor, .. } if ratio >= floor => "floor",
            _ => "below",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_but_the_plain_gradient_has_a_target() {
        for (name, _) in crate::workloads::ALL {
            let found = ["torch", "jax"].iter().any(|peer| target(name, peer).is_some());
            assert_eq!(found, name != "W6-gradient", "{name}");
        }
    }

    #[test]
    fn ratios_reach_floors_and_aims() {
        let of = |workload, peer, ratio| target(workload, peer).unwrap().reached(ratio);
        assert_eq!([of("W1", "torch", 1.29), of("W1", "torch", 1.3), of("W1", "torch", 2.0)], ["below", "floor", "aim"]);
        assert_eq!([of("W9", "jax", 9.0), of("W11", "burn", 1.0), of("W3", "candle", 1.9)], ["floor", "floor", "below"]);
        assert!(target("W10", "jax").is_none() && target("W12", "torch").is_none());
    }
}
