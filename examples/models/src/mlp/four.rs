//! Four numbers in a vector register, and what most of the work is: multiply and add, fused.
//!
//! Always true: a fused multiply-add rounds once, whoever computes it, so a guest and a native process get the same bits. For a guest
//! it is an instruction of "relaxed SIMD", which Stride compiles to the fused one on every processor. Natively it is what the processor has,
//! which is looked up when the program runs; on one that has none it is computed, slowly.

#[cfg(target_family = "wasm")]
pub(super) use guest::Four;
#[cfg(not(target_family = "wasm"))]
pub(super) use native::Four;

#[cfg(target_family = "wasm")]
mod guest {
    use std::arch::wasm32::{f32x4_relaxed_madd, f32x4_splat, v128};

    #[derive(Clone, Copy)]
    pub(crate) struct Four(v128);

    impl Four {
        pub(crate) const ZERO: Self = Self(std::arch::wasm32::f32x4(0.0, 0.0, 0.0, 0.0));

        #[inline(always)]
        pub(crate) fn of(numbers: &[f32; 4]) -> Self {
            Self(bytemuck::cast(*numbers))
        }

        #[inline(always)]
        pub(crate) fn stored(bytes: &[[u8; 4]; 4]) -> Self {
            Self(bytemuck::cast(*bytes))
        }

        #[inline(always)]
        pub(crate) fn splat(number: f32) -> Self {
            Self(f32x4_splat(number))
        }

        /// `self + one * other`.
        #[inline(always)]
        pub(crate) fn plus(self, one: Self, other: Self) -> Self {
            Self(f32x4_relaxed_madd(one.0, other.0, self.0))
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; 4] {
            bytemuck::cast(self.0)
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod native {
    #[derive(Clone, Copy)]
    pub(crate) struct Four([f32; 4]);

    impl Four {
        pub(crate) const ZERO: Self = Self([0.0; 4]);

        #[inline(always)]
        pub(crate) fn of(numbers: &[f32; 4]) -> Self {
            Self(*numbers)
        }

        #[inline(always)]
        pub(crate) fn stored(bytes: &[[u8; 4]; 4]) -> Self {
            Self(bytes.map(f32::from_le_bytes))
        }

        #[inline(always)]
        pub(crate) fn splat(number: f32) -> Self {
            Self([number; 4])
        }

        /// `self + one * other`.
        #[inline(always)]
        pub(crate) fn plus(mut self, one: Self, other: Self) -> Self {
            for at in 0..4 {
                self.0[at] = one.0[at].mul_add(other.0[at], self.0[at]);
            }
            self
        }

        #[inline(always)]
        pub(crate) fn to_array(self) -> [f32; 4] {
            self.0
        }
    }
}
