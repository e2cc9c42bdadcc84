"""Functions of one element: values, gradients of a weighted sum, and Hessian-vector products along ones."""

import torch
from torch.nn import functional

FILE = "crates/autodiff/tests/golden/elementwise.safetensors"

FUNCTIONS = {
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "relu": torch.relu,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "tan": torch.tan,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "expm1": torch.expm1,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "elu": lambda x: functional.elu(x, 0.7),
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "log_sigmoid": functional.logsigmoid,
    "log1p": lambda x: torch.log1p(x.square()),
    "clamp": lambda x: x.clamp(-1.5, 2.0),
    "round": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def cases() -> dict[str, torch.Tensor]:
    x = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64) + 0.01
    weights = torch.cos(torch.arange(33, dtype=torch.float64))
    tensors = {"x": x.clone(), "weights": weights}
    for name, function in FUNCTIONS.items():
        x = x.detach().requires_grad_()
        y = function(x)
        (gradient,) = torch.autograd.grad((y * weights).sum(), x, create_graph=True)
        tensors[f"{name}.y"] = y
        tensors[f"{name}.gradient"] = gradient
        # A piecewise linear function's gradient depends on nothing.
        second = torch.autograd.grad(gradient.sum(), x, allow_unused=True)[0] if gradient.requires_grad else None
        tensors[f"{name}.second"] = torch.zeros_like(x) if second is None else second
    return tensors
