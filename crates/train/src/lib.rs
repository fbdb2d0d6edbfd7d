//! Training RWKV-4 with burn: modules, the WKV operation, the optimizer, the step loop. The only crate that sees burn.
//!
//! | you want | use |
//! |---|---|
//! | to train a model from a token file | [`Trainer::new`], then [`Trainer::run`] |
//! | to go on after a stop | [`Trainer::resume`] |
//! | to watch a run | [`TrainObserver`] |
//! | to tune a model to a domain | [`fine_tune::BaseModel::open`], then [`Trainer::fine_tune`] |
//! | to know which learning rate to give a run | [`LrFinder`] |
//! | to judge a model on held-out tokens | [`Evaluator`] |
//! | to train by several processes | [`collective::ProcessGroup`] in the setup |
//! | to know what GPUs there are | [`device::adapters`] |
#![deny(missing_docs)]

pub mod collective;
pub mod device;
mod error;
mod evaluate;
pub mod fine_tune;
mod lr_finder;
pub mod model;
pub mod ops;
pub mod optim;
mod trainer;

pub use device::TrainDevice;
pub use error::TrainError;
pub use evaluate::{EvalMetrics, Evaluator};
pub use lr_finder::{LrCurveEnd, LrFinder, LrFinderResult, LrPoint, Smoothed};
pub use model::Rwkv;
pub use trainer::{
    EvaluationReport, FineTuneSetup, MetricsCsv, Rehearsal, ResumeOverrides, RunInfo, SourceReport,
    StepReport, TrainLogger, TrainObserver, TrainStats, Trainer, TrainerSetup, ValidationSource,
    load_model,
};
