//! The units of a layer in vector registers, and what most of the work is: multiply and add, fused.
//!
//! Always true: a fused multiply-add rounds once, whoever computes it, so a guest and a native process get the same bits. For a guest
//! it is an instruction of "relaxed SIMD", which Stride compiles to the fused one on every processor. Natively it is what the processor has,
//! which is looked up when the program runs; on one that has none it is computed, slowly.

#[cfg(target_family = "wasm")]
pub(super) use guest::{Factors, Vectors};
#[cfg(not(target_family = "wasm"))]
pub(super) use native::{Factors, Vectors};

#[cfg(target_family = "wasm")]
mod guest {
    use std::arch::wasm32::{f32x4_relaxed_madd, i32x4_shuffle, v128};

    use super::super::{LANES, Lanes, Value};

    /// Four features of a row.
    #[derive(Clone, Copy)]
    pub(crate) struct Factors(v128);

    impl Factors {
        #[inline(always)]
        pub(crate) fn of(values: [Value; 4]) -> Self {
            Self(bytemuck::cast(values))
        }
    }

    /// A number for each unit.
    #[derive(Clone, Copy)]
    pub(crate) struct Vectors([v128; LANES / 4]);

    impl Vectors {
        #[inline(always)]
        pub(crate) fn of(lanes: &Lanes) -> Self {
            Self(bytemuck::cast(*lanes))
        }

        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            bytemuck::cast(self.0)
        }

        /// Adds the product of the `K`th factor and each of `by`.
        #[inline(always)]
        pub(crate) fn add<const K: usize>(&mut self, factors: Factors, by: Self) {
            let factor = i32x4_shuffle::<K, K, K, K>(factors.0, factors.0);
            for n in 0..self.0.len() {
                self.0[n] = f32x4_relaxed_madd(factor, by.0[n], self.0[n]);
            }
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod native {
    use super::super::{LANES, Lanes, Value};

    /// Four features of a row.
    #[derive(Clone, Copy)]
    pub(crate) struct Factors([Value; 4]);

    impl Factors {
        #[inline(always)]
        pub(crate) fn of(values: [Value; 4]) -> Self {
            Self(values)
        }
    }

    /// A number for each unit.
    #[derive(Clone, Copy)]
    pub(crate) struct Vectors(Lanes);

    impl Vectors {
        #[inline(always)]
        pub(crate) fn of(lanes: &Lanes) -> Self {
            Self(*lanes)
        }

        #[inline(always)]
        pub(crate) fn lanes(self) -> Lanes {
            self.0
        }

        /// Adds the product of the `K`th factor and each of `by`.
        #[inline(always)]
        pub(crate) fn add<const K: usize>(&mut self, factors: Factors, by: Self) {
            let factor = f32::from_le_bytes(factors.0[K]);
            for n in 0..LANES {
                self.0[n] = factor.mul_add(by.0[n], self.0[n]);
            }
        }
    }
}
