//! The same matrix under its official RWKV-4 name and under its Hugging Face module name.

use crate::hf_names::{to_hf, to_official};

/// Matrices of time mixing that an adapter may change.
const ATT: [&str; 4] = ["key", "output", "receptance", "value"];
/// Matrices of channel mixing that an adapter may change.
const FFN: [&str; 3] = ["key", "receptance", "value"];

/// `blocks.3.att.key` → `rwkv.blocks.3.attention.key`; `None` for what is no matrix of a layer or the head.
pub(super) fn hf_module(official: &str) -> Option<String> {
    let (part, matrix) = match official {
        "head" => return Some("head".to_owned()),
        other => other
            .strip_prefix("blocks.")?
            .split_once('.')?
            .1
            .split_once('.')?,
    };
    let known = match part {
        "att" => ATT.contains(&matrix),
        "ffn" => FFN.contains(&matrix),
        _ => false,
    };
    known.then(|| to_hf(official))?
}

/// The inverse of [`hf_module`].
pub(super) fn official_module(hf: &str) -> Option<String> {
    let official = match hf {
        "head" => hf.to_owned(),
        other => to_official(other)?,
    };
    hf_module(&official)?;
    Some(official)
}

/// What PEFT is told to look for: `attention.key` for every `blocks.N.att.key`.
pub(super) fn peft_target(official: &str) -> Option<String> {
    let hf = hf_module(official)?;
    Some(hf.splitn(4, '.').last().unwrap_or(&hf).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rwkv4::RwkvConfig;

    #[test]
    fn both_ways_for_every_matrix() {
        let mut matrices = 0;
        for spec in RwkvConfig::new(64, 32, 12, 16).tensor_specs() {
            let Some(module) = spec.name.strip_suffix(".weight") else {
                continue;
            };
            if let Some(hf) = hf_module(module) {
                assert_eq!(official_module(&hf).as_deref(), Some(module));
                matrices += 1;
            }
        }
        assert_eq!(matrices, 12 * 7 + 1);
        assert_eq!(
            hf_module("blocks.11.ffn.value").as_deref(),
            Some("rwkv.blocks.11.feed_forward.value")
        );
        assert_eq!(
            peft_target("blocks.11.ffn.value").as_deref(),
            Some("feed_forward.value")
        );
        assert_eq!(peft_target("head").as_deref(), Some("head"));
    }

    #[test]
    fn nothing_else_has_a_name() {
        for name in [
            "emb",
            "ln_out",
            "blocks.0.ln1",
            "blocks.x.att.key",
            "blocks.01.att.key",
            "blocks.+1.att.key",
            "blocks.0.att.time_mix_k",
            "blocks.0.ffn.output",
            "blocks.0.att.key.x",
            "",
        ] {
            assert_eq!(hf_module(name), None, "{name}");
        }
        assert_eq!(official_module("rwkv.blocks.0.attention.gate"), None);
        assert_eq!(official_module("blocks.0.attention.key"), None);
    }
}
