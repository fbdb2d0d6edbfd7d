//! The model sizes that have a name, embedded from `configs/models/*.toml`.

use crate::arch::ArchConfig;
use crate::error::ConfigError;
use crate::nearest::nearest;
use crate::rwkv4::RwkvConfig;

/// Names of the presets, smallest first. They are nominal: [`RwkvConfig::num_parameters`] tells the truth.
pub const PRESETS: [&str; 7] = ["nano", "micro", "85m", "400m", "800m", "1b", "1.5b"];

const SOURCES: [&str; PRESETS.len()] = [
    include_str!("../../../configs/models/nano.toml"),
    include_str!("../../../configs/models/micro.toml"),
    include_str!("../../../configs/models/85m.toml"),
    include_str!("../../../configs/models/400m.toml"),
    include_str!("../../../configs/models/800m.toml"),
    include_str!("../../../configs/models/1b.toml"),
    include_str!("../../../configs/models/1.5b.toml"),
];

/// The sizes of a preset. An unknown name is an error that lists the presets and suggests the nearest.
pub fn preset(name: &str) -> Result<RwkvConfig, ConfigError> {
    let Some(index) = PRESETS.iter().position(|preset| *preset == name) else {
        return Err(ConfigError::UnknownPreset {
            name: name.to_owned(),
            nearest: nearest(name, PRESETS).unwrap_or(PRESETS[0]),
            available: PRESETS.join(", "),
        });
    };
    let ArchConfig::Rwkv4(config) = ArchConfig::from_toml(SOURCES[index])?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_has_its_size() {
        let sizes: Vec<(usize, usize, usize)> = PRESETS
            .iter()
            .map(|name| preset(name).unwrap())
            .map(|config| (config.vocab_size, config.d_model, config.n_layers))
            .collect();
        assert_eq!(
            sizes[2..],
            [
                (32_000, 768, 12),
                (32_000, 1024, 24),
                (32_000, 1536, 24),
                (32_000, 2048, 24),
                (32_000, 2304, 28)
            ]
        );
        let counts: Vec<u64> = PRESETS
            .iter()
            .map(|name| preset(name).unwrap().num_parameters())
            .collect();
        assert!(counts.is_sorted(), "{counts:?}");
    }

    #[test]
    fn an_unknown_preset_lists_all_and_suggests_one() {
        let message = preset("800M").unwrap_err().to_string();
        assert_eq!(
            message,
            "no model size is called \"800M\"; did you mean \"800m\"? Sizes: nano, micro, 85m, 400m, 800m, 1b, 1.5b"
        );
    }
}
