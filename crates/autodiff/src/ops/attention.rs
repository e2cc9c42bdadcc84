//! Scaled dot-product attention (Vaswani et al. 2017, equation 1).

use super::arithmetic::or_panic;
use crate::kernels::attention as kernel;
use crate::node::{Cx, Rule};
use crate::{Scalar, Shape, Tensor, TensorError};

#[cfg(test)]
mod tests;

/// Options of [`Tensor::scaled_dot_product_attention`]; by default no mask, and the usual scale.
#[derive(Debug, Clone)]
pub struct Attention<'a, T: Scalar = f32> {
    /// Which keys a query sees.
    pub mask: AttentionMask<'a, T>,
    /// The factor of `query · key`; `None` is `1 / √d`.
    pub scale: Option<T>,
}

impl<T: Scalar> Default for Attention<'_, T> {
    fn default() -> Self {
        Self { mask: AttentionMask::None, scale: None }
    }
}

/// Which keys a query sees.
#[derive(Debug, Clone, Default)]
pub enum AttentionMask<'a, T: Scalar = f32> {
    /// All.
    #[default]
    None,
    /// The last query sees all keys, and each query before it one less: with as many keys as queries, the keys up to its
    /// own place; with more, those that were there before too (a cache of keys and values).
    Causal,
    /// This tensor, broadcast to `[.., heads, n, m]`, is added to the scaled scores; a key at minus infinity is not seen.
    /// The gradient of the mask, where one is asked for, is computed by recorded operations, in blocks of queries.
    Additive(&'a Tensor<T>),
}

/// Scores of a block of queries in the recorded form of the gradient.
const BLOCK: usize = if cfg!(test) { 24 } else { 1 << 20 };

#[derive(Clone, Copy)]
struct Sizes<T> {
    /// `[.., heads, n, m]`.
    scores: Shape,
    /// Examples × key heads, and query heads of each key head.
    groups: usize,
    repeats: usize,
    depth: usize,
    width: usize,
    scale: T,
    causal: bool,
}

struct Rows<T: Scalar> {
    sizes: Sizes<T>,
    query: Tensor<T>,
    key: Tensor<T>,
    value: Tensor<T>,
    mask: Option<Tensor<T>>,
    output: Tensor<T>,
    logsumexp: Tensor<T>,
}

impl<T: Scalar> Sizes<T> {
    /// Heads × queries of each key head, queries, keys.
    fn lengths(&self) -> [usize; 2] {
        let rank = self.scores.len();
        [self.scores[rank - 2], self.scores[rank - 1]]
    }

    fn kernel<'a>(&self, [query, key, value]: [&'a Tensor<T>; 3], mask: Option<&'a Tensor<T>>) -> kernel::Attention<'a, T> {
        let [queries, keys] = self.lengths();
        let mask = mask.map(|mask| kernel::Mask {
            values: mask.as_slice(),
            scores: self.scores,
            strides: mask.shape_ref().strides_for(&self.scores),
        });
        kernel::Attention {
            groups: self.groups,
            rows: self.repeats * queries,
            queries,
            keys,
            depth: self.depth,
            width: self.width,
            scale: self.scale,
            causal: self.causal,
            mask,
            query: query.as_slice(),
            key: key.as_slice(),
            value: value.as_slice(),
        }
    }
}

impl<T: Scalar> Rule<T> for Rows<T> {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if !cx.is_plain(&g) || cx.wants(3) {
            return self.backward_recorded(&g, cx);
        }
        let kernel = self.sizes.kernel([&self.query, &self.key, &self.value], self.mask.as_ref());
        let found = kernel.backward(g.as_slice(), self.output.as_slice(), self.logsumexp.as_slice());
        for (i, (values, of)) in found.into_iter().zip([&self.query, &self.key, &self.value]).enumerate() {
            if cx.wants(i) {
                cx.add(i, Tensor::raw(values, *of.shape_ref()));
            }
        }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        match &self.mask {
            Some(mask) if parent == 3 => {
                let all = &self.sizes.scores;
                all.len() > 2 && mask.rank() == all.len() && mask.shape()[0] == all[0] && all[0].is_multiple_of(batch)
            }
            _ => self.sizes.groups.is_multiple_of(batch),
        }
    }
}

