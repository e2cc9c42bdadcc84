//! Values in the middle of a function: seen, differentiated, replaced.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use super::{gradients, left, outside, variables};
use crate::node::{Level, Pass, leaf};
use crate::{Params, Scalar, Tensor};

/// What is done with the taps of one element type.
struct Listener<T: Scalar>(Rc<RefCell<Answer<T>>>);

type Answer<T> = dyn FnMut(&str, &Tensor<T>) -> Tensor<T>;

/// In the place of a listener: those below hear nothing.
struct Silence;

thread_local! {
    /// Who listens, the innermost last.
    static LISTENERS: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Listens until it is dropped.
struct Listening;

impl Listening {
    fn start(listener: impl Any) -> Self {
        LISTENERS.with_borrow_mut(|all| all.push(Box::new(listener)));
        Self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(LISTENERS.with_borrow_mut(Vec::pop));
    }
}

/// The innermost listener for an element type.
fn listener<T: Scalar>() -> Option<Rc<RefCell<Answer<T>>>> {
    LISTENERS.with_borrow(|all| {
        let heard = all.iter().rev().take_while(|listener| !listener.is::<Silence>());
        heard.filter_map(|listener| listener.downcast_ref::<Listener<T>>()).map(|listener| listener.0.clone()).next()
    })
}

/// What `f` returns when nobody hears its taps.
pub(super) fn unheard<R>(f: impl FnOnce() -> R) -> R {
    let _silence = Listening::start(Silence);
    f()
}

/// Marks a value inside a function by a name: the identity, unless [`tapped_grad`], [`tapped_vjp`], [`with_taps`] or
/// [`with_taps_replaced`] listens on this thread. Of several that are nested, the innermost one for the element type hears
/// it.
///
/// ```
/// use gradus_autodiff::{Tensor, tap, tapped_grad};
/// let f = |x: &Tensor<f64>| tap("hidden", &x.square()).sum().square();
/// let found = tapped_grad(f, &Tensor::vector(&[1.0, 2.0]));
/// let hidden = found.tap("hidden").unwrap();
/// assert_eq!((hidden.value.to_vec(), hidden.gradient.to_vec()), (vec![1.0, 4.0], vec![10.0, 10.0]));
/// assert_eq!(found.gradient.to_vec(), [20.0, 40.0]);
/// ```
pub fn tap<T: Scalar>(name: &str, x: &Tensor<T>) -> Tensor<T> {
    let Some(listener) = listener::<T>() else { return x.clone() };
    // Taps in what the listener itself does are not heard.
    let Ok(mut answer) = listener.try_borrow_mut() else { return x.clone() };
    answer(name, x)
}

/// What `f` returns, a tensor or several, and every tapped value of their element type by name, in the order in which they
/// were tapped. Inside a derivative the values are differentiated like any others; those of derivatives that `f` takes are
/// constants.
///
/// ```
/// use gradus_autodiff::{Tensor, tap, with_taps};
/// let layer = |x: &Tensor| tap("layer", &x.relu());
/// let (y, taps) = with_taps(|| layer(&layer(&Tensor::vector(&[-1.0, 2.0]))).sum());
/// assert_eq!(taps.len(), 2);
/// assert_eq!((y.item(), taps[0].0.as_str(), taps[0].1.to_vec()), (2.0, "layer", vec![0.0, 2.0]));
/// ```
#[track_caller]
pub fn with_taps<P: Params>(f: impl FnOnce() -> P) -> (P, Vec<(String, Tensor<P::Elem>)>) {
    // The level of a derivative that `f` takes, which has ended when it returns.
    let bit = Level::enter().bit;
    let (y, taps) = collected(Tensor::clone, f);
    (y, taps.into_iter().map(|(name, x)| (name, outside(&x, bit))).collect())
}

/// What `f` returns, and what `mark` made of each tapped value, which the function goes on with.
fn collected<T: Scalar, R>(mark: impl Fn(&Tensor<T>) -> Tensor<T> + 'static, f: impl FnOnce() -> R) -> (R, Vec<(String, Tensor<T>)>) {
    let taps = Rc::new(RefCell::new(Vec::new()));
    let heard = taps.clone();
    let answer = move |name: &str, x: &Tensor<T>| {
        let marked = mark(x);
        heard.borrow_mut().push((name.to_owned(), marked.clone()));
        marked
    };
    let y = listening(answer, f);
    (y, taps.take())
}

fn listening<T: Scalar, R>(answer: impl FnMut(&str, &Tensor<T>) -> Tensor<T> + 'static, f: impl FnOnce() -> R) -> R {
    let _listening = Listening::start(Listener::<T>(Rc::new(RefCell::new(answer))));
    f()
}

/// What `f` returns, a tensor or several, when every tapped value of their element type is replaced by what `replace` makes
/// of its name and value: an intervention, such as the ablation of a channel. Derivatives pass through what `replace` does.
///
/// ```
/// use gradus_autodiff::{Tensor, grad, tap, with_taps_replaced};
/// let f = |x: &Tensor| tap("hidden", &(x * 2.0)).sum();
/// let first_ablated = |name: &str, h: &Tensor| if name == "hidden" { h * &Tensor::vector(&[0.0, 1.0]) } else { h.clone() };
/// let x = Tensor::vector(&[1.0, 10.0]);
/// assert_eq!(with_taps_replaced(first_ablated, || f(&x)).item(), 20.0);
/// assert_eq!(grad(|x: &Tensor| with_taps_replaced(first_ablated, || f(x)), &x).to_vec(), [0.0, 2.0]);
/// ```
///
/// # Panics
/// When a replacement has another shape than the value.
pub fn with_taps_replaced<P: Params>(
    mut replace: impl FnMut(&str, &Tensor<P::Elem>) -> Tensor<P::Elem> + 'static,
    f: impl FnOnce() -> P,
) -> P {
    let answer = move |name: &str, x: &Tensor<P::Elem>| {
        let y = replace(name, x);
        assert!(y.shape() == x.shape(), "tap `{name}`: a value of shape {} was replaced by shape {}", x.shape_ref(), y.shape_ref());
        y
    };
    listening(answer, f)
}

/// A tapped value and the gradient of the output with respect to it.
#[derive(Debug, Clone)]
pub struct Tap<T: Scalar> {
    /// The name given to [`tap`].
    pub name: String,
    /// The value.
    pub value: Tensor<T>,
    /// The gradient, of the value's shape; zeros where the output does not depend on it.
    pub gradient: Tensor<T>,
}

/// A value, its gradient, and what was tapped on the way: [`tapped_grad`] makes it.
#[derive(Debug, Clone)]
pub struct TappedGradient<P: Params> {
    /// The function's value.
    pub value: Tensor<P::Elem>,
    /// The gradient with respect to the parameters.
    pub gradient: P,
    /// The tapped values with their gradients, in the order in which they were tapped; a name may occur several times.
    pub taps: Vec<Tap<P::Elem>>,
}

impl<P: Params> TappedGradient<P> {
    /// The first tap of this name.
    pub fn tap(&self, name: &str) -> Option<&Tap<P::Elem>> {
        self.taps.iter().find(|tap| tap.name == name)
    }
}

/// The value and the gradient of a scalar function of a model, and every value that [`tap`] marks, with the gradient of
/// the output with respect to it. A tapped value that depends on an earlier one counts in the gradient of the earlier one.
///
/// Taps inside [`custom_vjp`](crate::custom_vjp) and [`checkpoint`](crate::checkpoint), whose inside is not recorded, and on
/// other threads are not heard. Inside another derivative, values and gradients are differentiated. With no parameters,
/// `&None::<Tensor>`, the pass goes back no further than the first tap.
///
/// ```
/// use gradus_autodiff::{Tensor, tap, tapped_grad};
/// // Grad-CAM (Selvaraju et al., 2017): channels weighted by their mean gradients.
/// let (image, filters) = (Tensor::<f32>::ones(&[1, 1, 4, 4]), Tensor::from_vec(vec![1.0, -1.0], &[1, 2, 1, 1])?);
/// let score = |_: &Option<Tensor>| tap("conv", &(&image * &filters).relu()).sum();
/// let found = tapped_grad(score, &None);
/// let maps = found.tap("conv").unwrap();
/// let weights = maps.gradient.mean_axes(&[2, 3]).unsqueeze(2).unsqueeze(3);
/// let cam = (&maps.value * &weights).sum_axis(1).relu();
/// assert_eq!(cam, Tensor::ones(&[1, 4, 4]));
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
///
/// # Panics
/// When the value has more than one element.
#[track_caller]
pub fn tapped_grad<P: Params>(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P) -> TappedGradient<P> {
    let level = Level::enter();
    let tapped = Tapped::new(f, params, level.bit);
    let y = &tapped.y;
    assert!(y.count() == 1, "tapped_grad: the function returned shape {}, but a gradient needs exactly one element", y.shape_ref());
    let seed = y.ones_like();
    drop(level);
    tapped.pull_back(&seed)
}

/// The value of a function of a model, and the map from a cotangent of the value's shape to what [`tapped_grad`] finds for
/// it: several outputs of one evaluation can be asked for.
///
/// ```
/// use gradus_autodiff::{Tensor, tap, tapped_vjp};
/// let f = |x: &Tensor<f64>| tap("hidden", &x.square()) * 3.0;
/// let (scores, pullback) = tapped_vjp(f, &Tensor::vector(&[1.0, 2.0]));
/// assert_eq!(scores.to_vec(), [3.0, 12.0]);
/// let second = pullback(&Tensor::vector(&[0.0, 1.0]));
/// assert_eq!(second.taps[0].gradient.to_vec(), [0.0, 3.0]);
/// assert_eq!(second.gradient.to_vec(), [0.0, 12.0]);
/// ```
#[track_caller]
pub fn tapped_vjp<P: Params, F: FnOnce(&P) -> Tensor<P::Elem>>(
    f: F,
    params: &P,
) -> (Tensor<P::Elem>, impl Fn(&Tensor<P::Elem>) -> TappedGradient<P> + use<P, F>) {
    let level = Level::enter();
    let tapped = Tapped::new(f, params, level.bit);
    (outside(&tapped.y, level.bit), move |cotangent| tapped.pull_back(cotangent))
}

/// A function that was evaluated on variables, and the taps that were variables too.
struct Tapped<P: Params> {
    params: P,
    y: Tensor<P::Elem>,
    taps: Vec<(String, Tensor<P::Elem>)>,
    /// Of the parameters, then of the taps.
    ids: Vec<u64>,
    bit: u64,
}

impl<P: Params> Tapped<P> {
    #[track_caller]
    fn new(f: impl FnOnce(&P) -> Tensor<P::Elem>, params: &P, bit: u64) -> Self {
        let (model, mut ids) = variables(params, bit);
        let (y, taps) = collected(move |x| leaf(x.clone(), bit), || f(&model));
        ids.extend(taps.iter().filter_map(|(_, x)| Some(x.node()?.id)));
        let taps = taps.into_iter().map(|(name, x)| (name, outside(&x, bit))).collect();
        Self { params: params.clone(), y, taps, ids, bit }
    }

    #[track_caller]
    fn pull_back(&self, cotangent: &Tensor<P::Elem>) -> TappedGradient<P> {
        let y = &self.y;
        assert!(
            cotangent.shape() == y.shape(),
            "tapped_vjp: the cotangent has shape {}, the value {}",
            cotangent.shape_ref(),
            y.shape_ref()
        );
        let mut found = Pass::new(self.bit, &self.ids).run([(y.clone(), cotangent.clone())]);
        let of_taps = found.split_off(found.len() - self.taps.len());
        let with_gradient = |((name, value), gradient): (&(String, Tensor<P::Elem>), Option<Tensor<P::Elem>>)| Tap {
            name: name.clone(),
            gradient: gradient.map_or_else(|| value.zeros_like(), left),
            value: value.clone(),
        };
        TappedGradient {
            value: outside(y, self.bit),
            gradient: gradients(&self.params, found),
            taps: self.taps.iter().zip(of_taps).map(with_gradient).collect(),
        }
    }
}
