//! What can go wrong at run time.

use ptbr_tokenizer::TokenId;

/// An error of the runtime. Messages say what happened, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The model cannot be opened.
    #[error(transparent)]
    Model(#[from] ptbr_model::ModelError),
    /// The model's tokenizer cannot be read.
    #[error("the tokenizer of the model cannot be read")]
    Tokenizer(#[from] ptbr_tokenizer::TokenizerError),
    /// An adapter is damaged, or does not belong to the model.
    #[error(transparent)]
    Adapter(#[from] ptbr_model::AdapterError),
    /// The GPU failed.
    #[cfg(feature = "gpu")]
    #[error(transparent)]
    Gpu(#[from] crate::engine::gpu::GpuError),
    /// A function that waits was called where waiting is not allowed.
    #[error(
        "a GPU's answer must be waited for, which this platform forbids; use the function's async form"
    )]
    WouldBlock,
    /// The CPU is to compute with a model that is read from elsewhere.
    #[error(
        "the model's weights are not in memory; call `Model::hold_weights` before computing on the CPU"
    )]
    WeightsNotHeld,
    /// A kernel refused sizes that the engine gave it.
    #[error(transparent)]
    Kernel(#[from] ptbr_kernels::KernelError),
    /// The model is of an architecture that this engine does not know.
    #[error(
        "the model's architecture is `{name}`, which this version cannot run; use a newer version"
    )]
    Architecture {
        /// The architecture's name.
        name: &'static str,
    },
    /// The tokenizer has tokens for which the model has no embedding.
    #[error(
        "the tokenizer has {tokenizer} tokens but the model only {model}: they do not belong together; use the tokenizer that the model was trained with"
    )]
    TokenizerMismatch {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Tokens of the model.
        model: usize,
    },
    /// The model carries no tokenizer, and something needs one.
    #[error("the model carries no tokenizer; name a tokenizer.json")]
    NoTokenizer,
    /// A token id is not in the vocabulary.
    #[error(
        "token {token} at index {index} is not in the model's vocabulary of {vocab_size}; was the text encoded with another tokenizer?"
    )]
    TokenOutOfRange {
        /// The id.
        token: TokenId,
        /// Its place among the tokens given.
        index: usize,
        /// Tokens of the model.
        vocab_size: usize,
    },
    /// Logits were asked for before any token was read.
    #[error(
        "there is nothing to continue: no token has been read; give a prompt, or begin with the [BOS] token"
    )]
    NoTokens,
    /// There are too few tokens to evaluate.
    #[error(
        "{tokens} tokens cannot be evaluated: the first token is given, so at least 2 are needed, and they must decode to some text"
    )]
    NothingToEvaluate {
        /// Tokens given.
        tokens: usize,
    },
    /// The caller's callback asked to stop.
    #[error("stopped")]
    Stopped,
    /// A state does not belong to the loaded model.
    #[error(
        "the state was made by model {found}, but the loaded model is {model}; load the model that made it"
    )]
    StateOfAnotherModel {
        /// The beginning of the id in the state.
        found: String,
        /// The beginning of the loaded model's id.
        model: String,
    },
    /// A state was made with another adapter than the session's.
    #[error(
        "the state was made with {found}, but the session uses {wanted}: they would not go on as the text began; use the adapter of the state"
    )]
    StateOfAnotherAdapter {
        /// The state's, in words.
        found: String,
        /// The session's, in words.
        wanted: String,
    },
    /// A session cannot join a batch of another model.
    #[error(
        "the session was not made on the model of the batch; make it with `Session::new` on that very model"
    )]
    SessionOfAnotherModel,
    /// A session is not, or not any more, in the batch.
    #[error("there is no such session in the batch: it has left, or joined another one")]
    NoSuchSession,
    /// The bytes are not a whole state.
    #[error("the saved state is damaged: {what}; delete it and read the text again")]
    StateDamaged {
        /// What is wrong with it.
        what: String,
    },
    /// A logit is no number to draw by.
    #[error(
        "the logit of token {token} is {value}: the model computes nonsense (damaged or diverged weights?), or every token was forbidden"
    )]
    Logits {
        /// The first such token.
        token: TokenId,
        /// Its logit.
        value: f32,
    },
    /// There are no logits, or more than there can be token ids.
    #[error(
        "a sampler cannot draw from {found} logits; there must be 1 to 65536, one for each token"
    )]
    LogitsLength {
        /// Logits given.
        found: usize,
    },
    /// A sampling parameter is outside its range.
    #[error("{parameter} is {value}, but must be {allowed}")]
    Sampler {
        /// Its name.
        parameter: &'static str,
        /// What it was.
        value: f32,
        /// What it may be.
        allowed: &'static str,
    },
}
