//! Batches for training and windows for validation. Needs nothing but a temporary folder.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use ptbr_dataset::{
    Batch, BatchSlice, DataLoader, DatasetError, LaneSampler, LoaderConfig, MmapDataset,
    TokenizedDatasetWriter, WindowSampler, batch_at, validation_windows,
};

/// A raw file of the tokens 0, 1, 2, …: a token tells where it stands.
fn counting(n: u16) -> (tempfile::TempDir, Arc<MmapDataset>) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("counting.bin");
    let bytes: Vec<u8> = (0..n).flat_map(u16::to_le_bytes).collect();
    fs::write(&path, bytes).unwrap();
    let dataset = Arc::new(MmapDataset::open_raw(&path).unwrap());
    (root, dataset)
}

const CONFIG: LoaderConfig = LoaderConfig {
    batch_size: 3,
    seq_len: 16,
    seed: 9,
    start: 0,
};

#[test]
fn prefetched_batches_are_those_of_the_pure_function() {
    let (_root, dataset) = counting(1_000);
    let sampler = WindowSampler::new(1_000, 16, 9).unwrap();
    let mut loader = DataLoader::new(Arc::clone(&dataset), CONFIG).unwrap();
    assert_eq!(loader.batches_per_epoch(), 61u64.div_ceil(3));
    for index in 0..200 {
        assert_eq!(loader.next_index(), index);
        assert_eq!(loader.next(), batch_at(&dataset, &sampler, &CONFIG, index));
    }
}

#[test]
fn a_resumed_loader_goes_on_where_the_other_stopped() {
    let (_root, dataset) = counting(1_000);
    let all: Vec<Batch> = {
        let mut loader = DataLoader::new(Arc::clone(&dataset), CONFIG).unwrap();
        (0..60).map(|_| loader.next()).collect()
    };
    for start in [1, 20, 37] {
        let mut loader =
            DataLoader::new(Arc::clone(&dataset), LoaderConfig { start, ..CONFIG }).unwrap();
        for expected in &all[start as usize..] {
            assert_eq!(loader.next(), *expected);
        }
    }
}

#[test]
fn the_slices_of_all_ranks_are_every_batch_once() {
    let (_root, dataset) = counting(1_000);
    for (period, world) in [(4, 1), (4, 2), (4, 3), (4, 4), (16, 3), (7, 5)] {
        for start in [0, 8 * period as u64] {
            let mut all = Vec::new();
            for rank in 0..world {
                let slice = BatchSlice::of_rank(period, rank, world).unwrap();
                let fair = period as u64 / world as u64;
                assert!((fair..=fair + 1).contains(&slice.len()), "{slice:?}");
                let config = LoaderConfig { start, ..CONFIG };
                let count = 3 * slice.len();
                let mut loader = DataLoader::sliced(Arc::clone(&dataset), config, slice).unwrap();
                all.extend((0..count).map(|_| loader.next()));
            }
            all.sort_by_key(|batch| batch.index);
            let config = LoaderConfig { start, ..CONFIG };
            let mut whole = DataLoader::new(Arc::clone(&dataset), config).unwrap();
            assert!(
                all.iter().all(|batch| *batch == whole.next()),
                "{period} {world}"
            );
            assert_eq!(whole.next_index(), start + 3 * period as u64);
        }
    }
    for (period, rank, world) in [(2, 0, 3), (4, 2, 2), (4, 0, 0)] {
        assert!(BatchSlice::of_rank(period, rank, world).is_err());
    }
}

#[test]
fn rows_are_text_and_targets_come_one_later() {
    let (_root, dataset) = counting(1_000);
    let batch = DataLoader::new(dataset, CONFIG).unwrap().next();
    assert_eq!(
        (
            batch.index,
            batch.batch_size,
            batch.seq_len,
            batch.inputs.len()
        ),
        (0, 3, 16, 48)
    );
    for row in batch.inputs.chunks(16) {
        assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    assert!(
        batch
            .inputs
            .iter()
            .zip(&batch.targets)
            .all(|(input, target)| *target == *input + 1)
    );
    assert_ne!(batch.inputs[..16], batch.inputs[16..32]);
}

#[test]
fn an_epoch_predicts_no_token_twice() {
    let (_root, dataset) = counting(1_000);
    let sampler = WindowSampler::new(1_000, 16, 9).unwrap();
    // 61 windows: one batch of them is one epoch.
    let config = LoaderConfig {
        batch_size: 61,
        ..CONFIG
    };
    for epoch in 0..5 {
        let mut targets = batch_at(&dataset, &sampler, &config, epoch).targets;
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), 61 * 16);
    }
}

#[test]
fn dropping_a_loader_ends_its_thread() {
    let (_root, dataset) = counting(1_000);
    for taken in [0, 1, 10] {
        let mut loader = DataLoader::new(Arc::clone(&dataset), CONFIG).unwrap();
        for _ in 0..taken {
            loader.next();
        }
        drop(loader);
        assert_eq!(Arc::strong_count(&dataset), 1, "the thread's share is gone");
    }
}

