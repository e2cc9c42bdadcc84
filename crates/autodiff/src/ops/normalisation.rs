//! Normalisation to zero mean and unit variance, with an optional scale and shift of each channel.

use std::sync::Arc;

use super::arithmetic::or_panic;
use crate::kernels::normalisation::{Layout, Moments};
use crate::node::{Cx, Rule};
use crate::per_example::Factor;
use crate::{Scalar, Tensor, TensorError};

/// The mean and variance of each channel of a batch, as constants: what running statistics are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics<T: Scalar = f32> {
    /// The means, `[channels]`.
    pub mean: Tensor<T>,
    /// The mean squared deviations, `[channels]`: what the batch was normalised by.
    pub variance: Tensor<T>,
    /// The values of each channel, at least 2.
    pub count: usize,
}

impl<T: Scalar> BatchStatistics<T> {
    /// The unbiased estimate `count / (count - 1) · variance`, which running statistics take by PyTorch's convention.
    pub fn unbiased_variance(&self) -> Tensor<T> {
        &self.variance * T::from_f64(self.count as f64 / (self.count as f64 - 1.0))
    }
}

struct Normalise<T: Scalar> {
    name: &'static str,
    layout: Layout,
    epsilon: T,
    x: Tensor<T>,
    scale: Option<Tensor<T>>,
    moments: Arc<[Moments]>,
}

impl Layout {
    fn shape(&self) -> [usize; 5] {
        [self.pieces, self.repeats, self.cycle, self.channels, self.spatial]
    }
    fn shape_of_sets(&self) -> [usize; 5] {
        [1, self.repeats, self.cycle, 1, 1]
    }
    fn shape_of_channels(&self) -> [usize; 5] {
        [1, 1, self.cycle, self.channels, 1]
    }
    /// The mean over a set, from the sum.
    #[track_caller]
    fn mean<T: Scalar>(&self, sum: Tensor<T>) -> Tensor<T> {
        sum * T::from_f64(1.0 / self.elements().max(1) as f64)
    }

    /// By recorded operations: the normalised `x`, and what each set was multiplied by.
    #[track_caller]
    fn recorded<T: Scalar>(&self, x: &Tensor<T>, epsilon: T) -> [Tensor<T>; 2] {
        let mean = |x: &Tensor<T>| self.mean(x.sum_to(&self.shape_of_sets()));
        let x = x.reshape(&self.shape());
        let x = if self.centred { &x - &mean(&x) } else { x };
        let rate = (mean(&x.square()) + epsilon).sqrt().recip();
        [x * &rate, rate]
    }
}

impl<T: Scalar> Rule<T> for Normalise<T> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, g: Tensor<T>, cx: &mut Cx<'_, T>) {
        let (layout, channels) = (self.layout, [self.layout.all_channels()]);
        if cx.is_plain(&g) && g.shape() == self.x.shape() {
            let scale = self.scale.as_ref().map_or_else(|| Tensor::ones(&channels), Tensor::detach);
            let gradients = layout.gradients(self.x.as_slice(), g.as_slice(), scale.as_slice(), &self.moments, self.epsilon.to_f64());
            let shapes = [self.x.shape(), &channels, &channels];
            for ((i, values), shape) in gradients.into_iter().enumerate().zip(shapes) {
                if cx.wants(i) {
                    cx.add(i, Tensor::raw(values, crate::tensor::checked(shape)));
                }
            }
            return;
        }
        let [x, rate] = layout.recorded(&cx.get(&self.x), self.epsilon);
        let g = g.reshape(&cx.shape(&layout.shape()));
        if cx.wants(0) {
            let mean = |g: &Tensor<T>| layout.mean(cx.sum_to(g, &layout.shape_of_sets()));
            let g = self.scale.as_ref().map_or_else(|| g.clone(), |w| &g * &cx.get(w).reshape(&layout.shape_of_channels()));
            let along = &x * &mean(&(&g * &x));
            let across = if layout.centred { &g - &mean(&g) } else { g };
            cx.add(0, ((across - along) * rate).reshape(&cx.shape(self.x.shape())));
        }
        let by_channel = |g: &Tensor<T>| cx.sum_to(g, &layout.shape_of_channels()).reshape(&cx.shape(&channels));
        let scale = cx.wants(1).then(|| by_channel(&(&g * &x)));
        let shift = cx.wants(2).then(|| by_channel(&g));
        scale.into_iter().for_each(|scale| cx.add(1, scale));
        shift.into_iter().for_each(|shift| cx.add(2, shift));
    }
    fn stacks(&self) -> bool {
        true
    }
    fn keeps_examples(&self, parent: usize, batch: usize) -> bool {
        parent == 0 && self.layout.pieces == 1 && self.layout.repeats.is_multiple_of(batch)
    }
    fn example_factor(&self, parent: usize, g: &Tensor<T>, batch: usize, recording: bool) -> Option<Factor<T>> {
        let layout = self.layout;
        if parent == 0 || layout.pieces != 1 || !layout.repeats.is_multiple_of(batch) {
            return None;
        }
        let x = if recording { self.x.clone() } else { self.x.detach() };
        let g = g.reshape(&layout.shape());
        let each = if parent == 1 { g * &layout.recorded(&x, self.epsilon)[0] } else { g };
        let parts = [batch, layout.repeats / batch, layout.all_channels(), layout.spatial];
        Some(Factor::Dense(each.reshape(&parts).sum_axes(&[1, 3])))
    }
}

