//! GPT-2 (Radford et al. 2019): language models that load from and save to public checkpoints, a folder with `config.json` and
//! `model.safetensors`, whole or sharded.
//!
//! ```no_run
//! use gradus_models::{Pass, gpt2};
//!
//! let model = gpt2::load::<f32>("gpt2")?;
//! let logits = model.call(&[[15496, 995]], &mut Pass::evaluation());
//! assert_eq!(logits.shape(), [1, 2, 50257]);
//! # Ok::<(), gradus_models::FileError>(())
//! ```

use std::path::Path;

use gradus_autodiff::Scalar;
use gradus_checkpoint::{Checkpoint, MappedCheckpoint};
use serde_json::{Value, json};

use crate::public_names::{ACTIVATIONS, Scheme};
use crate::settings::{self, Settings};
use crate::{Activation, DescriptionError, FileError, LanguageConfig, LanguageModel, Positions, SettingError, TransformerConfig};

const NAMES: Scheme = Scheme {
    prefix: "transformer.",
    layers: "h.",
    inside: &[
        ("self_attn.in_proj_weight", &["attn.c_attn.weight"], true),
        ("self_attn.in_proj_bias", &["attn.c_attn.bias"], false),
        ("self_attn.out_proj.weight", &["attn.c_proj.weight"], true),
        ("self_attn.out_proj.bias", &["attn.c_proj.bias"], false),
        ("linear1.weight", &["mlp.c_fc.weight"], true),
        ("linear1.bias", &["mlp.c_fc.bias"], false),
        ("linear2.weight", &["mlp.c_proj.weight"], true),
        ("linear2.bias", &["mlp.c_proj.bias"], false),
        ("norm1.weight", &["ln_1.weight"], false),
        ("norm1.bias", &["ln_1.bias"], false),
        ("norm2.weight", &["ln_2.weight"], false),
        ("norm2.bias", &["ln_2.bias"], false),
    ],
    outside: &[
        ("embedding.weight", "wte.weight"),
        ("positions.weight", "wpe.weight"),
        ("transformer.norm.weight", "ln_f.weight"),
        ("transformer.norm.bias", "ln_f.bias"),
        ("head.weight", "lm_head.weight"),
    ],
    ignored: &["h.*.attn.bias", "h.*.attn.masked_bias"],
};

/// The settings of a model of the family with these sizes. GPT-2's smallest has a vocabulary of 50257 tokens, a context of
/// 1024, a width of 768, 12 layers and 12 heads.
///
/// ```
/// use gradus_autodiff::Params;
/// use gradus_models::{LanguageModel, gpt2};
/// let model: LanguageModel = LanguageModel::new(&gpt2::config(65, 32, 48, 3, 4), &mut gradus_base::stream(1, "weights", 0))?;
/// assert_eq!(model.count(), (65 + 32) * 48 + 3 * (12 * 48 * 48 + 13 * 48) + 2 * 48);
/// # Ok::<(), gradus_models::SettingError>(())
/// ```
pub fn config(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize) -> LanguageConfig {
    let transformer = TransformerConfig { dropout: 0.1, ..TransformerConfig::small(width, layers, heads) };
    LanguageConfig { vocabulary, context, positions: Positions::Learned, tied: true, causal: true, transformer }
}

/// The settings in a `config.json`. The rate of dropout is `resid_pdrop`, for embeddings too; attention weights are not dropped,
/// whatever `attn_pdrop` is. Keys that would change the logits and are not supported are refused.
///
/// # Errors
/// [`DescriptionError`], naming the key.
pub fn read_config(file: impl AsRef<Path>) -> Result<LanguageConfig, DescriptionError> {
    let file = file.as_ref();
    parse(file, &settings::read(file)?)
}

