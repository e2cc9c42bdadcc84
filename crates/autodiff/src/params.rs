//! Models as data: trees of named tensors.

use std::fmt::{Display, Write};

use nalgebra::DVector;

use crate::node::FEW;
use crate::{Scalar, Tensor, TensorError};

/// Where in a model a walk is: the names from the root, joined by dots.
#[derive(Debug, Clone, Default)]
pub struct Path {
    name: String,
    /// Whether the walk has no use for names.
    nameless: bool,
    buffer: bool,
}

impl Path {
    /// For a walk that does not read names: it makes none.
    fn nameless() -> Self {
        Self { nameless: true, ..Self::default() }
    }

    /// Walks a child of this name.
    pub fn child<R>(&mut self, name: impl Display, body: impl FnOnce(&mut Path) -> R) -> R {
        if self.nameless {
            return body(self);
        }
        let length = self.name.len();
        let dot = if length > 0 { "." } else { "" };
        // Writing to a string does not fail, unless the name's own `Display` does: then it is as it is.
        let _ = write!(self.name, "{dot}{name}");
        let result = body(self);
        self.name.truncate(length);
        result
    }

    /// Walks a child that is saved but not differentiated, such as running statistics.
    pub fn buffer<R>(&mut self, name: impl Display, body: impl FnOnce(&mut Path) -> R) -> R {
        let outer = std::mem::replace(&mut self.buffer, true);
        let result = self.child(name, body);
        self.buffer = outer;
        result
    }

    /// The dotted name, as in a checkpoint; empty for a lone tensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the tensor is saved but not differentiated.
    pub fn is_buffer(&self) -> bool {
        self.buffer
    }
}

/// A tree of named tensors. Derive it: `#[derive(Clone, Params)]`. Gradients, optimizer states and perturbations have
/// the same type as the model.
///
/// A field marked `#[params(buffer)]` holds state that belongs to the model but is not trained, such as running statistics:
/// it is named, saved and loaded with the rest ([`Params::named`], [`Params::for_each`]) and set by
/// [`Params::buffers_mut`]. Everything else passes it by: no derivative is taken of it, arithmetic and counts leave it out, and
/// what is made of a model, its gradient included, keeps the model's own buffers.
///
/// ```
/// use gradus_autodiff::{Params, Tensor, grad};
///
/// #[derive(Clone, Params)]
/// struct Centred {
///     slope: Tensor,
///     #[params(buffer)]
///     mean: Tensor,
/// }
///
/// let mut model = Centred { slope: Tensor::scalar(2.0), mean: Tensor::scalar(1.0) };
/// let gradient = grad(|m: &Centred| (Tensor::scalar(4.0) - &m.mean) * &m.slope, &model);
/// assert_eq!((gradient.slope.item(), gradient.mean.item()), (3.0, 1.0));
/// assert_eq!((model.count(), model.named().len()), (1, 2));
/// *model.buffers_mut()[0] = Tensor::scalar(5.0);
/// assert_eq!(model.axpy(-1.0, &gradient).mean.item(), 5.0);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no tensors: it is not `Params`",
    note = "a model is made of `Tensor<f32>` or `Tensor<f64>`, of other models, and of `Option`, `Box`, `Vec`, arrays, tuples and maps of them",
    note = "mark a field that holds anything else with `#[params(skip)]`"
)]
pub trait Params: Clone {
    /// The element type of every tensor.
    type Elem: Scalar;

