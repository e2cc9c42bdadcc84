"""Attention with each mask and grouped queries, embedding, LSTM and GRU: values, the gradients of a weighted sum with respect to every
operand, and Hessian-vector products. The weights, and the vectors of the products, are cosines of the places of the elements."""

import torch
from torch.nn import functional

FILE = "crates/autodiff/tests/golden/sequence.safetensors"


def cases() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    attention(tensors)
    embedding(tensors)
    recurrent(tensors)
    return tensors


def add(tensors: dict[str, torch.Tensor], case: str, function, operands: dict[str, torch.Tensor]) -> None:
    """Stores the operands, the value, and both orders of derivative of Σ value² · weights."""
    operands = {name: value.double().requires_grad_() for name, value in operands.items()}
    vectors = {name: cosines(value) for name, value in operands.items()}
    value = function(**operands)
    weights = cosines(value)
    inputs = list(operands.values())
    gradients = torch.autograd.grad((value.square() * weights).sum(), inputs, create_graph=True)
    along = sum((gradient * vectors[name]).sum() for name, gradient in zip(operands, gradients))
    seconds = torch.autograd.grad(along, inputs)
    tensors[f"{case}.output"] = value
    for name, gradient, second in zip(operands, gradients, seconds):
        tensors[f"{case}.{name}"] = operands[name]
        tensors[f"{case}.{name}.gradient"] = gradient
        tensors[f"{case}.{name}.second"] = second


def cosines(like: torch.Tensor) -> torch.Tensor:
    return torch.cos(torch.arange(like.numel(), dtype=torch.float64)).reshape(like.shape)


def attention(tensors: dict[str, torch.Tensor]) -> None:
    def operands(heads: int, key_heads: int, n: int, m: int) -> dict[str, torch.Tensor]:
        return {
            "query": torch.randn(2, heads, n, 4),
            "key": torch.randn(2, key_heads, m, 4),
            "value": torch.randn(2, key_heads, m, 3),
        }

    # Written out: PyTorch's fused function has no second derivative, and its causal mask starts at the first key.
    def attend(query, key, value, mask=None, scale=None):
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        y = torch.softmax(scores if mask is None else scores + mask, -1) @ value
        fused = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        torch.testing.assert_close(y, fused)
        return y

    causal = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)
    late = torch.full((3, 7), -torch.inf, dtype=torch.float64).triu(5)
    add(tensors, "scaled", lambda **x: attend(**x, scale=0.3), operands(2, 2, 5, 7))
    add(tensors, "causal", lambda **x: attend(**x, mask=causal), operands(2, 2, 5, 5))
    add(tensors, "cached", lambda **x: attend(**x, mask=late), operands(2, 2, 3, 7))
    add(tensors, "grouped", attend, operands(4, 2, 5, 7))
    add(tensors, "grouped causal", lambda **x: attend(**x, mask=causal), operands(4, 2, 5, 5))
    add(tensors, "masked", attend, operands(2, 2, 5, 7) | {"mask": torch.randn(2, 1, 7)})
    padding = torch.zeros(2, 1, 1, 7, dtype=torch.float64)
    padding[0, :, :, 5:] = -torch.inf
    padding[1, :, :, 2:] = -torch.inf
    tensors["padding"] = padding
    add(tensors, "padded", lambda **x: attend(**x, mask=padding), operands(2, 2, 5, 7))


def embedding(tensors: dict[str, torch.Tensor]) -> None:
    indices = torch.tensor([[0, 3, 3], [4, 0, 1]])
    tensors["indices"] = indices
    add(tensors, "embedding", lambda table: functional.embedding(indices, table), {"table": torch.randn(6, 2)})


def recurrent(tensors: dict[str, torch.Tensor]) -> None:
    names = {
        "input": "weight_ih_l0",
        "hidden": "weight_hh_l0",
        "input_bias": "bias_ih_l0",
        "hidden_bias": "bias_hh_l0",
    }
    lengths = [4, 2, 3]
    for case, layer in [("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)]:
        layer = layer(2, 3, batch_first=True).double()
        states = {name: torch.randn(3, 3) for name in (["state", "cell"] if case == "lstm" else ["state"])}

        def run(x, packed, **operands):
            initial = tuple(operands[name].unsqueeze(0) for name in states)
            initial = initial if case == "lstm" else initial[0]
            given = x
            if packed:
                given = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            weights = {theirs: operands[ours] for ours, theirs in names.items()}
            y, final = torch.func.functional_call(layer, weights, (given, initial))
            if packed:
                y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
            final = final if case == "lstm" else (final,)
            return torch.cat([y.reshape(3, -1)] + [state.squeeze(0) for state in final], 1)

        for suffix, packed in [("", False), (" of lengths", True)]:
            operands = {"x": torch.randn(3, 4, 2)} | states
            operands |= {ours: dict(layer.named_parameters())[theirs].detach().clone() for ours, theirs in names.items()}
            add(tensors, case + suffix, lambda **x: run(packed=packed, **x), operands)
