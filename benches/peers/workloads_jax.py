"""The engine's workloads on JAX, compiled with jit, CPU. Run by the benchmark: workloads_jax.py THREADS, see protocol.py.

Everything that a call reads is an argument of the compiled function: captured, it would be a constant that XLA may
work on ahead of time.
"""

import protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax


def dense(arrays, name):
    """A layer, with weights as [inputs, outputs]."""
    return {"w": jnp.array(arrays[f"{name}.weight"].T), "b": jnp.array(arrays[f"{name}.bias"])}


def affine(layer, x):
    return x @ layer["w"] + layer["b"]


def mlp_of(arrays, prefix=""):
    """The layers of a model."""
    count = sum(k.startswith(f"{prefix}layers.") for k in arrays) // 2
    return [dense(arrays, f"{prefix}layers.{i}") for i in range(count)]


def named(model, prefix=""):
    arrays = {}
    for i, layer in enumerate(model):
        arrays[f"{prefix}layers.{i}.weight"] = np.swapaxes(layer["w"], -1, -2)
        arrays[f"{prefix}layers.{i}.bias"] = layer["b"]
    return arrays


def mlp(model, x, activation):
    for layer in model[:-1]:
        x = activation(affine(layer, x))
    return affine(model[-1], x)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def mse(prediction, target):
    return jnp.mean((prediction - target) ** 2)


class Training(protocol.Workload):
    """`model` makes the parameters from the arrays, `named` arrays of the same names from the parameters."""

    def __init__(self, model, named, optimiser, loss, x, y):
        self.model_of, self.named, self.optimiser = model, named, optimiser
        self.x, self.y = jnp.array(x), jnp.array(y)

        def step(model, state, x, y):
            value, gradient = jax.value_and_grad(loss)(model, x, y)
            updates, state = optimiser.update(gradient, state, model)
            return optax.apply_updates(model, updates), state, value

        # The old model and state are given away, so that their memory can be reused.
        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.reset()

    def reset(self):
        self.model = self.model_of()
        self.state = self.optimiser.init(self.model)

    def call(self):
        self.model, self.state, loss = jax.block_until_ready(self.step(self.model, self.state, self.x, self.y))
        return loss

    def outputs(self):
        self.reset()
        losses = [self.call().item() for _ in range(protocol.STEPS)]
        after, before = self.named(self.model), self.named(self.model_of())
        return {"losses": losses} | {f"change.{k}": np.asarray(after[k]) - np.asarray(before[k]) for k in after}


class Function(protocol.Workload):
    def __init__(self, function, arguments, outputs):
        compiled = jax.jit(function)
        self.call = lambda: jax.block_until_ready(compiled(*arguments))
        self.outputs = lambda: outputs(self.call())


def w1(arrays):
    loss = lambda m, x, y: cross_entropy(mlp(m, x, jax.nn.relu), y)
    return Training(lambda: mlp_of(arrays), named, optax.adam(1e-3), loss, arrays["x"], arrays["y"])


