use gradus_autodiff::{check, with_taps};
use gradus_base::stream;
use serde_json::json;

use super::*;
use crate::*;

type T64 = Tensor<f64>;

fn rng() -> gradus_base::StreamRng {
    stream(40, "models-test", 0)
}

fn described(input: &[usize], layers: Value) -> Value {
    json!({ "format": "gradus-arch/1", "input": input, "layers": layers })
}

fn model(input: &[usize], layers: Value) -> Result<Sequential<f64>, DescriptionError> {
    Sequential::from_json(&described(input, layers), &mut rng())
}

fn random(shape: &[usize], seed: u64) -> T64 {
    init::normal(shape, 1.0, &mut stream(seed, "models-test", 0))
}

/// Each type with an input, the output that it should have, and the names of its tensors.
fn every_type() -> Vec<(Value, Vec<usize>, Vec<usize>, Vec<&'static str>)> {
    let (both, affine) = (vec!["weight", "bias"], vec!["weight", "bias", "running_mean", "running_var"]);
    let recurrent = vec!["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    let case = |layer: Value, input: &[usize], output: &[usize], names: &Vec<&'static str>| {
        (layer, input.to_vec(), output.to_vec(), names.clone())
    };
    let none = vec![];
    let mut all = vec![
        case(json!({ "type": "linear", "output": 4 }), &[3, 5], &[3, 4], &both),
        case(json!({ "type": "linear", "output": 4, "bias": false }), &[5], &[4], &vec!["weight"]),
        case(json!({ "type": "conv1d", "filters": 4, "kernel": 3, "groups": 2 }), &[2, 7], &[4, 5], &both),
        case(
            json!({ "type": "conv2d", "filters": 3, "kernel": [3, 2], "stride": [2, 1], "padding": 1, "dilation": [1, 2] }),
            &[2, 6, 5],
            &[3, 3, 5],
            &both,
        ),
        case(json!({ "type": "conv3d", "filters": 1, "kernel": 2, "bias": false }), &[2, 3, 4, 5], &[1, 2, 3, 4], &vec!["weight"]),
        case(
            json!({ "type": "conv_transpose1d", "filters": 2, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1 }),
            &[3, 4],
            &[2, 8],
            &both,
        ),
        case(json!({ "type": "conv_transpose2d", "filters": 4, "kernel": 2, "stride": 2, "groups": 2 }), &[2, 3, 3], &[4, 6, 6], &both),
        case(json!({ "type": "conv_transpose3d", "filters": 1, "kernel": 2 }), &[1, 1, 2, 3], &[1, 2, 3, 4], &both),
        case(
            json!({ "type": "separable_conv2d", "filters": 3, "kernel": 3 }),
            &[2, 4, 5],
            &[3, 4, 5],
            &vec!["depthwise.weight", "depthwise.bias", "pointwise.weight", "pointwise.bias"],
        ),
        case(json!({ "type": "batch_norm", "momentum": 0.2 }), &[3, 2], &[3, 2], &affine),
        case(json!({ "type": "group_norm", "groups": 2 }), &[4, 3], &[4, 3], &both),
        case(json!({ "type": "instance_norm" }), &[2, 5], &[2, 5], &both),
        case(json!({ "type": "layer_norm", "epsilon": 1e-3 }), &[2, 5], &[2, 5], &both),
        case(json!({ "type": "rms_norm" }), &[5], &[5], &vec!["weight"]),
        case(json!({ "type": "leaky_relu", "slope": 0.2 }), &[5], &[5], &none),
        case(json!({ "type": "dropout", "rate": 0.5 }), &[5], &[5], &none),
        case(json!({ "type": "max_pool1d", "size": 3, "stride": 1, "padding": 1 }), &[2, 5], &[2, 5], &none),
        case(json!({ "type": "max_pool2d", "size": 2 }), &[1, 4, 5], &[1, 2, 2], &none),
        case(json!({ "type": "max_pool3d", "size": [1, 2, 2], "dilation": [1, 1, 2] }), &[1, 2, 2, 3], &[1, 2, 1, 1], &none),
        case(json!({ "type": "avg_pool1d", "size": 2, "padding": 1, "count_padding": false }), &[2, 4], &[2, 3], &none),
        case(json!({ "type": "avg_pool2d", "size": [2, 1] }), &[1, 4, 5], &[1, 2, 5], &none),
        case(json!({ "type": "avg_pool3d", "size": 2 }), &[1, 2, 2, 2], &[1, 1, 1, 1], &none),
        case(json!({ "type": "adaptive_avg_pool1d", "size": 2 }), &[2, 5], &[2, 2], &none),
        case(json!({ "type": "adaptive_avg_pool2d", "size": [1, 3] }), &[2, 4, 5], &[2, 1, 3], &none),
        case(json!({ "type": "adaptive_avg_pool3d", "size": 1 }), &[2, 2, 3, 2], &[2, 1, 1, 1], &none),
        case(json!({ "type": "global_avg_pool" }), &[3, 4, 2], &[3], &none),
        case(json!({ "type": "mean", "axis": 0 }), &[4, 3], &[3], &none),
        case(json!({ "type": "resize", "size": [4, 6], "interpolation": "nearest" }), &[2, 2, 3], &[2, 4, 6], &none),
        case(json!({ "type": "resize", "size": 3, "interpolation": "linear" }), &[1, 2], &[1, 3], &none),
        case(json!({ "type": "resize", "size": 3, "interpolation": "linear_corners" }), &[1, 2, 2, 2], &[1, 3, 3, 3], &none),
        case(json!({ "type": "flatten" }), &[2, 3, 4], &[24], &none),
        case(json!({ "type": "reshape", "shape": [4, 3] }), &[2, 6], &[4, 3], &none),
        case(json!({ "type": "embedding", "count": 9, "width": 3 }), &[4], &[4, 3], &vec!["weight"]),
        case(json!({ "type": "positions" }), &[4, 3], &[4, 3], &vec!["weight"]),
        case(json!({ "type": "lstm", "hidden": 2 }), &[4, 3], &[4, 2], &recurrent),
        case(
            json!({ "type": "gru", "hidden": 2, "bidirectional": true }),
            &[4, 3],
            &[4, 4],
            &[&recurrent[..], &["weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse"]].concat(),
        ),
        case(
            json!({ "type": "transformer_layer", "heads": 2, "hidden": 5, "causal": true }),
            &[3, 4],
            &[3, 4],
            &vec![
                "self_attn.in_proj_weight",
                "self_attn.in_proj_bias",
                "self_attn.out_proj.weight",
                "self_attn.out_proj.bias",
                "linear1.weight",
                "linear1.bias",
                "linear2.weight",
                "linear2.bias",
                "norm1.weight",
                "norm1.bias",
                "norm2.weight",
                "norm2.bias",
            ],
        ),
        case(
            json!({
                "type": "residual",
                "layers": [{ "name": "fc", "type": "linear", "output": 2 }],
                "shortcut": [{ "name": "map", "type": "linear", "output": 2, "bias": false }],
            }),
            &[3],
            &[2],
            &vec!["fc.weight", "fc.bias", "map.weight"],
        ),
        case(
            json!({ "type": "concatenate", "branches": [[], [{ "name": "conv", "type": "conv1d", "filters": 3, "kernel": 1 }]] }),
            &[2, 4],
            &[5, 4],
            &vec!["conv.weight", "conv.bias"],
        ),
    ];
    for kind in ["relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "sigmoid", "softmax"] {
        all.push(case(json!({ "type": kind }), &[2, 3], &[2, 3], &none));
    }
    all
}