#[test]
fn impossible_loaders_are_refused() {
    let (_root, dataset) = counting(100);
    let error = |config| {
        DataLoader::new(Arc::clone(&dataset), config)
            .unwrap_err()
            .to_string()
    };
    let message = error(LoaderConfig {
        seq_len: 100,
        ..CONFIG
    });
    assert!(
        message.ends_with(
            "holds 100 tokens, a sequence of 100 needs 101: use a shorter --seq-len or more text"
        ),
        "{message}"
    );
    assert_eq!(
        error(LoaderConfig {
            batch_size: 0,
            ..CONFIG
        }),
        "`batch_size` is 0: must be at least 1"
    );
    assert_eq!(
        error(LoaderConfig {
            seq_len: 0,
            ..CONFIG
        }),
        "`seq_len` is 0: must be at least 1"
    );
    assert!(
        error(LoaderConfig {
            batch_size: usize::MAX,
            ..CONFIG
        })
        .contains("a batch may hold at most 2^30 tokens")
    );
    assert!(
        error(LoaderConfig {
            seq_len: usize::MAX,
            ..CONFIG
        })
        .contains("use a shorter --seq-len")
    );
    DataLoader::new(
        Arc::clone(&dataset),
        LoaderConfig {
            seq_len: 99,
            start: u64::MAX,
            ..CONFIG
        },
    )
    .unwrap()
    .next();
}

#[test]
fn validation_predicts_every_token_once() {
    let (_root, dataset) = counting(100);
    for seq_len in [1, 7, 33, 98, 99, 100, usize::MAX] {
        let windows = validation_windows(&dataset, seq_len, 0).unwrap();
        let announced = windows.len();
        let windows: Vec<_> = windows.collect();
        assert_eq!(windows.len(), announced);
        let targets: Vec<u16> = windows
            .iter()
            .flat_map(|window| window.targets.to_vec())
            .collect();
        let inputs: Vec<u16> = windows
            .iter()
            .flat_map(|window| window.inputs.to_vec())
            .collect();
        assert_eq!(targets, (1..100).collect::<Vec<u16>>(), "{seq_len}");
        assert_eq!(inputs, (0..99).collect::<Vec<u16>>(), "{seq_len}");
        assert!(
            windows.iter().all(|window| window.inputs.len() <= seq_len
                && window.inputs.len() == window.targets.len())
        );
    }
    for (most, predicted) in [(1, 1), (10, 10), (99, 99), (100, 99), (u64::MAX, 99)] {
        assert_eq!(
            validation_windows(&dataset, 8, most)
                .unwrap()
                .map(|window| window.targets.len())
                .sum::<usize>(),
            predicted
        );
    }
    assert!(validation_windows(&dataset, 0, 0).is_err());
    let (_root, single) = counting(1);
    assert!(
        validation_windows(&single, 8, 0)
            .unwrap_err()
            .to_string()
            .contains("holds 1 tokens, a sequence of 1 needs 2")
    );
}

#[test]
fn lanes_go_on_where_they_ended_and_documents_are_marked() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("documents.bin");
    let mut writer = TokenizedDatasetWriter::create(&path, 2_000, [7; 32]).unwrap();
    // Documents of 50 tokens; a token tells where it stands.
    for document in 0..24u16 {
        let tokens: Vec<u16> = (document * 50..(document + 1) * 50).collect();
        writer.push_document(&tokens).unwrap();
    }
    writer.finish().unwrap();
    let dataset = Arc::new(MmapDataset::open(&path).unwrap());
    let groups = 2;
    let sampler = LaneSampler::new(1_200, 16, 6, 9).unwrap();
    let mut loader = DataLoader::lanes(Arc::clone(&dataset), CONFIG, groups).unwrap();
    let batches: Vec<Batch> = (0..40).map(|_| loader.next()).collect();
    let (mut marked, mut jumps) = (0, 0);
    for (index, batch) in batches.iter().enumerate() {
        assert_eq!(*batch, batch_at(&dataset, &sampler, &CONFIG, index as u64));
        for (row, goes_on) in batch.continues.iter().enumerate() {
            let first = batch.inputs[row * 16];
            if *goes_on {
                assert_eq!(first, batches[index - groups].inputs[row * 16] + 16);
            } else {
                jumps += 1;
            }
        }
        let starts: Vec<u32> = (0u32..)
            .zip(&batch.inputs)
            .filter(|(_, token)| **token > 0 && **token % 50 == 0)
            .map(|(row, _)| row)
            .collect();
        assert_eq!(batch.document_starts, starts);
        marked += starts.len();
    }
    assert!(marked > 20, "{marked}");
    // Six lanes at the beginning and six in every later epoch.
    assert_eq!(jumps as u64, 6 * 20u64.div_ceil(sampler.stretch()));

    let shuffled = DataLoader::new(Arc::clone(&dataset), CONFIG)
        .unwrap()
        .next();
    assert!(shuffled.continues.is_empty() && shuffled.document_starts.is_empty());
    let refused = DataLoader::lanes(dataset, CONFIG, 100).err().unwrap();
    assert!(
        matches!(refused, DatasetError::TooManyLanes { lanes: 300, .. }),
        "{refused}"
    );
}
