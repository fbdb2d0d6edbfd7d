/**
 * Small language models in the browser: text generation in a worker, on WebGPU or on the CPU, offline once a model is cached.
 *
 * ```js
 * import { Model } from "./package/index.js";
 *
 * const model = await Model.load("/models/micro.safetensors");
 * const session = model.session({ seed: 7 });
 * for await (const piece of session.generate("O Brasil é", { maxTokens: 100 })) {
 *   output.append(piece);
 * }
 * ```
 */

/** What went wrong, for programs; messages are English and for people. */
export type PtbrErrorCode =
  /** `signal`, `stop()` or `dispose()` ended it. */
  | "aborted"
  /** An argument is not what it should be. */
  | "bad-input"
  /** The file is not a model or adapter, is incomplete, or its SHA-256 is another one. */
  | "damaged-file"
  /** The GPU was lost and neither it nor the CPU could go on. */
  | "device-lost"
  /** `engine: "webgpu"` was asked for and there is none, or it computes wrongly. */
  | "no-webgpu"
  /** The browser lacks something that every engine needs (WebAssembly with SIMD, module workers). */
  | "unsupported"
  /** The server could not be reached, or answered with an error; what was downloaded stays cached. */
  | "network"
  /** Neither the computer's nor the GPU's memory holds the model. */
  | "out-of-memory"
  /** The browser grants no room for the cache. Loading goes on without it, and `info.cacheError` says so. */
  | "quota"
  /** An adapter or state belongs to another model, or a state to another adapter. */
  | "wrong-model"
  /** A mistake of this package. */
  | "internal";

/** Every error of this package. */
export class PtbrError extends Error {
  constructor(code: PtbrErrorCode, message: string);
  readonly name: "PtbrError";
  readonly code: PtbrErrorCode;
}

/** What computes. */
export type Engine = "webgpu" | "cpu";

/** A moment of loading. */
export interface LoadProgress {
  /**
   * `"connect"`: nothing has arrived yet. `"download"`, `"cache"`, `"file"`: bytes come from the network, the cache, or a file or buffer. `"prepare"`: all are there; the engine is
   * checked and started. `"done"`.
   */
  phase: "connect" | "download" | "cache" | "file" | "prepare" | "done";
  /** Bytes read so far, those taken from the cache included. */
  loaded: number;
  /** Bytes of the file; `null` where the server does not say. */
  total: number | null;
  /** Bytes that an interrupted download had left and that were not downloaded again. */
  resumed: number;
}

export interface LoadOptions {
  /** Called at most about twenty times a second, and once at the end of each phase. */
  onProgress?: (progress: LoadProgress) => void;
  /** Stops loading; the part downloaded stays cached and the next load goes on from there. */
  signal?: AbortSignal;
  /** `"auto"`, the default: WebGPU where an adapter answers a known question rightly, otherwise the CPU. */
  engine?: "auto" | Engine;
  /** Whether a model loaded from a URL is kept for offline use. Default `true`. */
  cache?: boolean;
  /** SHA-256 that the file must have, 64 hexadecimal digits. */
  sha256?: string;
}

/** About a loaded model. */
export interface ModelInfo {
  /** The configuration as the model file has it, e.g. `{ architecture: "rwkv4", vocab_size, d_model, n_layers, d_ffn, … }`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Number formats of the matrices, most numerous first: `["int4", "int8"]`. */
  readonly formats: readonly string[];
  /** The first of them. */
  readonly format: string;
  /** Exact number of parameters. */
  readonly parameters: number;
  /** Id of the weights: 64 hexadecimal digits. States and adapters name it. */
  readonly modelId: string;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** Bytes of the file. */
  readonly bytes: number;
  /** Whether the file is kept for the next visit. */
  readonly cached: boolean;
  /** Why it is not, where it was to be: `"quota"` most often. */
  readonly cacheError: PtbrErrorCode | null;
  /** What computes now; changes with the event `"engine"`. */
  readonly engine: Engine;
  /** Why it is not WebGPU, where `"auto"` chose the CPU or fell back to it; otherwise `null`. */
  readonly engineReason: string | null;
  /** Name of the GPU, or `"CPU (WebAssembly SIMD)"`. */
  readonly device: string;
  readonly memory: MemoryInfo;
}

