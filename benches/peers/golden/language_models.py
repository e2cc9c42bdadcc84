"""Small language models with random weights as `transformers` writes them, and their logits and loss gradients.

Beside the golden file, each model has a folder of its own, as a public checkpoint has: `config.json` and safetensors, whole or sharded.
Values and gradients are those of the saved weights in float64. Gradients go by the names of the checkpoint.
"""

import pathlib
import shutil

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

FILE = "crates/models/tests/golden/language_models.safetensors"
FOLDER = pathlib.Path(__file__).resolve().parents[3] / "crates/models/tests/golden"

TOKENS = torch.tensor([[3, 17, 0, 36, 5, 5, 22], [31, 2, 9, 28, 14, 36, 1]])


def models() -> dict[str, tuple[torch.nn.Module, str]]:
    small = {"vocab_size": 37, "bos_token_id": 0, "eos_token_id": 1}
    llama = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
    }
    scaled = {
        "rope_type": "llama3",
        "rope_theta": 50.0,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    gpt2 = GPT2Config(n_positions=12, n_embd=16, n_layer=2, n_head=4, **small)
    grouped = LlamaConfig(rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 500.0}, **llama, **small)
    biased = LlamaConfig(
        head_dim=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rope_parameters=scaled, **llama, **small
    )
    return {
        "gpt2": (GPT2LMHeadModel(gpt2), "1GB"),
        "llama": (LlamaForCausalLM(grouped), "12KB"),
        "llama_bf16": (LlamaForCausalLM(biased).bfloat16(), "1GB"),
    }


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Random values for every parameter, so that biases and scales are tested too."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = "norm" in name or "ln_" in name
        centre = 1.0 if scale and name.endswith("weight") else 0.0
        parameter.data = (centre + 0.3 * noise).to(parameter.dtype)


def save(model: torch.nn.Module, folder: pathlib.Path, shard: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for file in folder.iterdir():
        file.chmod(0o644)


def cases() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    tensors = {"tokens": TOKENS}
    for name, (model, shard) in models().items():
        randomise(model, generator)
        save(model, FOLDER / name, shard)
        model = type(model).from_pretrained(FOLDER / name, dtype=torch.float64).eval()
        logits = model(TOKENS).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())
        loss.backward()
        tensors[f"{name}.logits"] = logits
        tensors[f"{name}.loss"] = loss
        for parameter_name, parameter in model.named_parameters():
            tensors[f"{name}.gradient.{parameter_name}"] = parameter.grad
    return tensors
