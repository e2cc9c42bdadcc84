//! A training step in steady state asks the system for no large memory: what a step needs, the step before has left.
#![allow(unsafe_code)] // An allocator that counts can be written in no other way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gradus_autodiff::{Params, Pooling, Tensor, value_and_grad};
use gradus_models::loss::{cross_entropy, mean_squared_error};
use gradus_models::{Conv2d, LanguageConfig, LanguageModel, Linear, Lstm, Pass, Positions, TransformerConfig};
use gradus_optimizers::{AdamW, Rule, Sgd};

/// Bytes from which on memory is large.
const LARGE: usize = 64 << 10;

struct Counting;
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(usize::from(layout.size() >= LARGE), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(usize::from(layout.size() >= LARGE), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether steps come to allocate nothing large: ten in a row, among the first hundred. How soon depends on which thread does
/// what: each keeps memory of its own. What grows by `realloc` is counted, as it allocates.
fn settles<P: Params<Elem = f32>, R: Rule<P>>(rule: R, mut model: P, loss: impl Fn(&P) -> Tensor) -> bool {
    let mut state = rule.init(&model);
    let mut without = 0;
    for _ in 0..100 {
        let before = COUNT.load(Relaxed);
        let (_, gradient) = value_and_grad(&loss, &model);
        assert_eq!(rule.step(&mut model, &gradient, &mut state), Ok(()));
        without = if COUNT.load(Relaxed) == before { without + 1 } else { 0 };
        if without == 10 {
            return true;
        }
    }
    false
}

#[derive(Clone, Params)]
struct Cnn {
    convolution: Conv2d,
    output: Linear,
}

#[derive(Clone, Params)]
struct Recurrent {
    lstm: Lstm,
    output: Linear,
}

// One test: what others allocate at the same time would be counted too.
#[test]
fn a_step_in_steady_state_allocates_nothing_large() {
    let rng = &mut gradus_base::stream(0, "steady state", 0);
    let draw = |shape: &[usize]| Tensor::from_fn(shape, |i| (i as f32 * 0.7).sin());
    let labels: Vec<usize> = (0..256).map(|i| i * 7 % 10).collect();

    let before = COUNT.load(Relaxed);
    drop(vec![0u8; LARGE]);
    assert!(COUNT.load(Relaxed) > before, "the counter counts");

    let cnn = Cnn { convolution: Conv2d::new(3, 16, 3, rng), output: Linear::new(16 * 16 * 16, 10, rng) };
    let images = draw(&[16, 3, 32, 32]);
    let loss = |m: &Cnn| {
        let x = m.convolution.call(&images).relu().max_pool2d(Pooling::new([2, 2]));
        cross_entropy(&m.output.call(&x.reshape(&[16, 16 * 16 * 16])), &labels[..16])
    };
    assert!(settles(Sgd { momentum: 0.9, ..Sgd::default() }, cnn, loss), "convolution");

    let (pointwise, images) = (Conv2d::new(128, 256, 1, rng), draw(&[4, 128, 8, 8]));
    assert!(settles(Sgd::default(), pointwise, |m| m.call(&images).square().mean()), "convolution of single pixels");

    let recurrent = Recurrent { lstm: Lstm::new(32, 64, 1, rng), output: Linear::new(64, 1, rng) };
    let (series, target) = (draw(&[32, 20, 32]), draw(&[32, 1]));
    let loss = |m: &Recurrent| mean_squared_error(&m.output.call(&m.lstm.call(&series, None).1[0].hidden), &target);
    assert!(settles(Sgd::default(), recurrent, loss), "LSTM");

    let config = LanguageConfig {
        vocabulary: 64,
        context: 32,
        positions: Positions::Learned,
        tied: false,
        causal: true,
        transformer: TransformerConfig::small(64, 2, 4),
    };
    let model = LanguageModel::new(&config, rng).unwrap();
    let rows: Vec<Vec<usize>> = (0..8).map(|row| (0..32).map(|i| (row * 31 + i * i) % 64).collect()).collect();
    let next: Vec<usize> = rows.iter().flatten().map(|token| (token + 1) % 64).collect();
    let loss = |m: &LanguageModel| cross_entropy(&m.call(&rows, &mut Pass::evaluation()).reshape(&[256, 64]), &next);
    assert!(settles(AdamW::default(), model, loss), "transformer");
}