impl<T: Scalar> Rows<T> {
    /// The gradients by recorded operations, a block of queries at a time: with probabilities `p` and their gradient
    /// `dp = g vᵀ`, that of the scores is `p (dp - Σ p dp)`.
    fn backward_recorded(&self, g: &Tensor<T>, cx: &mut Cx<'_, T>) {
        let Sizes { scores, groups, repeats, depth, width, scale, causal } = self.sizes;
        let [n, m] = self.sizes.lengths();
        let query = cx.get(&self.query).reshape(&[groups, repeats, n, depth]);
        let key = cx.get(&self.key).reshape(&[groups, m, depth]);
        let value = cx.get(&self.value).reshape(&[groups, m, width]);
        let g = g.reshape(&[groups, repeats, n, width]);
        let mask = self.mask.as_ref().map(|mask| cx.get(mask));
        let size = (BLOCK / (groups * repeats * m).max(1)).clamp(1, n.max(1));
        let mut queries = Vec::new();
        let mut keys = key.zeros_like();
        let mut values = value.zeros_like();
        let mut masks = Vec::new();
        for first in (0..n).step_by(size) {
            let count = size.min(n - first);
            let seen = if causal { (first + count + m).saturating_sub(n).min(m) } else { m };
            let rows = repeats * count;
            let block = |x: &Tensor<T>, size: usize| x.narrow(2, first, count).reshape(&[groups, rows, size]);
            let (query, g) = (block(&query, depth), block(&g, width));
            let (key, value) = (key.narrow(1, 0, seen), value.narrow(1, 0, seen));
            let mut shape = scores;
            shape.set(scores.len() - 2, count);
            shape.set(scores.len() - 1, seen);
            let mask = mask.as_ref().map(|mask| rows_of(mask, first, count));
            let p = self.probabilities(&query.batched(&key, false, true).affine(scale, T::ZERO), shape, mask.as_ref(), first);
            let dp = g.batched(&value, false, true);
            let ds = &p * (&dp - (&p * &dp).sum_keep(-1));
            let after = m - seen;
            values = values + p.batched(&g, true, false).pad(1, 0, after);
            if let Some(mask) = mask.as_ref().filter(|_| cx.wants(3)) {
                masks.push(ds.reshape(&shape).sum_to(mask.shape()));
            }
            let ds = ds.affine(scale, T::ZERO);
            keys = keys + ds.batched(&query, true, false).pad(1, 0, after);
            queries.push(ds.batched(&key, false, false).reshape(&[groups, repeats, count, depth]));
        }
        if cx.wants(0) {
            let gradient = if queries.is_empty() { self.query.zeros_like() } else { Tensor::concat(&queries, 2) };
            cx.add(0, gradient.reshape(self.query.shape()));
        }
        if cx.wants(1) {
            cx.add(1, keys.reshape(self.key.shape()));
        }
        if cx.wants(2) {
            cx.add(2, values.reshape(self.value.shape()));
        }
        if let Some(mask) = self.mask.as_ref().filter(|_| cx.wants(3)) {
            let repeated = mask.rank() < 2 || mask.shape()[mask.rank() - 2] != n;
            cx.add(
                3,
                match masks.is_empty() {
                    true => mask.zeros_like(),
                    false if repeated => masks.into_iter().fold(mask.zeros_like(), |sum, part| sum + part),
                    false => Tensor::concat(&masks, -2),
                },
            );
        }
    }

    /// The probabilities of a block of queries from `first` on: 0 for keys that are not seen, and all 0 where none is.
    fn probabilities(&self, scores: &Tensor<T>, shape: Shape, mask: Option<&Tensor<T>>, first: usize) -> Tensor<T> {
        let [n, m] = self.sizes.lengths();
        let (visible, added) = match mask {
            Some(mask) => {
                let visible = mask.constant_map(|x| if x == T::NEG_INFINITY { T::ZERO } else { T::ONE });
                (visible.clone(), scores.reshape(&shape) + visible.where_(mask, &Tensor::scalar(T::ZERO)))
            }
            None if self.sizes.causal => {
                let (count, seen) = (shape[shape.len() - 2], shape[shape.len() - 1]);
                let sees = |i: usize| first + i / seen + m >= n + i % seen;
                let visible = Tensor::from_fn(&[count, seen], |i| if sees(i) { T::ONE } else { T::ZERO });
                (visible, scores.reshape(&shape))
            }
            None => return scores.softmax(),
        };
        // Lower than any score of a key that is seen, which a mask may have made as low as it likes. A row that sees nothing
        // has no finite maximum to subtract: it gets probabilities from zeros, which are then made 0.
        let seen = if visible.rank() == 0 { visible.clone() } else { visible.sum_keep(-1) };
        let unseen = seen.constant_map(|seen| if seen == T::ZERO { T::ZERO } else { T::NEG_INFINITY });
        let p = visible.where_(&added, &unseen).softmax() * visible;
        p.reshape(scores.shape())
    }
}

/// Rows `first..first + count` of the queries' axis of a mask, which may be missing or repeated.
fn rows_of<T: Scalar>(mask: &Tensor<T>, first: usize, count: usize) -> Tensor<T> {
    let single = mask.rank() < 2 || mask.shape()[mask.rank() - 2] == 1;
    if single { mask.clone() } else { mask.narrow(-2, first, count) }
}

