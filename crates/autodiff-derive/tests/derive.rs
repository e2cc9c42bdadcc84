//! The expansion compiles and visits the leaves in order: checked against a small stand-in for the tensor crate, which
//! this crate must not depend on.

// The stand-in is public only because some of the tests are about what is public.
#![allow(missing_docs, clippy::type_complexity)]

extern crate self as gradus_autodiff;

use gradus_autodiff_derive::Params;

pub trait Scalar: Copy + 'static {}
impl Scalar for f32 {}
impl Scalar for f64 {}

#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T: Scalar = f32>(T);

/// The names from the root to a leaf; a buffer's name is marked with `~`.
#[derive(Default)]
pub struct Path(Vec<String>);

impl Path {
    pub fn child<R>(&mut self, name: &str, body: impl FnOnce(&mut Path) -> R) -> R {
        self.0.push(name.to_owned());
        let result = body(self);
        self.0.pop();
        result
    }

    pub fn buffer<R>(&mut self, name: &str, body: impl FnOnce(&mut Path) -> R) -> R {
        self.child(&format!("~{name}"), body)
    }
}

pub trait Params: Clone {
    type Elem: Scalar;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<Self::Elem>));
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<Self::Elem>));
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
        self.iter().for_each(|inner| inner.for_each(path, f));
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        self.iter_mut().for_each(|inner| inner.for_each_mut(path, f));
    }
}

impl<P: Params> Params for Vec<P> {
    type Elem = P::Elem;
    fn for_each<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a Tensor<P::Elem>)) {
        for (index, inner) in self.iter().enumerate() {
            path.child(&index.to_string(), |path| inner.for_each(path, f));
        }
    }
    fn for_each_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, &'a mut Tensor<P::Elem>)) {
        for (index, inner) in self.iter_mut().enumerate() {
            path.child(&index.to_string(), |path| inner.for_each_mut(path, f));
        }
    }
}

fn leaves<P: Params>(model: &P) -> Vec<(String, P::Elem)> {
    let mut leaves = Vec::new();
    let mut f = |path: &Path, tensor: &Tensor<P::Elem>| leaves.push((path.0.join("."), tensor.0));
    model.for_each(&mut Path::default(), &mut f);
    leaves
}

pub mod models {
    // The trait is deliberately not imported: the expansion must not need it.
    use super::{Scalar, Tensor};
    use gradus_autodiff_derive::Params;

    #[derive(Clone, Debug, PartialEq, Params)]
    pub struct Linear<T: Scalar = f32> {
        pub weight: Tensor<T>,
        pub bias: Option<Tensor<T>>,
    }

    /// Private, in the field of a public type.
    #[derive(Clone, Debug, PartialEq, Params)]
    struct Norm<T: Scalar> {
        scale: Tensor<T>,
        #[params(buffer)]
        mean: Tensor<T>,
    }

    #[derive(Clone, Debug, PartialEq, Params)]
    pub struct Network<T: Scalar = f32> {
        norm: Norm<T>,
        layers: Vec<Linear<T>>,
        #[params(skip)]
        pub slope: f64,
        #[params(flatten)]
        head: Linear<T>,
    }

    #[derive(Clone, Params)]
    #[params(elem = f64)]
    pub struct Named {
        #[params(rename = "inner.norm")]
        norm: Norm<f64>,
    }

    #[derive(Clone, Params)]
    pub struct Tree<T: Scalar> {
        pub weight: Tensor<T>,
        pub children: Vec<Tree<T>>,
    }

    #[derive(Clone, Params)]
    pub struct Chain<A, F, B>(pub A, #[params(skip)] pub F, pub B);

    fn norm<T: Scalar>(from: T) -> Norm<T> {
        Norm { scale: Tensor(from), mean: Tensor(from) }
    }

    pub fn network() -> Network {
        let linear = |weight, bias| Linear { weight: Tensor(weight), bias: Some(Tensor(bias)) };
        let without = Linear { weight: Tensor(4.0), bias: None };
        Network { norm: norm(1.0), layers: vec![linear(2.0, 3.0), without], slope: 0.1, head: linear(5.0, 6.0) }
    }

    pub fn named() -> Named {
        Named { norm: norm(7.0) }
    }
}

#[derive(Clone, Params)]
struct Generic<'x, P: crate::Params, const N: usize> {
    inner: P,
    #[params(skip)]
    name: &'x str,
    #[params(skip)]
    sizes: [usize; N],
}

#[test]
fn leaves_come_in_order_with_their_paths() {
    let found = leaves(&models::network());
    let expected = [
        ("norm.scale", 1.0),
        ("norm.~mean", 1.0),
        ("layers.0.weight", 2.0),
        ("layers.0.bias", 3.0),
        ("layers.1.weight", 4.0),
        ("weight", 5.0),
        ("bias", 6.0),
    ];
    assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value)));
}

#[test]
fn every_leaf_can_be_changed_and_the_rest_stays() {
    let network = models::network();
    let mut doubled = network.clone();
    let mut paths = Vec::new();
    doubled.for_each_mut(&mut Path::default(), &mut |path, tensor| {
        paths.push(path.0.join("."));
        tensor.0 *= 2.0;
    });
    assert_eq!(doubled.slope, 0.1);
    let expected: Vec<_> = leaves(&network).into_iter().map(|(path, value)| (path, 2.0 * value)).collect();
    assert_eq!(leaves(&doubled), expected);
    assert_eq!(paths, expected.into_iter().map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn tuples_recursion_renames_and_foreign_generics() {
    let chain = models::Chain(Tensor(1.0), |x: f32| x, vec![Tensor(2.0)]);
    assert_eq!((chain.1)(3.0), 3.0);
    assert_eq!(leaves(&chain), [("0".to_owned(), 1.0f32), ("2.0".to_owned(), 2.0)]);
    let leaf = models::Tree { weight: Tensor(2.0), children: vec![] };
    let tree = models::Tree { weight: Tensor(1.0f64), children: vec![leaf] };
    assert_eq!(leaves(&tree), [("weight".to_owned(), 1.0), ("children.0.weight".to_owned(), 2.0)]);
    assert_eq!(leaves(&models::named())[0], ("inner.norm.scale".to_owned(), 7.0f64));
    let generic = Generic { inner: Tensor(8.0f32), name: "n", sizes: [1, 2] };
    let mut rebuilt = generic.clone();
    rebuilt.for_each_mut(&mut Path::default(), &mut |_, tensor| tensor.0 += 1.0);
    assert_eq!((rebuilt.name, rebuilt.sizes), ("n", [1, 2]));
    assert_eq!(leaves(&rebuilt), [("inner".to_owned(), 9.0)]);
}

#[test]
fn generic_code_knows_the_element_type() {
    fn first_weight<T: Scalar>(layer: &models::Linear<T>) -> T {
        leaves(layer)[0].1
    }
    assert_eq!(first_weight(&models::Linear { weight: Tensor(9.0f64), bias: None }), 9.0);
}
