//! Sums, differences, products and quotients with NumPy broadcasting.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::kernels::{Buffer, pointwise, strided};
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Shape, Tensor, TensorError};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Add => "add",
            Kind::Sub => "sub",
            Kind::Mul => "mul",
            Kind::Div => "div",
        }
    }
}

/// Calls `$body` with `$f` bound to the function of two elements that `$kind` names.
macro_rules! with_kind {
    ($kind:expr, |$f:ident| $body:expr) => {
        match $kind {
            Kind::Add => {
                let $f = |a: T, b: T| a + b;
                $body
            }
            Kind::Sub => {
                let $f = |a: T, b: T| a - b;
                $body
            }
            Kind::Mul => {
                let $f = |a: T, b: T| a * b;
                $body
            }
            Kind::Div => {
                let $f = |a: T, b: T| a / b;
                $body
            }
        }
    };
}

/// Saves only the operands whose values the gradients need.
struct Binary<T: Scalar> {
    kind: Kind,
    shapes: [Shape; 2],
    saved: [Option<Tensor<T>>; 2],
}

impl<T: Scalar> Binary<T> {
    fn saved(&self, i: usize, cx: &Cx<'_, T>) -> Tensor<T> {
        self.saved[i].as_ref().map_or_else(|| Tensor::scalar(T::ONE), |x| cx.get(x))
    }
}

impl<T: Scalar> Rule<T> for Binary<T> {
    fn name(&self) -> &'static str {
        self.kind.name()
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let [left, right] = &self.shapes;
        if cx.wants(0) {
            let d = match self.kind {
                Kind::Add | Kind::Sub => g.clone(),
                Kind::Mul => &g * &self.saved(1, cx),
                Kind::Div => &g / &self.saved(1, cx),
            };
            cx.add(0, cx.sum_to(&d, left));
        }
        if cx.wants(1) {
            let d = match self.kind {
                Kind::Add => g,
                Kind::Sub => -g,
                Kind::Mul => g * &self.saved(0, cx),
                Kind::Div => {
                    let b = self.saved(1, cx);
                    -(g * &self.saved(0, cx) / &b / &b)
                }
            };
            cx.add(1, cx.sum_to(&d, right));
        }
    }
    fn stacks(&self) -> bool {
        true
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, _: bool) -> Option<Factor<T>> {
        let other = self.saved[1 - parent].clone();
        let each = match (self.kind, parent, other) {
            (Kind::Add, ..) | (Kind::Sub, 0, _) => g.clone(),
            (Kind::Sub, ..) => -g,
            (Kind::Mul, _, Some(other)) => g * &other,
            (Kind::Div, 0, Some(other)) => g / &other,
            _ => return None,
        };
        Factor::of_repeated(&each, &self.shapes[parent], batch)
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        let own = &self.shapes[parent];
        let Some(out) = self.shapes[0].broadcast(&self.shapes[1]) else { return false };
        own == &out || (own.len() == out.len() && leading_axes_agree(own, &out, batch))
    }
}

/// Whether the leading axes that number the `batch` examples have equal sizes.
pub(super) fn leading_axes_agree(a: &[usize], b: &[usize], batch: usize) -> bool {
    let mut seen = 1;
    for (&a, &b) in a.iter().zip(b) {
        if seen % batch == 0 {
            return true;
        }
        if a != b {
            return false;
        }
        seen *= a;
    }
    seen % batch == 0
}

impl<T: Scalar> Tensor<T> {
    /// The tensor repeated along broadcast axes, as a constant.
    pub(crate) fn expanded(&self, shape: &Shape) -> Buffer<T> {
        strided::gather(self.as_slice(), shape, &self.shape_ref().strides_for(shape))
    }

