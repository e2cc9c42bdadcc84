//! Writes a page with every kind of figure and verdict, of made-up numbers: `cargo run -p gradus-report --example page`.

use std::path::Path;

use gradus_report::{
    Bar, BarChart, Claim, Direction, Figure, FigureFile, HeatMap, Histogram, LineChart, Machine, Panels, Paper, Profile, Reference,
    ReportError, SYSTEM_SCHEMA, Sample, Scale, Series, System, SystemReport, Table, Threshold, Verdict, save,
};

fn main() -> Result<(), ReportError> {
    let machine = Machine::this(2);
    let earlier = report("made-up-numbers", Profile::Quick);
    save(Path::new("target/sample-report"), &report("another-system", Profile::Smoke), &machine, None)?;
    let [_, page] = save(Path::new("target/sample-report"), &report("made-up-numbers", Profile::Full), &machine, Some(&earlier.system))?;
    println!("{}", page.display());
    Ok(())
}

fn report(slug: &str, profile: Profile) -> SystemReport {
    let figures = figures();
    SystemReport {
        schema: SYSTEM_SCHEMA.into(),
        system: System {
            slug: slug.into(),
            title: "Averaging Models of Numbers That Were Made Up".into(),
            profile,
            seed: 0,
            seeds: None,
            seconds: 94.2,
            finished: "2026-01-31T09:30:00Z".into(),
            options: [("estimator".into(), "exact".into()), ("tasks".into(), "my tasks.json".into())].into(),
            data: None,
            claims: claims(profile),
            figures: figures
                .iter()
                .map(|figure| FigureFile {
                    file: format!("{slug}/{}.svg", figure.name),
                    title: figure.title.clone(),
                    alt: figure.alt.clone(),
                })
                .collect(),
            machine: None,
        },
        authors: "A. N. Author, A. N. Other".into(),
        year: 2022,
        arxiv: Some("2111.09832".into()),
        summary: "A page of made-up numbers, to look at. Each coordinate of several models is averaged with a weight of its own; the \
                  claims below say what that gains over the plain average."
            .into(),
        values: [("gain".into(), vec![2.9, 1.9, 2.6, 1.1, 1.9]), ("ratio".into(), vec![1.01, 1.05])].into(),
        figures,
        tables: vec![Table {
            rows: vec![
                vec!["first layer".into(), 0.512.into(), 1.2e-7.into()],
                vec!["second layer".into(), 0.49.into(), (-3.25).into()],
                vec!["a layer that was not measured".into(), None.into(), None.into()],
            ],
            ..Table::new("Share of the first model", ["layer", "share", "logarithm of the weight"])
        }],
        notes: vec![
            "In the second block the three ways are equal within noise; the paper's gap needs larger models.".into(),
            "One run ended in swapped roles and was started again from the next seed.".into(),
        ],
        numbers: serde_json::json!({ "restarts": 1, "base": [0.693, 0.735, 0.715] }),
    }
}

fn claims(profile: Profile) -> Vec<Claim> {
    let claim = |id: &str, text: &str, metric: &str, direction, threshold, measured: Option<f64>, verdict| Claim {
        id: id.into(),
        text: text.into(),
        metric: metric.into(),
        direction,
        threshold,
        measured,
        interval: None,
        seeds: measured.map_or(0, |_| 1),
        paper: None,
        gate: true,
        profiles: Profile::ALL.into(),
        verdict,
    };
    let (value, range) = (Threshold::Value, Threshold::Range);
    let gain = if profile == Profile::Full { 2.08 } else { 0.41 };
    vec![
        Claim {
            interval: Some([1.22, 2.94]),
            seeds: 5,
            paper: Some(Paper { value: 2.3, source: "Table 2, ViT-B/32".into() }),
            ..claim(
                "gain",
                "Weighted merging beats plain averaging",
                "mean accuracy, difference in percentage points",
                Direction::AtLeast,
                value(0.7),
                Some(gain),
                Verdict::Holds,
            )
        },
        Claim {
            interval: Some([0.776, 1.284]),
            seeds: 2,
            ..claim(
                "ratio",
                "One step of the trained layer is one step of gradient descent",
                "ratio of losses",
                Direction::Within,
                range([0.97, 1.03]),
                Some(1.03125),
                Verdict::DoesNotHold,
            )
        },
        claim(
            "exact",
            "The construction is gradient descent",
            "largest difference",
            Direction::AtMost,
            value(1e-9),
            Some(3.2e-15),
            Verdict::Holds,
        ),
        Claim {
            gate: false,
            paper: Some(Paper { value: 0.35, source: "Figure 5".into() }),
            ..claim(
                "sine",
                "A network in front of the layer solves sine regression",
                "loss over that of predicting zero",
                Direction::AtMost,
                value(0.35),
                None,
                Verdict::NeedsMore,
            )
        },
    ]
}

