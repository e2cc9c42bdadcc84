use gradus_autodiff::{Tensor, value_and_grad};
use gradus_checkpoint::{Checkpoint, CheckpointError, DType, NamedArray};
use gradus_models::{FileError, LanguageModel, Pass, TensorProblem, gpt2, llama, loss};

use crate::case::{Golden, folder};

type Model = LanguageModel<f64>;

/// The loss of `transformers`: each token predicts the next.
fn next_token_loss(model: &Model, rows: &[Vec<usize>]) -> Tensor<f64> {
    let [n, vocabulary] = [rows[0].len() - 1, model.config.vocabulary];
    let logits = model.call(rows, &mut Pass::evaluation()).narrow(1, 0, n);
    let next: Vec<usize> = rows.iter().flat_map(|row| &row[1..]).copied().collect();
    loss::cross_entropy(&logits.reshape(&[next.len(), vocabulary]), &next)
}

/// Logits, loss and gradients of the model `name` within `tolerance` of those of `transformers`.
fn check(name: &str, model: &Model, named: fn(&Model) -> Result<Checkpoint, FileError>, tolerance: f64) {
    let golden = Golden::open("language_models");
    let rows = golden.rows("tokens");
    golden.agrees(&format!("{name}.logits"), &model.call(&rows, &mut Pass::evaluation()), tolerance);
    let (loss, gradient) = value_and_grad(|m: &Model| next_token_loss(m, &rows), model);
    golden.agrees(&format!("{name}.loss"), &loss, tolerance);
    let gradient = named(&gradient).unwrap();
    let prefix = format!("{name}.gradient.");
    let theirs: Vec<&str> = golden.0.names().filter_map(|name| name.strip_prefix(&prefix)).collect();
    assert_eq!(gradient.names().collect::<Vec<_>>(), theirs);
    for array in gradient.arrays() {
        let ours = Tensor::from_vec(array.to_f64().unwrap(), array.shape).unwrap();
        golden.agrees(&format!("{prefix}{}", array.name), &ours, tolerance);
    }
}

#[test]
fn a_gpt2_of_transformers() {
    check("gpt2", &gpt2::load(folder().join("gpt2")).unwrap(), gpt2::named, 1e-12);
}

/// `transformers` computes root mean squares and rotary angles in single precision whatever the model's is.
const SINGLE: f64 = 2e-6;

#[test]
fn a_sharded_llama_with_grouped_queries() {
    check("llama", &llama::load(folder().join("llama")).unwrap(), llama::named, SINGLE);
}

#[test]
fn a_llama_in_16_bits_with_biases_tied_embeddings_and_scaled_angles() {
    check("llama_bf16", &llama::load(folder().join("llama_bf16")).unwrap(), llama::named, SINGLE);
}

#[test]
fn single_precision_is_close() {
    let golden = Golden::open("language_models");
    let rows = golden.rows("tokens");
    for (name, model) in [
        ("gpt2", gpt2::load::<f32>(folder().join("gpt2")).unwrap()),
        ("llama", llama::load(folder().join("llama")).unwrap()),
        ("llama_bf16", llama::load(folder().join("llama_bf16")).unwrap()),
    ] {
        golden.agrees(&format!("{name}.logits"), &model.call(&rows, &mut Pass::evaluation()).cast(), 1e-5);
    }
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, shards] = ["whole", "shards"].map(|name| scratch.path().join(name));
    let model = gpt2::load::<f32>(folder().join("gpt2")).unwrap();
    gpt2::save(&whole, &model, u64::MAX).unwrap();
    let [ours, theirs] = [whole.clone(), folder().join("gpt2")].map(|folder| Checkpoint::read(folder.join("model.safetensors")).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(gpt2::load::<f32>(&whole).unwrap(), model);
    // A folder with a checkpoint is not written over.
    assert!(matches!(gpt2::save(&whole, &model, u64::MAX), Err(FileError::Checkpoint(CheckpointError::Exists { .. }))));

    for name in ["llama", "llama_bf16"] {
        let model = llama::load::<f32>(folder().join(name)).unwrap();
        llama::save(shards.join(name), &model, 4000).unwrap();
        assert!(shards.join(name).join("model.safetensors.index.json").exists());
        assert_eq!(llama::load::<f32>(shards.join(name)).unwrap(), model);
    }
    let other = llama::load::<f32>(folder().join("llama")).unwrap();
    assert!(matches!(gpt2::save(scratch.path().join("other"), &other, u64::MAX), Err(FileError::Setting(_))));
    assert!(matches!(gpt2::named(&other), Err(FileError::Setting(_))));
    assert!(matches!(llama::named(&model), Err(FileError::Setting(_))));
}

