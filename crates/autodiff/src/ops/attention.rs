//! Scaled dot-product attention (Vaswani et al. 2017, equation 1).

use super::arithmetic::or_panic;
use crate::kernels::attention::{self as kernel, Heads, Places};
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

impl<'a, T: Scalar> Attention<'a, T> {
    fn additive(&self) -> Option<&'a Tensor<T>> {
        match self.mask {
            AttentionMask::Additive(mask) => Some(mask),
            AttentionMask::None | AttentionMask::Causal => None,
        }
    }
    fn is_causal(&self) -> bool {
        matches!(self.mask, AttentionMask::Causal)
    }
    fn scale_of(&self, depth: usize) -> T {
        self.scale.unwrap_or_else(|| T::from_f64(1.0 / (depth.max(1) as f64).sqrt()))
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
    examples: usize,
    key_heads: usize,
    /// Query heads of each key head.
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

    fn kernel<'a>(&self, [query, key, value]: [Heads<'a, T>; 3], mask: Option<&'a Tensor<T>>) -> kernel::Attention<'a, T> {
        let [queries, keys] = self.lengths();
        let mask = mask.map(|mask| kernel::Mask {
            values: mask.as_slice(),
            scores: self.scores,
            strides: mask.shape_ref().strides_for(&self.scores),
        });
        let Sizes { examples, key_heads, repeats, depth, width, scale, causal, .. } = *self;
        kernel::Attention { examples, key_heads, repeats, queries, keys, depth, width, scale, causal, mask, query, key, value }
    }

    /// A tensor `[.., heads, rows, size]`, as the kernel reads it.
    fn head_by_head<'a>(&self, x: &'a Tensor<T>, repeats: usize) -> Heads<'a, T> {
        let (rows, size) = match x.shape() {
            [.., rows, size] => (*rows, *size),
            _ => (0, 0),
        };
        Heads { values: x.as_slice(), places: Places::head_by_head(self.key_heads * repeats, rows, size) }
    }

    /// Queries, keys and values that are tensors of their own.
    fn apart<'a>(&self, [query, key, value]: [&'a Tensor<T>; 3]) -> [Heads<'a, T>; 3] {
        [self.head_by_head(query, self.repeats), self.head_by_head(key, 1), self.head_by_head(value, 1)]
    }

    /// Queries, keys and values side by side in the rows of one tensor, head by head.
    fn packed<'a>(&self, x: &'a Tensor<T>) -> [Heads<'a, T>; 3] {
        let (heads, [n, _], size) = (self.key_heads * self.repeats, self.lengths(), self.depth);
        let row = (heads + 2 * self.key_heads) * size;
        let part = |first: usize| Heads { values: x.as_slice(), places: Places { first: first * size, example: n * row, head: size, row } };
        [part(0), part(heads), part(heads + self.key_heads)]
    }

    /// Outputs side by side in the rows of a tensor, head by head.
    fn side_by_side(&self) -> Places {
        let row = self.key_heads * self.repeats * self.width;
        Places { first: 0, example: self.lengths()[0] * row, head: self.width, row }
    }

    /// Whether row chunk `b` of the output depends on chunk `b` alone of the mask.
    fn mask_keeps_examples(&self, mask: &Tensor<T>, batch: usize) -> bool {
        let all = &self.scores;
        all.len() > 2 && mask.rank() == all.len() && mask.shape()[0] == all[0] && all[0].is_multiple_of(batch)
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
        let sizes = &self.sizes;
        let kernel = sizes.kernel(sizes.apart([&self.query, &self.key, &self.value]), self.mask.as_ref());
        let [g, output] = [&g, &self.output].map(|x| sizes.head_by_head(x, sizes.repeats));
        let found = kernel.backward(g, output, self.logsumexp.as_slice());
        for (i, (values, of)) in found.into_iter().zip([&self.query, &self.key, &self.value]).enumerate() {
            if cx.wants(i) {
                cx.add(i, Tensor::raw(values, *of.shape_ref()));
            }
        }
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        match &self.mask {
            Some(mask) if parent == 3 => self.sizes.mask_keeps_examples(mask, batch),
            _ => (self.sizes.examples * self.sizes.key_heads).is_multiple_of(batch),
        }
    }
}

impl<T: Scalar> Rows<T> {
    fn backward_recorded(&self, g: &Tensor<T>, cx: &mut Cx<'_, T>) {
        let operands = [&self.query, &self.key, &self.value].map(|x| cx.get(x));
        let mask = self.mask.as_ref().map(|mask| cx.get(mask));
        let (found, of_mask) = self.sizes.gradients([&operands[0], &operands[1], &operands[2]], mask.as_ref(), g, cx.wants(3));
        for (i, (gradient, of)) in found.into_iter().zip([&self.query, &self.key, &self.value]).enumerate() {
            if cx.wants(i) {
                cx.add(i, gradient.reshape(of.shape()));
            }
        }
        of_mask.into_iter().for_each(|gradient| cx.add(3, gradient));
    }
}

