//! The model card: the `README.md` of an exported folder, with the YAML header that model hubs read.

use super::ExportFormat;
use crate::arch::ArchConfig;
use crate::checkpoint::TrainState;
use crate::format::WeightFormat;

/// What a model card says beside the sizes. What is not known is said to be unknown.
#[derive(Debug, Clone, Copy)]
pub struct ModelCard<'a> {
    /// What the model is called.
    pub name: &'a str,
    /// The licence of the weights, as an identifier of SPDX.
    pub license: Option<&'a str>,
    /// What the model was trained on, in a sentence.
    pub data: Option<&'a str>,
    /// Id of the f32 weights.
    pub model_id: &'a str,
    /// The run that trained it, where it was trained here.
    pub training: Option<&'a TrainState>,
}

/// The card's text; `file` is what the weights are called.
pub(super) fn text(
    card: &ModelCard<'_>,
    config: &ArchConfig,
    format: ExportFormat,
    dtype: WeightFormat,
    file: &str,
) -> String {
    let ArchConfig::Rwkv4(sizes) = config;
    let mut text = String::from("---\nlanguage:\n- pt\n");
    if let Some(license) = card.license {
        text.push_str(&format!("license: {}\n", one_line(license)));
    }
    if format == ExportFormat::Hf {
        text.push_str("library_name: transformers\n");
    }
    text.push_str("pipeline_tag: text-generation\ntags:\n- rwkv\n---\n\n");
    text.push_str(&format!(
        "# {}\n\nA language model of Brazilian Portuguese with the RWKV-4 architecture: a recurrent network whose memory and cost per token do not grow with the text.\n\n",
        one_line(card.name)
    ));
    let rows = [
        ("parameters", config.num_parameters().to_string()),
        ("vocabulary", sizes.vocab_size.to_string()),
        ("width", sizes.d_model.to_string()),
        ("layers", sizes.n_layers.to_string()),
        ("width of channel mixing", sizes.d_ffn.to_string()),
        (
            "longest sequence in training",
            format!("{} tokens", sizes.max_seq_len),
        ),
        ("numbers", dtype.to_string()),
        ("model id", format!("`{}`", card.model_id)),
    ];
    text.push_str("| | |\n|---|---|\n");
    for (what, value) in rows {
        text.push_str(&format!("| {what} | {value} |\n"));
    }
    text.push_str(&format!(
        "\n## Training\n\n- Data: {}\n- Licence of the weights: {}\n",
        card.data.map_or("unknown".to_owned(), one_line),
        card.license.map_or("unknown".to_owned(), one_line),
    ));
    // A model that was imported carries a state that has seen nothing.
    if let Some(state) = card.training.filter(|state| state.tokens_seen > 0) {
        text.push_str(&format!(
            "- {} optimizer steps, {} tokens\n",
            state.step, state.tokens_seen
        ));
        if let Some(loss) = state.best_eval {
            text.push_str(&format!(
                "- Lowest validation loss: {loss:.4} nats per token (perplexity {:.2}), at step {}\n",
                loss.exp(),
                state.best_eval_step.unwrap_or(state.step)
            ));
        }
    } else {
        text.push_str("- Steps, tokens and metrics: unknown\n");
    }
    text.push_str("\n## How to run\n\n");
    text.push_str(&how_to_run(format, file));
    text.push_str(
        "\nTexts are not checked for truth, and a model this small makes much of it up.\n\nWritten by ptbr-slm.\n",
    );
    text
}

fn how_to_run(format: ExportFormat, file: &str) -> String {
    match format {
        ExportFormat::Hf => "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
            model = AutoModelForCausalLM.from_pretrained(\".\")\n\
            tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
            inputs = tokenizer(\"O Brasil é\", return_tensors=\"pt\")\n\
            print(tokenizer.decode(model.generate(inputs.input_ids, max_new_tokens=50, do_sample=True)[0]))\n```\n"
            .to_owned(),
        ExportFormat::Rwkv => format!(
            "`{file}` holds the official RWKV-4 names and shapes. web-rwkv loads it as it is (f16); the `rwkv` Python package takes a `.pth`:\n\n\
             ```python\nimport torch\nfrom safetensors.torch import load_file\n\n\
             torch.save(load_file(\"{file}\"), \"model.pth\")\n\
             from rwkv.model import RWKV\n\n\
             logits, state = RWKV(\"model\", \"cpu fp32\").forward([5, 17, 42], None)\n```\n\n\
             `tokenizer.json` loads in the `tokenizers` library.\n"
        ),
        ExportFormat::RwkvCpp => format!(
            "`{file}` is a ggmf file of version 101 for rwkv.cpp:\n\n\
             ```python\nfrom rwkv_cpp import rwkv_cpp_model, rwkv_cpp_shared_library\n\n\
             library = rwkv_cpp_shared_library.load_rwkv_shared_library()\n\
             model = rwkv_cpp_model.RWKVModel(library, \"{file}\")\n\
             logits, state = model.eval_sequence([5, 17, 42], None)\n```\n\n\
             `tokenizer.json` loads in the `tokenizers` library.\n"
        ),
        ExportFormat::Onnx => format!(
            "`{file}` computes one token. A state begins with zeros, `pp` with -1e38, and goes from each step to the next:\n\n\
             ```python\nimport numpy as np\nimport onnxruntime\n\n\
             session = onnxruntime.InferenceSession(\"{file}\")\n\
             inputs = {{i.name: i.shape for i in session.get_inputs()}}\n\
             layers, _, width = inputs[\"aa\"]\n\
             state = {{name: np.zeros((layers, 1, width), np.float32) for name in [\"att_x\", \"ffn_x\", \"aa\", \"bb\", \"pp\"]}}\n\
             state[\"pp\"] -= 1e38\n\
             for token in [5, 17, 42]:\n\
             \x20   logits, *after = session.run(None, {{\"token\": np.array([token]), **state}})\n\
             \x20   state = dict(zip(state, after))\n```\n\n\
             `tokenizer.json` loads in the `tokenizers` library.\n"
        ),
    }
}

/// A text from outside as one line without what Markdown or YAML would take for their own.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        c if c.is_control() => ' ',
        '<' => '‹',
        '>' => '›',
        c => c,
    });
    plain.collect::<String>().trim().to_owned()
}