#[test]
fn every_type_has_the_shape_that_is_inferred() {
    let mut seen = Vec::new();
    for (mut layer, input, output, names) in every_type() {
        let kind = layer["type"].as_str().unwrap().to_owned();
        layer["name"] = "layer.0".into();
        let model = model(&input, json!([layer])).unwrap();
        assert_eq!((model.input(), model.output()), (&input[..], &output[..]), "{kind}");
        let own: Vec<String> = model.named().into_iter().map(|(name, _)| name).collect();
        assert_eq!(own, names.iter().map(|name| format!("layer.0.{name}")).collect::<Vec<_>>(), "{kind}");
        let x = Tensor::from_fn(&[&[2], &input[..]].concat(), |i| (i % 7) as f64);
        for mut pass in [Pass::evaluation(), Pass::training(rng())] {
            assert_eq!(model.call(&x, &mut pass).shape(), [&[2], &output[..]].concat(), "{kind}");
        }
        seen.push(kind);
    }
    let tested: std::collections::HashSet<_> = seen.into_iter().collect();
    assert_eq!(tested.len(), describe::TYPES.len());
}

/// The first block of a ResNet with the names that torchvision has.
fn residual() -> Value {
    json!([
        { "name": "conv1", "type": "conv2d", "filters": 2, "kernel": 3, "padding": 1, "bias": false },
        { "name": "bn1", "type": "batch_norm" },
        { "name": "relu", "type": "relu" },
        {
            "name": "layer1.0",
            "type": "residual",
            "layers": [
                { "name": "conv1", "type": "conv2d", "filters": 3, "kernel": 3, "stride": 2, "padding": 1, "bias": false },
                { "name": "bn1", "type": "batch_norm" },
                { "name": "relu", "type": "relu" },
                { "name": "conv2", "type": "conv2d", "filters": 3, "kernel": 3, "padding": 1, "bias": false },
                { "name": "bn2", "type": "batch_norm" },
            ],
            "shortcut": [
                { "name": "downsample.0", "type": "conv2d", "filters": 3, "kernel": 1, "stride": 2, "bias": false },
                { "name": "downsample.1", "type": "batch_norm" },
            ],
        },
        { "name": "relu1", "type": "relu" },
        { "name": "pool", "type": "global_avg_pool" },
        { "name": "fc", "type": "linear", "output": 2 },
    ])
}