    /// Visits each tensor in definition order.
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<Self::Elem>));

    /// Visits each tensor in definition order, for changing it.
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<Self::Elem>));

    /// The differentiable tensors.
    fn leaves(&self) -> Vec<&Tensor<Self::Elem>> {
        tensors(self, false)
    }

    /// The differentiable tensors, for changing them.
    fn leaves_mut(&mut self) -> Vec<&mut Tensor<Self::Elem>> {
        tensors_mut(self, false)
    }

    /// The tensors that are saved but not differentiated.
    fn buffers(&self) -> Vec<&Tensor<Self::Elem>> {
        tensors(self, true)
    }

    /// The tensors that are saved but not differentiated, for changing them.
    fn buffers_mut(&mut self) -> Vec<&mut Tensor<Self::Elem>> {
        tensors_mut(self, true)
    }

    /// Every tensor, buffers too, with its name.
    fn named(&self) -> Vec<(String, &Tensor<Self::Elem>)> {
        let mut named = Vec::new();
        self.for_each(&mut Path::default(), &mut |path, x| named.push((path.name().to_owned(), x)));
        named
    }

    /// Each differentiable tensor replaced; buffers are kept.
    fn map(&self, mut f: impl FnMut(&str, &Tensor<Self::Elem>) -> Tensor<Self::Elem>) -> Self {
        let mut mapped = self.clone();
        mapped.for_each_mut(&mut Path::default(), &mut |path, x| {
            if !path.is_buffer() {
                *x = f(path.name(), x);
            }
        });
        mapped
    }

    /// Each pair of differentiable tensors combined.
    ///
    /// # Panics
    /// When `other` has other tensors: another number, or other shapes.
    #[track_caller]
    fn zip_map(&self, other: &Self, mut f: impl FnMut(&Tensor<Self::Elem>, &Tensor<Self::Elem>) -> Tensor<Self::Elem>) -> Self {
        assert_alike("zip_map", self, other);
        let mut others = other.leaves().into_iter();
        map_nameless(self, |x| match others.next() {
            Some(y) => f(&x, y),
            None => x,
        })
    }

    /// Zeros of the same shapes.
    fn zeros_like(&self) -> Self {
        map_nameless(self, |x| x.zeros_like())
    }

    /// Standard normal draws of the same shapes.
    fn normal_like(&self, rng: &mut impl rand::Rng) -> Self {
        self.map(|_, x| {
            Tensor::from_fn(x.shape(), |_| Self::Elem::from_f64(rand_distr::Distribution::sample(&rand_distr::StandardNormal, rng)))
        })
    }

    /// The inner product of two models, a scalar that can be differentiated.
    ///
    /// # Panics
    /// When `other` has other tensors: another number, or other shapes.
    #[track_caller]
    fn dot(&self, other: &Self) -> Tensor<Self::Elem> {
        assert_alike("dot", self, other);
        self.leaves().into_iter().zip(other.leaves()).map(|(a, b)| (a * b).sum()).fold(Tensor::scalar(Self::Elem::ZERO), |sum, x| sum + x)
    }

    /// The Euclidean norm of all tensors together.
    fn norm(&self) -> Tensor<Self::Elem> {
        self.dot(self).sqrt()
    }

    /// `self + scale · other`.
    ///
    /// # Panics
    /// When `other` has other tensors: another number, or other shapes.
    #[track_caller]
    fn axpy(&self, scale: Self::Elem, other: &Self) -> Self {
        self.zip_map(other, |x, y| x + &(y * scale))
    }

    /// Number of differentiable elements.
    fn count(&self) -> usize {
        self.leaves().iter().map(|x| x.count()).sum()
    }

    /// All differentiable elements in order.
    fn flatten(&self) -> DVector<Self::Elem>
    where
        Self::Elem: nalgebra::Scalar,
    {
        let all: Vec<_> = self.leaves().iter().flat_map(|x| x.as_slice().iter().copied()).collect();
        DVector::from_vec(all)
    }

    /// A model of these shapes with the elements of `flat`.
    ///
    /// # Errors
    /// [`TensorError::Argument`] when the lengths differ.
    fn unflatten(&self, flat: &DVector<Self::Elem>) -> Result<Self, TensorError>
    where
        Self::Elem: nalgebra::Scalar,
    {
        if flat.len() != self.count() {
            let what = format!("the vector has {} elements, the model {}", flat.len(), self.count());
            return Err(TensorError::Argument { operation: "unflatten", what, shape: vec![flat.len()] });
        }
        let mut rest = flat.as_slice();
        Ok(self.map(|_, x| {
            let (own, after) = rest.split_at(x.count());
            rest = after;
            Tensor::raw(own.to_vec(), *x.shape_ref())
        }))
    }

    /// Zeros except for the tensors whose name `keep` accepts.
    fn select(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        self.map(|name, x| if keep(name) { x.clone() } else { x.zeros_like() })
    }

    /// Zeros except for the tensors whose name fits one of the patterns, in which each `*` stands for any characters
    /// ([`gradus_base::matches`]).
    ///
    /// ```
    /// use gradus_autodiff::{Params, Tensor};
    ///
    /// #[derive(Clone, Params)]
    /// struct Layer {
    ///     weight: Tensor,
    ///     bias: Tensor,
    /// }
    ///
    /// let layers = vec![Layer { weight: Tensor::ones(&[2, 2]), bias: Tensor::ones(&[2]) }; 3];
    /// assert_eq!(layers.matching(&["*.weight"]).norm().item(), 12f32.sqrt());
    /// assert_eq!(layers.matching(&["0.*", "2.bias"]).norm().item(), 8f32.sqrt());
    /// ```
    fn matching(&self, patterns: &[&str]) -> Self {
        self.select(|name| patterns.iter().any(|pattern| gradus_base::matches(pattern, name)))
    }
}

