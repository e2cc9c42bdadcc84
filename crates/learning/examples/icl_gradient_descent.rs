//! Trains one layer of linear self-attention on regression tasks and compares it with one step of gradient descent.
//!
//! `cargo run --release -p gradus-learning --example icl_gradient_descent -- [d] [N] [batch] [steps] [repeats] [seed]`

use std::time::Instant;

use gradus_base::{Cancel, Observer};
use gradus_learning::in_context::gradient_descent::*;

struct Print;

impl Observer for Print {
    fn message(&mut self, text: &str) {
        println!("{text}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<u64>, _>>()?;
    let argument = |i: usize, default: u64| arguments.get(i).copied().unwrap_or(default);
    let (dimension, context) = (argument(0, 5) as usize, argument(1, 10) as usize);
    let tasks = RegressionTasks { dimension, context, ..RegressionTasks::default() };
    let config = StackConfig { repeats: argument(4, 1) as usize, ..StackConfig::default() };
    let options =
        TrainOptions { batch: argument(2, 256) as usize, steps: argument(3, 1500), seed: argument(5, 0), ..TrainOptions::default() };

    let start = Instant::now();
    let trained: Trained<f32> = train(&config, &tasks.into(), &options, &mut Print, &Cancel::new())?;
    let steps = options.steps + 1000 * u64::from(trained.restarts);
    println!("{steps} steps: {:.1} s, {:.3} ms each", start.elapsed().as_secs_f64(), start.elapsed().as_secs_f64() * 1e3 / steps as f64);

    let test = tasks.sample::<f32>(10_000, &mut gradus_base::stream(options.seed, "icl-test", 0))?;
    let tuning = tasks.sample::<f32>(2_000, &mut gradus_base::stream(options.seed, "icl-tuning", 0))?;
    let start = Instant::now();
    let eta = if config.repeats == 1 { optimal_eta(&tasks)?.eta } else { tune_gd(&tuning, config.repeats)?.eta };
    println!("step size {eta:.4} ({:.1} s)", start.elapsed().as_secs_f64());
    let descent = Reference::GradientDescent { eta, steps: config.repeats };
    let start = Instant::now();
    let alignment = align(&trained.stack, &descent, &test)?;
    println!(
        "{alignment:?}\nloss ratio to gradient descent {:.4} ({:.1} s)",
        alignment.loss_model / alignment.loss_reference,
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let plus = tune_gd_plus_plus(&tuning, config.repeats)?;
    let plus_plus = Reference::GradientDescentPlusPlus { etas: vec![plus.eta; config.repeats], gammas: vec![plus.gamma; config.repeats] };
    println!("{plus:?} ({:.1} s), loss on the test tasks {:.4}", start.elapsed().as_secs_f64(), plus_plus.loss(&test)?);
    if config.repeats == 1 {
        let construction = Stack::new(vec![LinearSelfAttention::gd_construction(dimension, 1, context, eta, None)?], 1);
        let average = interpolate(&trained.stack, &construction, 0.5)?;
        println!("interpolated: loss ratio {:.4}", average.loss(&test)? / alignment.loss_reference);
    }
    Ok(())
}
