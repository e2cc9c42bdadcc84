"""The engine's workloads on JAX, compiled with jit, CPU. Run by the benchmark: workloads_jax.py THREADS, see protocol.py.

Everything that a call reads is an argument of the compiled function: captured, it would be a constant that XLA may
work on ahead of time.
"""

import protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax


def mlp_of(arrays, prefix=""):
    """The layers of a model, with weights as [inputs, outputs]."""
    count = sum(k.startswith(f"{prefix}layers.") for k in arrays) // 2
    layer = lambda i: {"w": jnp.array(arrays[f"{prefix}layers.{i}.weight"].T), "b": jnp.array(arrays[f"{prefix}layers.{i}.bias"])}
    return [layer(i) for i in range(count)]


def named(model, prefix=""):
    arrays = {}
    for i, layer in enumerate(model):
        arrays[f"{prefix}layers.{i}.weight"] = np.swapaxes(layer["w"], -1, -2)
        arrays[f"{prefix}layers.{i}.bias"] = layer["b"]
    return arrays


def mlp(model, x, activation):
    for layer in model[:-1]:
        x = activation(x @ layer["w"] + layer["b"])
    return x @ model[-1]["w"] + model[-1]["b"]


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def mse(prediction, target):
    return jnp.mean((prediction - target) ** 2)


class Training(protocol.Workload):
    def __init__(self, arrays, activation, optimiser, loss):
        self.arrays, self.optimiser = arrays, optimiser
        self.x, self.y = jnp.array(arrays["x"]), jnp.array(arrays["y"])

        def step(model, state, x, y):
            value, gradient = jax.value_and_grad(lambda m: loss(mlp(m, x, activation), y))(model)
            updates, state = optimiser.update(gradient, state, model)
            return optax.apply_updates(model, updates), state, value

        # The old model and state are given away, so that their memory can be reused.
        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.reset()

    def reset(self):
        self.model = mlp_of(self.arrays)
        self.state = self.optimiser.init(self.model)

    def call(self):
        self.model, self.state, loss = jax.block_until_ready(self.step(self.model, self.state, self.x, self.y))
        return loss

    def outputs(self):
        self.reset()
        losses = [self.call().item() for _ in range(protocol.STEPS)]
        after, before = named(self.model), named(mlp_of(self.arrays))
        return {"losses": losses} | {f"change.{k}": np.asarray(after[k]) - np.asarray(before[k]) for k in after}


class Function(protocol.Workload):
    def __init__(self, function, arguments, outputs):
        compiled = jax.jit(function)
        self.call = lambda: jax.block_until_ready(compiled(*arguments))
        self.outputs = lambda: outputs(self.call())


def w1(arrays):
    return Training(arrays, jax.nn.relu, optax.adam(1e-3), cross_entropy)


def w5(arrays):
    return Training(arrays, jnp.tanh, optax.sgd(1e-2), mse)


def w6(arrays):
    def hvp(model, v, x, y):
        gradient = jax.grad(lambda m: mse(mlp(m, x, jnp.tanh), y))
        return jax.jvp(gradient, (model,), (v,))[1]

    return Function(hvp, (mlp_of(arrays), mlp_of(arrays, "v."), jnp.array(arrays["x"]), jnp.array(arrays["y"])), named)


def w7(arrays):
    loss = lambda model, x, y: cross_entropy(mlp(model, x, jax.nn.relu), y)
    each = jax.vmap(jax.grad(loss), (None, 0, 0))
    return Function(each, (mlp_of(arrays), jnp.array(arrays["x"]), jnp.array(arrays["y"])), named)


def w8(arrays):
    jacobian = lambda model, x: jax.jacrev(lambda z: mlp(model, z, jnp.tanh))(x)
    return Function(jacobian, (mlp_of(arrays), jnp.array(arrays["x"])), lambda result: {"jacobian": result})


def w10(arrays):
    def chain(z):
        for _ in range(4):
            z = jnp.exp(-((jnp.tanh(z) * 1.1 + 0.3) ** 2))
        return z.sum()

    return Function(jax.value_and_grad(chain), (jnp.array(arrays["x"]),), lambda result: {"value": result[0], "gradient": result[1]})


def w11(arrays):
    arguments = (jnp.array(arrays["a"]), jnp.array(arrays["b"]))
    return Function(lambda a, b: a @ b, arguments, lambda result: {"product": result})


protocol.serve(jax.__version__, {"W1": w1, "W5": w5, "W6": w6, "W7": w7, "W8": w8, "W10": w10, "W10-fused": w10, "W11": w11})
