//! The same tensor under its official RWKV-4 name and under the name that transformers' `RwkvForCausalLM` gives it. Shapes are the same.

/// Parts of a block, official and there.
const PARTS: [(&str, &str); 5] = [
    ("ln0", "pre_ln"),
    ("ln1", "ln1"),
    ("ln2", "ln2"),
    ("att", "attention"),
    ("ffn", "feed_forward"),
];
/// What else is called differently inside of a part.
const LEAVES: [(&str, &str); 3] = [
    ("time_mix_k", "time_mix_key"),
    ("time_mix_v", "time_mix_value"),
    ("time_mix_r", "time_mix_receptance"),
];
/// Modules outside of the blocks.
const OUTSIDE: [(&str, &str); 3] = [
    ("emb.", "rwkv.embeddings."),
    ("ln_out.", "rwkv.ln_out."),
    ("head.", "head."),
];

/// `blocks.3.att.key.weight` → `rwkv.blocks.3.attention.key.weight`; `None` for what belongs to no model. Whether a part has such a tensor is not asked.
pub(crate) fn to_hf(official: &str) -> Option<String> {
    if let Some(name) = outside(official, OUTSIDE) {
        return Some(name);
    }
    let (layer, part, leaf) = split(official.strip_prefix("blocks.")?)?;
    let (part, leaf) = (find(part, PARTS)?, find(leaf, LEAVES).unwrap_or(leaf));
    Some(format!("rwkv.blocks.{layer}.{part}.{leaf}"))
}

/// The inverse of [`to_hf`].
pub(crate) fn to_official(hf: &str) -> Option<String> {
    if let Some(name) = outside(hf, OUTSIDE.map(swap)) {
        return Some(name);
    }
    let (layer, part, leaf) = split(hf.strip_prefix("rwkv.blocks.")?)?;
    let part = find(part, PARTS.map(swap))?;
    let leaf = find(leaf, LEAVES.map(swap)).unwrap_or(leaf);
    Some(format!("blocks.{layer}.{part}.{leaf}"))
}

fn swap<T>((a, b): (T, T)) -> (T, T) {
    (b, a)
}

fn find<const N: usize>(
    name: &str,
    table: [(&'static str, &'static str); N],
) -> Option<&'static str> {
    table
        .into_iter()
        .find(|(from, _)| *from == name)
        .map(|(_, to)| to)
}

fn outside(name: &str, table: [(&str, &str); 3]) -> Option<String> {
    table
        .into_iter()
        .find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)))
}

/// `3.att.key.weight` → (`3`, `att`, `key.weight`).
fn split(rest: &str) -> Option<(&str, &str, &str)> {
    let (layer, rest) = rest.split_once('.')?;
    let (part, leaf) = rest.split_once('.')?;
    let number: usize = layer.parse().ok()?;
    // "+3" and "03" also parse, but name no layer.
    (number.to_string() == layer).then_some((layer, part, leaf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rwkv4::RwkvConfig;

    #[test]
    fn every_tensor_there_and_back() {
        for spec in RwkvConfig::new(64, 32, 12, 16).tensor_specs() {
            let hf = to_hf(&spec.name).unwrap();
            assert_eq!(to_official(&hf).as_deref(), Some(spec.name.as_str()));
        }
        for (official, hf) in [
            ("emb.weight", "rwkv.embeddings.weight"),
            ("blocks.0.ln0.bias", "rwkv.blocks.0.pre_ln.bias"),
            (
                "blocks.11.att.time_mix_r",
                "rwkv.blocks.11.attention.time_mix_receptance",
            ),
            (
                "blocks.1.ffn.key.weight",
                "rwkv.blocks.1.feed_forward.key.weight",
            ),
            ("ln_out.bias", "rwkv.ln_out.bias"),
            ("head.weight", "head.weight"),
        ] {
            assert_eq!(to_hf(official).as_deref(), Some(hf));
        }
    }

    #[test]
    fn nothing_else_has_a_name() {
        for name in [
            "embeddings.weight",
            "blocks.x.att.key.weight",
            "blocks.01.att.key.weight",
            "blocks.0.mlp.key.weight",
            "blocks.0.att",
            "",
        ] {
            assert_eq!(to_hf(name), None, "{name}");
        }
        assert_eq!(to_official("blocks.0.attention.key.weight"), None);
        assert_eq!(to_official("rwkv.blocks.0.att.key.weight"), None);
    }
}
