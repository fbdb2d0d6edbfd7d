//! The same matrix under its official RWKV-4 name and under its Hugging Face module name.

/// Matrices of time mixing that an adapter may change.
const ATT: [&str; 4] = ["key", "output", "receptance", "value"];
/// Matrices of channel mixing that an adapter may change.
const FFN: [&str; 3] = ["key", "receptance", "value"];

/// `blocks.3.att.key` → `rwkv.blocks.3.attention.key`; `None` for what is no matrix of a layer or the head.
pub(super) fn hf_module(official: &str) -> Option<String> {
    if official == "head" {
        return Some("head".to_owned());
    }
    let (layer, part, matrix) = split(official.strip_prefix("blocks.")?)?;
    match part {
        "att" if ATT.contains(&matrix) => Some(format!("rwkv.blocks.{layer}.attention.{matrix}")),
        "ffn" if FFN.contains(&matrix) => {
            Some(format!("rwkv.blocks.{layer}.feed_forward.{matrix}"))
        }
        _ => None,
    }
}

/// The inverse of [`hf_module`].
pub(super) fn official_module(hf: &str) -> Option<String> {
    if hf == "head" {
        return Some("head".to_owned());
    }
    let (layer, part, matrix) = split(hf.strip_prefix("rwkv.blocks.")?)?;
    match part {
        "attention" if ATT.contains(&matrix) => Some(format!("blocks.{layer}.att.{matrix}")),
        "feed_forward" if FFN.contains(&matrix) => Some(format!("blocks.{layer}.ffn.{matrix}")),
        _ => None,
    }
}

/// What PEFT is told to look for: `attention.key` for every `blocks.N.att.key`.
pub(super) fn peft_target(official: &str) -> Option<String> {
    let hf = hf_module(official)?;
    Some(hf.splitn(4, '.').last().unwrap_or(&hf).to_owned())
}

fn split(rest: &str) -> Option<(usize, &str, &str)> {
    let mut parts = rest.split('.');
    let (layer, part, matrix) = (parts.next()?, parts.next()?, parts.next()?);
    let number: usize = layer.parse().ok()?;
    // "+3" and "03" also parse, but name no layer.
    (parts.next().is_none() && number.to_string() == layer).then_some((number, part, matrix))
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
