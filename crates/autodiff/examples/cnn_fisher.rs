//! The diagonal Fisher information of a convolutional network: squared gradients of every example, from one backward pass
//! and without a copy of the parameters per example.

use gradus_autodiff::{Convolution, Params, PerExampleError, Pooling, Tensor, per_example};

#[derive(Clone, Params)]
struct Cnn {
    filters: Tensor,
    bias: Tensor,
    head: Tensor,
}

impl Cnn {
    fn call(&self, images: &Tensor) -> Tensor {
        let maps = images.conv2d(&self.filters, Some(&self.bias), Convolution { padding: [1, 1], ..Default::default() }).relu();
        maps.max_pool2d(Pooling::new([2, 2])).mean_axes(&[2, 3]).linear(&self.head, None)
    }
}

fn main() -> Result<(), PerExampleError> {
    let wave = |shape: &[usize], rate: f32| Tensor::from_fn(shape, |i| (i as f32 * rate).sin());
    let cnn = Cnn { filters: wave(&[8, 1, 3, 3], 1.3), bias: Tensor::zeros(&[8]), head: wave(&[10, 8], 1.7) };
    let (batch, images) = (32, wave(&[32, 1, 8, 8], 0.37));
    let labels: Vec<usize> = (0..batch).map(|i| i % 10).collect();

    let each = per_example(|m: &Cnn, x: &Tensor| m.call(x).softmax_cross_entropy(&labels), &cnn, &images)?;
    let fisher: Cnn = each.sum_of_squares().map(|_, sum| sum * (1.0 / batch as f32));

    for (name, tensor) in fisher.named() {
        println!("{name} {:?}: mean {:.2e}", tensor.shape(), tensor.mean().item());
    }
    println!("gradient norms: {:.3}", each.squared_norms().sqrt());
    Ok(())
}
