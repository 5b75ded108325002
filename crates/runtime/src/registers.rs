//! The state of the vector registers when a guest goes on.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

/// Runs a guest with clean vector registers each time that it goes on.
///
/// Cranelift moves vectors with instructions of SSE, which keep the upper halves of the registers as they are. If something before left
/// them in use, each move depends on what the register held before. A guest that computes with vectors has been seen to take 2.6 times
/// as long, now and then on two cores and never on one, and no more since this is done. A guest has nothing in registers when it is polled, so they can be
/// cleared then.
pub(crate) async fn with_clean<F: Future>(run: F) -> F::Output {
    let mut run = pin!(run);
    poll_fn(|context| {
        clear_upper_halves();
        run.as_mut().poll(context)
    })
    .await
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an instruction that not every processor has; it is asked for before")]
fn clear_upper_halves() {
    if is_x86_feature_detected!("avx") {
        // SAFETY: this processor has AVX.
        unsafe { std::arch::x86_64::_mm256_zeroupper() }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn clear_upper_halves() {}