/// A scale and a shift, each `[channels]`.
type Affine<'a, T> = [Option<&'a Tensor<T>>; 2];

#[track_caller]
fn normalise<T: Scalar>(
    name: &'static str,
    x: &Tensor<T>,
    [scale, shift]: Affine<'_, T>,
    layout: Layout,
    epsilon: T,
) -> Result<(Tensor<T>, Arc<[Moments]>), TensorError> {
    let channels = [layout.all_channels()];
    if let Some(other) = [scale, shift].into_iter().flatten().find(|other| other.shape() != channels) {
        return Err(TensorError::Mismatch { operation: name, left: x.shape().to_vec(), right: other.shape().to_vec() });
    }
    let or = |given: Option<&Tensor<T>>, value: T| given.map_or_else(|| Tensor::full(value, &channels), Tensor::detach);
    let (w, b) = (or(scale, T::ONE), or(shift, T::ZERO));
    let (values, moments) = layout.normalise(x.as_slice(), w.as_slice(), b.as_slice(), epsilon.to_f64());
    let moments: Arc<[Moments]> = moments.into();
    let node = |given: Option<&Tensor<T>>| given.and_then(|given| given.node().cloned());
    let rule = || Normalise { name, layout, epsilon, x: x.clone(), scale: scale.cloned(), moments: moments.clone() };
    let y = Tensor::raw(values, *x.shape_ref()).record([x.node().cloned(), node(scale), node(shift)], rule);
    Ok((y, moments))
}

impl<T: Scalar> Tensor<T> {
    /// `[batch, channels, places]` of a tensor with further axes.
    fn by_channels(&self, operation: &'static str) -> Result<[usize; 3], TensorError> {
        let what = || "the axes batch and channels are needed".to_owned();
        match self.shape() {
            [batch, channels, places @ ..] => Ok([*batch, *channels, places.iter().product()]),
            _ => Err(TensorError::Argument { operation, what: what(), shape: self.shape().to_vec() }),
        }
    }

