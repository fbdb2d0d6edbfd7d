//! Finding an adapter, opening it, and hearing of what goes wrong.

use super::GpuError;
use super::pipelines::{Pipelines, ShaderEdit};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// No binding is larger: WebGPU's default limit.
const MAX_BINDING: u64 = 128 << 20;

/// Which adapter to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// A hardware GPU; a software adapter is refused, because the CPU engine is faster.
    Hardware,
    /// A hardware GPU when there is one, otherwise any.
    Any,
}

/// How to use a GPU, for [`Model::use_gpu_with`](crate::Model::use_gpu_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GpuSettings {
    /// Which adapter to take.
    pub adapter: AdapterChoice,
    /// Multiply int8 and int4 weights as integers with inputs that are rounded to eight bits, as the CPU engine does, where the shader language has packed dot products.
    ///
    /// Logits are then mostly those of the CPU engine, to 1e-6 of the largest, instead of 1e-2 away. But a last bit decides now and then which of two bytes an input is rounded to, so they
    /// depend by up to 1e-3 on chunks and company, where products of floats depend by 1e-5. Off unless asked for: whether it is faster depends on the GPU (`gpu_speed`, an example of this crate,
    /// measures both).
    pub integer_dots: bool,
    /// In a browser: the device will have the feature `subgroups`. wgpu 30 has no name for it there and asks for nothing, so whoever sets this sees to it that the browser is asked
    /// (`web/package/subgroups.js`). Elsewhere the adapter's own word counts, and this means nothing.
    pub browser_subgroups: bool,
}

impl GpuSettings {
    /// This adapter, with what needs no choice.
    pub fn new(adapter: AdapterChoice) -> Self {
        Self {
            adapter,
            integer_dots: false,
            browser_subgroups: false,
        }
    }
}

/// How to open the engine.
#[derive(Clone, Copy)]
pub(crate) struct GpuOptions {
    pub settings: GpuSettings,
    /// Sums within subgroups where the adapter has them.
    pub subgroups: bool,
    /// Most bytes of a binding.
    pub max_binding: u64,
    /// Changes every shader before it is compiled: a test's driver that computes wrongly.
    pub edit: Option<ShaderEdit>,
}

impl GpuOptions {
    /// As users want it.
    pub(crate) fn new(settings: GpuSettings) -> Self {
        Self {
            settings,
            subgroups: true,
            max_binding: MAX_BINDING,
            edit: None,
        }
    }
}

/// An open device. What it is not asked about (its loss, an error outside every scope) is kept until [`Device::check`]; errors of a session's work reach that session alone ([`Device::watch`]).
pub(crate) struct Device {
    pub raw: wgpu::Device,
    pub queue: wgpu::Queue,
    pub name: String,
    /// Sums within subgroups may be used.
    pub subgroups: Option<u32>,
    /// Products of integers are to be used for weights that are integers.
    pub integer_dots: bool,
    /// Most bytes of a binding.
    pub max_binding: u64,
    /// Made so far: a second model on this device compiles nothing again.
    pub(super) pipelines: Mutex<Pipelines>,
    failure: Arc<Mutex<Option<GpuError>>>,
}

