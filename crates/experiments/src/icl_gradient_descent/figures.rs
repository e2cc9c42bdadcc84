//! The figures of the page.

use gradus_learning::in_context::gradient_descent::{Alignment, OodAxis, RegressionTasks};
use gradus_report::{Bar, BarChart, HeatMap, LineChart, Panels, Reference, Scale, Series};

use super::trained::{Fit, FitPoint, OneLayer, OodRow, Sine, TwoSteps};
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
    let panel = |title: &str, y: &str, f: &dyn Fn(&Alignment) -> f64| LineChart {
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
    let worst = largest_absolute(first.ood.iter().map(|row| row.loss_tf / row.loss_gd - 1.0));
    let curve = |name: &str, rows: &[OodRow], f: fn(&OodRow) -> f64| Series::new(name, rows.iter().map(|row| (row.scale, f(row))));
    let panel = |rows: &[OodRow]| LineChart {
        title: match rows[0].axis {
            OodAxis::InputRange => format!("{:?} inputs", rows[0].law),
            OodAxis::WeightScale => "Larger weights".into(),
        },
        x_label: "scale".into(),
        y_label: "loss".into(),
        y_scale: Scale::Log,
        series: vec![curve("trained layer", rows, |row| row.loss_tf), curve("gradient descent", rows, |row| row.loss_gd)],
        ..Default::default()
    };
    Panels {
        title: format!("Loss out of distribution (seed {})", first.seed),
        alt: format!(
            "On inputs and weights of other laws and scales than in training, the trained layer's loss stays within {:.0} % of that of \
             gradient descent with the step size of training.",
            100.0 * worst
        ),
        panels: first.ood.chunk_by(|a, b| (a.law, a.axis) == (b.law, b.axis)).map(|rows| panel(rows).into()).collect(),
        columns: 1,
    }
    .figure("out-of-distribution")
}

pub(super) fn two_steps(two: &[TwoSteps]) -> gradus_report::Figure {
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

pub(super) fn sine(outcome: &mut Outcome, runs: &[Sine]) {
    let Some(first) = runs.first() else { return };
    outcome.figures.push(sine_training(first));
    outcome.figures.push(sine_fits(&first.fits));
}

fn sine_training(first: &Sine) -> gradus_report::Figure {
    LineChart {
        title: "Training on sine waves".into(),
        alt: format!(
            "The trained network and attention end at a loss of {:.4}, the network trained for a constructed step of gradient descent at \
             {:.4}; predicting 0 has {:.4}.",
            first.loss, first.fixed_head, first.zero
        ),
        x_label: "training steps".into(),
        y_label: "loss of the step's tasks".into(),
        y_scale: Scale::Log,
        series: vec![Series::new("network and attention", first.history.iter().map(|(step, loss)| (*step as f64, *loss)))],
        references: vec![Reference::new("predicting 0", first.zero)],
        ..Default::default()
    }
    .figure("sine-training")
}

fn sine_fits(fits: &[Fit]) -> gradus_report::Figure {
    let curve = |name: &str, fit: &Fit, f: fn(&FitPoint) -> f64| Series::new(name, fit.curve.iter().map(|point| (point.x, f(point))));
    let panel = |fit: &Fit, when: &str, predictions: Vec<Series>| LineChart {
        title: format!("Amplitude {}, phase {}: {when}", fit.amplitude, fit.phase),
        x_label: "query x".into(),
        y_label: "y".into(),
        series: [
            curve("sine", fit, |point| point.target),
            // No line: gaps between the examples.
            Series::new("examples", fit.examples.iter().flat_map(|&[x, y]| [(x, y), (x, f64::NAN)])),
        ]
        .into_iter()
        .chain(predictions)
        .collect(),
        ..Default::default()
    };
    // On panels of their own: untrained weights predict far beyond the waves.
    let before = |fit: &Fit| panel(fit, "before training", vec![curve("attention", fit, |point| point.untrained)]);
    let after = |fit: &Fit| {
        let trained = curve("attention", fit, |point| point.trained);
        panel(fit, "after training", vec![trained, curve("gradient descent", fit, |point| point.fixed_head)])
    };
    let error = |f: fn(&FitPoint) -> f64| {
        mean(&fits.iter().flat_map(|fit| &fit.curve).map(|point| (f(point) - point.target).abs()).collect::<Vec<_>>())
    };
    Panels {
        title: "Sine waves from ten examples: a network and attention, or a step of gradient descent".into(),
        alt: format!(
            "Along three waves the mean absolute error is {:.3} before training, {:.3} after it, and {:.3} for the network trained for a \
             constructed step of gradient descent.",
            error(|point| point.untrained),
            error(|point| point.trained),
            error(|point| point.fixed_head)
        ),
        panels: fits.iter().flat_map(|fit| [before(fit).into(), after(fit).into()]).collect(),
        columns: 2,
    }
    .figure("sine-fits")
}