    /// Batch normalisation in training (Ioffe, Szegedy 2015, algorithm 1): each channel of `[batch, channels, ..]` is
    /// normalised over the batch and all places, `(x - mean) / √(variance + epsilon) · scale + shift` with optional `scale`
    /// and `shift` `[channels]`. Also returns the statistics, for running ones; they are constants.
    ///
    /// It mixes examples, so that there are no per-example gradients through it.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x: Tensor<f64> = Tensor::from_vec(vec![1.0, 10.0, 3.0, 30.0], &[2, 2])?;
    /// let (y, statistics) = x.batch_norm(None, None, 0.0);
    /// assert_eq!(y.to_vec(), [-1.0, -1.0, 1.0, 1.0]);
    /// assert_eq!(statistics.mean.to_vec(), [2.0, 20.0]);
    /// assert_eq!(statistics.unbiased_variance().to_vec(), [2.0, 200.0]);
    /// # Ok::<(), gradus_autodiff::TensorError>(())
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_batch_norm`] returns the error instead.
    #[track_caller]
    pub fn batch_norm(&self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> (Self, BatchStatistics<T>) {
        or_panic(self.try_batch_norm(scale, shift, epsilon))
    }

    /// [`Tensor::batch_norm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor without channels axis or with fewer than two values for each channel,
    /// [`TensorError::Mismatch`] for a scale or shift of another shape.
    #[track_caller]
    pub fn try_batch_norm(
        &self,
        scale: Option<&Self>,
        shift: Option<&Self>,
        epsilon: T,
    ) -> Result<(Self, BatchStatistics<T>), TensorError> {
        let name = "batch_norm";
        let [batch, channels, places] = self.by_channels(name)?;
        let count = batch * places;
        if count < 2 {
            let what = format!("{count} values for each channel have no variance");
            return Err(TensorError::Argument { operation: name, what, shape: self.shape().to_vec() });
        }
        let layout = Layout { pieces: batch, repeats: 1, cycle: channels, channels: 1, spatial: places, centred: true };
        let (y, moments) = normalise(name, self, [scale, shift], layout, epsilon)?;
        let each = |f: fn(&Moments) -> f64| Tensor::from_fn(&[channels], |c| T::from_f64(f(&moments[c])));
        Ok((y, BatchStatistics { mean: each(|own| own.mean), variance: each(|own| own.variance), count }))
    }

    /// Batch normalisation in evaluation: as [`Tensor::batch_norm`], with a given `mean` and `variance` `[channels]`. It keeps
    /// examples apart.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_batch_norm_with`] returns the error instead.
    #[track_caller]
    pub fn batch_norm_with(&self, mean: &Self, variance: &Self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Self {
        or_panic(self.try_batch_norm_with(mean, variance, scale, shift, epsilon))
    }

    /// [`Tensor::batch_norm_with`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor without channels axis, [`TensorError::Mismatch`] for statistics, a scale or a
    /// shift of another shape.
    #[track_caller]
    pub fn try_batch_norm_with(
        &self,
        mean: &Self,
        variance: &Self,
        scale: Option<&Self>,
        shift: Option<&Self>,
        epsilon: T,
    ) -> Result<Self, TensorError> {
        let name = "batch_norm_with";
        let [_, channels, _] = self.by_channels(name)?;
        let all = [Some(mean), Some(variance), scale, shift];
        if let Some(other) = all.into_iter().flatten().find(|other| other.shape() != [channels]) {
            return Err(TensorError::Mismatch { operation: name, left: self.shape().to_vec(), right: other.shape().to_vec() });
        }
        let rate = (variance + epsilon).sqrt().recip();
        let rate = scale.map_or_else(|| rate.clone(), |scale| &rate * scale);
        let offset = -(mean * &rate);
        let offset = shift.map_or_else(|| offset.clone(), |shift| &offset + shift);
        let mut shape = vec![1; self.rank()];
        shape[1] = channels;
        Ok(self * &rate.reshape(&shape) + offset.reshape(&shape))
    }

    /// Group normalisation (Wu, He 2018): each example's `groups` parts of the channels of `[batch, channels, ..]` are
    /// normalised over their channels and all places, with an optional `scale` and `shift` `[channels]`; `epsilon` is added
    /// to the variance.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_group_norm`] returns the error instead.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Self {
        or_panic(self.try_group_norm(groups, scale, shift, epsilon))
    }

