use gradus_autodiff::{Convolution, PerExampleError, TransposedConvolution, per_example};

use super::*;

fn draw() -> gradus_base::StreamRng {
    stream(30, "models-test", 0)
}

/// Derivatives of both orders by parameters and input.
fn both_orders<P: Params<Elem = f64>>(layer: &P, x: &T64, call: impl Fn(&P, &T64) -> T64) {
    let f = |both: &(P, T64)| {
        let y = call(&both.0, &both.1);
        (&y * &Tensor::from_fn(y.shape(), |i| (i as f64).sin() + 0.2)).sum().square() * 0.1
    };
    let both = (layer.clone(), x.clone());
    check::gradient(f, &both, 1e-5, 1e-5).unwrap();
    check::second_order(f, &both, &both.normal_like(&mut draw()), 1e-5, 1e-4).unwrap();
}

#[test]
fn derivatives_of_normalisation() {
    let training = || Pass::training(draw());
    both_orders(&BatchNorm::new(3), &random(&[4, 3], 1), |layer, x| layer.call(x, &mut training()));
    both_orders(&BatchNorm::new(2), &random(&[2, 2, 1, 3], 2), |layer, x| layer.call(x, &mut Pass::evaluation()));
    both_orders(&GroupNorm::new(2, 4), &random(&[1, 4, 3], 3), |layer, x| layer.call(x));
    both_orders(&InstanceNorm::new(2), &random(&[2, 2, 5], 4), |layer, x| layer.call(x));
    both_orders(&RmsNorm::new(3), &random(&[2, 3], 5), |layer, x| layer.call(x));
}

#[test]
fn derivatives_of_convolutions() {
    let rng = &mut draw();
    both_orders(&Conv1d::new(2, 3, 3, rng), &random(&[2, 2, 5], 1), |layer, x| layer.call(x));
    both_orders(&Conv3d::new(1, 2, 2, rng), &random(&[1, 1, 2, 3, 1], 2), |layer, x| layer.call(x));
    both_orders(&SeparableConv2d::new(2, 3, 3, rng), &random(&[1, 2, 3, 4], 3), |layer, x| layer.call(x));
    let options = TransposedConvolution { stride: [2, 1], ..Default::default() };
    both_orders(&ConvTranspose2d::with_options(2, 1, [2, 3], options, rng), &random(&[1, 2, 2, 2], 4), |layer, x| layer.call(x));
}

#[test]
fn derivatives_of_recurrent_layers() {
    let rng = &mut draw();
    both_orders(&Lstm::new(2, 3, 2, rng), &random(&[2, 3, 2], 1), |layer, x| layer.call(x, None).0);
    both_orders(&Gru::bidirectional(2, 2, 2, rng), &random(&[1, 4, 2], 2), |layer, x| layer.call(x, None).0);
}

#[test]
fn derivatives_of_residual_blocks() {
    for pre_activation in [false, true] {
        let block = ResidualBlock::new(1, 2, 2, pre_activation, &mut draw());
        let call = |block: &ResidualBlock<f64>, x: &T64| block.call(x, &mut Pass::training(draw()));
        both_orders(&block, &random(&[2, 1, 3, 4], 1), call);
    }
}

#[test]
fn recurrent_layers_go_on_from_their_states() {
    let (lstm, gru) = (Lstm::<f64>::new(2, 3, 2, &mut draw()), Gru::<f64>::new(2, 3, 2, &mut draw()));
    let x = random(&[2, 5, 2], 6);
    let [first, rest] = [x.narrow(1, 0, 2), x.narrow(1, 2, 3)];
    let close = |a: T64, b: T64| (a - b).abs().as_slice().iter().all(|x| *x < 1e-14);
    let (_, states) = lstm.call(&first, None);
    assert!(close(lstm.call(&rest, Some(&states)).0, lstm.call(&x, None).0.narrow(1, 2, 3)));
    let (_, states) = gru.call(&first, None);
    assert!(close(gru.call(&rest, Some(&states)).0, gru.call(&x, None).0.narrow(1, 2, 3)));
}

