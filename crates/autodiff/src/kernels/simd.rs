//! Compiles a loop for the vector registers that the processor has.
#![allow(unsafe_code)]

/// Runs `body` compiled for AVX-512 or AVX2 where the processor has them. No operation is fused into another, so that
/// the results are those of the plain loop to the bit.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { with_avx512(body) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { with_avx2(body) };
        }
    }
    body()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2")]
fn with_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// `[x, y, z][i] = f([x, y, z][i], g[i])`, compiled as by [`vectorised`]. The slices are parameters of the compiled
/// functions and not captured by a closure: only so does the compiler know that they do not overlap, and vectorises.
#[inline(always)]
pub(crate) fn update3<T: Copy>(x: &mut [T], y: &mut [T], z: &mut [T], g: &[T], f: impl Fn([T; 3], T) -> [T; 3]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { update3_with_avx512(x, y, z, g, f) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { update3_with_avx2(x, y, z, g, f) };
        }
    }
    update3_plain(x, y, z, g, f)
}

#[inline(always)]
fn update3_plain<T: Copy>(x: &mut [T], y: &mut [T], z: &mut [T], g: &[T], f: impl Fn([T; 3], T) -> [T; 3]) {
    let count = x.len().min(y.len()).min(z.len()).min(g.len());
    let (x, y, z, g) = (&mut x[..count], &mut y[..count], &mut z[..count], &g[..count]);
    for i in 0..count {
        [x[i], y[i], z[i]] = f([x[i], y[i], z[i]], g[i]);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2")]
fn update3_with_avx512<T: Copy>(x: &mut [T], y: &mut [T], z: &mut [T], g: &[T], f: impl Fn([T; 3], T) -> [T; 3]) {
    update3_plain(x, y, z, g, f)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2")]
fn update3_with_avx2<T: Copy>(x: &mut [T], y: &mut [T], z: &mut [T], g: &[T], f: impl Fn([T; 3], T) -> [T; 3]) {
    update3_plain(x, y, z, g, f)
}
