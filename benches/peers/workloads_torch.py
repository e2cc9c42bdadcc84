"""The engine's workloads on PyTorch, eager. Run by the benchmark: workloads_torch.py THREADS, see protocol.py."""

import protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, jacrev, vmap

torch.set_num_threads(protocol.THREADS)


def load(model, arrays, prefix=""):
    """The model with the arrays of its names."""
    model.load_state_dict({k: torch.from_numpy(arrays[prefix + k]) for k in model.state_dict()})
    return model


class Mlp(nn.Module):
    def __init__(self, sizes, activation):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.activation = activation

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.hidden, self.output = nn.Linear(3136, 512), nn.Linear(512, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.output(F.relu(self.hidden(x.flatten(1))))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.empty(3 * width, width)), nn.Parameter(torch.empty(3 * width))
        self.out_proj, self.heads = nn.Linear(width, width), heads

    def forward(self, x):
        rows, tokens, width = x.shape
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).reshape(rows, tokens, width))


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x)), approximate="tanh"))


class LanguageModel(nn.Module):
    def __init__(self, vocabulary, context, width, layers, heads):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(Layer(width, heads) for _ in range(layers)), "norm": nn.LayerNorm(width)})
        self.head = nn.Linear(width, vocabulary)

    def forward(self, rows):
        x = self.embedding(rows) + self.positions.weight[: rows.shape[1]]
        for layer in self.transformer["layers"]:
            x = layer(x)
        return self.head(self.transformer["norm"](x))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 1)

    def forward(self, x):
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1])


class Training(protocol.Workload):
    def __init__(self, arrays, make, optimiser, loss):
        self.make = lambda: load(make(), arrays)
        self.optimiser_of, self.loss_of = optimiser, loss
        self.x, self.y = (torch.as_tensor(arrays[name]) for name in "xy")
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


def fused(optimiser, **settings):
    """All tensors in one compiled step: faster here than the default, one tensor and operation after the other."""
    return lambda parameters: optimiser(parameters, fused=True, **settings)


def channels_last(x):
    """An image's channels next to each other in memory: the layout in which PyTorch's convolutions are fastest here."""
    return torch.from_numpy(x).to(memory_format=torch.channels_last)


def w1(arrays):
    return Training(arrays, lambda: Mlp([784, 512, 512, 10], F.relu), fused(torch.optim.Adam), F.cross_entropy)


def w2(arrays):
    arrays = arrays | {"x": channels_last(arrays["x"])}
    return Training(arrays, lambda: Cnn().to(memory_format=torch.channels_last), lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9), F.cross_entropy)


def w3(arrays):
    loss = lambda logits, y: F.cross_entropy(logits.flatten(0, 1), y)
    return Training(arrays, lambda: LanguageModel(512, 128, 256, 4, 8), fused(torch.optim.AdamW, eps=1e-6), loss)


def w4(arrays):
    return Training(arrays, Recurrent, lambda p: torch.optim.SGD(p, 1e-2), F.mse_loss)


def w5(arrays):
    return Training(arrays, lambda: Mlp([2, 32, 32, 1], torch.tanh), lambda p: torch.optim.SGD(p, 1e-2), F.mse_loss)


def w6(arrays):
    model, v = (load(Mlp([10, 64, 64, 1], torch.tanh), arrays, prefix) for prefix in ("", "v."))
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    parameters, direction = list(model.parameters()), [p.detach() for p in v.parameters()]

    def call():
        gradient = torch.autograd.grad(F.mse_loss(model(x), y), parameters, create_graph=True)
        return torch.autograd.grad(gradient, parameters, direction)

    return Function(call, lambda result: dict(zip(model.state_dict(), result)))


def w6_gradient(arrays):
    model, x, y = load(Mlp([10, 64, 64, 1], torch.tanh), arrays), torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    parameters = list(model.parameters())
    gradient = lambda: torch.autograd.grad(F.mse_loss(model(x), y), parameters)
    return Function(gradient, lambda result: dict(zip(model.state_dict(), result)))


def examples(arrays, reduce, outputs):
    """A reduction of the examples' gradients, `{name: [examples, ..]}`."""
    model, x, y = load(Mlp([784, 256, 10], F.relu), arrays), torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    def loss(parameters, x, y):
        return F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None])

    each = vmap(grad(loss), (None, 0, 0))
    return Function(lambda: reduce(each(parameters, x, y)), outputs)


def w7(arrays):
    return examples(arrays, lambda each: each, lambda result: result)


def w7_fisher(arrays):
    return examples(arrays, lambda each: {k: g.square().sum(0) for k, g in each.items()}, lambda result: result)


def w7_gram(arrays):
    gram = lambda g: g.flatten(1) @ g.flatten(1).T
    return examples(arrays, lambda each: sum(gram(g) for g in each.values()), lambda result: {"gram": result})


def w7_norms(arrays):
    norms = lambda g: g.flatten(1).square().sum(1)
    return examples(arrays, lambda each: sum(norms(g) for g in each.values()), lambda result: {"norms": result})


def w8(arrays):
    model, x = load(Mlp([64, 128, 64], torch.tanh), arrays).requires_grad_(False), torch.from_numpy(arrays["x"])
    jacobian = jacrev(lambda z: model(z))
    return Function(lambda: jacobian(x), lambda result: {"jacobian": result})


def w9(arrays):
    x, weight = (channels_last(arrays[name]).requires_grad_() for name in ("x", "weight"))

    def call():
        value = F.conv2d(x, weight, padding=1).square().sum()
        return value, *torch.autograd.grad(value, (x, weight))

    return Function(call, lambda result: dict(zip(("value", "gradient.x", "gradient.weight"), result)))


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


makers = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W8": w8, "W9": w9, "W10": w10, "W10-fused": w10, "W11": w11}
makers |= {"W6-gradient": w6_gradient, "W7": w7, "W7-fisher": w7_fisher, "W7-gram": w7_gram, "W7-norms": w7_norms}
protocol.serve(torch.__version__, makers)