    #[track_caller]
    fn binary(mut self, mut other: Self, kind: Kind) -> Result<Self, TensorError> {
        let shapes = [*self.shape_ref(), *other.shape_ref()];
        let out = shapes[0].broadcast(&shapes[1]).ok_or(TensorError::Mismatch {
            operation: kind.name(),
            left: shapes[0].to_vec(),
            right: shapes[1].to_vec(),
        })?;
        let parents = [self.node().cloned(), other.node().cloned(), None];
        let keep = |i: usize| match kind {
            Kind::Add | Kind::Sub => false,
            Kind::Mul => parents[1 - i].is_some(),
            Kind::Div => i == 1 || parents[1].is_some(),
        } && parents.iter().any(Option::is_some);
        let saved = [keep(0).then(|| self.clone()), keep(1).then(|| other.clone())];
        let values = with_kind!(kind, |f| {
            if shapes[0] == out && shapes[1].count() == 1 {
                let b = other.as_slice()[0];
                match self.unique() {
                    Some(x) => {
                        pointwise::map_in_place(x, |a| f(a, b));
                        self.without_node()
                    }
                    None => Tensor::raw(pointwise::map(self.as_slice(), |a| f(a, b)), out),
                }
            } else if shapes[1] == out && shapes[0].count() == 1 {
                let a = self.as_slice()[0];
                match other.unique() {
                    Some(y) => {
                        pointwise::map_in_place(y, |b| f(a, b));
                        other.without_node()
                    }
                    None => Tensor::raw(pointwise::map(other.as_slice(), |b| f(a, b)), out),
                }
            } else if shapes[0] == shapes[1] {
                if let Some(x) = self.unique() {
                    pointwise::zip_in_place(x, other.as_slice(), f);
                    self.without_node()
                } else if let Some(y) = other.unique() {
                    pointwise::zip_in_place(y, self.as_slice(), |b, a| f(a, b));
                    other.without_node()
                } else {
                    Tensor::raw(pointwise::zip(self.as_slice(), other.as_slice(), f), out)
                }
            } else if shapes[0] == out && shapes[1].is_suffix_of(&out) {
                match self.unique() {
                    Some(x) => {
                        pointwise::zip_rows_in_place(x, other.as_slice(), f);
                        self.without_node()
                    }
                    None => Tensor::raw(pointwise::zip_rows(self.as_slice(), other.as_slice(), f), out),
                }
            } else {
                let right = other.expanded(&out);
                if shapes[0] == out {
                    Tensor::raw(pointwise::zip(self.as_slice(), &right, f), out)
                } else {
                    Tensor::raw(pointwise::zip(&self.expanded(&out), &right, f), out)
                }
            }
        });
        Ok(values.record(parents, || Binary { kind, shapes, saved }))
    }

    /// `self + other`, or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_add(&self, other: &Self) -> Result<Self, TensorError> {
        self.clone().binary(other.clone(), Kind::Add)
    }

    /// `self - other`, or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_sub(&self, other: &Self) -> Result<Self, TensorError> {
        self.clone().binary(other.clone(), Kind::Sub)
    }

    /// The product element by element, or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_mul(&self, other: &Self) -> Result<Self, TensorError> {
        self.clone().binary(other.clone(), Kind::Mul)
    }

    /// The quotient element by element, or the two shapes that do not fit.
    ///
    /// # Errors
    /// [`TensorError::Mismatch`].
    #[track_caller]
    pub fn try_div(&self, other: &Self) -> Result<Self, TensorError> {
        self.clone().binary(other.clone(), Kind::Div)
    }
}

#[track_caller]
pub(crate) fn or_panic<T>(result: Result<T, TensorError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $kind:expr) => {
        impl<T: Scalar> $trait for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: Tensor<T>) -> Tensor<T> {
                or_panic(self.binary(other, $kind))
            }
        }
        impl<T: Scalar> $trait<&Tensor<T>> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: &Tensor<T>) -> Tensor<T> {
                or_panic(self.binary(other.clone(), $kind))
            }
        }
        impl<T: Scalar> $trait<Tensor<T>> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: Tensor<T>) -> Tensor<T> {
                or_panic(self.clone().binary(other, $kind))
            }
        }
        impl<T: Scalar> $trait for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, other: &Tensor<T>) -> Tensor<T> {
                or_panic(self.clone().binary(other.clone(), $kind))
            }
        }
    };
}

operator!(Add, add, Kind::Add);
operator!(Sub, sub, Kind::Sub);
operator!(Mul, mul, Kind::Mul);
operator!(Div, div, Kind::Div);

macro_rules! scalar_operator {
    ($trait:ident, $method:ident, |$x:ident, $c:ident| $result:expr) => {
        impl<T: Scalar> $trait<T> for Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, $c: T) -> Tensor<T> {
                let $x = self;
                $result
            }
        }
        impl<T: Scalar> $trait<T> for &Tensor<T> {
            type Output = Tensor<T>;
            #[track_caller]
            fn $method(self, $c: T) -> Tensor<T> {
                let $x = self.clone();
                $result
            }
        }
    };
}

scalar_operator!(Add, add, |x, c| x.affine(T::ONE, c));
scalar_operator!(Sub, sub, |x, c| x.affine(T::ONE, -c));
scalar_operator!(Mul, mul, |x, c| x.affine(c, T::ZERO));
scalar_operator!(Div, div, |x, c| x.divided_by(c));

impl<T: Scalar> Neg for Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        self.affine(-T::ONE, T::ZERO)
    }
}

impl<T: Scalar> Neg for &Tensor<T> {
    type Output = Tensor<T>;
    #[track_caller]
    fn neg(self) -> Tensor<T> {
        self.clone().affine(-T::ONE, T::ZERO)
    }
}
