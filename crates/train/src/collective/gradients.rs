//! The gradients of all processes become their sum.

use std::collections::VecDeque;
use std::io;

use super::layout::{self, Bucket};
use super::{CollectiveError, ProcessGroup};
use crate::optim::{Flat, GradientSum};

/// Buckets on their way at a time: one that is being added up, and one that waits, so that the transport never does.
const ON_THEIR_WAY: usize = 2;

/// Replaces `gradients` by their sum over all processes, on every process.
pub(crate) fn reduce_shared(
    group: &ProcessGroup,
    gradients: &mut GradientSum,
) -> Result<(), CollectiveError> {
    let mut tensors = Tensors::of(gradients);
    let buckets = layout::shared(&tensors.lengths, group.place().world);
    run(group, &mut tensors, &buckets, true)
}

/// The same where each process wants the sums of its own tensors only: `owner_of` says whose a tensor is, by its name. The gradients of
/// the others' tensors are dropped.
pub(crate) fn reduce_owned(
    group: &ProcessGroup,
    gradients: &mut GradientSum,
    owner_of: &dyn Fn(&str) -> usize,
) -> Result<(), CollectiveError> {
    let place = group.place();
    let owners: Vec<usize> = gradients.names().map(owner_of).collect();
    let mut tensors = Tensors::of(gradients);
    let buckets = layout::owned(&tensors.lengths, &owners, place.world);
    run(group, &mut tensors, &buckets, false)?;
    gradients.retain(|name| owner_of(name) == place.rank);
    Ok(())
}

/// Replaces `values` by their sum over all processes, on every process.
pub(crate) fn reduce_values(
    group: &ProcessGroup,
    values: &mut [f32],
) -> Result<(), CollectiveError> {
    let buckets = layout::shared(&[values.len()], group.place().world);
    run(group, &mut Values(values), &buckets, true)
}

/// What buckets are filled from, and where their sums go.
trait Content {
    /// The elements of a bucket.
    fn fill(&mut self, bucket: &Bucket) -> io::Result<Vec<f32>>;
    /// Puts the sums of a bucket in place: all of them, or those of this rank's shard.
    fn take_back(&mut self, bucket: &Bucket, sums: &[f32], all: bool, rank: usize);
}

/// One bucket is filled, read from the device where the gradients are there, while those before it are added up.
fn run(
    group: &ProcessGroup,
    content: &mut dyn Content,
    buckets: &[Bucket],
    gather: bool,
) -> Result<(), CollectiveError> {
    let rank = group.place().rank;
    let mut on_their_way: VecDeque<&Bucket> = VecDeque::new();
    for bucket in buckets {
        let filled = content
            .fill(bucket)
            .map_err(|source| CollectiveError::Transport {
                rank,
                operation: "share gradients",
                reason: source.to_string(),
            })?;
        group.begin_reduce(filled, &bucket.shards, gather)?;
        on_their_way.push_back(bucket);
        if on_their_way.len() == ON_THEIR_WAY
            && let Some(bucket) = on_their_way.pop_front()
        {
            content.take_back(bucket, &group.finish_reduce()?, gather, rank);
        }
    }
    for bucket in on_their_way {
        content.take_back(bucket, &group.finish_reduce()?, gather, rank);
    }
    Ok(())
}

/// Numbers in this computer's memory.
struct Values<'a>(&'a mut [f32]);

impl Content for Values<'_> {
    fn fill(&mut self, bucket: &Bucket) -> io::Result<Vec<f32>> {
        let parts = bucket.segments.iter().map(|s| &self.0[s.elements.clone()]);
        Ok(parts.collect::<Vec<_>>().concat())
    }

    fn take_back(&mut self, bucket: &Bucket, sums: &[f32], _all: bool, _rank: usize) {
        for segment in &bucket.segments {
            let range = segment.elements.clone();
            self.0[range.clone()].copy_from_slice(&sums[segment.at..][..range.len()]);
        }
    }
}

/// The gradients in canonical order: that of their names.
struct Tensors<'a> {
    gradients: Vec<&'a mut Flat>,
    lengths: Vec<usize>,
    /// Elements of those that live on a device, from the first bucket that reads them until the last that writes them.
    staged: Vec<Vec<f32>>,
    /// Elements of each that have not come back yet.
    missing: Vec<usize>,
}

impl<'a> Tensors<'a> {
    fn of(gradients: &'a mut GradientSum) -> Self {
        let gradients: Vec<&mut Flat> = gradients.tensors_mut().collect();
        let lengths: Vec<usize> = gradients.iter().map(|tensor| tensor.len()).collect();
        Self {
            staged: vec![Vec::new(); lengths.len()],
            missing: lengths.clone(),
            gradients,
            lengths,
        }
    }
}

impl Content for Tensors<'_> {
    fn fill(&mut self, bucket: &Bucket) -> io::Result<Vec<f32>> {
        let mut buffer = Vec::with_capacity(bucket.len);
        for segment in &bucket.segments {
            let range = segment.elements.clone();
            let tensor = segment.tensor;
            if let Some(elements) = self.gradients[tensor].host() {
                buffer.extend_from_slice(&elements[range]);
                continue;
            }
            if range.start == 0 {
                self.staged[tensor] = self.gradients[tensor].to_values()?;
            }
            buffer.extend_from_slice(&self.staged[tensor][range]);
        }
        Ok(buffer)
    }

    fn take_back(&mut self, bucket: &Bucket, sums: &[f32], all: bool, rank: usize) {
        let mine = &bucket.shards[rank];
        for segment in &bucket.segments {
            let (tensor, range) = (segment.tensor, segment.elements.clone());
            let at = segment.at..segment.at + range.len();
            let wanted = all || (mine.start <= at.start && at.end <= mine.end);
            self.missing[tensor] -= range.len();
            let sums = &sums[at];
            if let Some(elements) = self.gradients[tensor].host_mut() {
                if wanted {
                    elements[range].copy_from_slice(sums);
                }
                continue;
            }
            if wanted {
                self.staged[tensor][range].copy_from_slice(sums);
            }
            if self.missing[tensor] == 0 {
                let values = std::mem::take(&mut self.staged[tensor]);
                if wanted {
                    self.gradients[tensor].set_values(values);
                }
            }
        }
    }
}
