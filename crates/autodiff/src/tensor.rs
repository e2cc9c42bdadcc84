//! The tensor: a value, and how it was computed if a derivative is being taken.

use std::fmt;

use nalgebra::{DMatrix, DVector};

use crate::kernels::{Buffer, Shared};
use crate::node::{NodeRef, Parents, Rule};
use crate::{Scalar, Shape, TensorError};

/// An n-dimensional array, row-major, cheap to clone, with value semantics.
///
/// ```
/// use gradus_autodiff::Tensor;
/// let x: Tensor = Tensor::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!((&x * 2.0).sum().item(), 20.0);
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
#[derive(Clone)]
pub struct Tensor<T: Scalar = f32> {
    shape: Shape,
    data: Shared<T>,
    node: Option<NodeRef<T>>,
}

impl<T: Scalar> Tensor<T> {
    /// The tensor of `shape` with these values in row-major order.
    ///
    /// # Errors
    /// [`TensorError::Count`], [`TensorError::Rank`] or [`TensorError::TooLarge`].
    pub fn from_vec(values: Vec<T>, shape: &[usize]) -> Result<Self, TensorError> {
        let shape = Shape::new(shape)?;
        if shape.count() != values.len() {
            return Err(TensorError::Count { shape: shape.to_vec(), found: values.len() });
        }
        Ok(Self::raw(values, shape))
    }

    pub(crate) fn raw(values: impl Into<Buffer<T>>, shape: Shape) -> Self {
        let values = values.into();
        debug_assert_eq!(values.len(), shape.count());
        Self { shape, data: values.share(), node: None }
    }

    /// The tensor, for which one without elements stays behind.
    pub(crate) fn taken(&mut self) -> Self {
        std::mem::replace(self, Self { shape: Shape::EMPTY, data: Shared::default(), node: None })
    }

    /// A tensor without axes.
    pub fn scalar(value: T) -> Self {
        Self::full(value, &[])
    }

    /// A vector.
    pub fn vector(values: &[T]) -> Self {
        Self::raw(values.to_vec(), checked(&[values.len()]))
    }

    /// A tensor filled with `value`. Panics for an impossible shape.
    #[track_caller]
    pub fn full(value: T, shape: &[usize]) -> Self {
        let shape = checked(shape);
        Self::raw(Buffer::filled(value, shape.count()), shape)
    }

    /// Zeros.
    #[track_caller]
    pub fn zeros(shape: &[usize]) -> Self {
        Self::full(T::ZERO, shape)
    }

    /// Ones.
    #[track_caller]
    pub fn ones(shape: &[usize]) -> Self {
        Self::full(T::ONE, shape)
    }

    /// Zeros of this tensor's shape, untracked.
    pub fn zeros_like(&self) -> Self {
        Self::zeros(&self.shape)
    }

    /// Ones of this tensor's shape, untracked.
    pub fn ones_like(&self) -> Self {
        Self::ones(&self.shape)
    }

    /// The identity matrix `[n, n]`.
    #[track_caller]
    pub fn eye(n: usize) -> Self {
        Self::from_fn(&[n, n], |i| if i / n == i % n { T::ONE } else { T::ZERO })
    }

    /// `f(i)` at each row-major position `i`.
    #[track_caller]
    pub fn from_fn(shape: &[usize], f: impl FnMut(usize) -> T) -> Self {
        let shape = checked(shape);
        Self::raw((0..shape.count()).map(f).collect::<Vec<T>>(), shape)
    }

    /// Independent draws from a distribution.
    #[track_caller]
    pub fn sample<D: rand_distr::Distribution<T>>(shape: &[usize], distribution: D, rng: &mut impl rand::Rng) -> Self {
        Self::from_fn(shape, |_| distribution.sample(rng))
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn shape_ref(&self) -> &Shape {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.data.len()
    }

    /// The elements, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major, copied.
    pub fn to_vec(&self) -> Vec<T> {
        self.data.to_vec()
    }

    /// The only element. Panics when there is not exactly one.
    #[track_caller]
    pub fn item(&self) -> T {
        assert!(self.count() == 1, "item: a tensor of shape {} does not have exactly one element", self.shape);
        self.data[0]
    }

    /// Whether no element is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }

    /// The same value, seen as a constant by every derivative that is being taken.
    pub fn detach(&self) -> Self {
        Self { shape: self.shape, data: self.data.clone(), node: None }
    }

    /// A column vector of nalgebra with the elements in row-major order.
    pub fn to_dvector(&self) -> DVector<T>
    where
        T: nalgebra::Scalar,
    {
        DVector::from_column_slice(&self.data)
    }

    /// The matrix `[rows, columns]` as nalgebra's, or `None` when the rank is not 2.
    pub fn to_dmatrix(&self) -> Option<DMatrix<T>>
    where
        T: nalgebra::Scalar,
    {
        match self.shape() {
            [rows, columns] => Some(DMatrix::from_row_slice(*rows, *columns, &self.data)),
            _ => None,
        }
    }

    /// The tensor `[rows, columns]` of a nalgebra matrix.
    pub fn from_dmatrix(matrix: &DMatrix<T>) -> Self
    where
        T: nalgebra::Scalar,
    {
        let (rows, columns) = matrix.shape();
        Self::from_fn(&[rows, columns], |i| matrix[(i / columns, i % columns)])
    }

    pub(crate) fn node(&self) -> Option<&NodeRef<T>> {
        self.node.as_ref()
    }

    pub(crate) fn into_node(self) -> Option<NodeRef<T>> {
        self.node
    }

    pub(crate) fn take_node(&mut self) -> Option<NodeRef<T>> {
        self.node.take()
    }

    pub(crate) fn with_node(mut self, node: NodeRef<T>) -> Self {
        self.node = Some(node);
        self
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The value without its history; the buffer keeps its owner.
    pub(crate) fn without_node(mut self) -> Self {
        self.node = None;
        self
    }

    /// The elements, if nobody else holds them.
    pub(crate) fn unique(&mut self) -> Option<&mut [T]> {
        self.data.unique()
    }

    /// The elements, copied first if somebody else holds them too; the history is dropped.
    fn owned(&mut self) -> &mut [T] {
        self.node = None;
        if self.data.unique().is_none() {
            self.data = self.data.copied();
        }
        self.data.unique().unwrap_or_default()
    }

    /// `[w, x, y, z] ← f([w, x, y, z], g)` at each element, in one pass and in place. The results are constants.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn update4([w, x, y, z]: [&mut Self; 4], g: &Self, f: impl Fn([T; 4], T) -> [T; 4] + Sync) {
        for other in [&*x, &*y, &*z, g] {
            assert!(other.shape == w.shape, "update4: shapes {} and {} differ", w.shape, other.shape);
        }
        crate::kernels::pointwise::update4([w.owned(), x.owned(), y.owned(), z.owned()], &g.data, f);
    }

    /// `[x, y, z] ← f([x, y, z], g)` at each element, in one pass and in place: what an optimizer does to parameters and
    /// two moments. The results are constants.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn update3(x: &mut Self, y: &mut Self, z: &mut Self, g: &Self, f: impl Fn([T; 3], T) -> [T; 3] + Sync) {
        for other in [&*y, &*z, g] {
            assert!(other.shape == x.shape, "update3: shapes {} and {} differ", x.shape, other.shape);
        }
        crate::kernels::pointwise::update3(x.owned(), y.owned(), z.owned(), &g.data, f);
    }