/** Bytes. */
export interface MemoryInfo {
  /** The WebAssembly memory now: it never shrinks. */
  readonly wasm: number;
  /** Its size when the model had been loaded, the most that loading took. */
  readonly wasmAfterLoad: number;
  /** Weights in the GPU's memory; 0 on the CPU. */
  readonly gpu: number;
  /** The largest tensor of the file. */
  readonly largestTensor: number;
}

/** The engine has changed. */
export interface EngineEvent {
  /** `"rebuilt"`: the GPU was lost and has been opened again. `"fallback"`: the CPU goes on. */
  kind: "rebuilt" | "fallback";
  engine: Engine;
  device: string;
  /** Why, in English. */
  reason: string;
  /** The code of the error that caused it: `"device-lost"`, `"out-of-memory"` or `"no-webgpu"`. */
  code: PtbrErrorCode;
}

/** A loaded model: one worker, any number of sessions. */
export class Model {
  private constructor();
  /** Loads a model file. A `File` or buffer needs no network. An `ArrayBuffer` is copied, not taken. */
  static load(source: string | URL | File | Blob | ArrayBuffer | Uint8Array, options?: LoadOptions): Promise<Model>;
  /** A snapshot that is kept up to date. */
  readonly info: ModelInfo;
  /** Names of the adapters loaded. */
  readonly adapters: readonly string[];
  /** Asks how much memory is used now; also updates `info`. */
  memory(): Promise<MemoryInfo>;
  /** A new text. Throws `"bad-input"` when no adapter has this name. */
  session(options?: SessionOptions): Session;
  /** Loads a LoRA adapter in the PEFT layout and gives it a name; a former one of this name is replaced for the sessions to come. */
  loadAdapter(name: string, source: AdapterSource, options?: { signal?: AbortSignal; cache?: boolean }): Promise<AdapterInfo>;
  /** Forgets it; sessions that use it keep it until they choose another. */
  unloadAdapter(name: string): Promise<void>;
  /** The ids of a text, in the model's own tokenizer. */
  tokenize(text: string): Promise<Uint16Array>;
  /** The text of ids. */
  detokenize(tokens: ArrayLike<number>): Promise<string>;
  /** Calls `listener` at every change of the engine; the function returned stops that. */
  on(event: "engine", listener: (event: EngineEvent) => void): () => void;
  /**
   * Destroys the GPU device, as a driver's reset would: what was being generated goes on after a rebuild. For tests; resolves to `false` on the CPU.
   */
  loseDevice(): Promise<boolean>;
  /** Ends the worker and gives all memory back. Everything under way rejects with `"aborted"`. */
  dispose(): void;
}

/** URLs or contents of an adapter's two files. */
export interface AdapterSource {
  /** `adapter_config.json` */
  config: string | URL | Blob | ArrayBuffer | Uint8Array;
  /** `adapter_model.safetensors` */
  weights: string | URL | Blob | ArrayBuffer | Uint8Array;
}

export interface AdapterInfo {
  readonly name: string;
  /** 64 hexadecimal digits; states name it. */
  readonly id: string;
  readonly rank: number;
  readonly alpha: number;
  readonly parameters: number;
  /** Whether it names this model; one that names none was accepted by its shapes alone. */
  readonly namesModel: boolean;
}

export interface SessionOptions {
  /** Name of a loaded adapter, or `null` for none. */
  adapter?: string | null;
  /** Seed of the generations that give none. Default 0. */
  seed?: number | bigint;
}