fn parse(file: &Path, value: &Value) -> Result<LanguageConfig, DescriptionError> {
    let s = Settings::new(file, String::new(), value)?;
    if s.text("model_type", Some("gpt2"))? != "gpt2" {
        return Err(s.wrong("model_type", "\"gpt2\""));
    }
    s.absent("quantization_config")?;
    for (key, only) in [("scale_attn_weights", true), ("scale_attn_by_inverse_layer_idx", false), ("add_cross_attention", false)] {
        if s.flag(key, Some(only))? != only {
            return Err(s.wrong(key, only.to_string()));
        }
    }
    let mut config = config(
        s.size("vocab_size", None)?,
        s.size("n_positions", None)?,
        s.size("n_embd", None)?,
        s.size("n_layer", None)?,
        s.size("n_head", None)?,
    );
    config.tied = s.flag("tie_word_embeddings", Some(true))?;
    let t = &mut config.transformer;
    if t.heads == 0 || !t.width.is_multiple_of(t.heads) {
        return Err(s.wrong("n_head", format!("a divisor of `n_embd`, {}", t.width)));
    }
    t.hidden = s.size("n_inner", Some(t.hidden))?;
    t.epsilon = s.number("layer_norm_epsilon", Some(1e-5))?;
    t.dropout = s.number("resid_pdrop", Some(0.1))?;
    t.deviation = s.number("initializer_range", Some(0.02))?;
    t.activation = s.activation("activation_function", "gelu_new", ACTIVATIONS)?;
    config.validate().map_err(|error| s.invalid(&KEYS, error))?;
    Ok(config)
}

/// Our settings by the keys of `config.json`.
const KEYS: [(&str, &str); 9] = [
    ("vocabulary", "vocab_size"),
    ("context", "n_positions"),
    ("width", "n_embd"),
    ("heads", "n_head"),
    ("head_width", "n_embd"),
    ("hidden", "n_inner"),
    ("epsilon", "layer_norm_epsilon"),
    ("dropout", "resid_pdrop"),
    ("deviation", "initializer_range"),
];

fn to_json(config: &LanguageConfig) -> Result<Value, SettingError> {
    let t = &config.transformer;
    let mut own = self::config(config.vocabulary, config.context, t.width, t.layers, t.heads);
    own.tied = config.tied;
    own.transformer = TransformerConfig {
        hidden: t.hidden,
        epsilon: t.epsilon,
        dropout: t.dropout,
        deviation: t.deviation,
        activation: t.activation,
        ..own.transformer
    };
    if own != *config {
        return Err(SettingError { name: "transformer", expected: format!("a GPT-2, {own:?}"), found: format!("{config:?}") });
    }
    Ok(json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocabulary,
        "n_positions": config.context,
        "n_embd": t.width,
        "n_layer": t.layers,
        "n_head": t.heads,
        "n_inner": t.hidden,
        "activation_function": activation_name(t.activation)?,
        "layer_norm_epsilon": t.epsilon,
        "resid_pdrop": t.dropout,
        "embd_pdrop": t.dropout,
        "attn_pdrop": 0.0,
        "initializer_range": t.deviation,
        "tie_word_embeddings": config.tied,
        "bos_token_id": null,
        "eos_token_id": null,
    }))
}

pub(crate) fn activation_name(activation: Activation) -> Result<&'static str, SettingError> {
    let found = ACTIVATIONS.iter().find(|(_, own)| *own == activation);
    found.map(|(name, _)| *name).ok_or_else(|| SettingError {
        name: "activation",
        expected: "one that `config.json` has a name for".to_owned(),
        found: format!("{activation:?}"),
    })
}

/// The model in a folder with `config.json` and `model.safetensors`, or its shards and their index. Names may stand with or
/// without `transformer.`; 16-bit numbers are widened.
///
/// # Errors
/// [`FileError`]: every tensor that is missing, too many or misshaped is named.
pub fn load<T: Scalar>(folder: impl AsRef<Path>) -> Result<LanguageModel<T>, FileError> {
    let folder = folder.as_ref();
    let config = read_config(folder.join("config.json"))?;
    NAMES.extract(folder, &MappedCheckpoint::open(folder)?, &config)
}

/// The tensors of a model under their public names; of a gradient or anything else of the model's shape too.
///
/// # Errors
/// [`FileError::Setting`] if the model is not one of this family.
pub fn named<T: Scalar>(model: &LanguageModel<T>) -> Result<Checkpoint, FileError> {
    to_json(&model.config)?;
    Ok(NAMES.insert(model)?)
}

/// Writes `config.json` and the tensors, in files of at most `max_shard_bytes`, into a folder that has no checkpoint yet.
///
/// # Errors
/// [`FileError::Setting`] if the model is not one of this family; [`FileError::Checkpoint`] if a file cannot be written.
pub fn save<T: Scalar>(folder: impl AsRef<Path>, model: &LanguageModel<T>, max_shard_bytes: u64) -> Result<(), FileError> {
    let config = to_json(&model.config)?;
    gradus_checkpoint::write_sharded(&folder, &named(model)?, max_shard_bytes)?;
    Ok(settings::write(&folder.as_ref().join("config.json"), &config)?)
}