#[test]
fn a_residual_network_is_the_layers_it_names() {
    let model = model(&[1, 4, 5], residual()).unwrap();
    let block: ResidualBlock<f64> = ResidualBlock::new(2, 3, 2, false, &mut rng());
    let mut checkpoint = gradus_checkpoint::Checkpoint::new();
    files::insert(&mut checkpoint, "", &model).unwrap();
    let block = files::extract(&checkpoint, "layer1.0.", &block).unwrap();
    let x = random(&[2, 1, 4, 5], 1);
    let found = model.features("relu1", &x, &mut Pass::evaluation()).unwrap();
    let start = model.features("relu", &x, &mut Pass::evaluation()).unwrap();
    assert_eq!(found, block.call(&start, &mut Pass::evaluation()));
    assert_eq!(model.call_from("relu1", &found, &mut Pass::evaluation()).unwrap(), model.call(&x, &mut Pass::evaluation()));
    assert!(model.features("layer1.0.conv1", &x, &mut Pass::evaluation()).is_none());
    let (_, taps) = with_taps(|| model.call(&x, &mut Pass::evaluation()));
    let tapped: Vec<String> = taps.iter().map(|(name, _)| name.clone()).collect();
    let mut names = model.names();
    assert_eq!(names[..5], ["conv1", "bn1", "relu", "layer1.0", "layer1.0.conv1"]);
    // A layer is tapped after those inside it.
    let sorted = |names: &mut Vec<String>| {
        names.sort();
        names.clone()
    };
    assert_eq!(sorted(&mut names), sorted(&mut tapped.clone()));
}