def w2(arrays):
    """Channels last, the maximum as one over reshaped axes: of the ways to write it, the fastest here."""

    def model():
        conv = lambda name: {"w": jnp.array(arrays[f"{name}.weight"].transpose(2, 3, 1, 0)), "b": jnp.array(arrays[f"{name}.bias"])}
        # The rows of what is flattened, from [channels, height, width] to [height, width, channels].
        hidden = arrays["hidden.weight"].reshape(512, 64, 7, 7).transpose(2, 3, 1, 0).reshape(3136, 512)
        return {
            "conv1": conv("conv1"),
            "conv2": conv("conv2"),
            "hidden": {"w": jnp.array(hidden), "b": jnp.array(arrays["hidden.bias"])},
            "output": dense(arrays, "output"),
        }

    def named(model):
        hidden = np.asarray(model["hidden"]["w"]).reshape(7, 7, 64, 512).transpose(3, 2, 0, 1).reshape(512, 3136)
        convs = {f"{name}.weight": np.asarray(model[name]["w"]).transpose(3, 2, 0, 1) for name in ("conv1", "conv2")}
        return {"hidden.weight": hidden, "output.weight": model["output"]["w"].T} | convs | {f"{k}.bias": v["b"] for k, v in model.items()}

    def conv(layer, x):
        return jax.lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + layer["b"]

    def pool(x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def loss(model, x, y):
        x = pool(jax.nn.relu(conv(model["conv1"], x)))
        x = pool(jax.nn.relu(conv(model["conv2"], x)))
        return cross_entropy(mlp([model["hidden"], model["output"]], x.reshape(x.shape[0], -1), jax.nn.relu), y)

    return Training(model, named, optax.sgd(1e-2, 0.9), loss, arrays["x"].transpose(0, 2, 3, 1), arrays["y"])


def w3(arrays, heads=8):
    layers = range(sum(k.endswith("in_proj_weight") for k in arrays))
    # The models' names, and where their weights stand here, all of them transposed.
    linear = {"self_attn.out_proj": "out", "linear1": "up", "linear2": "down"}
    tables = ("embedding", "positions")

    def norm_of(name):
        return {"w": jnp.array(arrays[f"{name}.weight"]), "b": jnp.array(arrays[f"{name}.bias"])}

    def layer(i):
        prefix = f"transformer.layers.{i}"
        attention = f"{prefix}.self_attn.in_proj_"
        own = {"qkv": {"w": jnp.array(arrays[f"{attention}weight"].T), "b": jnp.array(arrays[f"{attention}bias"])}}
        own |= {short: dense(arrays, f"{prefix}.{name}") for name, short in linear.items()}
        return own | {norm: norm_of(f"{prefix}.{norm}") for norm in ("norm1", "norm2")}

    def model():
        whole = {"layers": [layer(i) for i in layers], "norm": norm_of("transformer.norm"), "head": dense(arrays, "head")}
        return whole | {name: jnp.array(arrays[f"{name}.weight"]) for name in tables}

    def named(model):
        arrays = {f"{name}.weight": model[name] for name in tables}
        put = lambda name, p, turn=False: arrays.update({f"{name}weight": p["w"].T if turn else p["w"], f"{name}bias": p["b"]})
        put("head.", model["head"], True)
        put("transformer.norm.", model["norm"])
        for i, own in enumerate(model["layers"]):
            prefix = f"transformer.layers.{i}."
            put(f"{prefix}self_attn.in_proj_", own["qkv"], True)
            for name, short in linear.items():
                put(f"{prefix}{name}.", own[short], True)
            for norm in ("norm1", "norm2"):
                put(f"{prefix}{norm}.", own[norm])
        return arrays

    def norm(p, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["w"] + p["b"]

    def loss(model, rows, y):
        x = model["embedding"][rows] + model["positions"]
        for own in model["layers"]:
            n, t, d = x.shape
            q, k, v = jnp.moveaxis(affine(own["qkv"], norm(own["norm1"], x)).reshape(n, t, 3, heads, d // heads), 2, 0)
            x = x + affine(own["out"], jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(n, t, d))
            x = x + affine(own["down"], jax.nn.gelu(affine(own["up"], norm(own["norm2"], x))))
        return cross_entropy(affine(model["head"], norm(model["norm"], x)).reshape(y.size, -1), y)

    return Training(model, named, optax.adamw(1e-3, eps=1e-6, weight_decay=1e-2), loss, arrays["x"], arrays["y"])


def w4(arrays):
    """The input's products inside the loop over time, which is faster here than one product before it."""
    turned = ("lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight")
    model = lambda: {k: jnp.array(v.T if k in turned else v) for k, v in arrays.items() if k not in "xy"}
    named = lambda model: {k: v.T if k in turned else v for k, v in model.items()}

    def loss(model, x, y):
        w, u = model["lstm.weight_ih_l0"], model["lstm.weight_hh_l0"]
        bias = model["lstm.bias_ih_l0"] + model["lstm.bias_hh_l0"]

        def step(state, x):
            hidden, cell = state
            i, f, g, o = jnp.split(x @ w + hidden @ u + bias, 4, -1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(cell), cell), None

        zeros = jnp.zeros((x.shape[1], u.shape[0]))
        (hidden, _), _ = jax.lax.scan(step, (zeros, zeros), x)
        return mse(hidden @ model["head.weight"] + model["head.bias"], y)

    return Training(model, named, optax.sgd(1e-2), loss, arrays["x"].transpose(1, 0, 2), arrays["y"])


def w5(arrays):
    loss = lambda m, x, y: mse(mlp(m, x, jnp.tanh), y)
    return Training(lambda: mlp_of(arrays), named, optax.sgd(1e-2), loss, arrays["x"], arrays["y"])


def w6(arrays):
    def hvp(model, v, x, y):
        gradient = jax.grad(lambda m: mse(mlp(m, x, jnp.tanh), y))
        return jax.jvp(gradient, (model,), (v,))[1]

    return Function(hvp, (mlp_of(arrays), mlp_of(arrays, "v."), jnp.array(arrays["x"]), jnp.array(arrays["y"])), named)


def w6_gradient(arrays):
    gradient = jax.grad(lambda model, x, y: mse(mlp(model, x, jnp.tanh), y))
    return Function(gradient, (mlp_of(arrays), jnp.array(arrays["x"]), jnp.array(arrays["y"])), named)


def examples(arrays, reduce, outputs):
    """A reduction of the examples' gradients, in one compiled function with them."""
    each = jax.vmap(jax.grad(lambda model, x, y: cross_entropy(mlp(model, x, jax.nn.relu), y)), (None, 0, 0))
    return Function(lambda *point: reduce(each(*point)), (mlp_of(arrays), jnp.array(arrays["x"]), jnp.array(arrays["y"])), outputs)


def w7(arrays):
    return examples(arrays, lambda each: each, named)


def w7_fisher(arrays):
    return examples(arrays, lambda each: jax.tree.map(lambda g: (g**2).sum(0), each), named)


def w7_gram(arrays):
    rows = lambda g: g.reshape(g.shape[0], -1)
    gram = lambda each: sum(rows(g) @ rows(g).T for g in jax.tree.leaves(each))
    return examples(arrays, gram, lambda result: {"gram": result})


def w7_norms(arrays):
    norms = lambda each: sum((g**2).reshape(g.shape[0], -1).sum(1) for g in jax.tree.leaves(each))
    return examples(arrays, norms, lambda result: {"norms": result})


def w8(arrays):
    jacobian = lambda model, x: jax.jacrev(lambda z: mlp(model, z, jnp.tanh))(x)
    return Function(jacobian, (mlp_of(arrays), jnp.array(arrays["x"])), lambda result: {"jacobian": result})


def w9(arrays):
    """Channels last, which is a little faster here."""
    x, weight = jnp.array(arrays["x"].transpose(0, 2, 3, 1)), jnp.array(arrays["weight"].transpose(2, 3, 1, 0))

    def loss(x, weight):
        y = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (y**2).sum()

    def outputs(result):
        value, (x, weight) = result
        return {"value": value, "gradient.x": np.transpose(x, (0, 3, 1, 2)), "gradient.weight": np.transpose(weight, (3, 2, 0, 1))}

    return Function(jax.value_and_grad(loss, (0, 1)), (x, weight), outputs)


def w10(arrays):
    def chain(z):
        for _ in range(4):
            z = jnp.exp(-((jnp.tanh(z) * 1.1 + 0.3) ** 2))
        return z.sum()

    return Function(jax.value_and_grad(chain), (jnp.array(arrays["x"]),), lambda result: {"value": result[0], "gradient": result[1]})


def w11(arrays):
    arguments = (jnp.array(arrays["a"]), jnp.array(arrays["b"]))
    return Function(lambda a, b: a @ b, arguments, lambda result: {"product": result})


makers = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W6": w6, "W8": w8, "W9": w9, "W10": w10, "W10-fused": w10, "W11": w11}
makers |= {"W6-gradient": w6_gradient, "W7": w7, "W7-fisher": w7_fisher, "W7-gram": w7_gram, "W7-norms": w7_norms}
protocol.serve(jax.__version__, makers)