#[test]
fn recurrent_names_are_those_of_a_state_dict() {
    let names: Vec<String> = Gru::<f32>::bidirectional(2, 3, 1, &mut draw()).named().into_iter().map(|(name, _)| name).collect();
    let forward = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    assert_eq!(names[..4], forward);
    assert_eq!(names[4..], forward.map(|name| format!("{name}_reverse")));
}

#[test]
#[should_panic(expected = "1 states for 2 directions of layers")]
fn too_few_states() {
    let gru: Gru<f64> = Gru::new(2, 3, 2, &mut draw());
    gru.call(&random(&[1, 2, 2], 1), Some(&[Tensor::zeros(&[1, 3])]));
}

#[test]
#[should_panic(expected = "3 groups do not share 4 channels")]
fn groups_that_do_not_divide_the_channels() {
    Conv1d::<f64>::with_options(4, 6, [3], Convolution { groups: 3, ..Default::default() }, &mut draw());
}

#[test]
#[should_panic(expected = "1 values for each channel have no variance")]
fn one_value_has_no_variance() {
    BatchNorm::new(2).call(&random(&[1, 2], 1), &mut Pass::training(draw()));
}

#[test]
fn batch_norm_in_training_has_no_per_example_gradients() {
    let norm: BatchNorm<f64> = BatchNorm::new(2);
    let x = random(&[3, 2], 7);
    let losses = |norm: &BatchNorm<f64>, x: &T64, mut pass: Pass<f64>| norm.call(x, &mut pass).square().sum_axis(1);
    let mixed = per_example(|norm: &BatchNorm<f64>, x: &T64| losses(norm, x, Pass::training(draw())), &norm, &x).err().unwrap();
    assert!(matches!(mixed, PerExampleError::MixesExamples { operation: "batch_norm" }));
    assert!(per_example(|norm: &BatchNorm<f64>, x: &T64| losses(norm, x, Pass::evaluation()), &norm, &x).is_ok());
}

/// The running statistics of a normal with other moments than those they begin with, after a training.
#[test]
fn fit_moves_the_running_statistics() {
    let model = (BatchNorm::<f64>::new(1), Linear::new(1, 1, &mut draw()));
    let batches = |step| Tensor::sample(&[64, 1], rand_distr::StandardNormal, &mut stream(31, "models-test", step)) * 2.0 + 3.0;
    let loss =
        |(norm, linear): &(BatchNorm<f64>, Linear<f64>), x: &T64, pass: &mut Pass<f64>| linear.call(&norm.call(x, pass)).square().mean();
    let options = FitOptions { steps: 100, ..FitOptions::default() };
    let fitted = fit(model, &Adam::default(), batches, loss, &options, carry_on).unwrap();
    let norm = &fitted.model.0;
    assert!((norm.running_mean.item() - 3.0).abs() < 0.2 && (norm.running_var.item() - 4.0).abs() < 0.5);
}

/// Shapes of every size from 0 on; derivatives of both orders where there is anything to differentiate.
mod properties {
    use super::*;
    use gradus_autodiff::AttentionMask;
    use proptest::prelude::*;

