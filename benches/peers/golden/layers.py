"""Layers of `torch.nn` with random parameters: outputs, and gradients of a weighted sum of them by input and by parameter.

Tensors of a case are `CASE.x`, `CASE.y`, `CASE.gradient.x`; `CASE.parameters.NAME` are the values before, under the names of the layer's
state, and `CASE.gradient.NAME` the gradients.
"""

import torch
from torch import nn

FILE = "crates/models/tests/golden/layers.safetensors"


class Batch(nn.Module):
    """A recurrent layer or attention as a function of one tensor to one tensor."""

    def __init__(self, inner: nn.Module, call) -> None:
        super().__init__()
        self.inner = inner
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(self.inner, x)


class Residual(nn.Module):
    """torchvision's `BasicBlock`, and the same with normalisation and ReLU before each convolution."""

    def __init__(self, channels: int, filters: int, stride: int, pre_activation: bool) -> None:
        super().__init__()
        self.pre_activation = pre_activation
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels if pre_activation else filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = None
        if stride != 1 or channels != filters:
            self.downsample = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False))
            if not pre_activation:
                self.downsample.append(nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pre_activation:
            start = self.bn1(x).relu()
            update = self.conv2(self.bn2(self.conv1(start)).relu())
            return update + (self.downsample(start) if self.downsample else x)
        update = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (update + (self.downsample(x) if self.downsample else x)).relu()


def causal(n: int) -> torch.Tensor:
    return nn.Transformer.generate_square_subsequent_mask(n)


def layers(memory: torch.Tensor) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    tokens = (2, 4, 6)
    sizes = {"d_model": 6, "nhead": 2, "dim_feedforward": 5, "dropout": 0.0, "batch_first": True}
    attention = nn.MultiheadAttention(6, 2, batch_first=True)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**sizes, norm_first=True, activation="gelu"), 2, nn.LayerNorm(6), enable_nested_tensor=False
    )
    return {
        "linear": (nn.Linear(4, 3), (5, 4)),
        "layer_norm": (nn.LayerNorm(6), tokens),
        "rms_norm": (nn.RMSNorm(6, eps=1e-6), tokens),
        "group_norm": (nn.GroupNorm(2, 4), (3, 4, 2, 3)),
        "instance_norm": (nn.InstanceNorm2d(3, affine=True), (2, 3, 3, 4)),
        "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7)),
        "conv2d": (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 2, 6, 5)),
        "conv3d": (nn.Conv3d(2, 2, 2, bias=False), (1, 2, 3, 4, 3)),
        "conv_transpose1d": (nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1), (2, 2, 4)),
        "conv_transpose2d": (nn.ConvTranspose2d(4, 2, 3, stride=2, groups=2, dilation=2), (1, 4, 3, 2)),
        "lstm": (Batch(nn.LSTM(3, 4, 2, batch_first=True), lambda m, x: m(x)[0]), (2, 5, 3)),
        "lstm_both_ways": (Batch(nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True), lambda m, x: m(x)[0]), (2, 4, 3)),
        "gru": (Batch(nn.GRU(3, 4, 2, batch_first=True), lambda m, x: m(x)[0]), (2, 5, 3)),
        "residual": (Residual(2, 2, 1, False), (2, 2, 3, 3)),
        "residual_down": (Residual(2, 3, 2, False), (2, 2, 5, 4)),
        "residual_pre": (Residual(2, 2, 1, True), (2, 2, 3, 3)),
        "residual_pre_down": (Residual(2, 3, 2, True), (2, 2, 5, 4)),
        "attention": (Batch(attention, lambda m, x: m(x, x, x, attn_mask=causal(4), need_weights=False)[0]), tokens),
        "cross_attention": (Batch(nn.MultiheadAttention(6, 3, batch_first=True), lambda m, x: m(x, memory, memory)[0]), tokens),
        "encoder_post_norm": (nn.TransformerEncoderLayer(**sizes), tokens),
        "encoder_pre_norm": (encoder, tokens),
        "decoder": (
            Batch(nn.TransformerDecoderLayer(**sizes, norm_first=True), lambda m, x: m(x, memory, tgt_mask=causal(4))),
            tokens,
        ),
    }


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    for parameter in module.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=generator)


def record(name: str, module: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.requires_grad_()
    own = getattr(module, "inner", module)
    tensors = {f"{name}.parameters.{key}": value.clone() for key, value in own.state_dict().items() if "num_batches" not in key}
    y = module(x)
    (y * torch.cos(torch.arange(y.numel())).reshape(y.shape)).sum().backward()
    tensors |= {f"{name}.x": x, f"{name}.y": y, f"{name}.gradient.x": x.grad}
    return tensors | {f"{name}.gradient.{key}": parameter.grad for key, parameter in own.named_parameters()}


def batch_norms(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """In training, with the running statistics after two batches, and in evaluation with those."""
    tensors = {}
    for name, norm, shape in [("batch_norm1d", nn.BatchNorm1d(3), (5, 3)), ("batch_norm2d", nn.BatchNorm2d(2, momentum=0.3), (2, 2, 3, 2))]:
        randomise(norm, generator)
        tensors |= record(name, norm, torch.randn(shape, generator=generator))
        second = torch.randn(shape, generator=generator)
        norm(second)
        tensors |= {f"{name}.second": second}
        tensors |= {f"{name}.after.{key}": value.clone() for key, value in norm.state_dict().items() if key != "num_batches_tracked"}
        norm.zero_grad()
        tensors |= record(f"{name}.evaluation", norm.eval(), torch.randn(shape, generator=generator))
    return tensors


def cases() -> dict[str, torch.Tensor]:
    torch.set_default_dtype(torch.float64)
    try:
        generator = torch.Generator().manual_seed(5)
        memory = torch.randn((2, 3, 6), generator=generator)
        tensors = {"memory": memory}
        for name, (module, shape) in layers(memory).items():
            randomise(module, generator)
            tensors |= record(name, module, torch.randn(shape, generator=generator))
        return tensors | batch_norms(generator)
    finally:
        torch.set_default_dtype(torch.float32)