/// [`Params::map`], without the names, which cost as much as an operation on a small tensor.
pub(crate) fn map_nameless<P: Params>(model: &P, mut f: impl FnMut(Tensor<P::Elem>) -> Tensor<P::Elem>) -> P {
    let mut mapped = model.clone();
    mapped.leaves_mut().into_iter().for_each(|x| *x = f(x.taken()));
    mapped
}

/// The buffers of a model, or its other tensors.
fn tensors<P: Params>(model: &P, buffers: bool) -> Vec<&Tensor<P::Elem>> {
    let mut found = Vec::with_capacity(FEW);
    model.for_each(&mut Path::nameless(), &mut |path, x| found.extend((path.is_buffer() == buffers).then_some(x)));
    found
}

/// As [`tensors`], for changing them.
fn tensors_mut<P: Params>(model: &mut P, buffers: bool) -> Vec<&mut Tensor<P::Elem>> {
    let mut found = Vec::with_capacity(FEW);
    model.for_each_mut(&mut Path::nameless(), &mut |path, x| found.extend((path.is_buffer() == buffers).then_some(x)));
    found
}

#[track_caller]
pub(crate) fn assert_alike<P: Params>(what: &str, a: &P, b: &P) {
    let (a, b) = (a.leaves(), b.leaves());
    assert!(a.len() == b.len(), "{what}: the models have {} and {} tensors", a.len(), b.len());
    for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
        assert!(a.shape() == b.shape(), "{what}: tensor {i} has shape {} in one model and {} in the other", a.shape_ref(), b.shape_ref());
    }
}

impl<T: Scalar> Params for Tensor<T> {
    type Elem = T;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<T>)) {
        f(path, self);
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<T>)) {
        f(path, self);
    }
}

impl<P: Params> Params for Option<P> {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        if let Some(inner) = self {
            inner.for_each(path, f);
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        if let Some(inner) = self {
            inner.for_each_mut(path, f);
        }
    }
}

impl<P: Params> Params for Box<P> {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        (**self).for_each(path, f);
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        (**self).for_each_mut(path, f);
    }
}

impl<P: Params> Params for Vec<P> {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        for (i, inner) in self.iter().enumerate() {
            path.child(i, |path| inner.for_each(path, f));
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        for (i, inner) in self.iter_mut().enumerate() {
            path.child(i, |path| inner.for_each_mut(path, f));
        }
    }
}

impl<P: Params, const N: usize> Params for [P; N] {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        for (i, inner) in self.iter().enumerate() {
            path.child(i, |path| inner.for_each(path, f));
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        for (i, inner) in self.iter_mut().enumerate() {
            path.child(i, |path| inner.for_each_mut(path, f));
        }
    }
}

impl<P: Params> Params for std::collections::BTreeMap<String, P> {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        for (name, inner) in self {
            path.child(name, |path| inner.for_each(path, f));
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        for (name, inner) in self {
            path.child(name, |path| inner.for_each_mut(path, f));
        }
    }
}

macro_rules! tuple {
    ($first:ident $($rest:ident)* ; $($index:tt)*) => {
        impl<$first: Params, $($rest: Params<Elem = $first::Elem>),*> Params for ($first, $($rest,)*) {
            type Elem = $first::Elem;
            fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<Self::Elem>)) {
                $(path.child(stringify!($index), |path| self.$index.for_each(path, f));)*
            }
            fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<Self::Elem>)) {
                $(path.child(stringify!($index), |path| self.$index.for_each_mut(path, f));)*
            }
        }
    };
}

tuple!(A; 0);
tuple!(A B; 0 1);
tuple!(A B C; 0 1 2);
tuple!(A B C D; 0 1 2 3);

#[cfg(test)]
mod tests;
