//! A model, and the adapters made for it.

use crate::error::{coded, from_runtime};
use crate::reader::JsReader;
use crate::session::WebSession;
use js_sys::Function;
use ptbr_model::{Adapter, AdapterMatch, ModelStream};
use ptbr_runtime::{AdapterChoice, GpuSettings, LoadedAdapter, Model, RuntimeError, Session};
use ptbr_tokenizer::{BpeTokenizer, Tokenizer};
use serde_json::json;
use std::sync::Arc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// A model file whose tensors stay outside until an engine is chosen.
#[wasm_bindgen(js_name = WasmModel)]
pub struct WebModel {
    model: Arc<Model>,
    facts: String,
}

#[wasm_bindgen(js_class = WasmModel)]
impl WebModel {
    /// Checks a file of `len` bytes that `read(offset, length)` gives, and its SHA-256 where one is named. It is read again when an engine is chosen.
    pub fn open(
        label: &str,
        read: Function,
        len: f64,
        sha256: Option<String>,
    ) -> Result<WebModel, JsValue> {
        let reader = Box::new(JsReader::new(read, len as u64));
        let stream = ModelStream::open(label, reader, sha256.as_deref())
            .map_err(|error| from_runtime(error.into()))?;
        let facts = facts(&stream);
        let model = Model::from_stream(stream).map_err(from_runtime)?;
        Ok(Self { model, facts })
    }

    /// `{config, format, formats, parameters, modelId, sha256, bytes, largestTensor, tensorBytes}` as JSON.
    #[wasm_bindgen(getter)]
    pub fn facts(&self) -> String {
        self.facts.clone()
    }

    /// Opens the GPU anew, has it answer the known question and uploads the model, one tensor at a time. `subgroups`: the device will have that feature. Sessions made from now on, and those that recover, compute there.
    #[wasm_bindgen(js_name = useGpu)]
    pub async fn use_gpu(&self, subgroups: bool) -> Result<(), JsValue> {
        let mut settings = GpuSettings::new(AdapterChoice::Any);
        settings.browser_subgroups = subgroups;
        self.model
            .use_gpu_with_async(settings)
            .await
            .map_err(from_runtime)
    }

    /// Leaves the GPU, if one was open, and reads the weights into memory.
    #[wasm_bindgen(js_name = useCpu)]
    pub fn use_cpu(&self) -> Result<(), JsValue> {
        self.model.use_cpu();
        self.model.hold_weights().map_err(from_runtime)
    }

    /// The GPU's name, which many browsers keep to themselves.
    #[wasm_bindgen(getter, js_name = gpuName)]
    pub fn gpu_name(&self) -> Option<String> {
        self.model.gpu_name()
    }

    /// The instructions of the CPU engine.
    #[wasm_bindgen(getter, js_name = instructionSet)]
    pub fn instruction_set(&self) -> String {
        self.model.instruction_set().name().to_owned()
    }

    /// Destroys the GPU device.
    #[wasm_bindgen(js_name = loseGpu)]
    pub fn lose_gpu(&self) {
        self.model.lose_gpu();
    }

    /// A session that has read nothing.
    pub fn session(&self) -> WebSession {
        WebSession::new(Session::new(Arc::clone(&self.model)))
    }

    /// An adapter from its two files.
    #[wasm_bindgen(js_name = addAdapter)]
    pub fn add_adapter(
        &self,
        label: &str,
        config: &[u8],
        weights: Vec<u8>,
    ) -> Result<WebAdapter, JsValue> {
        Adapter::from_bytes(label, config, weights)
            .map_err(RuntimeError::from)
            .and_then(|adapter| self.model.add_adapter(adapter))
            .map(WebAdapter)
            .map_err(from_runtime)
    }

    /// The ids of a text.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u16>, JsValue> {
        Ok(self.tokenizer()?.encode(text))
    }

    /// The text of ids. Those that are in no vocabulary are silent.
    pub fn detokenize(&self, tokens: Vec<u16>) -> Result<String, JsValue> {
        Ok(self.tokenizer()?.decode(&tokens))
    }

    fn tokenizer(&self) -> Result<&BpeTokenizer, JsValue> {
        self.model
            .tokenizer()
            .ok_or_else(|| coded("bad-input", "the model carries no tokenizer"))
    }
}

/// What the page may want to know of a file.
fn facts(stream: &ModelStream) -> String {
    let plan = stream.plan();
    let mut formats = vec![plan.format()];
    for format in plan.exceptions().values() {
        if !formats.contains(format) {
            formats.push(*format);
        }
    }
    json!({
        "config": stream.config(),
        "format": plan.format(),
        "formats": formats,
        "parameters": stream.config().num_parameters(),
        "modelId": stream.model_id(),
        "sha256": stream.sha256(),
        "bytes": stream.num_bytes(),
        "largestTensor": stream.largest_tensor(),
        "tensorBytes": stream.tensor_bytes(),
    })
    .to_string()
}

/// An adapter that fits the model.
#[wasm_bindgen(js_name = WasmAdapter)]
pub struct WebAdapter(Arc<LoadedAdapter>);

#[wasm_bindgen(js_class = WasmAdapter)]
impl WebAdapter {
    /// `{id, rank, alpha, parameters, namesModel}` as JSON.
    #[wasm_bindgen(getter)]
    pub fn facts(&self) -> String {
        let adapter = &self.0;
        json!({
            "id": adapter.id(),
            "rank": adapter.config().rank,
            "alpha": adapter.config().alpha,
            "parameters": adapter.num_parameters(),
            "namesModel": adapter.matching() == AdapterMatch::SameModel,
        })
        .to_string()
    }
}

impl WebAdapter {
    pub(crate) fn loaded(&self) -> &Arc<LoadedAdapter> {
        &self.0
    }
}
