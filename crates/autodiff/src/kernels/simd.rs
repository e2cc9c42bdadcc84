//! Compiles a loop for the vector registers that the processor has.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") && has_avx2()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Runs `body` compiled for AVX-512 or AVX2 where the processor has them. No operation is fused into another but
/// where `mul_add` says so, and that is rounded in the same way wherever it runs: the results are those of the plain loop to the bit.
/// A processor without the instruction has it from a library, slowly.
///
/// A closure of more than a line is handed over as `#[inline(always)] || …`: it is called from three places, and what the
/// compiler does not inline there stays compiled for the least processor.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        if has_avx512() {
            // SAFETY: the processor has the features that the function is compiled for.
            return unsafe { with_avx512(body) };
        }
        if has_avx2() {
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

/// `[x, ..][i] = f([x, ..][i], [y, ..][i])`, compiled as by [`vectorised`]. The slices are parameters of the compiled
/// functions and not captured by a closure: only so does the compiler know that they do not overlap, and vectorises. A name
/// says how many slices are changed, and by how many others.
macro_rules! elementwise {
    ($name:ident, $outs:literal: $($x:ident)+; $ins:literal: $($y:ident)*) => {
        #[inline(always)]
        pub(crate) fn $name<T: Copy>($($x: &mut [T],)+ $($y: &[T],)* f: impl Fn([T; $outs], [T; $ins]) -> [T; $outs]) {
            #[inline(always)]
            fn plain<T: Copy>($($x: &mut [T],)+ $($y: &[T],)* f: impl Fn([T; $outs], [T; $ins]) -> [T; $outs]) {
                let count = usize::MAX$(.min($x.len()))+$(.min($y.len()))*;
                $(let $x = &mut $x[..count];)+
                $(let $y = &$y[..count];)*
                for i in 0..count {
                    [$($x[i]),+] = f([$($x[i]),+], [$($y[i]),*]);
                }
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
            fn avx512<T: Copy>($($x: &mut [T],)+ $($y: &[T],)* f: impl Fn([T; $outs], [T; $ins]) -> [T; $outs]) {
                plain($($x,)+ $($y,)* f)
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<T: Copy>($($x: &mut [T],)+ $($y: &[T],)* f: impl Fn([T; $outs], [T; $ins]) -> [T; $outs]) {
                plain($($x,)+ $($y,)* f)
            }

            #[cfg(all(target_arch = "x86_64", not(miri)))]
            {
                if has_avx512() {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx512($($x,)+ $($y,)* f) };
                }
                if has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($x,)+ $($y,)* f) };
                }
            }
            plain($($x,)+ $($y,)* f)
        }
    };
}

elementwise!(change1, 1: x; 0:);
elementwise!(change1_by1, 1: x; 1: y);
elementwise!(change1_by2, 1: x; 2: y z);
elementwise!(change1_by3, 1: w; 3: x y z);
elementwise!(change2_by1, 2: w x; 1: y);
elementwise!(change3_by1, 3: w x y; 1: z);
elementwise!(change4_by1, 4: v w x y; 1: z);

/// Compiles a function as [`vectorised`] does. Its slices are parameters, for the reason given at `elementwise`: those that are
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
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma")]
                fn avx512<T: Scalar>($($x: $type),*) {
                    plain($($x),*)
                }

                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Scalar>($($x: $type),*) {
                    plain($($x),*)
                }

                if $crate::kernels::simd::has_avx512() {
                    // SAFETY: the processor has the features that the function is compiled for.
                    return unsafe { avx512($($x),*) };
                }
                if $crate::kernels::simd::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($x),*) };
                }
            }
            plain($($x),*)
        }
    };
}
pub(super) use compiled;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scalar;
    use crate::kernels::functions::{is_nan, sigmoid, softplus};

    /// The bits of `f` at each element, from a loop compiled for each kind of processor of which this one has the registers.
    fn check<T: Scalar>(name: &str, x: &[T], f: impl Fn(T) -> T) {
        let run = || x.iter().map(|&x| f(x)).collect::<Vec<T>>();
        let alone: Vec<T> = x.iter().map(|x| std::hint::black_box(&f)(*std::hint::black_box(x))).collect();
        let mut compiled = vec![run()];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            // SAFETY: the processor has the features that the functions are compiled for.
            compiled.extend(has_avx2().then(|| unsafe { with_avx2(run) }));
            // SAFETY: as above.
            compiled.extend(has_avx512().then(|| unsafe { with_avx512(run) }));
        }
        for (level, found) in compiled.iter().enumerate() {
            let same = |(a, b): (&T, &T)| (a == b && (*a != T::ZERO || T::ONE / *a == T::ONE / *b)) || (is_nan(*a) && is_nan(*b));
            assert!(found.iter().zip(&alone).all(same), "{name}, level {level}");
        }
    }

    fn check_all<T: Scalar>(x: &[T]) {
        // Each as a type of its own: a pointer would not be compiled into the loops.
        check("exp", x, T::exp);
        check("exp_m1", x, T::exp_m1);
        check("tanh", x, T::tanh);
        check("ln", x, T::ln);
        check("ln_1p", x, T::ln_1p);
        check("erf", x, T::erf);
        check("erfc", x, T::erfc);
        check("sigmoid", x, sigmoid::<T>);
        check("softplus", x, softplus::<T>);
        check("powf", x, |x| x.powf(T::from_f64(1.7)));
    }

    #[test]
    fn every_kind_of_processor_gives_the_bits_of_one_element() {
        let count = if cfg!(miri) { 7 } else { 4099 };
        let single = (0..count).map(|i: u32| f32::from_bits(i.wrapping_mul(1_048_583))).collect::<Vec<_>>();
        check_all(&single);
        check_all(&single.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
    }
}