    /// [`Tensor::group_norm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor without channels axis, or channels that do not split into the groups;
    /// [`TensorError::Mismatch`] for a scale or shift of another shape.
    #[track_caller]
    pub fn try_group_norm(&self, groups: usize, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Result<Self, TensorError> {
        let name = "group_norm";
        let [repeats, channels, spatial] = self.by_channels(name)?;
        self.splits(name, channels, groups)?;
        let layout = Layout { pieces: 1, repeats, cycle: groups, channels: channels / groups, spatial, centred: true };
        Ok(normalise(name, self, [scale, shift], layout, epsilon)?.0)
    }

    /// Instance normalisation (Ulyanov, Vedaldi, Lempitsky 2016): each channel of each example of `[batch, channels, ..]` is
    /// normalised over its places, with an optional `scale` and `shift` `[channels]`; `epsilon` is added to the variance.
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_instance_norm`] returns the error instead.
    #[track_caller]
    pub fn instance_norm(&self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Self {
        or_panic(self.try_instance_norm(scale, shift, epsilon))
    }

    /// [`Tensor::instance_norm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Argument`] for a tensor without channels axis, [`TensorError::Mismatch`] for a scale or shift of another
    /// shape.
    #[track_caller]
    pub fn try_instance_norm(&self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Result<Self, TensorError> {
        let name = "instance_norm";
        let [repeats, channels, spatial] = self.by_channels(name)?;
        let layout = Layout { pieces: 1, repeats, cycle: channels, channels: 1, spatial, centred: true };
        Ok(normalise(name, self, [scale, shift], layout, epsilon)?.0)
    }

    /// Layer normalisation (Ba, Kiros, Hinton 2016): each row of the last axis of `[.., width]` is normalised by itself, with an
    /// optional `scale` and `shift` `[width]`; `epsilon` is added to the variance.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x: Tensor<f64> = Tensor::vector(&[1.0, 3.0]);
    /// assert_eq!(x.layer_norm(None, Some(&Tensor::ones(&[2])), 0.0).to_vec(), [0.0, 2.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_layer_norm`] returns the error instead.
    #[track_caller]
    pub fn layer_norm(&self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Self {
        or_panic(self.try_layer_norm(scale, shift, epsilon))
    }

    /// [`Tensor::layer_norm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`] for a scalar, [`TensorError::Mismatch`] for a scale or shift of another shape.
    #[track_caller]
    pub fn try_layer_norm(&self, scale: Option<&Self>, shift: Option<&Self>, epsilon: T) -> Result<Self, TensorError> {
        let layout = self.rows_of_last("layer_norm", true)?;
        Ok(normalise("layer_norm", self, [scale, shift], layout, epsilon)?.0)
    }

    /// Root-mean-square normalisation (Zhang, Sennrich 2019): each row of the last axis of `[.., width]` is divided by
    /// `√(mean square + epsilon)`, with an optional `scale` `[width]`.
    ///
    /// ```
    /// use gradus_autodiff::Tensor;
    /// let x: Tensor<f64> = Tensor::vector(&[0.0, 4.0, 0.0, 0.0]); // the mean square is 4
    /// assert_eq!(x.rms_norm(None, 0.0).to_vec(), [0.0, 2.0, 0.0, 0.0]);
    /// ```
    ///
    /// # Panics
    /// When the shapes do not fit; [`Tensor::try_rms_norm`] returns the error instead.
    #[track_caller]
    pub fn rms_norm(&self, scale: Option<&Self>, epsilon: T) -> Self {
        or_panic(self.try_rms_norm(scale, epsilon))
    }

    /// [`Tensor::rms_norm`], or what does not fit.
    ///
    /// # Errors
    /// [`TensorError::Axis`] for a scalar, [`TensorError::Mismatch`] for a scale of another shape.
    #[track_caller]
    pub fn try_rms_norm(&self, scale: Option<&Self>, epsilon: T) -> Result<Self, TensorError> {
        let layout = self.rows_of_last("rms_norm", false)?;
        Ok(normalise("rms_norm", self, [scale, None], layout, epsilon)?.0)
    }

    fn rows_of_last(&self, operation: &'static str, centred: bool) -> Result<Layout, TensorError> {
        let [repeats, channels, _] = self.around(self.try_axis(operation, -1)?);
        Ok(Layout { pieces: 1, repeats, cycle: 1, channels, spatial: 1, centred })
    }
}
