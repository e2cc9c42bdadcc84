//! LLaMA (Touvron et al. 2023): language models that load from and save to public checkpoints, a folder with `config.json` and
//! `model.safetensors`, whole or sharded, with the grouped queries of LLaMA 2 and the rotary frequencies of LLaMA 3.1.

use std::path::Path;

use gradus_autodiff::Scalar;
use gradus_checkpoint::{Checkpoint, MappedCheckpoint};
use serde_json::{Value, json};

use crate::public_names::{ACTIVATIONS, Scheme};
use crate::settings::{self, Settings};
use crate::{
    Activation, DescriptionError, FileError, LanguageConfig, LanguageModel, NormKind, Positions, Rotary, RotaryScaling, SettingError,
    TransformerConfig,
};

const NAMES: Scheme = Scheme {
    prefix: "model.",
    layers: "layers.",
    inside: &[
        ("self_attn.in_proj_weight", &["self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"], false),
        ("self_attn.in_proj_bias", &["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"], false),
        ("self_attn.out_proj.weight", &["self_attn.o_proj.weight"], false),
        ("self_attn.out_proj.bias", &["self_attn.o_proj.bias"], false),
        ("linear1.weight", &["mlp.up_proj.weight"], false),
        ("linear1.bias", &["mlp.up_proj.bias"], false),
        ("gate.weight", &["mlp.gate_proj.weight"], false),
        ("gate.bias", &["mlp.gate_proj.bias"], false),
        ("linear2.weight", &["mlp.down_proj.weight"], false),
        ("linear2.bias", &["mlp.down_proj.bias"], false),
        ("norm1.weight", &["input_layernorm.weight"], false),
        ("norm2.weight", &["post_attention_layernorm.weight"], false),
    ],
    outside: &[("embedding.weight", "embed_tokens.weight"), ("transformer.norm.weight", "norm.weight"), ("head.weight", "lm_head.weight")],
    ignored: &["layers.*.self_attn.rotary_emb.inv_freq"],
};

/// The settings of a model of the family with these sizes and as many heads of keys and values as of queries. LLaMA's smallest
/// has a vocabulary of 32000 tokens, a context of 2048, a width of 4096, 32 layers, 32 heads and a hidden width of 11008.
///
/// ```
/// use gradus_models::{LanguageModel, llama};
/// let mut config = llama::config(65, 32, 48, 2, 4, 128);
/// config.transformer.key_value_heads = 2;
/// let model: LanguageModel = LanguageModel::new(&config, &mut gradus_base::stream(1, "weights", 0))?;
/// assert_eq!(model.transformer.layers[0].self_attn.in_proj_weight.shape(), [(4 + 2 * 2) * 12, 48]);
/// # Ok::<(), gradus_models::SettingError>(())
/// ```
pub fn config(vocabulary: usize, context: usize, width: usize, layers: usize, heads: usize, hidden: usize) -> LanguageConfig {
    let transformer = TransformerConfig {
        hidden,
        activation: Activation::Silu,
        gated: true,
        norm: NormKind::Rms,
        epsilon: 1e-6,
        attention_bias: false,
        feed_forward_bias: false,
        norm_bias: false,
        rotary: Some(Rotary::default()),
        ..TransformerConfig::small(width, layers, heads)
    };
    LanguageConfig { vocabulary, context, positions: Positions::None, tied: false, causal: true, transformer }
}

/// The settings in a `config.json`. Attention weights are not dropped, whatever `attention_dropout` is. Keys that would change the
/// logits and are not supported are refused.
///
/// # Errors
/// [`DescriptionError`], naming the key.
pub fn read_config(file: impl AsRef<Path>) -> Result<LanguageConfig, DescriptionError> {
    let file = file.as_ref();
    parse(file, &settings::read(file)?)
}

fn parse(file: &Path, value: &Value) -> Result<LanguageConfig, DescriptionError> {
    let s = Settings::new(file, String::new(), value)?;
    if s.text("model_type", Some("llama"))? != "llama" {
        return Err(s.wrong("model_type", "\"llama\""));
    }
    s.absent("quantization_config")?;
    let mut config = config(
        s.size("vocab_size", None)?,
        s.size("max_position_embeddings", Some(2048))?,
        s.size("hidden_size", None)?,
        s.size("num_hidden_layers", None)?,
        s.size("num_attention_heads", None)?,
        s.size("intermediate_size", None)?,
    );
    config.tied = s.flag("tie_word_embeddings", Some(false))?;
    let rotary = rotary(&s)?;
    let t = &mut config.transformer;
    if s.get("head_dim").is_none() && (t.heads == 0 || !t.width.is_multiple_of(t.heads)) {
        return Err(s.wrong("num_attention_heads", format!("a divisor of `hidden_size`, {}", t.width)));
    }
    t.head_width = s.size("head_dim", Some(t.head_width))?;
    t.key_value_heads = s.size("num_key_value_heads", Some(t.heads))?;
    t.epsilon = s.number("rms_norm_eps", Some(1e-6))?;
    t.deviation = s.number("initializer_range", Some(0.02))?;
    t.attention_bias = s.flag("attention_bias", Some(false))?;
    t.feed_forward_bias = s.flag("mlp_bias", Some(false))?;
    t.activation = s.activation("hidden_act", "silu", ACTIVATIONS)?;
    t.rotary = Some(rotary);
    config.validate().map_err(|error| s.invalid(&KEYS, error))?;
    Ok(config)
}