impl Device {
    /// Opens the adapter that `options` ask for, with WebGPU's default limits: what every implementation grants.
    pub(crate) async fn open(options: GpuOptions) -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = find(&instance, options.settings.adapter).await?;
        let info = adapter.get_info();
        let name = info.name.clone();
        let integer_dots = options.settings.integer_dots
            && instance
                .wgsl_language_features()
                .contains(wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct);
        let known = adapter.features() & wgpu::Features::SUBGROUP;
        let in_browser = cfg!(target_arch = "wasm32") && options.settings.browser_subgroups;
        let subgroups = options.subgroups && (!known.is_empty() || in_browser);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ptbr-slm"),
            required_features: if subgroups {
                known
            } else {
                wgpu::Features::empty()
            },
            ..wgpu::DeviceDescriptor::default()
        };
        let (raw, queue) =
            adapter
                .request_device(&descriptor)
                .await
                .map_err(|error| GpuError::Open {
                    adapter: name.clone(),
                    message: error.to_string(),
                })?;
        let failure = Arc::new(Mutex::new(None));
        let (keep, adapter_name) = (Arc::clone(&failure), name.clone());
        raw.on_uncaptured_error(Arc::new(move |error| {
            note(&keep, explain(&adapter_name, error));
        }));
        let (keep, adapter_name) = (Arc::clone(&failure), name.clone());
        raw.set_device_lost_callback(move |reason, message| {
            let message = if message.is_empty() {
                format!("{reason:?}")
            } else {
                message
            };
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(GpuError::Lost {
                adapter: adapter_name.clone(),
                message,
            });
        });
        Ok(Self {
            raw,
            queue,
            name,
            subgroups: subgroups.then_some(info.subgroup_max_size.max(4)),
            integer_dots,
            max_binding: options.max_binding,
            pipelines: Mutex::new(Pipelines::new(options.edit)),
            failure,
        })
    }

    /// The first error that nobody has been told of, or the loss of the device.
    pub(crate) fn check(&self) -> Result<(), GpuError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            None => Ok(()),
            // A lost device stays lost.
            Some(error @ GpuError::Lost { .. }) => Err(error.clone()),
            Some(_) => failure.take().map_or(Ok(()), Err),
        }
    }

    /// Runs `work` and reports what the device had against it: no memory, or a command that it refuses.
    pub(crate) async fn scoped<T>(&self, work: impl FnOnce() -> T) -> Result<T, GpuError> {
        let (result, verdict) = self.watch(work);
        let verdict = verdict.await;
        // A lost device refuses everything: its loss is the cause, a refusal the symptom.
        self.check()?;
        verdict.map(|()| result)
    }

    /// Runs `work` and returns at once; what the device has against it comes later, and to nobody else.
    pub(crate) fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Verdict) {
        let scopes = [
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::Validation,
        ]
        .map(|filter| self.raw.push_error_scope(filter));
        let result = work();
        let [memory, internal, validation] = scopes;
        // In reverse: scopes are a stack.
        let validation = validation.pop();
        let internal = internal.pop();
        let memory = memory.pop();
        let name = self.name.clone();
        let verdict = Box::pin(async move {
            let errors = [validation.await, internal.await, memory.await];
            match errors.into_iter().flatten().next() {
                Some(error) => Err(explain(&name, error)),
                None => Ok(()),
            }
        });
        (result, verdict)
    }
}

/// What the device has against some work. Natively it is there at once; a browser tells when its GPU process has come to that work, at the latest when a later mapping of memory ends.
pub(crate) type Verdict = Pin<Box<dyn Future<Output = Result<(), GpuError>> + Send>>;

async fn find(instance: &wgpu::Instance, choice: AdapterChoice) -> Result<wgpu::Adapter, GpuError> {
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    // A discrete card first, then an integrated one; a software adapter last.
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    let adapter = adapters.into_iter().next().ok_or(GpuError::NoAdapter)?;
    let info = adapter.get_info();
    if choice == AdapterChoice::Hardware && info.device_type == wgpu::DeviceType::Cpu {
        return Err(GpuError::OnlySoftware { name: info.name });
    }
    Ok(adapter)
}

fn note(failure: &Mutex<Option<GpuError>>, error: GpuError) {
    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
    // The first error is the cause of those that follow.
    failure.get_or_insert(error);
}

fn explain(adapter: &str, error: wgpu::Error) -> GpuError {
    let adapter = adapter.to_owned();
    match error {
        wgpu::Error::OutOfMemory { source } => GpuError::OutOfMemory {
            adapter,
            message: source.to_string(),
        },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            GpuError::Refused {
                adapter,
                message: description,
            }
        }
    }
}
