//! The only place that knows about threads: without the feature `parallel` everything runs on the caller's.
//!
//! Work is divided by output element and never by summand, so results do not depend on the number of threads. The caller's rayon pool is used
//! (`ThreadPool::install` chooses another); nested calls share it, so there are never more threads than it has.

/// Calls `work(index, chunk)` for each chunk of `size` elements (the last may be shorter); on several threads when `split` says that it pays.
#[cfg(feature = "parallel")]
pub(crate) fn for_chunks<T: Send>(
    split: bool,
    data: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    use rayon::prelude::*;
    if split && rayon::current_num_threads() > 1 {
        data.par_chunks_mut(size)
            .enumerate()
            .for_each(|(index, chunk)| work(index, chunk));
    } else {
        data.chunks_mut(size)
            .enumerate()
            .for_each(|(index, chunk)| work(index, chunk));
    }
}

/// Calls `work(index, chunk)` for each chunk of `size` elements (the last may be shorter).
#[cfg(not(feature = "parallel"))]
pub(crate) fn for_chunks<T: Send>(
    _split: bool,
    data: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    data.chunks_mut(size)
        .enumerate()
        .for_each(|(index, chunk)| work(index, chunk));
}

/// Runs both, side by side where there are threads.
#[cfg(feature = "parallel")]
pub(crate) fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    rayon::join(a, b);
}

/// Runs both, one after the other.
#[cfg(not(feature = "parallel"))]
pub(crate) fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    a();
    b();
}
