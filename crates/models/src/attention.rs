use gradus_autodiff::{Attention, AttentionMask, Params, Scalar, Tensor};

use crate::build::Build;
use crate::{Linear, Rotary};

/// Keys and values that attention has seen, `[batch, key heads, tokens, head width]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue<T: Scalar = f32> {
    /// The keys, turned by rotary positions if there are any.
    pub key: Tensor<T>,
    /// The values.
    pub value: Tensor<T>,
}

/// Multi-head attention (Vaswani et al. 2017, section 3.2.2), also with fewer heads of keys and values than of queries
/// (Ainslie et al. 2023). Names and layouts are those of PyTorch's `MultiheadAttention`.
///
/// ```
/// use gradus_autodiff::{AttentionMask, Tensor};
/// use gradus_models::MultiHeadAttention;
///
/// let attention: MultiHeadAttention = MultiHeadAttention::new(8, 2, &mut gradus_base::stream(1, "attention", 0));
/// let tokens = Tensor::ones(&[1, 3, 8]);
/// assert_eq!(attention.call(&tokens, AttentionMask::Causal).shape(), [1, 3, 8]);
/// ```
#[derive(Clone, Debug, PartialEq, Params)]
pub struct MultiHeadAttention<T: Scalar = f32> {
    /// The maps to queries, keys and values, one below the other: `[(heads + 2 key heads) · head width, width]`.
    pub in_proj_weight: Tensor<T>,
    /// What is added to queries, keys and values.
    pub in_proj_bias: Option<Tensor<T>>,
    /// From the heads' outputs, side by side, to the width.
    pub out_proj: Linear<T>,
    /// Heads of queries.
    #[params(skip)]
    pub heads: usize,
    /// Heads of keys and values; divides the number of heads.
    #[params(skip)]
    pub key_value_heads: usize,
    /// How queries and keys are turned by their places, if they are.
    #[params(skip)]
    pub rotary: Option<Rotary>,
}

/// The sizes of a [`MultiHeadAttention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttentionSizes {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) bias: bool,
}

impl<T: Scalar> MultiHeadAttention<T> {
    /// Heads that share the width among them, with PyTorch's initial values: Glorot's for the first map, zero biases.
    ///
    /// # Panics
    /// Unless `heads` divides `width`.
    #[track_caller]
    pub fn new(width: usize, heads: usize, rng: &mut impl rand::Rng) -> Self {
        assert!(heads > 0 && width.is_multiple_of(heads), "MultiHeadAttention: {heads} heads do not share a width of {width}");
        let mut out_proj = Linear::new(width, width, rng);
        out_proj.bias = Some(Tensor::zeros(&[width]));
        let in_proj_weight = crate::init::glorot_uniform(&[3 * width, width], rng);
        let in_proj_bias = Some(Tensor::zeros(&[3 * width]));
        Self { in_proj_weight, in_proj_bias, out_proj, heads, key_value_heads: heads, rotary: None }
    }

    pub(crate) fn build(sizes: AttentionSizes, rotary: Option<Rotary>, mut build: Build<'_, T>) -> Self {
        let AttentionSizes { width, heads, key_value_heads, head_width, bias } = sizes;
        let rows = (heads + 2 * key_value_heads) * head_width;
        let in_proj_weight = build.tensor("in_proj_weight", &[rows, width]);
        let in_proj_bias = bias.then(|| build.tensor("in_proj_bias", &[rows]));
        let out_proj = Linear::build(heads * head_width, width, bias, build.at("out_proj"));
        Self { in_proj_weight, in_proj_bias, out_proj, heads, key_value_heads, rotary }
    }

