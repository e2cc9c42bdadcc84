use crate::format_number;

/// How numbers are placed along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally far apart.
    #[default]
    Linear,
    /// Equal ratios are equally far apart; values that are not positive have no place and are left out.
    Log,
}

/// An axis: its range and ticks in numbers, and the pixels at its ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    step: f64,
    ticks: Vec<f64>,
    pixels: [f64; 2],
}

impl Axis {
    /// An axis around those `values` that the scale can place, with at most `most` ticks. `most` is at least three:
    /// no two round numbers enclose a range on both sides of zero evenly.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, scale: Scale, most: usize) -> Self {
        let mut range: Option<(f64, f64)> = None;
        for value in values.into_iter().filter(|&value| places(scale, value)) {
            let (low, high) = range.unwrap_or((value, value));
            range = Some((low.min(value), high.max(value)));
        }
        let most = most.max(3);
        let (ticks, step, (low, high)) = match scale {
            Scale::Linear => linear_ticks(range.unwrap_or((0.0, 1.0)), most),
            Scale::Log => log_ticks(range.unwrap_or((1.0, 10.0)), most),
        };
        Self { scale, low, high, step, ticks, pixels: [0.0, 1.0] }
    }

    /// The same axis from one pixel to another.
    pub(super) fn between(self, from: f64, to: f64) -> Self {
        Self { pixels: [from, to], ..self }
    }

    /// The pixel of a value, clamped to the axis; none for one that the scale cannot place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let position = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.log10(),
        };
        let share = (position(value) - position(self.low)) / (position(self.high) - position(self.low));
        let [from, to] = self.pixels;
        places(self.scale, value).then(|| from + share.clamp(0.0, 1.0) * (to - from))
    }

    /// Pixel and label of each tick.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        self.ticks.iter().filter_map(|&tick| Some((self.place(tick)?, self.label(tick))))
    }

    /// The range, for bins.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    fn label(&self, tick: f64) -> String {
        if self.scale == Scale::Log || tick == 0.0 || tick.abs() >= 1e6 || self.step < 1e-4 {
            return format_number(tick);
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{tick:.decimals$}").replace('-', "−")
    }
}

/// Whether a scale has a place for a value. Beyond ±1e300 differences overflow; below 1e-300 powers of ten vanish.
fn places(scale: Scale, value: f64) -> bool {
    value.abs() <= 1e300 && (scale == Scale::Linear || value >= 1e-300)
}

/// Ticks, their distance, and the two ends of an axis.
type Ticks = (Vec<f64>, f64, (f64, f64));

/// Multiples of 1, 2 or 5 times a power of ten, the first at or below the range and the last at or above it.
fn linear_ticks((low, high): (f64, f64), most: usize) -> Ticks {
    let smallest = low.abs().max(high.abs()) * 1e-9;
    let (low, high) = match high - low > smallest {
        true => (low, high),
        false if low == 0.0 => (-1.0, 1.0),
        false => (low - low.abs() / 2.0, high + high.abs() / 2.0),
    };
    let mut step = 10f64.powf(((high - low) / most as f64).log10().floor()).max(f64::MIN_POSITIVE);
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        if last - first < most as f64 {
            let count = (last - first) as usize;
            let ticks = (0..=count).map(|i| (first + i as f64) * step).collect();
            return (ticks, step, (first * step, last * step));
        }
        step *= factor;
    }
    (vec![low, high], high - low, (low, high))
}

/// Powers of ten, or 1, 2 and 5 times these where that gives few enough, inside an axis that ends on such numbers.
fn log_ticks((low, high): (f64, f64), most: usize) -> Ticks {
    let first = (low.log10() + 1e-9).floor() as i32;
    let last = (high.log10() - 1e-9).ceil().max(f64::from(first + 1)) as i32;
    let fine: Vec<f64> = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power))).collect();
    let from = fine.iter().rposition(|&tick| tick <= low * (1.0 + 1e-9)).unwrap_or(0);
    let to = fine.iter().position(|&tick| tick >= high * (1.0 - 1e-9)).unwrap_or(fine.len() - 1).max(from + 1);
    let fine = &fine[from..=to];
    let ends = (fine[0], fine[to - from]);
    let powers: Vec<f64> = (first..=last).map(|power| 10f64.powi(power)).filter(|power| (ends.0..=ends.1).contains(power)).collect();
    let ticks = match powers.len() {
        _ if fine.len() <= most => fine.to_vec(),
        0 | 1 => vec![ends.0, ends.1],
        count => powers.into_iter().step_by(count.div_ceil(most)).collect(),
    };
    (ticks, 0.0, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], scale: Scale) -> Vec<String> {
        Axis::around(values.iter().copied(), scale, 6).ticks().map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(labels(&[0.0, 1.0], Scale::Linear), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&[0.693, 0.81], Scale::Linear), ["0.65", "0.70", "0.75", "0.80", "0.85"]);
        assert_eq!(labels(&[-3.0, 40.0], Scale::Linear), ["−10", "0", "10", "20", "30", "40"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten_or_finer() {
        assert_eq!(labels(&[1.0, 800.0], Scale::Log), ["1", "10", "100", "1000"]);
        assert_eq!(labels(&[3.0, 7.0], Scale::Log), ["2", "5", "10"]);
        assert_eq!(labels(&[1e-12, 1.0], Scale::Log), ["1e−12", "1e−9", "1e−6", "0.001", "1"]);
        let axis = Axis::around([0.0011, 1.002], Scale::Log, 6);
        assert_eq!(axis.range(), (0.001, 2.0));
        assert_eq!(axis.ticks().count(), 4);
    }

    #[test]
    fn one_value_no_value_and_values_without_a_place() {
        assert_eq!(labels(&[], Scale::Linear).len(), 6);
        assert_eq!(labels(&[0.0], Scale::Linear), ["−1.0", "−0.5", "0", "0.5", "1.0"]);
        assert_eq!(labels(&[f64::NAN, f64::INFINITY], Scale::Log), ["1", "2", "5", "10"]);
        let axis = Axis::around([0.0, 10.0, 100.0], Scale::Log, 6).between(0.0, 100.0);
        assert_eq!((axis.place(0.0), axis.place(10.0), axis.place(f64::NAN)), (None, Some(0.0), None));
        assert_eq!(axis.place(100.0), Some(100.0));
    }

    mod properties {
        use super::*;
        use proptest::prelude::*;

        fn config() -> ProptestConfig {
            let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
            ProptestConfig { cases: cases.unwrap_or(256), ..ProptestConfig::default() }
        }

        proptest! {
            #![proptest_config(config())]

            #[test]
            fn ticks_enclose_the_values_and_increase(values in proptest::collection::vec(-1e12f64..1e12, 1..6), power in -320i32..290, most in 2usize..9) {
                for scale in [Scale::Linear, Scale::Log] {
                    let values: Vec<f64> = values.iter().map(|v| v * 10f64.powi(power)).filter(|&v| places(scale, v)).collect();
                    let axis = Axis::around(values.iter().copied(), scale, most);
                    prop_assert!(axis.ticks.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", axis);
                    prop_assert!((2..=most.max(3) + 1).contains(&axis.ticks.len()), "{:?}", axis);
                    for value in values {
                        let slack = value.abs().max(axis.high.abs()) * 1e-6;
                        prop_assert!(axis.low - slack <= value && value <= axis.high + slack, "{} {:?}", value, axis);
                    }
                }
            }
        }
    }
}
