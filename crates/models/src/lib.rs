//! Layers, architectures, initialisation, losses and the training loop
