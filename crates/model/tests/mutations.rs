//! Whatever bytes configurations and checkpoints hold, opening them gives a value or an error. Needs nothing but a temporary folder.
//!
//! Model files, adapters, tokenizers and states are damaged in ptbr-runtime's tests, where all of them are known.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use ptbr_model::{ArchConfig, TrainingConfig, open_checkpoint};
use support::mutation::{Noise, mutate, run_all, seeds};
use support::{Run, rewrite_manifest};

#[test]
fn configurations() {
    let toml =
        "recipe = \"rwkv4\"\nlearning_rate = 6e-4\nwarmup_steps = 10\nseed = 1\nseq_len = 64\n";
    let json = support::config().to_json().into_bytes();
    let loaded = run_all("configurations", &seeds(100_000), |seed| {
        let mut noise = Noise::new(seed);
        if let Ok(text) = String::from_utf8(mutate(toml.into(), &mut noise))
            && let Ok(config) = TrainingConfig::from_toml(&text)
            && config.validate().is_ok()
        {
            let rate = config.learning_rate_at(config.max_steps / 2);
            assert!(rate.is_finite() && rate >= 0.0);
        }
        let config = ArchConfig::from_json(&mutate(json.clone(), &mut noise));
        config.is_ok_and(|config| {
            assert!(config.validate().is_ok() && config.num_parameters() > 0);
            true
        })
    });
    assert!(loaded > 0 || std::env::var_os("PTBR_SEED").is_some());
}

#[test]
fn checkpoints() {
    run_all("checkpoints", &seeds(25_000), |seed| {
        let mut noise = Noise::new(seed);
        let root = tempfile::tempdir().unwrap();
        let folder = Run::at(1)
            .save(&support::faulty::FaultyStorage::sound(), root.path())
            .unwrap();
        let files = support::files(&folder);
        let path = &files[noise.below(files.len())];
        let original = fs::read(path).unwrap();
        let bytes = mutate(original.clone(), &mut noise);
        fs::write(path, &bytes).unwrap();
        assert_eq!(open_checkpoint(&folder).is_ok(), bytes == original);
        // With digests that agree, the content itself is what is checked.
        rewrite_manifest(&folder);
        open_checkpoint(&folder).is_ok()
    });
}
