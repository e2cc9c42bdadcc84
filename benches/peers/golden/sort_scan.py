"""Running sums and orders along an axis: values, positions, gradients of a weighted sum."""

import torch

FILE = "crates/autodiff/tests/golden/sort_scan.safetensors"

FUNCTIONS = {
    "cumsum.0": lambda x: x.cumsum(0),
    "cumsum.1": lambda x: x.cumsum(1),
    "cumsum_reversed.2": lambda x: x.flip(2).cumsum(2).flip(2),
    "sort.1": lambda x: x.sort(dim=1, stable=True).values,
    "sort_descending.2": lambda x: x.sort(dim=2, descending=True, stable=True).values,
    "top_k.1": lambda x: x.topk(2, 1).values,
}


def cases() -> dict[str, torch.Tensor]:
    x = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tensors = {"x": x.clone()}
    for name, function in FUNCTIONS.items():
        x = x.detach().requires_grad_()
        y = function(x)
        weights = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
        (gradient,) = torch.autograd.grad((y.square() * weights).sum(), x)
        tensors |= {f"{name}.y": y, f"{name}.weights": weights, f"{name}.gradient": gradient}
    tensors["sort.1.positions"] = x.sort(dim=1, stable=True).indices
    tensors["top_k.1.positions"] = x.topk(2, 1).indices
    tensors["argmax.2"] = x.argmax(2)
    tensors["argmin.0"] = x.argmin(0)
    # Ties and NaN, of which stable sorts keep the order.
    odd = torch.tensor([2.0, float("nan"), 1.0, 2.0, -0.0, 0.0, float("inf"), float("nan")], dtype=torch.float64)
    tensors["odd.ascending"] = odd.sort(stable=True).indices
    tensors["odd.descending"] = odd.sort(stable=True, descending=True).indices
    tensors["odd.argmax"] = odd.argmax()
    tensors["odd.argmin"] = odd.argmin()
    return tensors
