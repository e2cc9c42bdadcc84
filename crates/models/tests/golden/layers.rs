use gradus_autodiff::{AttentionMask, Convolution, Params, Tensor, TransposedConvolution, grad};
use gradus_base::stream;
use gradus_models::*;

use crate::case::Golden;

type T64 = Tensor<f64>;

/// Output and gradients of the case `name`, for a layer with its parameters; `like` has their names and shapes.
fn check<P: Params<Elem = f64>>(name: &str, like: &P, call: impl Fn(&P, &T64) -> T64) {
    let golden = Golden::open("layers");
    let layer = files::extract(&golden.0, &format!("{name}.parameters."), like).unwrap();
    let x = golden.get(&format!("{name}.x"));
    golden.agrees(&format!("{name}.y"), &call(&layer, &x), 1e-12);
    let loss = |(layer, x): &(P, T64)| {
        let y = call(layer, x);
        let weights = Tensor::from_fn(y.shape(), |i| (i as f64).cos());
        (y * weights).sum()
    };
    let (by_layer, by_x) = grad(loss, &(layer.clone(), x));
    golden.agrees(&format!("{name}.gradient.x"), &by_x, 1e-11);
    let prefix = format!("{name}.gradient.");
    let theirs = golden.0.names().filter(|name| name.starts_with(&prefix)).count();
    let ours: Vec<_> = by_layer.leaves().into_iter().collect();
    assert_eq!(ours.len() + 1, theirs, "{name}");
    by_layer.map(|own, gradient| {
        golden.agrees(&format!("{prefix}{own}"), gradient, 1e-11);
        gradient.clone()
    });
}

fn rng() -> gradus_base::StreamRng {
    stream(1, "golden-test", 0)
}

#[test]
fn maps_and_normalisation_of_the_last_axis() {
    check("linear", &Linear::new(4, 3, &mut rng()), |layer, x| layer.call(x));
    check("layer_norm", &LayerNorm::new(6), |layer, x| layer.call(x));
    check("rms_norm", &RmsNorm::new(6), |layer, x| layer.call(x));
}

#[test]
fn convolutions() {
    let options = Convolution { stride: [2], padding: [1], groups: 2, ..Default::default() };
    check("conv1d", &Conv1d::with_options(4, 6, [3], options, &mut rng()), |layer, x| layer.call(x));
    let options = Convolution { stride: [2, 1], padding: [1, 2], dilation: [1, 2], groups: 1 };
    check("conv2d", &Conv2d::with_options(2, 3, [3, 2], options, &mut rng()), |layer, x| layer.call(x));
    let layer = Conv3d { bias: None, ..Conv3d::with_options(2, 2, [2; 3], Convolution::default(), &mut rng()) };
    check("conv3d", &layer, |layer, x| layer.call(x));
    let options = TransposedConvolution { stride: [2], padding: [1], output_padding: [1], ..Default::default() };
    check("conv_transpose1d", &ConvTranspose1d::with_options(2, 3, [3], options, &mut rng()), |layer, x| layer.call(x));
    let options = TransposedConvolution { stride: [2, 2], dilation: [2, 2], groups: 2, ..Default::default() };
    check("conv_transpose2d", &ConvTranspose2d::with_options(4, 2, [3, 3], options, &mut rng()), |layer, x| layer.call(x));
}

#[test]
fn attention() {
    let memory = Golden::open("layers").get("memory");
    check("attention", &MultiHeadAttention::new(6, 2, &mut rng()), |layer, x| layer.call(x, AttentionMask::Causal));
    check("cross_attention", &MultiHeadAttention::new(6, 3, &mut rng()), |layer, x| layer.cross(x, &memory, AttentionMask::None));
}

#[test]
fn transformers() {
    let memory = Golden::open("layers").get("memory");
    let post = TransformerConfig { hidden: 5, activation: Activation::Relu, norm_first: false, ..TransformerConfig::small(6, 1, 2) };
    let pre = TransformerConfig { hidden: 5, activation: Activation::Gelu, ..TransformerConfig::small(6, 2, 2) };
    let evaluation = || Pass::evaluation();
    let stack = |config: &TransformerConfig| Transformer::<f64>::new(config, &mut rng()).unwrap();
    check("encoder_post_norm", &stack(&post).layers[0], |layer, x| layer.call(x, &Context::default(), &mut evaluation()));
    check("encoder_pre_norm", &stack(&pre), |model, x| model.call(x, &Context::default(), &mut evaluation()));
    let decoder = stack(&TransformerConfig { norm_first: true, cross_attention: true, ..post });
    let context = Context { memory: Some(&memory), ..Context::causal() };
    check("decoder", &decoder.layers[0], |layer, x| layer.call(x, &context, &mut evaluation()));
}

#[test]
fn group_and_instance_norm() {
    check("group_norm", &GroupNorm::new(2, 4), |layer, x| layer.call(x));
    check("instance_norm", &InstanceNorm::new(3), |layer, x| layer.call(x));
}

#[test]
fn batch_norm_in_training_and_evaluation() {
    let golden = Golden::open("layers");
    for (name, channels, momentum) in [("batch_norm1d", 3, 0.1), ("batch_norm2d", 2, 0.3)] {
        let like = BatchNorm { momentum, ..BatchNorm::new(channels) };
        check(name, &like, |layer, x| layer.call(x, &mut Pass::training(rng())));
        check(&format!("{name}.evaluation"), &like, |layer, x| layer.call(x, &mut Pass::evaluation()));
        // Two batches, each with a pass of its own, and both in one pass.
        let fresh = || files::extract(&golden.0, &format!("{name}.parameters."), &like).unwrap();
        let (mut apart, mut together) = (fresh(), fresh());
        let mut one = Pass::training(rng());
        for batch in ["x", "second"].map(|batch| golden.get(&format!("{name}.{batch}"))) {
            let mut pass = Pass::training(rng());
            apart.call(&batch, &mut pass);
            together.call(&batch, &mut one);
            pass.fold(&mut apart);
        }
        one.fold(&mut together);
        for layer in [apart, together] {
            golden.agrees(&format!("{name}.after.running_mean"), &layer.running_mean, 1e-14);
            golden.agrees(&format!("{name}.after.running_var"), &layer.running_var, 1e-14);
        }
    }
}

#[test]
fn recurrent_layers() {
    check("lstm", &Lstm::new(3, 4, 2, &mut rng()), |layer, x| layer.call(x, None).0);
    check("lstm_both_ways", &Lstm::bidirectional(3, 2, 2, &mut rng()), |layer, x| layer.call(x, None).0);
    check("gru", &Gru::new(3, 4, 2, &mut rng()), |layer, x| layer.call(x, None).0);
}

#[test]
fn residual_blocks() {
    let training = || Pass::training(rng());
    for (name, filters, stride, pre_activation) in
        [("residual", 2, 1, false), ("residual_down", 3, 2, false), ("residual_pre", 2, 1, true), ("residual_pre_down", 3, 2, true)]
    {
        let block = ResidualBlock::new(2, filters, stride, pre_activation, &mut rng());
        check(name, &block, |block, x| block.call(x, &mut training()));
    }
}