fn figures() -> Vec<Figure> {
    let counts = [1.0, 4.0, 16.0, 64.0, 128.0, 800.0];
    let fisher = [0.728, 0.761, 0.786, 0.792, 0.793, 0.794];
    let sampled = [0.71, 0.74, 0.775, 0.788, 0.79, 0.793];
    let curve = |name: &str, values: [f64; 6]| {
        Series::with_intervals(name, counts.into_iter().zip(values).map(|(n, value)| (n, value, Some([value - 0.012, value + 0.012]))))
    };
    let accuracy = LineChart {
        title: "Accuracy and the number of examples".into(),
        alt: "Accuracy rises with the number of examples behind the weights and levels off at about 64.".into(),
        x_label: "examples behind the weights".into(),
        y_label: "mean accuracy over eight tasks".into(),
        x_scale: Scale::Log,
        series: vec![curve("exact weights", fisher), curve("sampled weights", sampled)],
        references: vec![Reference::new("plain average", 0.773)],
        ..Default::default()
    };
    let loss = |rate: f64| (0..200).map(move |step| (f64::from(step) * 10.0, (-rate * f64::from(step)).exp() + 0.02 * rate));
    let losses = LineChart {
        title: "Loss while training".into(),
        alt: "All six losses fall by a factor of at least ten.".into(),
        x_label: "step".into(),
        y_label: "loss".into(),
        y_scale: Scale::Log,
        series: (1..=6).map(|i| Series::new(format!("rate {i}"), loss(0.01 * f64::from(i)))).collect(),
        ..Default::default()
    };
    let bars = BarChart {
        title: "Accuracy after merging, five seeds".into(),
        alt: "Weighted merging is above the plain average; single models are far above both.".into(),
        label: "mean accuracy over eight tasks".into(),
        bars: vec![
            Bar::of_seeds("before fine-tuning", &[0.693, 0.735, 0.715, 0.740, 0.728]),
            Bar::of_seeds("plain average", &[0.755, 0.789, 0.770, 0.778, 0.771]),
            Bar { interval: Some([0.78, 0.805]), ..Bar::of_seeds("weighted, 128 examples", &[0.784, 0.808, 0.796, 0.789, 0.790]) },
            Bar::of_seeds("single models, each on the task that it was fine-tuned on", &[0.961, 0.962, 0.965, 0.965, 0.966]),
        ],
        references: vec![Reference::new("chance", 0.1)],
        ..Default::default()
    };
    let normal = |mean: f64, width: f64| (1..400).map(move |i| f64::from(i) / 400.0).map(move |p| mean + width * (p / (1.0 - p)).ln());
    let histogram = Histogram {
        title: "Weights by layer".into(),
        alt: "The second layer's weights are about a hundred times larger.".into(),
        label: "log10 of the weight".into(),
        samples: vec![Sample::new("layer 1", normal(-6.0, 0.5)), Sample::new("layer 2", normal(-4.0, 0.3))],
        ..Default::default()
    };
    let tasks = ["identity", "rot90", "inverted", "flipped", "rot180", "shifted", "rot270", "transposed"];
    let map = HeatMap {
        title: "Gain of each pair of tasks".into(),
        alt: "Most pairs gain; pairs with the inverted images lose.".into(),
        label: "difference in percentage points".into(),
        columns: tasks.map(String::from).into(),
        rows: tasks.map(String::from).into(),
        values: (0..8i32)
            .map(|i| (0..8i32).map(|j| if i == j { f64::NAN } else { f64::from((i * 3 + j * 5) % 9 - 2) * 0.63 }).collect())
            .collect(),
    };
    let small = |title: &str, rate: f64| LineChart {
        title: title.into(),
        x_label: "step".into(),
        y_label: "loss".into(),
        series: vec![Series::new("training", (0..8).map(|i| (f64::from(i), (-rate * f64::from(i)).exp())))],
        ..Default::default()
    };
    let panels = Panels {
        title: "Loss of each task".into(),
        alt: "Every loss falls.".into(),
        panels: vec![small("identity", 0.4).into(), small("rot90", 0.8).into(), small("inverted", 0.2).into()],
        ..Default::default()
    };
    vec![
        bars.figure("bars"),
        accuracy.figure("accuracy"),
        losses.figure("losses"),
        histogram.figure("weights"),
        map.figure("pairs"),
        panels.figure("panels"),
    ]
}
