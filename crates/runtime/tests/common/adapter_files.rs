//! An adapter folder's files in memory, for platforms without a file system.

use half::f16;
use ptbr_model::{Adapter, WeightFormat};

/// `adapter_config.json` and `adapter_model.safetensors` as `write_adapter_as` writes them, in f32 or f16; the order of metadata and of JSON keys may differ.
pub fn adapter_files(adapter: &Adapter, format: WeightFormat) -> [Vec<u8>; 2] {
    let rank = adapter.config.rank;
    let (dtype, width) = match format {
        WeightFormat::F32 => ("F32", 4),
        _ => ("F16", 2),
    };
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for module in &adapter.modules {
        let name = match module.target.strip_prefix("blocks.") {
            None => module.target.clone(),
            Some(rest) => {
                let rest = rest.replace("att.", "attention.");
                format!("rwkv.blocks.{}", rest.replace("ffn.", "feed_forward."))
            }
        };
        for (part, shape, values) in [
            ("A", [rank, module.in_features], &module.a),
            ("B", [module.out_features, rank], &module.b),
        ] {
            let (begin, end) = (data.len(), data.len() + values.len() * width);
            entries.push(format!(
                r#""base_model.model.{name}.lora_{part}.weight":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
            ));
            for &value in values {
                match format {
                    WeightFormat::F32 => data.extend(value.to_le_bytes()),
                    _ => data.extend(f16::from_f32(value).to_le_bytes()),
                }
            }
        }
    }
    let document = match &adapter.model_id {
        Some(id) => format!(r#","ptbr-slm":"{{\"model_id\":\"{id}\"}}""#),
        None => String::new(),
    };
    let mut header = format!(
        r#"{{"__metadata__":{{"format":"pt"{document}}},{}}}"#,
        entries.join(",")
    );
    // The data begins at a multiple of eight.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut tensors = (header.len() as u64).to_le_bytes().to_vec();
    tensors.extend(header.bytes());
    tensors.extend(data);
    let config = format!(
        "{{\n  \"peft_type\": \"LORA\",\n  \"task_type\": \"CAUSAL_LM\",\n  \"r\": {rank},\n  \"lora_alpha\": {:?},\n  \"lora_dropout\": 0.0,\n  \"bias\": \"none\",\n  \
         \"inference_mode\": true,\n  \"target_modules\": [],\n  \"use_rslora\": {}\n}}\n",
        adapter.config.alpha, adapter.config.rank_stabilized
    );
    [config.into_bytes(), tensors]
}
