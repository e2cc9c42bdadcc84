"""Derivatives of a small network by `torch.func`: Jacobians both ways, the Hessian, products; and the backward modes of ReLU,
by hooks that replace the gradients at its modules."""

import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp

FILE = "crates/autodiff/tests/golden/transforms.safetensors"


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 5)).double()


def derivatives(tensors: dict[str, torch.Tensor]) -> None:
    net, x = network(), torch.randn(2, 3, dtype=torch.float64)
    shapes = [p.shape for p in net.parameters()]
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    tangent = torch.randn_like(flat)
    names = [name for name, _ in net.named_parameters()]

    def outputs(flat: torch.Tensor) -> torch.Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        params = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes)}
        return functional_call(net, params, (x,))

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return outputs(flat).sin().square().mean()

    second = hessian(loss)(flat)
    tensors |= {f"network.{name}": p for name, p in net.named_parameters()}
    tensors |= {
        "network.x": x,
        "network.tangent": tangent,
        "network.jacobian_reverse": jacrev(outputs)(flat),
        "network.jacobian_forward": jacfwd(outputs)(flat),
        "network.jvp": jvp(outputs, (flat,), (tangent,))[1],
        "network.gradient": grad(loss)(flat),
        "network.hvp": second @ tangent,
        "network.hessian_diagonal": second.diagonal(),
        "network.hessian_trace": second.trace(),
    }


def relu_modes(tensors: dict[str, torch.Tensor]) -> None:
    layers = [torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(2 * 4 * 4, 3)).double()
    x = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    # The gradients of the inputs and of the outputs of a ReLU: what its own rule made, and what came in.
    rules = {
        "plain": lambda own, incoming: own,
        "deconvnet": lambda own, incoming: incoming.clamp(min=0.0),
        "guided": lambda own, incoming: own.clamp(min=0.0),
    }
    tensors |= {f"relu.{name}": p for name, p in net.named_parameters()} | {"relu.x": x}
    for name, rule in rules.items():
        hook = lambda module, own, incoming, rule=rule: (rule(own[0], incoming[0]),)
        hooks = [layer.register_full_backward_hook(hook) for layer in net if isinstance(layer, torch.nn.ReLU)]
        variable = x.clone().requires_grad_()
        (tensors[f"relu.{name}"],) = torch.autograd.grad(net(variable)[:, 1].sum(), variable)
        for hook in hooks:
            hook.remove()


def cases() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    derivatives(tensors)
    relu_modes(tensors)
    return tensors
