//! How near each workload comes to the machine's limits, in numbers and as a picture.

use std::fmt::Write as _;

use gradus_benches_common::median;
use gradus_report::{Figure, LineChart, Scale, Series};
use serde::Serialize;

use crate::limits::Limits;
use crate::report::Turns;
use crate::workloads::Cost;

/// What `engine.limits.json` holds.
#[derive(Serialize)]
pub(crate) struct Roofline {
    limits: Limits,
    shares: Vec<Share>,
    /// Our Hessian-vector product's time over that of the gradient.
    hvp_per_gradient: Option<f64>,
}

/// What one workload makes of the machine.
#[derive(Serialize)]
struct Share {
    workload: &'static str,
    /// The least operations and bytes, as the workload's cost counts them.
    operations: f64,
    bytes: f64,
    /// 10⁹ operations a second.
    speed: f64,
    /// Of the peak of multiply-adds.
    of_peak: f64,
    /// Of the bound that the workload has besides: the functions of W10, the writing of the results of W7.
    of_bound: Option<f64>,
    bound: Option<&'static str>,
}

impl Roofline {
    /// From our times of the workloads, whose costs are in the same order.
    pub(crate) fn new(limits: Limits, turns: &[Turns], costs: &[Cost]) -> Self {
        let time = |name: &str| turns.iter().find(|turns| turns.workload == name).map(|turns| median(&turns.ours));
        let hvp_per_gradient = time("W6").zip(time("W6-gradient")).map(|(hvp, gradient)| hvp / gradient);
        let shares = turns.iter().zip(costs).map(|(turns, cost)| Share::new(turns.workload, median(&turns.ours), *cost, &limits)).collect();
        Self { limits, shares, hvp_per_gradient }
    }

    /// The limits and the shares as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = self.limits.describe();
        table += "\n| workload | 10⁹ operations | MB | GF/s | of the peak | of another bound |\n|---|--:|--:|--:|--:|---|\n";
        for share in &self.shares {
            let Share { workload, operations, bytes, speed, of_peak, .. } = share;
            let other = share.of_bound.zip(share.bound).map_or("–".to_owned(), |(of, bound)| format!("{:.0} % of {bound}", 1e2 * of));
            let _ = writeln!(
                table,
                "| {workload} | {:.4} | {:.3} | {speed:.1} | {:.1} % | {other} |",
                operations / 1e9,
                bytes / 1e6,
                1e2 * of_peak
            );
        }
        if let Some(ratio) = self.hvp_per_gradient {
            let _ = writeln!(table, "\nA Hessian-vector product (W6) takes {ratio:.2} gradients; at most 4 are wanted.");
        }
        table
    }

    /// The roofline picture (Williams, Waterman, Patterson 2009).
    pub(crate) fn figure(&self) -> Figure {
        let Limits { peak, memory, w7_result, .. } = &self.limits;
        let intensities = self.shares.iter().map(Share::intensity);
        let (low, high) = intensities.fold((1.0f64, 100.0f64), |(low, high), x| (low.min(x), high.max(x)));
        let roof = |name: String, bandwidth: f64| {
            let corner = peak / bandwidth;
            Series::new(
                name,
                [(low.min(corner / 2.0), low.min(corner / 2.0) * bandwidth), (corner, *peak), (high.max(corner * 2.0), *peak)],
            )
        };
        let roofs = [(w7_result.triad, w7_result.size), (memory.triad, memory.size)];
        let mut series: Vec<Series> =
            roofs.into_iter().map(|(speed, size)| roof(format!("{peak:.0} GF/s, {speed:.0} GB/s ({size:.0} MB arrays)"), speed)).collect();
        series.extend(self.shares.iter().map(|share| Series::new(share.workload, [(share.intensity(), share.speed)])));
        LineChart {
            title: "The engine's workloads under the roofs of the machine".into(),
            alt: "Speed against operations per byte of least traffic, both logarithmic. The roofs rise with the bandwidth to the peak \
                  of multiply-adds. Products and networks of some size lie near the peak, small and elementwise workloads below."
                .into(),
            x_label: "operations for each byte that must be moved".into(),
            y_label: "10⁹ operations a second".into(),
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series,
            named_points: true,
            ..LineChart::default()
        }
        .figure("roofline")
    }
}

impl Share {
    /// Operations for each byte.
    fn intensity(&self) -> f64 {
        self.operations / self.bytes
    }

    fn new(workload: &'static str, ms: f64, cost: Cost, limits: &Limits) -> Self {
        let speed = cost.operations / ms / 1e6;
        let (least, bound) = match workload {
            "W10" | "W10-fused" => (Some(limits.functions), Some("the functions' time")),
            "W7" => (Some(cost.bytes() / limits.w7_result.write / 1e6), Some("the speed of writing")),
            _ => (None, None),
        };
        let of_bound = least.map(|least| least / ms);
        Self { workload, operations: cost.operations, bytes: cost.bytes(), speed, of_peak: speed / limits.peak, of_bound, bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Bandwidth;

    fn roofline() -> Roofline {
        let bandwidth = Bandwidth { size: 52.0, read: 10.0, write: 8.0, copy: 9.0, triad: 10.0 };
        let limits = Limits {
            instructions: "AVX2",
            one_thread: 50.0,
            peak: 100.0,
            last_cache: None,
            w7_result: bandwidth.clone(),
            memory: bandwidth,
            functions: 1.0,
        };
        let turns = ["W6", "W6-gradient", "W10", "W7"].map(|name| {
            let mut turns = Turns::new(name, 0);
            turns.ours = vec![if name == "W6-gradient" { 1.0 } else { 3.0 }];
            turns
        });
        // 3 ms at 100 GF/s are 3e8 operations.
        let cost = Cost { operations: 1.5e8, numbers: 2e6 };
        Roofline::new(limits, &turns, &[cost; 4])
    }

    #[test]
    fn shares_are_of_the_peak_and_of_other_bounds() {
        let roofline = roofline();
        assert_eq!(roofline.hvp_per_gradient, Some(3.0));
        let [hvp, _, functions, written] = &roofline.shares[..] else { panic!("four workloads") };
        assert_eq!((hvp.speed, hvp.of_peak, hvp.of_bound), (50.0, 0.5, None));
        assert!((functions.of_bound.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!((written.of_bound.unwrap() - 1.0 / 3.0).abs() < 1e-12); // 8 MB at 8 GB/s are 1 ms
        assert!(roofline.table().contains("| W6 | 0.1500 | 8.000 | 50.0 | 50.0 % | – |"));
        assert!(roofline.table().contains("takes 3.00 gradients"));
    }

    #[test]
    fn the_picture_has_the_roofs_and_every_workload() {
        let figure = roofline().figure();
        assert_eq!(figure.table.rows.len(), 3 + 3 + 4);
        assert!(figure.svg.starts_with("<svg") && figure.svg.contains("W6-gradient"));
    }
}
