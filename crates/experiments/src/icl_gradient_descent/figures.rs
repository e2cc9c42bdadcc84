//! The figures of the page.

use gradus_learning::in_context::gradient_descent::{OodAxis, RegressionTasks};
use gradus_report::{Bar, BarChart, HeatMap, LineChart, Panels, Reference, Scale, Series};

use super::{OneLayer, Sine, TwoSteps};
use crate::common::statistics::largest_absolute;
use crate::{Outcome, mean};

pub(super) fn one_layer(outcome: &mut Outcome, tasks: &RegressionTasks, layers: &[OneLayer]) {
    let Some(first) = layers.first() else { return };
    outcome.figures.push(losses(layers));
    outcome.figures.push(alignment(first));
    outcome.figures.push(weights(tasks, first));
    outcome.figures.push(out_of_distribution(first));
}

fn losses(layers: &[OneLayer]) -> gradus_report::Figure {
    let gd = mean(&layers.iter().map(|layer| layer.alignment.loss_reference).collect::<Vec<_>>());
    let own = mean(&layers.iter().map(|layer| layer.alignment.loss_model).collect::<Vec<_>>());
    let curve = |layer: &OneLayer| {
        Series::new(format!("seed {}", layer.seed), layer.snapshots.iter().map(|(step, a)| (*step as f64, a.loss_model)))
    };
    LineChart {
        title: "Loss of one trained layer and one step of gradient descent".into(),
        alt: format!("On the same tasks the trained layers end at a mean loss of {own:.4}, gradient descent has {gd:.4}."),
        x_label: "training steps".into(),
        y_label: "loss on the evaluation tasks".into(),
        series: layers.iter().map(curve).collect(),
        references: vec![Reference::new("gradient descent", gd)],
        ..Default::default()
    }
    .figure("loss")
}

fn alignment(first: &OneLayer) -> gradus_report::Figure {
    let panel = |title: &str, y: &str, f: &dyn Fn(&gradus_learning::in_context::gradient_descent::Alignment) -> f64| LineChart {
        title: title.into(),
        x_label: "training steps".into(),
        y_label: y.into(),
        series: vec![Series::new("trained layer", first.snapshots.iter().map(|(step, a)| (*step as f64, f(a))))],
        ..Default::default()
    };
    let last = first.alignment;
    Panels {
        title: format!("Alignment with gradient descent during training (seed {})", first.seed),
        alt: format!(
            "At the end the cosine of the derivatives is {:.4}, their difference {:.3}, the difference of the predictions {:.4}.",
            last.model_cos, last.model_diff, last.preds_diff
        ),
        panels: vec![
            panel("Cosine of the derivatives", "mean cosine", &|a| a.model_cos).into(),
            panel("Difference of the derivatives", "mean norm", &|a| a.model_diff).into(),
            panel("Difference of the predictions", "mean absolute value", &|a| a.preds_diff).into(),
        ],
        columns: 1,
    }
    .figure("alignment")
}

fn weights(tasks: &RegressionTasks, first: &OneLayer) -> gradus_report::Figure {
    let names: Vec<String> = (1..=tasks.dimension).map(|i| format!("x{i}")).chain((1..=tasks.outputs).map(|i| format!("y{i}"))).collect();
    let map = |title: &str, values: &[Vec<f64>]| HeatMap {
        title: title.into(),
        label: "entry".into(),
        columns: names.clone(),
        rows: names.clone(),
        values: values.to_vec(),
        ..Default::default()
    };
    let flat = |values: &[Vec<f64>]| values.concat();
    let apart = |a: &[Vec<f64>], b: &[Vec<f64>]| largest_absolute(flat(a).iter().zip(flat(b)).map(|(a, b)| a - b));
    let [key, built_key, value, built_value] = &first.products;
    Panels {
        title: format!("Products of the weights, trained (seed {}) and constructed", first.seed),
        alt: format!(
            "In the same gauge the largest difference of an entry is {:.2} for KᵀQ and {:.2} for P V.",
            apart(key, built_key),
            apart(value, built_value)
        ),
        panels: vec![
            map("KᵀQ, trained", key).into(),
            map("KᵀQ, constructed", built_key).into(),
            map("P V, trained", value).into(),
            map("P V, constructed", built_value).into(),
        ],
        columns: 1,
    }
    .figure("weights")
}