impl<T: Scalar> Tensor<T> {
    /// Attention of queries, this tensor `[.., heads, n, d]`, over keys `[.., key heads, m, d]` and values
    /// `[.., key heads, m, e]`: `softmax(scale · query · keyᵀ + mask) · value`, `[.., heads, n, e]`. Where there are fewer
    /// key heads than heads, each serves as many consecutive heads (grouped queries, Ainslie et al. 2023); nothing is
    /// repeated in memory. Without leading axes, there is one head.
    ///
    /// A query that sees no key has an output of zeros and passes no gradient.
    ///
    /// Scores exist a tile at a time: memory grows with `n + m` and not with `n · m`, in the forward and the backward pass,
    /// and what a causal mask hides is skipped. Derivatives of higher order, forward mode and the gradient of a mask keep
    /// scores: a derivative of the gradient holds those of all queries.
    ///
    /// ```
    /// use gradus_autodiff::{Attention, AttentionMask, Tensor};
    /// let x: Tensor = Tensor::from_vec(vec![1.0, 0.0, 0.0, 1.0], &[1, 1, 2, 2])?;
    /// let causal = Attention { mask: AttentionMask::Causal, ..Default::default() };
    /// let y = x.scaled_dot_product_attention(&x, &x, &causal);
    /// assert_eq!(y.as_slice()[..2], [1.0, 0.0]); // the first token sees itself alone
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_scaled_dot_product_attention`] returns the error instead.
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, key: &Self, value: &Self, options: &Attention<'_, T>) -> Self {
        or_panic(self.try_scaled_dot_product_attention(key, value, options))
    }

    /// [`Tensor::scaled_dot_product_attention`], or the shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`] for keys that do not fit the queries, values that do not fit the keys, or a mask that does
    /// not broadcast to the scores; [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_scaled_dot_product_attention(&self, key: &Self, value: &Self, options: &Attention<'_, T>) -> Result<Self, TensorError> {
        let mask = match options.mask {
            AttentionMask::Additive(mask) => Some(mask),
            AttentionMask::None | AttentionMask::Causal => None,
        };
        let sizes = sizes(self, key, value, options)?;
        let shape = Shape::new(&[&self.shape()[..self.rank() - 1], &[sizes.width]].concat())?;
        let [output, logsumexp] = sizes.kernel([self, key, value], mask).forward();
        let logsumexp = Tensor::raw(logsumexp, crate::tensor::checked(&[shape[..shape.len() - 1].iter().product()]));
        let output = Tensor::raw(output, shape);
        let parents = [Some(self), Some(key), Some(value), mask];
        let parents = parents.into_iter().map(|x| x.and_then(|x| x.node().cloned())).collect();
        let saved = output.clone();
        Ok(output.record_many(parents, || Rows {
            sizes,
            query: self.clone(),
            key: key.clone(),
            value: value.clone(),
            mask: mask.cloned(),
            output: saved,
            logsumexp,
        }))
    }
}

fn sizes<T: Scalar>(query: &Tensor<T>, key: &Tensor<T>, value: &Tensor<T>, options: &Attention<'_, T>) -> Result<Sizes<T>, TensorError> {
    let mismatch = |left: &[usize], right: &[usize]| TensorError::Mismatch {
        operation: "scaled_dot_product_attention",
        left: left.to_vec(),
        right: right.to_vec(),
    };
    let (q, k, v) = (query.shape(), key.shape(), value.shape());
    let rank = q.len();
    if rank < 2 || k.len() != rank || k[rank - 1] != q[rank - 1] {
        return Err(mismatch(q, k));
    }
    let examples = rank.saturating_sub(3);
    let heads = |shape: &[usize]| if rank > 2 { shape[rank - 3] } else { 1 };
    let grouped = if heads(k) == 0 { heads(q) == 0 } else { heads(q).is_multiple_of(heads(k)) };
    if k[..examples] != q[..examples] || !grouped {
        return Err(mismatch(q, k));
    }
    if v.len() != rank || v[..rank - 1] != k[..rank - 1] {
        return Err(mismatch(k, v));
    }
    let scores = Shape::new(&[&q[..rank - 1], &k[rank - 2..rank - 1]].concat())?;
    if let AttentionMask::Additive(mask) = options.mask
        && mask.shape_ref().broadcast(&scores) != Some(scores)
    {
        return Err(mismatch(mask.shape(), &scores));
    }
    let depth = q[rank - 1];
    Ok(Sizes {
        scores,
        groups: k[..rank - 2].iter().product(),
        repeats: heads(q).checked_div(heads(k)).unwrap_or(0),
        depth,
        width: v[rank - 1],
        scale: options.scale.unwrap_or_else(|| T::from_f64(1.0 / (depth.max(1) as f64).sqrt())),
        causal: matches!(options.mask, AttentionMask::Causal),
    })
}