/// The rotary settings: under `rope_parameters`, or `rope_theta` and `rope_scaling` in older files.
fn rotary(s: &Settings<'_>) -> Result<Rotary, DescriptionError> {
    let inner = match s.object("rope_parameters")? {
        Some(inner) => Some(inner),
        None => s.object("rope_scaling")?,
    };
    let outer = s.number("rope_theta", Some(10_000.0))?;
    all_turned(s)?;
    let Some(inner) = inner else { return Ok(Rotary { theta: outer, ..Rotary::default() }) };
    all_turned(&inner)?;
    let key = if inner.get("rope_type").is_some() { "rope_type" } else { "type" };
    let positive = |key| match inner.number(key, None)? {
        x if x > 0.0 && x.is_finite() => Ok(x),
        _ => Err(inner.wrong(key, "a positive number")),
    };
    let scaling = match inner.text(key, Some("default"))? {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: positive("factor")? },
        "llama3" => {
            let [low, high] = [positive("low_freq_factor")?, positive("high_freq_factor")?];
            if low >= high {
                return Err(inner.wrong("high_freq_factor", format!("a number above `low_freq_factor`, {low}")));
            }
            let original_context = positive("original_max_position_embeddings")?;
            RotaryScaling::ByWavelength { factor: positive("factor")?, low, high, original_context }
        }
        _ => return Err(inner.wrong(key, "one of \"default\", \"linear\", \"llama3\"")),
    };
    Ok(Rotary { theta: inner.number("rope_theta", Some(outer))?, scaling, ..Rotary::default() })
}

/// Refuses rotary positions of a part of each head, which other families have.
fn all_turned(s: &Settings<'_>) -> Result<(), DescriptionError> {
    let key = "partial_rotary_factor";
    if s.number(key, Some(1.0))? == 1.0 { Ok(()) } else { Err(s.wrong(key, "1")) }
}

/// Our settings by the keys of `config.json`.
const KEYS: [(&str, &str); 9] = [
    ("vocabulary", "vocab_size"),
    ("context", "max_position_embeddings"),
    ("width", "hidden_size"),
    ("heads", "num_attention_heads"),
    ("key_value_heads", "num_key_value_heads"),
    ("head_width", "head_dim"),
    ("hidden", "intermediate_size"),
    ("epsilon", "rms_norm_eps"),
    ("rotary.theta", "rope_theta"),
];

fn to_json(config: &LanguageConfig) -> Result<Value, SettingError> {
    let t = &config.transformer;
    let mut own = self::config(config.vocabulary, config.context, t.width, t.layers, t.heads, t.hidden);
    own.tied = config.tied;
    let rotary = t.rotary.clone().unwrap_or_default();
    own.transformer = TransformerConfig {
        key_value_heads: t.key_value_heads,
        head_width: t.head_width,
        epsilon: t.epsilon,
        deviation: t.deviation,
        attention_bias: t.attention_bias,
        feed_forward_bias: t.feed_forward_bias,
        activation: t.activation,
        dropout: t.dropout,
        rotary: Some(Rotary { theta: rotary.theta, scaling: rotary.scaling, ..Rotary::default() }),
        ..own.transformer
    };
    if own != *config {
        return Err(SettingError { name: "transformer", expected: format!("a LLaMA, {own:?}"), found: format!("{config:?}") });
    }
    let theta = rotary.theta;
    let rope = match rotary.scaling {
        RotaryScaling::None => json!({ "rope_type": "default", "rope_theta": theta }),
        RotaryScaling::Linear { factor } => json!({ "rope_type": "linear", "rope_theta": theta, "factor": factor }),
        RotaryScaling::ByWavelength { factor, low, high, original_context } => json!({
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original_context as u64,
        }),
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "hidden_size": t.width,
        "intermediate_size": t.hidden,
        "num_hidden_layers": t.layers,
        "num_attention_heads": t.heads,
        "num_key_value_heads": t.key_value_heads,
        "head_dim": t.head_width,
        "hidden_act": crate::gpt2::activation_name(t.activation)?,
        "rms_norm_eps": t.epsilon,
        "rope_parameters": rope,
        "initializer_range": t.deviation,
        "attention_bias": t.attention_bias,
        "mlp_bias": t.feed_forward_bias,
        "tie_word_embeddings": config.tied,
        "bos_token_id": null,
        "eos_token_id": null,
    }))
}

/// The model in a folder with `config.json` and `model.safetensors`, or its shards and their index. Names may stand with or
/// without `model.`; 16-bit numbers are widened.
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
