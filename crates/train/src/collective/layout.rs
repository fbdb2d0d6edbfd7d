//! Which piece of which tensor is in which message, and which rank adds it up.
//!
//! Tensors are cut into buckets of equal size, so that one can be read from the device while the one before it is added up. Both ways of
//! cutting move the same bytes and give the same sums; they differ in who adds what.

use std::ops::Range;
use std::sync::Arc;

/// Numbers in a bucket: 25 MiB. Smaller ones pay the latency of a message more often; larger ones leave less to overlap. A multiple of
/// 16, so that pieces of buffers stay aligned for vector instructions.
const BUCKET: usize = 25 * (1 << 20) / size_of::<f32>();

/// A stretch of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Which tensor.
    pub tensor: usize,
    /// Which of its elements.
    pub elements: Range<usize>,
    /// Where in the bucket its first element is.
    pub at: usize,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// What it holds, without gaps.
    pub segments: Vec<Segment>,
    /// The part that each rank adds up.
    pub shards: Arc<[Range<usize>]>,
    /// Its number of elements.
    pub len: usize,
}

/// Takes the next `count` elements of a list of tensors.
struct Cursor<'a> {
    /// Index and length of the tensors still to be taken from.
    tensors: std::iter::Peekable<std::slice::Iter<'a, (usize, usize)>>,
    /// Elements of the first of them that were taken.
    taken: usize,
}

impl<'a> Cursor<'a> {
    fn new(tensors: &'a [(usize, usize)]) -> Self {
        Self {
            tensors: tensors.iter().peekable(),
            taken: 0,
        }
    }

    /// Appends the next `count` elements, fewer at the end, to `segments`, which hold `at` elements so far; returns how many there are
    /// then.
    fn take(&mut self, count: usize, segments: &mut Vec<Segment>, mut at: usize) -> usize {
        let mut left = count;
        while left > 0
            && let Some(&&(tensor, len)) = self.tensors.peek()
        {
            let part = left.min(len - self.taken);
            if part > 0 {
                let elements = self.taken..self.taken + part;
                segments.push(Segment {
                    tensor,
                    elements,
                    at,
                });
            }
            (self.taken, left, at) = (self.taken + part, left - part, at + part);
            if self.taken == len {
                self.tensors.next();
                self.taken = 0;
            }
        }
        at
    }
}

/// Buckets of tensors with these lengths, each added up in equal parts by `world` ranks.
pub fn shared(lengths: &[usize], world: usize) -> Vec<Bucket> {
    shared_in(lengths, world, BUCKET)
}

fn shared_in(lengths: &[usize], world: usize, bucket: usize) -> Vec<Bucket> {
    let tensors: Vec<_> = lengths.iter().copied().enumerate().collect();
    let mut cursor = Cursor::new(&tensors);
    let mut buckets = Vec::new();
    loop {
        let mut segments = Vec::new();
        let len = cursor.take(bucket, &mut segments, 0);
        if len == 0 {
            return buckets;
        }
        let part = len.div_ceil(world);
        let shards = (0..world)
            .map(|rank| (rank * part).min(len)..((rank + 1) * part).min(len))
            .collect();
        buckets.push(Bucket {
            segments,
            shards,
            len,
        });
    }
}

/// Buckets of tensors with these lengths in which each rank adds up what belongs to the tensors that it owns.
pub fn owned(lengths: &[usize], owners: &[usize], world: usize) -> Vec<Bucket> {
    owned_in(lengths, owners, world, BUCKET)
}

fn owned_in(lengths: &[usize], owners: &[usize], world: usize, bucket: usize) -> Vec<Bucket> {
    let mut of_rank = vec![Vec::new(); world];
    for (tensor, (&len, &owner)) in lengths.iter().zip(owners).enumerate() {
        of_rank[owner].push((tensor, len));
    }
    let mut cursors: Vec<_> = of_rank.iter().map(|list| Cursor::new(list)).collect();
    let part = bucket.div_ceil(world);
    let mut buckets = Vec::new();
    loop {
        let (mut segments, mut len) = (Vec::new(), 0);
        let mut shards = Vec::with_capacity(world);
        for cursor in &mut cursors {
            let end = cursor.take(part, &mut segments, len);
            shards.push(len..end);
            len = end;
        }
        if len == 0 {
            return buckets;
        }
        buckets.push(Bucket {
            segments,
            shards: shards.into(),
            len,
        });
    }
}

/// Which rank owns each tensor: whole tensors, the largest first, each to whoever has the least so far. Whole ones because an update may
/// need all of a matrix (its norm, its orthogonalisation, the blocks of its 8-bit moments); the largest share is at most the mean plus
/// the largest tensor.
pub fn owners(lengths: &[usize], world: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // A stable sort: equal lengths stay in the order of the tensors, the same on every rank.
    order.sort_by_key(|&tensor| std::cmp::Reverse(lengths[tensor]));
    let (mut owners, mut load) = (vec![0; lengths.len()], vec![0usize; world]);
    for tensor in order {
        let least = (0..world).min_by_key(|&rank| load[rank]).unwrap_or(0);
        owners[tensor] = least;
        load[least] += lengths[tensor];
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of every tensor is in one place, and every place of a bucket in one shard.
    fn check(lengths: &[usize], buckets: &[Bucket]) {
        let mut seen: Vec<Vec<u32>> = lengths.iter().map(|&len| vec![0; len]).collect();
        for bucket in buckets {
            let mut at = 0;
            for segment in &bucket.segments {
                assert_eq!(segment.at, at);
                at += segment.elements.len();
                seen[segment.tensor][segment.elements.clone()]
                    .iter_mut()
                    .for_each(|n| *n += 1);
            }
            assert_eq!(at, bucket.len);
            let mut end = 0;
            for shard in bucket.shards.iter().filter(|shard| !shard.is_empty()) {
                assert_eq!(shard.start, end);
                end = shard.end;
            }
            assert_eq!(end, bucket.len);
        }
        assert!(seen.iter().flatten().all(|&n| n == 1));
    }

    #[test]
    fn every_element_is_in_one_bucket_and_one_shard() {
        let lengths = [7, 0, 100, 1, 1, 33, 64, 0, 5];
        for world in [1, 2, 3, 4, 7] {
            for bucket in [1, 10, 16, 1000] {
                check(&lengths, &shared_in(&lengths, world, bucket));
                let owners = owners(&lengths, world);
                let buckets = owned_in(&lengths, &owners, world, bucket);
                check(&lengths, &buckets);
                for bucket in &buckets {
                    for segment in &bucket.segments {
                        let shard = &bucket.shards[owners[segment.tensor]];
                        let end = segment.at + segment.elements.len();
                        assert!(shard.start <= segment.at && end <= shard.end);
                    }
                }
            }
        }
        assert!(shared(&[], 2).is_empty() && owned(&[0], &[1], 2).is_empty());
    }

    #[test]
    fn owners_have_similar_loads() {
        let lengths = [50, 50, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10];
        let owners = owners(&lengths, 4);
        let load = |rank| -> usize {
            let mine = lengths.iter().zip(&owners).filter(|(_, o)| **o == rank);
            mine.map(|(len, _)| len).sum()
        };
        assert_eq!([0, 1, 2, 3].map(load), [50, 50, 50, 50]);
    }
}
