//! Compiles a loop for the vector registers that the processor has.
#![allow(unsafe_code)]

/// Runs `body` compiled for AVX-512 or AVX2 where the processor has them. No operation is fused into another, so that
/// the results are those of the plain loop to the bit.
///
/// A closure of more than a line is handed over as `#[inline(always)] || …`: it is called from three places, and what the
/// compiler does not inline there stays compiled for the least processor.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { with_avx512(body) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { with_avx2(body) };
        }
    }
    body()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
fn with_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// `[x, y, ..][i] = f([x, y, ..][i], g[i])`, compiled as by [`vectorised`]. The slices are parameters of the compiled
/// functions and not captured by a closure: only so does the compiler know that they do not overlap, and vectorises.
macro_rules! update {
    ($name:ident, $count:literal: $($x:ident)*) => {
        #[inline(always)]
        pub(crate) fn $name<T: Copy>($($x: &mut [T],)* g: &[T], f: impl Fn([T; $count], T) -> [T; $count]) {
            #[inline(always)]
            fn plain<T: Copy>($($x: &mut [T],)* g: &[T], f: impl Fn([T; $count], T) -> [T; $count]) {
                let count = g.len()$(.min($x.len()))*;
                let g = &g[..count];
                $(let $x = &mut $x[..count];)*
                for i in 0..count {
                    [$($x[i]),*] = f([$($x[i]),*], g[i]);
                }
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
            fn avx512<T: Copy>($($x: &mut [T],)* g: &[T], f: impl Fn([T; $count], T) -> [T; $count]) {
                plain($($x,)* g, f)
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<T: Copy>($($x: &mut [T],)* g: &[T], f: impl Fn([T; $count], T) -> [T; $count]) {
                plain($($x,)* g, f)
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx512($($x,)* g, f) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { avx2($($x,)* g, f) };
                }
            }
            plain($($x,)* g, f)
        }
    };
}

update!(update2, 2: x y);
update!(update3, 3: x y z);
update!(update4, 4: w x y z);

/// Compiles a function as [`vectorised`] does. Its slices are parameters, for the reason given at `update`: those that are
/// written must be parameters of their own.
macro_rules! compiled {
    ($(#[$attribute:meta])* fn $name:ident<T: Scalar>($($x:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        fn $name<T: Scalar>($($x: $type),*) {
            #[inline(always)]
            fn plain<T: Scalar>($($x: $type),*) $body

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2")]
                fn avx512<T: Scalar>($($x: $type),*) {
                    plain($($x),*)
                }

                #[target_feature(enable = "avx2")]
                fn avx2<T: Scalar>($($x: $type),*) {
                    plain($($x),*)
                }

                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx512($($x),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($x),*) };
                }
            }
            plain($($x),*)
        }
    };
}
pub(super) use compiled;
