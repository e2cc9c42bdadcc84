//! Trains a network on tokens with attention behind it on sine waves, and the same network for one step of gradient descent.
//!
//! `cargo run --release -p gradus-learning --example icl_sine -- [steps] [batch] [seed] [learning rate] [initial scale]`

use std::time::Instant;

use gradus_base::{Cancel, Silent};
use gradus_learning::in_context::gradient_descent::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<f64>, _>>()?;
    let argument = |i: usize, default: f64| arguments.get(i).copied().unwrap_or(default);
    let tasks = SineTasks::default();
    let options = TrainOptions {
        steps: argument(0, 3000.0) as u64,
        batch: argument(1, 256.0) as usize,
        seed: argument(2, 0.0) as u64,
        learning_rate: argument(3, 1e-3),
        ..TrainOptions::default()
    };
    let config = NonlinearConfig { init_scale: argument(4, 0.002), ..NonlinearConfig::default() };
    let test = tasks.sample::<f32>(10_000, &mut gradus_base::stream(options.seed, "icl-test", 0))?;
    let zero = Reference::Zero.loss(&test)?;
    for head in [NonlinearHead::Trained, NonlinearHead::GradientDescent { eta: 1.0 }] {
        let start = Instant::now();
        let trained: TrainedNonlinear<f32> = train_nonlinear(&config, head, &tasks.into(), &options, &mut Silent, &Cancel::new())?;
        let loss = trained.model.loss(&test)?;
        println!("{head:?}: loss {loss:.5}, {:.3} of the zero predictor's ({:.1} s)", loss / zero, start.elapsed().as_secs_f64());
    }
    Ok(())
}