#[test]
fn derivatives_of_both_orders() {
    let model = model(
        &[1, 3, 4],
        json!([
            { "name": "a", "type": "concatenate", "branches": [
                [{ "name": "conv", "type": "conv2d", "filters": 1, "kernel": 2 }, { "name": "bn", "type": "batch_norm" }],
                [{ "name": "pool", "type": "avg_pool2d", "size": 2, "stride": 1 }],
            ] },
            { "name": "b", "type": "residual", "layers": [
                { "name": "conv", "type": "conv2d", "filters": 2, "kernel": 1 },
                { "name": "tanh", "type": "tanh" },
                { "name": "drop", "type": "dropout", "rate": 0.3 },
            ] },
            { "name": "pool", "type": "global_avg_pool" },
            { "name": "fc", "type": "linear", "output": 2 },
        ]),
    )
    .unwrap();
    let x = random(&[3, 1, 3, 4], 2);
    let f = |m: &Sequential<f64>| loss::cross_entropy(&m.call(&x, &mut Pass::training(rng())), &[0, 1, 1]);
    check::gradient(f, &model, 1e-5, 1e-6).unwrap();
    check::second_order(f, &model, &model.normal_like(&mut rng()), 1e-5, 1e-5).unwrap();
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let [description, checkpoint] = ["network.json", "network.safetensors"].map(|name| folder.path().join(name));
    let mut value = described(&[1, 4, 5], residual());
    value["labels"] = json!(["cat", "dog"]);
    let mut model: Sequential<f64> = Sequential::from_json(&value, &mut rng()).unwrap();
    let mut pass = Pass::training(rng());
    model.call(&random(&[2, 1, 4, 5], 3), &mut pass);
    pass.fold(&mut model);
    model.save(&description, &checkpoint).unwrap();
    let loaded = Sequential::load(&description, &checkpoint).unwrap();
    assert_eq!(loaded, model);
    assert_eq!((loaded.to_json(), loaded.labels().len()), (value.clone(), 2));
    assert_eq!(Sequential::<f64>::from_file(&description, &mut rng()).unwrap().to_json(), value);

    value["layers"][6]["output"] = 3.into();
    value["labels"] = json!([]);
    std::fs::write(&description, value.to_string()).unwrap();
    let Err(FileError::Tensors { problems, .. }) = Sequential::<f64>::load(&description, &checkpoint) else { panic!() };
    let expected = ["`fc.weight` has shape [2, 3], expected [3, 3]", "`fc.bias` has shape [2], expected [3]"];
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn mistakes_are_named_with_their_layer_and_key() {
    let layer = |layer: Value| described(&[2, 6, 5], json!([{ "name": "first", "type": "relu" }, layer]));
    let conv = |key: &str, value: Value| {
        let mut conv = json!({ "name": "conv", "type": "conv2d", "filters": 4, "kernel": 3 });
        conv[key] = value;
        layer(conv)
    };
    let branch = |branches: Value| layer(json!({ "name": "b", "type": "concatenate", "branches": branches }));
    for (value, expected) in [
        (json!([]), "`{…}`: expected an object, found []"),
        (json!({ "format": "gradus-arch/2" }), "`format`: expected \"gradus-arch/1\", found \"gradus-arch/2\""),
        (json!({ "format": "gradus-arch/1", "layers": [] }), "`input`: expected a list, found nothing"),
        (described(&[0], json!([])), "`input`: expected a list of whole numbers above 0, found [0]"),
        (described(&[usize::MAX, 2], json!([])), "`input`: expected shapes of at most seven axes whose elements can be addressed"),
        (
            json!({ "format": "gradus-arch/1", "input": [2], "layers": [], "label": [] }),
            "`label`: expected no such key, only format, input",
        ),
        (json!({ "format": "gradus-arch/1", "input": [2], "layers": [], "labels": ["a"] }), "`labels`: expected a label for each of the 2"),
        (described(&[2], json!([3])), "layers[0]: `{…}`: expected an object, found 3"),
        (described(&[2], json!([{ "type": "relu" }])), "layers[0]: `name`: expected a text, found nothing"),
        (layer(json!({ "name": "first", "type": "relu" })), "layers[1]: `name`: expected a name that no other layer has"),
        (layer(json!({ "name": "a..b", "type": "relu" })), "layers[1]: `name`: expected a name that no other layer has"),
        (layer(json!({ "name": "a", "type": "rely" })), "layer `a`: `type`: expected one of linear, conv1d, "),
        (layer(json!({ "name": "a", "type": "relu", "slope": 1 })), "layer `a`: `slope`: expected no such key, only name, type, found 1"),
        (conv("filters", json!(0)), "layer `conv`: `filters`: expected a whole number above 0, found 0"),
        (conv("kernel", json!([3])), "layer `conv`: `kernel`: expected a whole number of at least 1, or a list of 2 of them, found [3]"),
        (conv("kernel", json!(7)), "layer `conv`: `kernel`: expected windows that fit into the padded input [6, 5], found 7"),
        (conv("groups", json!(3)), "layer `conv`: `groups`: expected a divisor of the 2 channels and the 4 filters, found 3"),
        (conv("stride", json!(-1)), "layer `conv`: `stride`: expected a whole number of at least 1"),
        (conv("dilation", json!(u64::MAX)), "layer `conv`: `kernel`: expected windows that fit"),
        (conv("filters", json!(1u64 << 62)), "layer `conv`: `type`: expected shapes of at most seven axes whose elements can be addressed"),
        (
            layer(json!({ "name": "c", "type": "conv1d", "filters": 1, "kernel": 1 })),
            "`type`: expected an input [channels, length], found [2, 6, 5]",
        ),
        (
            layer(json!({ "name": "g", "type": "group_norm", "groups": 4 })),
            "layer `g`: `groups`: expected a divisor of the 2 channels, found 4",
        ),
        (layer(json!({ "name": "d", "type": "dropout", "rate": 1 })), "layer `d`: `rate`: expected a rate in [0, 1), found 1"),
        (
            layer(json!({ "name": "r", "type": "reshape", "shape": [7] })),
            "layer `r`: `shape`: expected as many elements as the input [2, 6, 5]",
        ),
        (layer(json!({ "name": "m", "type": "mean", "axis": 3 })), "layer `m`: `axis`: expected an axis of the input [2, 6, 5], found 3"),
        (
            layer(json!({ "name": "p", "type": "max_pool2d", "size": 2, "padding": 2 })),
            "layer `p`: `padding`: expected at most half of a window",
        ),
        (layer(json!({ "name": "l", "type": "lstm", "hidden": 2 })), "layer `l`: `type`: expected an input [time, width], found [2, 6, 5]"),
        (
            described(&[2, 3], json!([{ "name": "l", "type": "lstm", "hidden": 2, "layers": 100_000_000_000u64 }])),
            "layer `l`: `layers`: expected at most 1000, found 100000000000",
        ),
        (
            described(&[2, 3], json!([{ "name": "t", "type": "transformer_layer", "heads": 2, "hidden": 4 }])),
            "layer `t`: `heads`: expected a divisor of the width, 3, found 2",
        ),
        (branch(json!([])), "layer `b`: `branches`: expected at least one list of layers, found []"),
        (
            branch(json!([[], [{ "name": "flat", "type": "flatten" }]])),
            "layer `b`: `branches`: expected outputs that differ in their channels alone, [2, 6, 5], found [60]",
        ),
        (branch(json!([[{ "name": "x", "type": "nothing" }]])), "layer `b.x`: `type`: expected one of"),
        (
            layer(json!({ "name": "r", "type": "residual", "layers": [{ "name": "flat", "type": "flatten" }] })),
            "layer `r`: `shortcut`: expected the output of the layers, [60], found [2, 6, 5]",
        ),
    ] {
        let error = Sequential::<f32>::from_json(&value, &mut rng()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.json");
    std::fs::write(&file, "{ \"format\": }").unwrap();
    let error = Sequential::<f32>::from_file(&file, &mut rng()).unwrap_err().to_string();
    assert!(error.contains("network.json: expected value at line 1 column 13"), "{error}");
}

#[test]
fn inputs_of_another_shape_are_refused() {
    let model = model(&[3], json!([{ "name": "a", "type": "linear", "output": 2 }])).unwrap();
    let error = model.try_call(&Tensor::zeros(&[5, 4]), &mut Pass::evaluation()).unwrap_err();
    assert_eq!(error, TensorError::Mismatch { operation: "Sequential", left: vec![5, 4], right: vec![5, 3] });
    assert_eq!(model.call(&Tensor::zeros(&[0, 3]), &mut Pass::evaluation()).shape(), [0, 2]);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// A layer of any type with small numbers for every key that it has, whether they fit or not.
    fn any_layer(number: usize) -> impl Strategy<Value = Value> {
        let kinds = prop::sample::select(describe::TYPES.to_vec());
        (kinds, prop::collection::vec(0usize..4, 8)).prop_map(move |((kind, keys), numbers)| {
            let mut layer = json!({ "name": format!("l{number}"), "type": kind });
            for (key, n) in keys.iter().zip(numbers) {
                layer[key] = match *key {
                    "bias" | "bidirectional" | "causal" | "norm_first" | "count_padding" => json!(n > 1),
                    "rate" | "momentum" | "epsilon" | "slope" => json!(n as f64 / 4.0),
                    "activation" => json!("gelu"),
                    "interpolation" => json!("linear"),
                    "shape" => json!([6, n]),
                    "layers" if kind == "residual" => json!([{ "name": "in", "type": "linear", "output": n }]),
                    "shortcut" => json!([{ "name": "out", "type": "linear", "output": n }]),
                    "branches" => json!([[{ "name": "x", "type": "relu" }], []]),
                    _ => json!(n),
                };
            }
            layer
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn what_is_accepted_runs_and_comes_back(
            input in prop::collection::vec(1usize..6, 1..4),
            layers in (any_layer(0), any_layer(1), any_layer(2)),
            count in 1usize..4,
        ) {
            let layers: Vec<Value> = [layers.0, layers.1, layers.2].into_iter().take(count).collect();
            let value = described(&input, layers.into());
            if let Ok(model) = Sequential::<f64>::from_json(&value, &mut rng()) {
                let x = Tensor::ones(&[&[2], &input[..]].concat());
                // An embedding takes whole numbers alone.
                let embeds = value["layers"].as_array().unwrap().iter().skip(1).any(|layer| layer["type"] == "embedding");
                if !embeds && value["layers"][0]["count"] != 1 {
                    let y = model.call(&x, &mut Pass::evaluation());
                    prop_assert_eq!(y.shape(), [&[2], model.output()].concat());
                }
                let folder = tempfile::tempdir().unwrap();
                let [description, checkpoint] = ["a.json", "a.safetensors"].map(|name| folder.path().join(name));
                model.save(&description, &checkpoint).unwrap();
                prop_assert_eq!(Sequential::load(&description, &checkpoint).unwrap(), model);
            }
        }
    }
}
