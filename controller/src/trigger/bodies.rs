//! The memory that bodies of hooks take: bounded, over all ports that take them.

use std::sync::Arc;

use hook::rejection::Rejection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of bodies held at once, in units of a KiB.
const BUDGET_KIB: usize = 128 * 1024;

/// What is left of that memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_KIB)))
    }
}

impl Bodies {
    /// Takes so many bytes, until the permit is dropped.
    ///
    /// # Errors
    /// [`Rejection::Busy`] if there are not so many left.
    pub(crate) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Rejection> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = self.0.clone().try_acquire_many_owned(kib);
        permit.map_err(|_| Rejection::Busy)
    }
}
