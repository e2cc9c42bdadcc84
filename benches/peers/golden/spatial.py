"""Convolutions, pooling, resizing and normalisation: values, gradients of Σ weights y² with respect to every input, and
Hessian-vector products. Inputs, directions and weights are waves, which the test makes in the same way."""

import torch
import torch.nn.functional as F

FILE = "crates/autodiff/tests/golden/spatial.safetensors"


def wave(shape, phase: float) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(1.3 * torch.arange(count, dtype=torch.float64) + phase).reshape(shape)


def layer_norm(x, w, b):
    return F.layer_norm(x, x.shape[-1:], w, b, 0.1)


def statistics(x):
    mean, variance = torch.zeros(x.shape[1], dtype=x.dtype), torch.zeros(x.shape[1], dtype=x.dtype)
    F.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=0.1)
    return mean, variance


MEAN, VARIANCE = wave([4], 30.0), wave([4], 31.0) ** 2

CASES = {
    "conv1d": ([[2, 2, 5], [3, 2, 3], [3]], F.conv1d),
    "conv1d.options": (
        [[2, 4, 6], [6, 2, 2], [6]],
        lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1, dilation=2, groups=2),
    ),
    "conv1d.depthwise": ([[1, 4, 6], [4, 1, 3], [4]], lambda x, w, b: F.conv1d(x, w, b, padding=1, groups=4)),
    "conv2d": ([[2, 2, 4, 3], [3, 2, 2, 3], [3]], F.conv2d),
    "conv2d.options": (
        [[1, 4, 5, 4], [4, 2, 2, 2], [4]],
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    ),
    "conv3d.options": (
        [[1, 2, 3, 4, 2], [2, 1, 2, 2, 1], [2]],
        lambda x, w, b: F.conv3d(x, w, b, stride=(1, 2, 1), padding=(0, 1, 1), dilation=(2, 1, 1), groups=2),
    ),
    "conv_transpose1d": ([[2, 2, 4], [2, 3, 3], [3]], F.conv_transpose1d),
    "conv_transpose1d.options": (
        [[1, 4, 3], [4, 3, 2], [6]],
        lambda x, w, b: F.conv_transpose1d(x, w, b, stride=2, padding=1, output_padding=1, dilation=2, groups=2),
    ),
    "conv_transpose2d.options": (
        [[1, 4, 2, 2], [4, 1, 2, 2], [2]],
        lambda x, w, b: F.conv_transpose2d(
            x, w, b, stride=(2, 1), padding=(1, 0), output_padding=(1, 1), dilation=(1, 2), groups=2
        ),
    ),
    "conv_transpose3d.options": (
        [[1, 2, 2, 1, 2], [2, 2, 2, 2, 1], [2]],
        lambda x, w, b: F.conv_transpose3d(x, w, b, stride=(1, 2, 2), padding=(1, 0, 0), output_padding=(0, 1, 1)),
    ),
    "max_pool1d": ([[1, 2, 7]], lambda x: F.max_pool1d(x, 3, stride=2, padding=1)),
    "max_pool2d": ([[1, 2, 5, 4]], lambda x: F.max_pool2d(x, (2, 3), stride=(2, 1), padding=(1, 1))),
    "max_pool2d.dilation": ([[1, 2, 5, 4]], lambda x: F.max_pool2d(x, 2, stride=1, dilation=(2, 3))),
    "max_pool3d": ([[1, 1, 3, 4, 3]], lambda x: F.max_pool3d(x, 2, stride=(1, 2, 2), padding=(0, 1, 1))),
    "avg_pool1d": ([[1, 2, 7]], lambda x: F.avg_pool1d(x, 3, stride=2, padding=1)),
    "avg_pool2d": ([[1, 2, 5, 4]], lambda x: F.avg_pool2d(x, (2, 3), stride=(2, 1), padding=(1, 1))),
    "avg_pool2d.inside": (
        [[1, 2, 5, 4]],
        lambda x: F.avg_pool2d(x, (2, 3), stride=(2, 1), padding=(1, 1), count_include_pad=False),
    ),
    "avg_pool3d": ([[1, 1, 3, 4, 3]], lambda x: F.avg_pool3d(x, 2, stride=(1, 2, 2), padding=(0, 1, 1))),
    "adaptive_max_pool1d": ([[1, 2, 7]], lambda x: F.adaptive_max_pool1d(x, 3)),
    "adaptive_max_pool2d": ([[1, 2, 5, 4]], lambda x: F.adaptive_max_pool2d(x, (3, 2))),
    "adaptive_max_pool3d": ([[1, 1, 3, 4, 3]], lambda x: F.adaptive_max_pool3d(x, (2, 3, 2))),
    "adaptive_avg_pool1d": ([[1, 2, 7]], lambda x: F.adaptive_avg_pool1d(x, 3)),
    "adaptive_avg_pool2d": ([[1, 2, 5, 4]], lambda x: F.adaptive_avg_pool2d(x, (3, 7))),
    "adaptive_avg_pool3d": ([[1, 1, 3, 4, 3]], lambda x: F.adaptive_avg_pool3d(x, (2, 3, 2))),
    "resize.nearest1d": ([[1, 2, 5]], lambda x: F.interpolate(x, 7, mode="nearest")),
    "resize.nearest2d": ([[1, 2, 5, 3]], lambda x: F.interpolate(x, (3, 7), mode="nearest")),
    "resize.linear1d": ([[1, 2, 5]], lambda x: F.interpolate(x, 8, mode="linear", align_corners=False)),
    "resize.linear2d": ([[1, 2, 5, 3]], lambda x: F.interpolate(x, (3, 7), mode="bilinear", align_corners=False)),
    "resize.linear3d": ([[1, 1, 2, 5, 3]], lambda x: F.interpolate(x, (3, 4, 2), mode="trilinear", align_corners=False)),
    "resize.corners1d": ([[1, 2, 5]], lambda x: F.interpolate(x, 8, mode="linear", align_corners=True)),
    "resize.corners2d": ([[1, 2, 5, 3]], lambda x: F.interpolate(x, (3, 7), mode="bilinear", align_corners=True)),
    "batch_norm.rows": ([[5, 4], [4], [4]], lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1)),
    "batch_norm.images": (
        [[2, 4, 3, 2], [4], [4]],
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1),
    ),
    "batch_norm.long": ([[2, 2, 33], [2], [2]], lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=0.1)),
    "batch_norm.evaluation": ([[2, 4, 3], [4], [4]], lambda x, w, b: F.batch_norm(x, MEAN, VARIANCE, w, b, eps=0.1)),
    "group_norm": ([[2, 4, 3, 2], [4], [4]], lambda x, w, b: F.group_norm(x, 2, w, b, eps=0.1)),
    "instance_norm": ([[2, 4, 3, 2], [4], [4]], lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=0.1)),
    "layer_norm": ([[2, 3, 5], [5], [5]], layer_norm),
    "rms_norm": ([[2, 3, 5], [5]], lambda x, w: F.rms_norm(x, x.shape[-1:], w, eps=0.1)),
}


def cases() -> dict[str, torch.Tensor]:
    tensors = {}
    for name, (shapes, function) in CASES.items():
        inputs = [wave(shape, float(i)).requires_grad_() for i, shape in enumerate(shapes)]
        directions = [wave(shape, 10.0 + i) for i, shape in enumerate(shapes)]
        y = function(*inputs)
        loss = (y * y * wave(y.shape, 20.0)).sum()
        gradients = torch.autograd.grad(loss, inputs, create_graph=True)
        along = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions))
        products = torch.autograd.grad(along, inputs)
        tensors[f"{name}.y"] = y
        for i, (gradient, product) in enumerate(zip(gradients, products)):
            tensors[f"{name}.gradient.{i}"] = gradient
            tensors[f"{name}.product.{i}"] = product
    tensors["statistics.mean"], tensors["statistics.unbiased_variance"] = statistics(wave([2, 4, 3, 2], 0.0))
    return tensors
