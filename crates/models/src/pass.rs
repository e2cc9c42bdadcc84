//! What a forward pass knows besides its input: whether it trains.

use gradus_autodiff::{Params, Path, Scalar, Tensor};
use gradus_base::StreamRng;

/// One forward pass through layers that behave differently in training: where dropout takes its random numbers from,
/// whether batch normalisation uses the statistics of its batch, and what the buffers of the model become.
///
/// A model stays a value: layers hand new values of their buffers to the pass ([`Pass::update`]), and whoever trains folds
/// them into the model after the step ([`Pass::fold`]). [`fit`](crate::fit) does so.
///
/// A function that is evaluated more than once (by `hvp`, by central differences) must be the same function each time: make
/// the pass inside the closure, from a stream made there.
///
/// ```
/// use gradus_autodiff::{Tensor, value_and_grad};
/// use gradus_base::stream;
/// use gradus_models::{BatchNorm, Linear, Pass};
///
/// let mut model = (Linear::<f64>::new(2, 3, &mut stream(1, "weights", 0)), BatchNorm::new(3));
/// let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 5.0, 8.0, 13.0], &[3, 2])?;
/// let mut pass = Pass::training(stream(1, "dropout", 0));
/// let loss = |(linear, norm): &(Linear<f64>, BatchNorm<f64>)| {
///     let hidden = norm.call(&linear.call(&x), &mut pass);
///     pass.dropout(&hidden, 0.2).square().mean()
/// };
/// let (_, gradient) = value_and_grad(loss, &model);
/// pass.fold(&mut model);
/// assert_ne!(model.1.running_mean.to_vec(), [0.0; 3]);
/// # Ok::<(), gradus_autodiff::TensorError>(())
/// ```
#[derive(Debug)]
pub struct Pass<T: Scalar = f32> {
    rng: Option<StreamRng>,
    batch_statistics: bool,
    updates: Vec<(Tensor<T>, Tensor<T>)>,
}

impl<T: Scalar> Pass<T> {
    /// Nothing is random, and normalisation uses the running statistics.
    pub fn evaluation() -> Self {
        Self { rng: None, batch_statistics: false, updates: Vec::new() }
    }

    /// Dropout draws from `rng`, and normalisation uses the statistics of the batch.
    pub fn training(rng: StreamRng) -> Self {
        Self { rng: Some(rng), batch_statistics: true, updates: Vec::new() }
    }

    /// Dropout draws from `rng`, but normalisation uses the running statistics: a sample of the predictions of a trained
    /// model with dropout (Gal, Ghahramani 2016).
    pub fn sampling(rng: StreamRng) -> Self {
        Self { rng: Some(rng), batch_statistics: false, updates: Vec::new() }
    }

    /// Whether normalisation uses the statistics of the batch.
    pub fn uses_batch_statistics(&self) -> bool {
        self.batch_statistics
    }

    /// The source of random numbers, if anything is random.
    pub fn rng(&mut self) -> Option<&mut StreamRng> {
        self.rng.as_mut()
    }

    /// `x` with elements dropped at `rate` and the others divided by `1 - rate` (Srivastava et al. 2014); `x` itself where
    /// nothing is random.
    ///
    /// # Panics
    /// Unless `rate` lies in `[0, 1)`, where something is random.
    #[track_caller]
    pub fn dropout(&mut self, x: &Tensor<T>, rate: f64) -> Tensor<T> {
        match &mut self.rng {
            Some(rng) => x.dropout(rate, rng),
            None => x.clone(),
        }
    }

    /// The present value of a buffer: what [`Pass::update`] made of it, or the buffer itself.
    pub fn buffer(&self, buffer: &Tensor<T>) -> Tensor<T> {
        let updated = self.updates.iter().find(|(own, _)| same(own, buffer));
        updated.map_or(buffer, |(_, value)| value).detach()
    }

    /// Sets what a buffer of the model becomes. A buffer is told by its storage, as every copy of a model has it, under
    /// derivatives too.
    ///
    /// # Panics
    /// When the shapes differ.
    #[track_caller]
    pub fn update(&mut self, buffer: &Tensor<T>, value: &Tensor<T>) {
        assert!(buffer.shape() == value.shape(), "update: shapes {:?} and {:?} differ", buffer.shape(), value.shape());
        if buffer.count() == 0 {
            return;
        }
        let value = value.detach();
        match self.updates.iter_mut().find(|(own, _)| same(own, buffer)) {
            Some(update) => update.1 = value,
            None => self.updates.push((buffer.detach(), value)),
        }
    }

    /// Gives the buffers of `model` the values that the pass has for them.
    ///
    /// # Panics
    /// When two buffers of the model share their storage, as those of cloned layers do, or when an updated buffer is not the
    /// model's.
    #[track_caller]
    pub fn fold<P: Params<Elem = T>>(self, model: &mut P) {
        let mut names: Vec<Option<String>> = vec![None; self.updates.len()];
        let mut shared = None;
        model.for_each_mut(&mut Path::default(), &mut |path, x| {
            let Some(at) = self.updates.iter().position(|(own, _)| path.is_buffer() && same(own, x)) else { return };
            match &names[at] {
                Some(first) => shared = shared.take().or_else(|| Some((first.clone(), path.name().to_owned()))),
                None => names[at] = Some(path.name().to_owned()),
            }
            *x = self.updates[at].1.clone();
        });
        if let Some((first, second)) = shared {
            panic!("fold: the buffers `{first}` and `{second}` share their storage: make each layer instead of cloning one");
        }
        assert!(names.iter().all(Option::is_some), "fold: the pass updated a buffer that is not one of this model's");
    }
}

/// Whether two tensors are one value in one place. Both are alive, so that no place is used twice.
fn same<T: Scalar>(a: &Tensor<T>, b: &Tensor<T>) -> bool {
    a.shape() == b.shape() && std::ptr::eq(a.as_slice(), b.as_slice())
}
