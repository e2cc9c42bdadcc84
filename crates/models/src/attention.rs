use gradus_autodiff::{Params, Scalar, Tensor};

/// The matrices of one attention head. They act on tokens as columns.
#[derive(Debug, Clone, PartialEq, Params)]
pub struct AttentionHead<T: Scalar = f32> {
    /// K, `[key size, width]`.
    pub key: Tensor<T>,
    /// Q, `[key size, width]`.
    pub query: Tensor<T>,
    /// V, `[value size, width]`.
    pub value: Tensor<T>,
    /// P, `[width, value size]`.
    pub projection: Tensor<T>,
}

impl<T: Scalar> AttentionHead<T> {
    /// `Kᵀ Q`, `[width, width]`: with `P V` all that a linear head does.
    #[track_caller]
    pub fn key_query(&self) -> Tensor<T> {
        self.key.t().matmul(&self.query)
    }

    /// `P V`, `[width, width]`.
    #[track_caller]
    pub fn projection_value(&self) -> Tensor<T> {
        self.projection.matmul(&self.value)
    }

    /// `Kᵀ Q e_j` as rows for `tokens` `[.., width]`: its product with `e_i` is that of key i with query j.
    #[track_caller]
    pub fn directions(&self, tokens: &Tensor<T>) -> Tensor<T> {
        tokens.matmul(&self.query.t().matmul(&self.key))
    }
}

/// `Σ_h P_h Σ_i V_h e_i (K_h e_i · Q_h e_j)`: linear attention, without softmax, of `tokens` `[batch, n, width]` over the
/// tokens e_i of `context` `[batch, m, width]`. `Σ_i e_i e_iᵀ` is formed first where that is cheaper, so that n tokens
/// cost O((n + m) width²) and never O(n m).
///
/// ```
/// use gradus_autodiff::Tensor;
/// use gradus_models::{AttentionHead, linear_attention};
///
/// let head = AttentionHead { key: Tensor::eye(1), query: Tensor::eye(1), value: Tensor::eye(1), projection: Tensor::eye(1) };
/// let tokens: Tensor = Tensor::from_vec(vec![1.0, 2.0, 3.0], &[1, 3, 1])?;
/// // Σ e_i² e_j with Σ e_i² = 14
/// assert_eq!(linear_attention(&[head], &tokens, &tokens).to_vec(), [14.0, 28.0, 42.0]);
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
#[track_caller]
pub fn linear_attention<T: Scalar>(heads: &[AttentionHead<T>], context: &Tensor<T>, tokens: &Tensor<T>) -> Tensor<T> {
    let &[batch, n, width] = tokens.shape() else {
        panic!("linear_attention: tokens of shape {:?}, not [batch, n, width]", tokens.shape())
    };
    let moment = (n > 1).then(|| context.t().matmul(context));
    let update = |head: &AttentionHead<T>| {
        let directions = head.directions(tokens);
        let sums = match &moment {
            Some(moment) => directions.matmul(moment),
            None => {
                // One query: the products with it first. The transpose of one row needs no copy.
                let products = context.matmul(&directions.reshape(&[batch, width, n]));
                products.reshape(&[batch, n, context.shape()[1]]).matmul(context)
            }
        };
        sums.matmul(&head.projection_value().t())
    };
    heads.iter().map(update).reduce(|a, b| a + b).unwrap_or_else(|| tokens.zeros_like())
}

/// A layer of linear self-attention with a residual: `e_j ← e_j + Σ_h P_h Σ_i V_h e_i (K_h e_i · Q_h e_j)`, without bias,
/// mask or normalisation (von Oswald et al. 2023, equation 3).
#[derive(Debug, Clone, PartialEq, Params)]
pub struct LinearSelfAttention<T: Scalar = f32> {
    /// The heads.
    pub heads: Vec<AttentionHead<T>>,
}

impl<T: Scalar> LinearSelfAttention<T> {
    /// Heads of the given key and value size with normal weights of variance 1 / fan-in.
    #[track_caller]
    pub fn new(width: usize, heads: usize, key_size: usize, rng: &mut impl rand::Rng) -> Self {
        let mut draw = |rows: usize, columns: usize| crate::init::normal(&[rows, columns], 1.0 / (columns.max(1) as f64).sqrt(), rng);
        let mut head = || AttentionHead {
            key: draw(key_size, width),
            query: draw(key_size, width),
            value: draw(key_size, width),
            projection: draw(width, key_size),
        };
        Self { heads: (0..heads).map(|_| head()).collect() }
    }

    /// Tokens `[batch, n, width]` to the same shape; every token attends to every token.
    #[track_caller]
    pub fn call(&self, tokens: &Tensor<T>) -> Tensor<T> {
        tokens + &linear_attention(&self.heads, tokens, tokens)
    }
}
