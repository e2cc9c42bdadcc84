"""The engine's workloads on PyTorch, eager. Run by the benchmark: workloads_torch.py THREADS, see protocol.py."""

import protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, jacrev, vmap

torch.set_num_threads(protocol.THREADS)


class Mlp(nn.Module):
    def __init__(self, arrays, activation, prefix=""):
        super().__init__()
        weights = [arrays[f"{prefix}layers.{i}.weight"] for i in range(sum(k.startswith(f"{prefix}layers.") for k in arrays) // 2)]
        self.layers = nn.ModuleList(nn.Linear(w.shape[1], w.shape[0]) for w in weights)
        self.load_state_dict({k: torch.from_numpy(arrays[prefix + k]) for k in self.state_dict()})
        self.activation = activation

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Training(protocol.Workload):
    def __init__(self, arrays, activation, optimiser, loss):
        self.make = lambda: Mlp(arrays, activation)
        self.optimiser_of, self.loss_of = optimiser, loss
        self.x, self.y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
        self.reset()

    def reset(self):
        self.model = self.make()
        self.optimiser = self.optimiser_of(self.model.parameters())

    def call(self):
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss_of(self.model(self.x), self.y)
        loss.backward()
        self.optimiser.step()
        return loss

    def outputs(self):
        self.reset()
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        losses = [self.call().item() for _ in range(protocol.STEPS)]
        return {"losses": losses} | {f"change.{k}": (v - before[k]).numpy() for k, v in self.model.state_dict().items()}


class Function(protocol.Workload):
    def __init__(self, call, outputs):
        self.call, self.outputs = call, lambda: {k: v.detach().numpy() for k, v in outputs(call()).items()}


def w1(arrays):
    return Training(arrays, F.relu, torch.optim.Adam, F.cross_entropy)


def w5(arrays):
    return Training(arrays, torch.tanh, lambda parameters: torch.optim.SGD(parameters, 1e-2), F.mse_loss)


def w6(arrays):
    model, v = Mlp(arrays, torch.tanh), Mlp(arrays, torch.tanh, "v.")
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    parameters, direction = list(model.parameters()), [p.detach() for p in v.parameters()]

    def call():
        gradient = torch.autograd.grad(F.mse_loss(model(x), y), parameters, create_graph=True)
        return torch.autograd.grad(gradient, parameters, direction)

    return Function(call, lambda result: dict(zip(model.state_dict(), result)))


def w7(arrays):
    model, x, y = Mlp(arrays, F.relu), torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(parameters, x, y):
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    each = vmap(grad(loss), (None, 0, 0))
    return Function(lambda: each(parameters, x, y), lambda result: result)


def w8(arrays):
    model, x = Mlp(arrays, torch.tanh).requires_grad_(False), torch.from_numpy(arrays["x"])
    jacobian = jacrev(lambda z: model(z))
    return Function(lambda: jacobian(x), lambda result: {"jacobian": result})


def w10(arrays):
    x = torch.from_numpy(arrays["x"]).requires_grad_()

    def call():
        z = x
        for _ in range(4):
            z = torch.exp(-((torch.tanh(z) * 1.1 + 0.3) ** 2))
        value = z.sum()
        return value, *torch.autograd.grad(value, x)

    return Function(call, lambda result: {"value": result[0], "gradient": result[1]})


def w11(arrays):
    a, b = torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"])
    return Function(lambda: a @ b, lambda result: {"product": result})


protocol.serve(torch.__version__, {"W1": w1, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W10": w10, "W10-fused": w10, "W11": w11})