    /// Tokens `[batch, n, width]` to the same shape: each attends to those that the mask lets it see.
    #[track_caller]
    pub fn call(&self, tokens: &Tensor<T>, mask: AttentionMask<'_, T>) -> Tensor<T> {
        if self.rotary.is_some() {
            return self.call_after(tokens, mask, None).0;
        }
        let projected = tokens.linear(&self.in_proj_weight, self.in_proj_bias.as_ref());
        let options = Attention { mask, ..Attention::default() };
        self.out_proj.call(&projected.packed_attention(self.heads, self.key_value_heads, &options))
    }

    /// [`MultiHeadAttention::call`] for tokens that follow others, whose keys and values are given: they are seen too, and
    /// returned together with those of the new tokens.
    #[track_caller]
    pub fn call_after(&self, tokens: &Tensor<T>, mask: AttentionMask<'_, T>, past: Option<&KeyValue<T>>) -> (Tensor<T>, KeyValue<T>) {
        let projected = tokens.linear(&self.in_proj_weight, self.in_proj_bias.as_ref());
        let first = past.map_or(0, |past| past.key.shape()[2]);
        let turned = |x: Tensor<T>| self.rotary.as_ref().map_or(x.clone(), |rotary| rotary.call(&x, first));
        let query = turned(self.split(&projected, 0, self.heads));
        let key = turned(self.split(&projected, self.heads, self.key_value_heads));
        let value = self.split(&projected, self.heads + self.key_value_heads, self.key_value_heads);
        let all = match past {
            Some(past) => {
                KeyValue { key: Tensor::concat(&[past.key.clone(), key], 2), value: Tensor::concat(&[past.value.clone(), value], 2) }
            }
            None => KeyValue { key, value },
        };
        (self.mix(&query, &all, mask), all)
    }

    /// Tokens `[batch, n, width]` that attend to the `memory` `[batch, m, width]` instead of to each other; rotary positions
    /// are not applied.
    #[track_caller]
    pub fn cross(&self, tokens: &Tensor<T>, memory: &Tensor<T>, mask: AttentionMask<'_, T>) -> Tensor<T> {
        let rows = self.heads * self.head_width();
        let rest = self.in_proj_weight.shape()[0] - rows;
        let project = |x: &Tensor<T>, first, count| {
            let bias = self.in_proj_bias.as_ref().map(|bias| bias.narrow(0, first, count));
            x.linear(&self.in_proj_weight.narrow(0, first, count), bias.as_ref())
        };
        let query = self.split(&project(tokens, 0, rows), 0, self.heads);
        let projected = project(memory, rows, rest);
        let key = self.split(&projected, 0, self.key_value_heads);
        let value = self.split(&projected, self.key_value_heads, self.key_value_heads);
        self.mix(&query, &KeyValue { key, value }, mask)
    }

    /// The length of one head's queries, keys and values.
    pub fn head_width(&self) -> usize {
        self.in_proj_weight.shape()[0] / (self.heads + 2 * self.key_value_heads).max(1)
    }

    /// Some of the heads side by side in `[batch, n, ..]`, as `[batch, heads, n, head width]`.
    #[track_caller]
    fn split(&self, projected: &Tensor<T>, first: usize, heads: usize) -> Tensor<T> {
        let &[batch, n, _] = projected.shape() else { panic!("attention: tokens of shape {:?}, not [batch, n, width]", projected.shape()) };
        let width = self.head_width();
        let part = projected.narrow(-1, first * width, heads * width);
        part.reshape(&[batch, n, heads, width]).permute(&[0, 2, 1, 3])
    }

    #[track_caller]
    fn mix(&self, query: &Tensor<T>, seen: &KeyValue<T>, mask: AttentionMask<'_, T>) -> Tensor<T> {
        let mixed = query.scaled_dot_product_attention(&seen.key, &seen.value, &Attention { mask, ..Attention::default() });
        let [batch, n] = [query.shape()[0], query.shape()[2]];
        self.out_proj.call(&mixed.permute(&[0, 2, 1, 3]).reshape(&[batch, n, self.heads * self.head_width()]))
    }
}

/// The matrices of one head of linear attention. They act on tokens as columns.
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