    /// `[x, y] ← f([x, y], g)` at each element, in one pass and in place. The results are constants.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn update2(x: &mut Self, y: &mut Self, g: &Self, f: impl Fn([T; 2], T) -> [T; 2] + Sync) {
        for other in [&*y, g] {
            assert!(other.shape == x.shape, "update2: shapes {} and {} differ", x.shape, other.shape);
        }
        crate::kernels::pointwise::update2(x.owned(), y.owned(), &g.data, f);
    }

    /// `x ← f(x, g)` at each element, in place. The result is a constant.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn update(&mut self, g: &Self, f: impl Fn(T, T) -> T + Sync) {
        assert!(g.shape == self.shape, "update: shapes {} and {} differ", self.shape, g.shape);
        crate::kernels::pointwise::zip_in_place(self.owned(), &g.data, f);
    }

    /// The same elements under another shape of the same count, untracked.
    pub(crate) fn view(&self, shape: Shape) -> Self {
        debug_assert_eq!(shape.count(), self.count());
        Self { shape, data: self.data.clone(), node: None }
    }

    /// Remembers how this value was computed, if any operand is tracked.
    #[track_caller]
    pub(crate) fn record<R: Rule<T>>(self, parents: [Option<NodeRef<T>>; 3], rule: impl FnOnce() -> R) -> Self {
        if parents.iter().all(Option::is_none) {
            return self;
        }
        let node = NodeRef::new(self.shape, Parents::Few(parents), 0, rule());
        self.with_node(node)
    }

    #[track_caller]
    pub(crate) fn record_many<R: Rule<T>>(self, parents: Vec<Option<NodeRef<T>>>, rule: impl FnOnce() -> R) -> Self {
        if parents.iter().all(Option::is_none) {
            return self;
        }
        let node = NodeRef::new(self.shape, Parents::Many(parents.into()), 0, rule());
        self.with_node(node)
    }
}

/// The shape, or a panic at the caller: shapes inside arithmetic are the programmer's.
#[track_caller]
pub(crate) fn checked(shape: &[usize]) -> Shape {
    match Shape::new(shape) {
        Ok(shape) => shape,
        Err(error) => panic!("{error}"),
    }
}

impl<T: Scalar> PartialEq for Tensor<T> {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape && *self.data == *other.data
    }
}

impl<T: Scalar> fmt::Display for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nested(f, &self.shape, &self.data, 0)
    }
}

impl<T: Scalar> fmt::Debug for Tensor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}> {} ", T::NAME, self.shape)?;
        write_nested(f, &self.shape, &self.data, 0)
    }
}

/// Elements of an axis beyond which only the first and last three are shown.
const SHOWN: usize = 8;

fn write_nested<T: Scalar>(f: &mut fmt::Formatter<'_>, shape: &[usize], data: &[T], indent: usize) -> fmt::Result {
    let Some((&n, inner)) = shape.split_first() else {
        return write_number(f, data[0]);
    };
    let size: usize = inner.iter().product();
    f.write_str("[")?;
    for i in 0..n {
        if n > SHOWN && i == 3 {
            f.write_str("…, ")?;
        }
        if n > SHOWN && (3..n - 3).contains(&i) {
            continue;
        }
        write_nested(f, inner, &data[i * size..(i + 1) * size], indent + 1)?;
        if i + 1 < n {
            if inner.is_empty() { f.write_str(", ")? } else { write!(f, ",\n{:width$}", "", width = indent + 1)? }
        }
    }
    f.write_str("]")
}

fn write_number<T: Scalar>(f: &mut fmt::Formatter<'_>, x: T) -> fmt::Result {
    match f.precision() {
        Some(p) => write!(f, "{x:.p$}"),
        // Hundreds of zeros would not be read.
        None if x != T::ZERO && x.is_finite() && !(1e-5..1e16).contains(&x.to_f64().abs()) => write!(f, "{x:e}"),
        None => write!(f, "{x}"),
    }
}