export interface GenerateOptions {
  /** Most tokens to write. Default 100. */
  maxTokens?: number;
  /** Default 1; 0 always takes the most probable token. */
  temperature?: number;
  /** Only the k most probable tokens; 0, the default, all. */
  topK?: number;
  /** Only the most probable tokens that together reach this probability; 1, the default, all. */
  topP?: number;
  /** Above 1, tokens written before become less probable. Default 1. */
  repetitionPenalty?: number;
  /** The same seed, model, state and prompt give the same text. Default: the session's. */
  seed?: number | bigint;
  /** Ends the generation; the iterator then throws `"aborted"`. */
  signal?: AbortSignal;
  /** Texts that end the generation; they are not written. */
  stop?: string | readonly string[];
}

/** Why a generation ended. */
export type StopReason = "end-of-text" | "max-tokens" | "stop-text" | "stopped";

/** How a generation went. */
export interface GenerationResult {
  /** Tokens written, in order. */
  readonly tokens: Uint16Array;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  readonly reason: StopReason;
  /** Milliseconds from the call until the prompt had been read and the first token was drawn. */
  readonly timeToFirstToken: number;
  /** Tokens a second after the first one; 0 where there was none. */
  readonly tokensPerSecond: number;
}

/** One text being read and written. Its methods take their turns in the order of the calls, but for `setAdapter` and `stop`, which act on a generation under way. */
export class Session {
  private constructor();
  readonly model: Model;
  /** Name of the adapter of the tokens to come. */
  readonly adapter: string | null;
  /** The last generation that ended without an error. */
  readonly last: GenerationResult | null;
  /** Whether a generation is under way. */
  readonly busy: boolean;
  /**
   * Reads `prompt`, then writes; pieces of text come as they are written. The session goes on where it stands: an empty prompt continues the text. The iterator's return value
   * is the {@link GenerationResult}, which is in `last` too. Leaving the loop (`break`) stops the generation. The prompt may also be given as tokens.
   */
  generate(prompt: string | ArrayLike<number>, options?: GenerateOptions): AsyncGenerator<string, GenerationResult, void>;
  /** Ends the generation under way after the token at hand: the iterator finishes with the reason `"stopped"`. */
  stop(): void;
  /** Chooses the adapter of the tokens to come; in the middle of a generation too, from the next token that is drawn. */
  setAdapter(name: string | null): Promise<void>;
  /** Reads tokens; the logits after the last one. */
  prefill(tokens: ArrayLike<number>): Promise<Float32Array>;
  /** Reads tokens; the logits after each, one row after the other, `[tokens, vocab_size]`. */
  logits(tokens: ArrayLike<number>): Promise<Float32Array>;
  /** What the session remembers, adapter included: as long for a book as for a word. */
  saveState(): Promise<Uint8Array>;
  /** Goes back to a saved state. It names its model and adapter: `"wrong-model"` when they are not this session's. */
  loadState(bytes: Uint8Array | ArrayBuffer): Promise<void>;
  /** Forgets what was read; the adapter stays. */
  reset(): Promise<void>;
  /** Gives its memory back. */
  dispose(): void;
}

/** What is kept for offline use. */
export interface CachedFile {
  url: string;
  /** Bytes that are there. */
  bytes: number;
  /** Bytes of the whole file; `null` where the server did not say. */
  total: number | null;
  /** Whether all are there and their SHA-256 has been checked once. */
  complete: boolean;
  /** SHA-256 of a complete file. */
  sha256: string | null;
}

export const storage: {
  /** Bytes used by and granted to this site, as the browser estimates; `models` is the part used by cached models. */
  estimate(): Promise<{ usage: number; quota: number; models: number; persistent: boolean }>;
  /** Asks the browser to keep the cache when space runs short. */
  persist(): Promise<boolean>;
  list(): Promise<CachedFile[]>;
  /** Removes one file, or all. A load under way of that file goes on without the cache. */
  clear(url?: string | URL): Promise<void>;
};

/** Whether WebGPU offers an adapter here; loading checks that it also computes rightly. */
export function hasWebGpu(): Promise<boolean>;
