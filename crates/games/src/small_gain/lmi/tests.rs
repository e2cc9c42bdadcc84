use super::*;

fn two(entries: [f64; 4]) -> DMatrix<f64> {
    DMatrix::from_row_slice(2, 2, &entries)
}

#[test]
fn worked_examples() {
    let skew = block_lmi(&[two([1.0, 5.0, -5.0, 1.0])], &[1, 1], Structure::Scalar).unwrap();
    println!("{skew:?}");
    let toy = block_lmi(&[two([1.0, 10.0, 0.05, 1.0])], &[1, 1], Structure::Scalar).unwrap();
    println!("{toy:?}");
    let toy = block_lmi(&[two([1.0, 10.0, -0.05, 2.0])], &[1, 1], Structure::Scalar).unwrap();
    println!("{toy:?}");
    let toy = block_lmi(&[two([1.0, 10.0, -0.05, 2.0])], &[2], Structure::Full).unwrap();
    println!("{toy:?}");
}

fn normals(seed: u64) -> impl FnMut() -> f64 {
    use rand::RngExt;
    let mut rng = gradus_base::stream(seed, "lmi", 0);
    move || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

#[test]
#[ignore]
fn times() {
    for (dims, structure, counts) in [
        (vec![8; 4], Structure::Full, vec![1, 4, 16]),
        (vec![8; 4], Structure::Diagonal, vec![1, 4, 16]),
        (vec![8; 4], Structure::Scalar, vec![1, 4, 16]),
        (vec![32], Structure::Full, vec![1]),
        (vec![32; 2], Structure::Scalar, vec![1, 4]),
        (vec![32; 2], Structure::Diagonal, vec![1, 4]),
        (vec![32; 2], Structure::Full, vec![1, 4]),
    ] {
        for count in counts {
            let size: usize = dims.iter().sum();
            let mut normal = normals(7);
            let base: DMatrix<f64> =
                DMatrix::from_fn(size, size, |_, _| normal() / (size as f64).sqrt()) + 2.0 * DMatrix::identity(size, size);
            let jacobians: Vec<_> =
                (0..count)
                    .map(|k| {
                        if k == 0 {
                            base.clone()
                        } else {
                            &base + DMatrix::from_fn(size, size, |_, _| 0.3 * normal() / (size as f64).sqrt())
                        }
                    })
                    .collect();
            let time = std::time::Instant::now();
            let found = block_lmi(&jacobians, &dims, structure).unwrap();
            println!("{dims:?} {structure:?} {count}: {:?} margin {} upper {} {:?}", time.elapsed(), found.margin, found.upper, found.end);
        }
    }
}