/// As [`Rows`], of queries, keys and values that lie side by side in the rows of one tensor.
struct PackedRows<T: Scalar> {
    sizes: Sizes<T>,
    packed: Tensor<T>,
    mask: Option<Tensor<T>>,
    output: Tensor<T>,
    logsumexp: Tensor<T>,
}

impl<T: Scalar> Rule<T> for PackedRows<T> {
    fn name(&self) -> &'static str {
        "packed_attention"
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        if !cx.is_plain(&g) || cx.wants(1) {
            return self.backward_recorded(&g, cx);
        }
        let kernel = self.sizes.kernel(self.sizes.packed(&self.packed), self.mask.as_ref());
        let [g, output] = [&g, &self.output].map(|x| Heads { values: x.as_slice(), places: self.sizes.side_by_side() });
        let gradient = kernel.backward_packed(g, output, self.logsumexp.as_slice());
        cx.add(0, Tensor::raw(gradient, *self.packed.shape_ref()));
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        match &self.mask {
            Some(mask) if parent == 1 => self.sizes.mask_keeps_examples(mask, batch),
            _ => self.sizes.examples.is_multiple_of(batch),
        }
    }
}

impl<T: Scalar> PackedRows<T> {
    fn backward_recorded(&self, g: &Tensor<T>, cx: &mut Cx<'_, T>) {
        let Sizes { examples, key_heads, repeats, depth, .. } = self.sizes;
        let ([n, _], heads) = (self.sizes.lengths(), key_heads * repeats);
        let apart = |x: &Tensor<T>, first: usize, count: usize| {
            let rows = x.reshape(&[examples, n, heads + 2 * key_heads, depth]);
            rows.narrow(2, first, count).permute(&[0, 2, 1, 3])
        };
        let packed = cx.get(&self.packed);
        let [query, key, value] =
            [(0, heads), (heads, key_heads), (heads + key_heads, key_heads)].map(|(first, count)| apart(&packed, first, count));
        let mask = self.mask.as_ref().map(|mask| cx.get(mask));
        let g = g.reshape(&[examples, n, heads, depth]).permute(&[0, 2, 1, 3]);
        let (found, of_mask) = self.sizes.gradients([&query, &key, &value], mask.as_ref(), &g, cx.wants(1));
        if cx.wants(0) {
            let rows = |(x, heads): (Tensor<T>, usize)| x.reshape(&[examples, heads, n, depth]).permute(&[0, 2, 1, 3]);
            let [query, key, value] = found;
            let parts = [(query, heads), (key, key_heads), (value, key_heads)].map(rows);
            cx.add(0, Tensor::concat(&parts, 2).reshape(self.packed.shape()));
        }
        of_mask.into_iter().for_each(|gradient| cx.add(1, gradient));
    }
}