/// The GPT-2 of `transformers` with other arrays, and other text in its configuration.
fn changed(change: impl Fn(NamedArray) -> Vec<NamedArray>, from: &str, to: &str) -> Result<Model, FileError> {
    let scratch = tempfile::tempdir().unwrap();
    let theirs = Checkpoint::read(folder().join("gpt2/model.safetensors")).unwrap();
    let mut ours = Checkpoint::new();
    for array in theirs.arrays() {
        let owned = NamedArray { name: array.name.into(), dtype: array.dtype, shape: array.shape.to_vec(), bytes: array.bytes.to_vec() };
        change(owned).into_iter().for_each(|array| ours.insert(array).unwrap());
    }
    ours.write(scratch.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(folder().join("gpt2/config.json")).unwrap();
    std::fs::write(scratch.path().join("config.json"), config.replace(from, to)).unwrap();
    gpt2::load(scratch.path())
}

fn renamed(array: &NamedArray, name: &str) -> NamedArray {
    NamedArray { name: name.to_owned(), ..array.clone() }
}

#[test]
fn files_of_a_model_without_head_and_old_files_load_too() {
    let model: Model = gpt2::load(folder().join("gpt2")).unwrap();
    let bare = changed(|array| vec![renamed(&array, &array.name.replace("transformer.", ""))], "", "").unwrap();
    assert_eq!(bare, model);
    let constants = |array: NamedArray| match array.name.as_str() {
        "transformer.h.0.ln_1.bias" => {
            vec![renamed(&array, "transformer.h.0.attn.bias"), renamed(&array, "transformer.h.0.attn.masked_bias"), array]
        }
        "transformer.wte.weight" => vec![renamed(&array, "lm_head.weight"), array],
        _ => vec![array],
    };
    assert_eq!(changed(constants, "", "").unwrap(), model);
}

#[test]
fn every_tensor_that_does_not_fit_is_named() {
    let change = |array: NamedArray| match array.name.as_str() {
        "transformer.h.1.ln_1.weight" => vec![],
        "transformer.h.0.ln_1.bias" => vec![renamed(&array, "transformer.h.0.ln_1.shift")],
        "transformer.wpe.weight" => vec![NamedArray { shape: vec![16, 12], ..array }],
        "transformer.ln_f.bias" => vec![NamedArray { dtype: DType::I32, ..array }],
        _ => vec![array],
    };
    let Err(FileError::Tensors { problems, .. }) = changed(change, "", "") else { panic!() };
    let name = |name: &str| format!("transformer.{name}");
    let expected = [
        TensorProblem::Shape { name: name("wpe.weight"), expected: vec![12, 16], found: vec![16, 12] },
        TensorProblem::Missing { name: name("h.0.ln_1.bias"), shape: vec![16] },
        TensorProblem::Missing { name: name("h.1.ln_1.weight"), shape: vec![16] },
        TensorProblem::Type { name: name("ln_f.bias"), found: DType::I32 },
        TensorProblem::Unexpected { name: name("h.0.ln_1.shift"), shape: vec![16] },
    ];
    assert_eq!(problems, expected);

    let untied = |array: NamedArray| match array.name.as_str() {
        "transformer.wte.weight" => {
            let mut bytes = array.bytes.clone();
            bytes[3] ^= 1;
            vec![NamedArray { bytes, ..renamed(&array, "lm_head.weight") }, array]
        }
        _ => vec![array],
    };
    let Err(FileError::Tensors { problems, .. }) = changed(untied, "", "") else { panic!() };
    assert_eq!(problems, [TensorProblem::Untied { name: "lm_head.weight".into() }]);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let config = std::fs::read_to_string(folder().join("gpt2/config.json")).unwrap();
    let message = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        changed(|array| vec![array], from, to).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("\"n_embd\": 16,", "", "`n_embd`: expected a whole number, found nothing"),
        ("\"n_head\": 4", "\"n_head\": \"4\"", "`n_head`: expected a whole number, found \"4\""),
        ("\"n_head\": 4", "\"n_head\": 5", "`n_head`: expected a divisor of `n_embd`, 16, found 5"),
        ("\"n_head\": 4", "\"n_head\": 0", "`n_head`: expected a divisor of `n_embd`, 16, found 0"),
        ("\"vocab_size\": 37", "\"vocab_size\": 0", "`vocab_size`: expected a positive number, found 0"),
        ("\"gelu_new\"", "\"gelu_old\"", "`activation_function`: expected one of \"gelu_new\", "),
        ("\"scale_attn_weights\": true", "\"scale_attn_weights\": false", "`scale_attn_weights`: expected true, found false"),
        ("\"n_embd\": 16", "\"quantization_config\": {}, \"n_embd\": 16", "`quantization_config`: expected no such key, found an object"),
        ("\"resid_pdrop\": 0.1", "\"resid_pdrop\": 1.5", "`resid_pdrop`: expected a rate in [0, 1), found 1.5"),
        ("\"model_type\": \"gpt2\"", "\"model_type\": \"bert\"", "`model_type`: expected \"gpt2\", found \"bert\""),
        ("\"n_layer\": 2", "\"n_layer\": 1000000000000", "at most the 28 tensors of the checkpoint"),
        ("\"n_layer\": 2", "\"n_layer\": 3", "`transformer.h.2.ln_1.weight` of shape [16] is missing"),
        ("\"n_embd\": 16", "\"n_embd\": 1000000000000", "`transformer.wte.weight` has shape [37, 16], expected [37, 1000000000000]"),
        ("\"n_embd\": 16", "\"n_embd\": 9223372036854775808", "`n_embd`: expected heads that fit into memory"),
    ] {
        let found = message(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
    assert!(message("{", "{{").contains("line 1 column 2"));
    assert!(matches!(gpt2::load::<f32>("/nowhere"), Err(FileError::Description(_))));
    let llama = llama::read_config(folder().join("gpt2/config.json")).unwrap_err();
    assert!(llama.to_string().ends_with("`model_type`: expected \"llama\", found \"gpt2\""));
}

#[test]
fn settings_of_a_llama_that_would_change_its_logits_are_not_ignored() {
    let config = std::fs::read_to_string(folder().join("llama/config.json")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (from, to, expected) in [
        ("{", "{ \"quantization_config\": { \"quant_method\": \"fp8\" },", "`quantization_config`: expected no such key, found an object"),
        ("{", "{ \"partial_rotary_factor\": 0.5,", ": `partial_rotary_factor`: expected 1, found 0.5"),
        (
            "\"rope_type\"",
            "\"partial_rotary_factor\": 0.5, \"rope_type\"",
            "rope_parameters: `partial_rotary_factor`: expected 1, found 0.5",
        ),
        ("\"default\"", "\"yarn\"", "rope_parameters: `rope_type`: expected one of \"default\", \"linear\", \"llama3\", found \"yarn\""),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(&file, config.replacen(from, to, 1)).unwrap();
        let found = llama::read_config(&file).unwrap_err().to_string();
        assert!(found.contains(expected), "{to}: {found}");
    }
    std::fs::write(&file, config.replacen('{', "{ \"partial_rotary_factor\": 1.0, \"quantization_config\": null,", 1)).unwrap();
    assert_eq!(llama::read_config(&file).unwrap(), llama::read_config(folder().join("llama/config.json")).unwrap());
}
