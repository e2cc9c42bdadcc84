//! Tensors with composable derivative transforms: grad, vjp, jvp, hvp, jacobian, per-example gradients