impl<T: Scalar> Sizes<T> {
    /// The gradients of queries, keys and values, with the axes `[groups, .., rows, size]`, and of the mask if it is wanted, by
    /// recorded operations, a block of queries at a time: with probabilities `p` and their gradient `dp = g vᵀ`, that of the
    /// scores is `p (dp - Σ p dp)`.
    fn gradients(
        &self,
        [query, key, value]: [&Tensor<T>; 3],
        mask: Option<&Tensor<T>>,
        g: &Tensor<T>,
        wants_mask: bool,
    ) -> ([Tensor<T>; 3], Option<Tensor<T>>) {
        let Sizes { scores, examples, key_heads, repeats, depth, width, scale, causal } = *self;
        let (groups, [n, m]) = (examples * key_heads, self.lengths());
        let query = query.reshape(&[groups, repeats, n, depth]);
        let key = key.reshape(&[groups, m, depth]);
        let value = value.reshape(&[groups, m, width]);
        let g = g.reshape(&[groups, repeats, n, width]);
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
            let mask = mask.map(|mask| rows_of(mask, first, count));
            let p = self.probabilities(&query.batched(&key, false, true).affine(scale, T::ZERO), shape, mask.as_ref(), first);
            let dp = g.batched(&value, false, true);
            let ds = &p * (&dp - (&p * &dp).sum_keep(-1));
            let after = m - seen;
            values = values + p.batched(&g, true, false).pad(1, 0, after);
            if let Some(mask) = mask.as_ref().filter(|_| wants_mask) {
                masks.push(ds.reshape(&shape).sum_to(mask.shape()));
            }
            let ds = ds.affine(scale, T::ZERO);
            keys = keys + ds.batched(&query, true, false).pad(1, 0, after);
            queries.push(ds.batched(&key, false, false).reshape(&[groups, repeats, count, depth]));
        }
        let queries = if queries.is_empty() { query.zeros_like() } else { Tensor::concat(&queries, 2) };
        let of_mask = mask.filter(|_| wants_mask).map(|mask| {
            let repeated = mask.rank() < 2 || mask.shape()[mask.rank() - 2] != n;
            match masks.is_empty() {
                true => mask.zeros_like(),
                false if repeated => masks.into_iter().fold(mask.zeros_like(), |sum, part| sum + part),
                false => Tensor::concat(&masks, -2),
            }
        });
        ([queries, keys, values], of_mask)
    }

    /// The probabilities of a block of queries from `first` on: 0 for keys that are not seen, and all 0 where none is.
    fn probabilities(&self, scores: &Tensor<T>, shape: Shape, mask: Option<&Tensor<T>>, first: usize) -> Tensor<T> {
        let [n, m] = self.lengths();
        let (visible, added) = match mask {
            Some(mask) => {
                let visible = mask.constant_map(|x| if x == T::NEG_INFINITY { T::ZERO } else { T::ONE });
                (visible.clone(), scores.reshape(&shape) + visible.where_(mask, &Tensor::scalar(T::ZERO)))
            }
            None if self.causal => {
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
        let mask = options.additive();
        let sizes = sizes(self, key, value, options)?;
        let shape = Shape::new(&[&self.shape()[..self.rank() - 1], &[sizes.width]].concat())?;
        let places = Places::head_by_head(sizes.key_heads * sizes.repeats, sizes.lengths()[0], sizes.width);
        let [output, logsumexp] = sizes.kernel(sizes.apart([self, key, value]), mask).forward(places);
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

    /// Attention among the rows of this tensor `[.., n, (heads + 2 key_heads) · d]`, in each of which lie the queries of all
    /// heads, then the keys and then the values: what one product with a joint matrix gives. The result `[.., n, heads · d]` has
    /// the outputs of the heads side by side. It is that of [`Tensor::scaled_dot_product_attention`], whose leading axes a mask
    /// sees, `[.., heads, n, n]`, without copies of queries, keys and values and their gradients in another order.
    ///
    /// ```
    /// use gradus_autodiff::{Attention, AttentionMask, Tensor};
    /// // One head of length 1: the query, key and value of two tokens.
    /// let x: Tensor = Tensor::from_vec(vec![1.0, 0.0, 2.0, 1.0, 0.0, 4.0], &[2, 3])?;
    /// assert_eq!(x.packed_attention(1, 1, &Attention::default()).to_vec(), [3.0, 3.0]);
    /// let causal = Attention { mask: AttentionMask::Causal, ..Default::default() };
    /// assert_eq!(x.packed_attention(1, 1, &causal).to_vec(), [2.0, 3.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_packed_attention`] returns the error instead.
    #[track_caller]
    pub fn packed_attention(&self, heads: usize, key_heads: usize, options: &Attention<'_, T>) -> Self {
        or_panic(self.try_packed_attention(heads, key_heads, options))
    }

    /// [`Tensor::packed_attention`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for rows that are no queries, keys and values of so many heads, [`TensorError::Mismatch`] for a
    /// mask that does not broadcast to the scores; [`TensorError::Rank`], [`TensorError::TooLarge`].
    #[track_caller]
    pub fn try_packed_attention(&self, heads: usize, key_heads: usize, options: &Attention<'_, T>) -> Result<Self, TensorError> {
        let operation = "packed_attention";
        let parts = key_heads.checked_mul(2).and_then(|parts| parts.checked_add(heads)).unwrap_or(usize::MAX);
        let ([lead @ .., n, row], true) = (self.shape(), heads > 0 && key_heads > 0 && heads.is_multiple_of(key_heads)) else {
            let what = format!("rows of queries of {heads} heads, and keys and values of {key_heads}, are needed");
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        };
        if !row.is_multiple_of(parts) {
            let what = format!("a row is not {parts} vectors, the queries of {heads} heads and the keys and values of {key_heads}");
            return Err(TensorError::Argument { operation, what, shape: self.shape().to_vec() });
        }
        let depth = row / parts;
        let scores = Shape::new(&[lead, &[heads, *n, *n]].concat())?;
        let mask = options.additive();
        if let Some(mask) = mask.filter(|mask| mask.shape_ref().broadcast(&scores) != Some(scores)) {
            return Err(TensorError::Mismatch { operation, left: mask.shape().to_vec(), right: scores.to_vec() });
        }
        let sizes = Sizes {
            scores,
            examples: lead.iter().product(),
            key_heads,
            repeats: heads / key_heads,
            depth,
            width: depth,
            scale: options.scale_of(depth),
            causal: options.is_causal(),
        };
        let shape = Shape::new(&[lead, &[*n, heads * depth]].concat())?;
        let [output, logsumexp] = sizes.kernel(sizes.packed(self), mask).forward(sizes.side_by_side());
        let logsumexp = Tensor::raw(logsumexp, crate::tensor::checked(&[sizes.examples * heads * n]));
        let output = Tensor::raw(output, shape);
        let saved = output.clone();
        let parents = [self.node().cloned(), mask.and_then(|mask| mask.node().cloned()), None];
        Ok(output.record(parents, || PackedRows { sizes, packed: self.clone(), mask: mask.cloned(), output: saved, logsumexp }))
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
        examples: k[..examples].iter().product(),
        key_heads: heads(k),
        repeats: heads(q).checked_div(heads(k)).unwrap_or(0),
        depth,
        width: v[rank - 1],
        scale: options.scale_of(depth),
        causal: options.is_causal(),
    })
}
