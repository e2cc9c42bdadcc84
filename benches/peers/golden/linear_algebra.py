"""Factorisations and systems: values, gradients of a weighted sum of squares, and Hessian-vector products along ones.

Singular vectors and eigenvectors are compared by what does not depend on their signs: squares of elements and products.
"""

import torch
from torch import linalg

FILE = "crates/autodiff/tests/golden/linear_algebra.safetensors"


def definite(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


def symmetric(x: torch.Tensor) -> torch.Tensor:
    return x + x.mT


def svd_product(x: torch.Tensor) -> torch.Tensor:
    u, s, vh = linalg.svd(x, full_matrices=False)
    return (u * s.log().unsqueeze(-2)) @ vh


CASES = {
    "cholesky": ("square", lambda x, b: linalg.cholesky(definite(x))),
    "solve": ("square", lambda x, b: linalg.solve(x, b)),
    "solve_lower": ("square", lambda x, b: linalg.solve_triangular(x, b, upper=False)),
    "solve_upper_unit": ("square", lambda x, b: linalg.solve_triangular(x, b, upper=True, unitriangular=True)),
    "solve_right": ("square", lambda x, b: linalg.solve_triangular(x, b.mT, upper=True, left=False)),
    "inverse": ("square", lambda x, b: linalg.inv(x)),
    "slogdet": ("square", lambda x, b: linalg.slogdet(x).logabsdet),
    "logdet": ("square", lambda x, b: torch.logdet(definite(x))),
    "eigenvalues": ("square", lambda x, b: linalg.eigh(symmetric(x)).eigenvalues),
    "eigenvectors": ("square", lambda x, b: linalg.eigh(symmetric(x)).eigenvectors.square()),
    "singular_values": ("tall", lambda x, b: linalg.svd(x, full_matrices=False).S),
    "svd_tall": ("tall", lambda x, b: svd_product(x)),
    "svd_wide": ("wide", lambda x, b: svd_product(x)),
    "left_vectors": ("tall", lambda x, b: linalg.svd(x, full_matrices=False).U.square()),
    "right_vectors": ("wide", lambda x, b: linalg.svd(x, full_matrices=False).Vh.square()),
}


def cases() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"square": (2, 4, 4), "tall": (2, 5, 3), "wide": (2, 3, 4), "b": (2, 4, 3)}
    inputs = {name: torch.randn(shape, dtype=torch.float64, generator=generator) for name, shape in shapes.items()}
    # Far from singular, as square and as triangular matrices.
    inputs["square"] += 3.0 * torch.eye(4, dtype=torch.float64)
    tensors = dict(inputs)
    for name, (which, function) in CASES.items():
        x = inputs[which].clone().requires_grad_()
        y = function(x, inputs["b"])
        weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        (gradient,) = torch.autograd.grad((y.square() * weights).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), x)
        tensors |= {f"{name}.y": y, f"{name}.weights": weights, f"{name}.gradient": gradient, f"{name}.second": second}
    tensors["slogdet.sign"] = linalg.slogdet(inputs["square"]).sign
    return tensors
