//! Steps and learning rates against PyTorch's, which `benches/peers/golden/optimizers.py` writes.
#![allow(clippy::unwrap_used)]

use gradus_autodiff::{Tensor, grad};
use gradus_optimizers::{Adagrad, Adam, AdamW, Adamax, AmsGrad, RmsProp, Rule, Schedule, Sgd};
use safetensors::SafeTensors;

type T64 = Tensor<f64>;

struct Golden(Vec<u8>);

impl Golden {
    fn open() -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizers.safetensors");
        Self(std::fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}")))
    }

    fn get(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        view.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    #[track_caller]
    fn agrees(&self, name: &str, ours: &[f64]) {
        let theirs = self.get(name);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name}, element {i}: ours {a}, PyTorch's {b}");
        }
    }
}

fn quadratic(x: &T64) -> T64 {
    ((x - &T64::vector(&[1.0, -2.0, 3.0])).square() * &T64::vector(&[1.0, 10.0, 0.1])).sum() * 0.5
}

fn rosenbrock(x: &T64) -> T64 {
    let (a, b) = (x.narrow(0, 0, 1), x.narrow(0, 1, 1));
    ((b - a.square()).square() * 100.0 + (a - 1.0).square()).sum()
}

#[track_caller]
fn follows(name: &str, rule: &impl Rule<T64>) {
    let golden = Golden::open();
    let functions: [(&str, fn(&T64) -> T64, &[f64]); 2] =
        [("quadratic", quadratic, &[3.0, -1.0, 0.5]), ("rosenbrock", rosenbrock, &[-1.2, 1.0])];
    for (function, f, start) in functions {
        let mut x = T64::vector(start);
        let mut state = rule.init(&x);
        let mut path = Vec::new();
        for _ in 0..10 {
            let gradient = grad(f, &x);
            rule.step(&mut x, &gradient, &mut state).unwrap();
            path.extend_from_slice(x.as_slice());
        }
        golden.agrees(&format!("{name}.{function}"), &path);
    }
}

#[test]
fn sgd() {
    let rule = Sgd { learning_rate: 1e-3, ..Sgd::default() };
    follows("sgd", &rule);
    let rule = Sgd { momentum: 0.9, weight_decay: 0.1, ..rule };
    follows("sgd_momentum", &rule);
    follows("sgd_nesterov", &Sgd { nesterov: true, ..rule });
}

#[test]
fn adam_and_its_kin() {
    let learning_rate = 0.1;
    follows("adam", &Adam { learning_rate, ..Adam::default() });
    follows("adam_decay", &Adam { learning_rate, beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weight_decay: 0.1 });
    follows("adam_w", &AdamW { learning_rate, ..AdamW::default() });
    let rule = AmsGrad { learning_rate, beta1: 0.5, beta2: 0.6, ..AmsGrad::default() };
    follows("ams_grad", &AmsGrad { weight_decay: 0.1, ..rule });
    follows("ams_grad_w", &AmsGrad { decoupled_weight_decay: 0.1, ..rule });
    follows("adamax", &Adamax { learning_rate, beta1: 0.5, beta2: 0.6, weight_decay: 0.1, ..Adamax::default() });
}

#[test]
fn rms_prop() {
    follows("rms_prop", &RmsProp { weight_decay: 0.1, ..RmsProp::default() });
    let rule = RmsProp { decay: 0.9, ..RmsProp::default() };
    follows("rms_prop_centered", &RmsProp { centered: true, ..rule });
    follows("rms_prop_momentum", &RmsProp { momentum: 0.5, ..rule });
    follows("rms_prop_both", &RmsProp { momentum: 0.5, centered: true, epsilon: 1e-2, ..rule });
}

#[test]
fn adagrad() {
    follows("adagrad", &Adagrad { learning_rate: 0.1, initial_sum: 0.1, weight_decay: 0.1, ..Adagrad::default() });
}

#[test]
fn schedules() {
    let golden = Golden::open();
    for (name, schedule) in [
        ("step", Schedule::Step { every: 7, factor: 0.3 }),
        ("multi_step", Schedule::MultiStep { steps: vec![30, 5, 11], factor: 0.3 }),
        ("exponential", Schedule::Exponential { factor: 0.9 }),
        ("linear", Schedule::linear(25)),
        ("polynomial", Schedule::Polynomial { steps: 25, power: 2.5, end: 0.0 }),
        ("cosine", Schedule::Cosine { steps: 40, end: 0.2 }),
        ("one_cycle", Schedule::one_cycle(41)),
        ("one_cycle_late", Schedule::OneCycle { steps: 41, rising: 0.55, start: 1.0 / 5.0, end: 1.0 / 35.0 }),
        ("warm_up_cosine", Schedule::cosine(32).after_warm_up(8)),
        ("warm_up_linear", Schedule::linear(27).after_warm_up(8)),
    ] {
        schedule.validate().unwrap();
        let ours: Vec<f64> = (0..41).map(|step| schedule.at(step)).collect();
        golden.agrees(&format!("schedule.{name}"), &ours);
    }
}
