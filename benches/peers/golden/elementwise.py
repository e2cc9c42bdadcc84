"""Functions of one element: values, gradients of a weighted sum, and Hessian-vector products along ones."""

import torch

FILE = "crates/autodiff/tests/golden/elementwise.safetensors"

FUNCTIONS = {
    "exp": torch.exp,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "relu": torch.relu,
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
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
        if gradient.requires_grad:
            (second,) = torch.autograd.grad(gradient.sum(), x, allow_unused=True)
            tensors[f"{name}.second"] = torch.zeros_like(x) if second is None else second
    return tensors