fn out_of_distribution(first: &OneLayer) -> gradus_report::Figure {
    let worst = largest_absolute(first.ood.iter().flat_map(|curve| &curve.points).map(|[_, own, gd]| own / gd - 1.0));
    let panel = |curve: &super::OodCurve| LineChart {
        title: match curve.axis {
            OodAxis::InputRange => format!("{:?} inputs", curve.law),
            OodAxis::WeightScale => "Larger weights".into(),
        },
        x_label: "scale".into(),
        y_label: "loss".into(),
        y_scale: Scale::Log,
        series: vec![
            Series::new("trained layer", curve.points.iter().map(|point| (point[0], point[1]))),
            Series::new("gradient descent", curve.points.iter().map(|point| (point[0], point[2]))),
        ],
        ..Default::default()
    };
    Panels {
        title: format!("Loss out of distribution (seed {})", first.seed),
        alt: format!(
            "On inputs and weights of other laws and scales than in training, the trained layer's loss stays within {:.0} % of that of \
             gradient descent with the step size of training.",
            100.0 * worst
        ),
        panels: first.ood.iter().map(|curve| panel(curve).into()).collect(),
        columns: 1,
    }
    .figure("out-of-distribution")
}

pub(super) fn full(outcome: &mut Outcome, two: &[TwoSteps], sine: &[Sine]) {
    outcome.figures.push(two_steps(two));
    if let Some(first) = sine.first() {
        outcome.figures.push(sine_fit(first));
    }
}

fn two_steps(two: &[TwoSteps]) -> gradus_report::Figure {
    let of = |f: &dyn Fn(&TwoSteps) -> Option<f64>| two.iter().filter_map(f).collect::<Vec<_>>();
    let bars = [
        ("trained, after the first step", of(&|run| run.losses.first().copied())),
        ("trained, after the second step", of(&|run| run.losses.last().copied())),
        ("gradient descent, two tuned steps", of(&|run| Some(run.gd))),
        ("GD++, two tuned steps", of(&|run| Some(run.gd_plus_plus))),
    ];
    BarChart {
        title: "Two steps: a trained recurrent layer, gradient descent and GD++".into(),
        alt: format!(
            "Mean loss after two steps: trained {:.3}, gradient descent {:.3}, GD++ {:.3}.",
            mean(&bars[1].1),
            mean(&bars[2].1),
            mean(&bars[3].1)
        ),
        label: "loss on the evaluation tasks; dots are seeds".into(),
        bars: bars.iter().map(|(name, values)| Bar::of_seeds(*name, values)).collect(),
        ..Default::default()
    }
    .figure("two-steps")
}

fn sine_fit(first: &Sine) -> gradus_report::Figure {
    let wave = |column: usize| {
        let mut points: Vec<(f64, f64)> = first.fits.iter().map(|row| (row[1], row[column])).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let after = LineChart {
        title: "Prediction and target of 200 queries".into(),
        x_label: "target".into(),
        y_label: "prediction".into(),
        series: vec![
            Series::new("after training", wave(2)),
            Series::new("exact", wave(1)),
            Series::new("before training (0)", wave(1).into_iter().map(|(x, _)| (x, 0.0))),
        ],
        ..Default::default()
    };
    let training = LineChart {
        title: "Training".into(),
        x_label: "training steps".into(),
        y_label: "loss of the step's tasks".into(),
        y_scale: Scale::Log,
        series: vec![Series::new("network and attention", first.history.iter().map(|(step, loss)| (*step as f64, *loss)))],
        references: vec![Reference::new("predicting 0", first.zero)],
        ..Default::default()
    };
    Panels {
        title: "Sine waves learned in context".into(),
        alt: format!(
            "The trained network and attention end at a loss of {:.4}, the network trained for a constructed step of gradient descent at \
             {:.4}; predicting 0 has {:.4}.",
            first.loss, first.fixed_head, first.zero
        ),
        panels: vec![training.into(), after.into()],
        columns: 1,
    }
    .figure("sine")
}