    fn input(shape: &[usize], seed: u64) -> T64 {
        random(shape, seed)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        #[test]
        fn attention(batch in 0usize..3, n in 0usize..4, groups in 1usize..3, head_width in 1usize..4, seed in 0u64..1000) {
            let heads = 2 * groups;
            let rng = &mut stream(seed, "models-test", 0);
            let mut layer: MultiHeadAttention<f64> = MultiHeadAttention::new(heads * head_width, heads, rng);
            layer.rotary = head_width.is_multiple_of(2).then(Rotary::default);
            // As many heads of keys and values as groups: their rows come after those of the queries.
            layer.in_proj_weight = layer.in_proj_weight.narrow(0, 0, (heads + 2 * groups) * head_width);
            layer.in_proj_bias = Some(input(&[(heads + 2 * groups) * head_width], seed + 1));
            layer.key_value_heads = groups;
            let x = input(&[batch, n, heads * head_width], seed + 2);
            let y = layer.call(&x, AttentionMask::Causal);
            prop_assert_eq!(y.shape(), x.shape());
            both_orders(&layer, &x, |layer, x| layer.call(x, AttentionMask::Causal));
            let memory = input(&[batch, 2, heads * head_width], seed + 3);
            both_orders(&layer, &x, |layer, x| layer.cross(x, &memory, AttentionMask::None));
        }

        #[test]
        fn transformer_layers(batch in 0usize..3, n in 0usize..4, choices in any::<[bool; 4]>(), seed in 0u64..1000) {
            let [norm_first, gated, rms, causal] = choices;
            let config = TransformerConfig {
                hidden: 3,
                norm_first,
                gated,
                norm: if rms { NormKind::Rms } else { NormKind::Layer },
                activation: Activation::Silu,
                deviation: 0.4,
                ..TransformerConfig::small(4, 1, 2)
            };
            let model: Transformer<f64> = Transformer::new(&config, &mut stream(seed, "models-test", 0)).unwrap();
            let context = || if causal { Context::causal() } else { Context::default() };
            let x = input(&[batch, n, 4], seed + 1);
            both_orders(&model, &x, |model, x| model.call(x, &context(), &mut Pass::evaluation()));
        }

        #[test]
        fn recurrent_layers(
            batch in 0usize..3, time in 0usize..4, width in 1usize..4, hidden in 1usize..3, both in any::<bool>(), seed in 0u64..1000,
        ) {
            let rng = &mut stream(seed, "models-test", 0);
            let x = input(&[batch, time, width], seed + 1);
            let lstm = if both { Lstm::bidirectional(width, hidden, 1, rng) } else { Lstm::new(width, hidden, 2, rng) };
            both_orders(&lstm, &x, |layer, x| layer.call(x, None).0);
            let gru = if both { Gru::bidirectional(width, hidden, 1, rng) } else { Gru::new(width, hidden, 2, rng) };
            both_orders(&gru, &x, |layer, x| layer.call(x, None).0);
        }

        #[test]
        fn normalisation(batch in 0usize..4, groups in 1usize..3, each in 1usize..3, places in 1usize..4, seed in 0u64..1000) {
            let channels = groups * each;
            let x = input(&[batch, channels, places], seed);
            both_orders(&BatchNorm::new(channels), &x, |layer, x| layer.call(x, &mut Pass::evaluation()));
            // With two values to a group, outputs are ±1 and derivatives nearly nothing, of a function that is steep at 0.
            if batch * places > 2 {
                both_orders(&BatchNorm::new(channels), &x, |layer, x| layer.call(x, &mut Pass::training(draw())));
            }
            if each * places > 2 {
                both_orders(&GroupNorm::new(groups, channels), &x, |layer, x| layer.call(x));
            }
            if places > 2 {
                both_orders(&InstanceNorm::new(channels), &x, |layer, x| layer.call(x));
            }
        }

        #[test]
        fn convolutions(
            batch in 0usize..3, groups in 1usize..3, kernel in 1usize..4, stride in 1usize..3, dilation in 1usize..3, seed in 0u64..1000,
        ) {
            let rng = &mut stream(seed, "models-test", 0);
            let options = Convolution { stride: [stride], padding: [kernel / 2], dilation: [dilation], groups };
            let layer: Conv1d<f64> = Conv1d::with_options(2 * groups, groups, [kernel], options, rng);
            both_orders(&layer, &input(&[batch, 2 * groups, 5], seed + 1), |layer, x| layer.call(x));
            let options = TransposedConvolution { stride: [stride], dilation: [dilation], groups, ..Default::default() };
            let layer: ConvTranspose1d<f64> = ConvTranspose1d::with_options(groups, 2 * groups, [kernel], options, rng);
            both_orders(&layer, &input(&[batch, groups, 3], seed + 2), |layer, x| layer.call(x));
        }
    }
}
