//! What gradient descent teaches networks: in-context learning as gradient descent
