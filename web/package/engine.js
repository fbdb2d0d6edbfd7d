// @ts-check
// In the worker: the model, what it computes on, and what happens when that is lost.

import { PtbrError, asPtbrError } from "./errors.js";
import "./subgroups.js";

/** @typedef {import("./wasm/ptbr_web.js").WasmModel} WasmModel */
/** @typedef {import("./index.js").Engine} EngineName */
/** @typedef {Omit<import("./index.js").EngineEvent, "kind"> & {kind: "rebuilt" | "fallback", engineReason: string | null}} Change */

/** Losses without a word written in between after which the GPU is not tried again. */
const MOST_LOSSES = 3;

/** Where a model computes. */
export class Engine {
  /** @type {EngineName} */
  name = "cpu";
  device = "";
  /** @type {string | null} */
  reason = null;
  /** Counts engines: a session of an earlier one has to recover. */
  generation = 0;
  #losses = 0;
  /** @type {Promise<void> | null} */
  #rebuilding = null;

  /**
   * @param {WasmModel} model
   * @param {(change: Change) => void} onChange
   */
  constructor(model, onChange) {
    this.model = model;
    this.onChange = onChange;
  }

  /** @param {"auto" | EngineName} wanted */
  async start(wanted) {
    if (wanted !== "cpu") {
      try {
        await this.#useGpu();
        return;
      } catch (error) {
        if (wanted === "webgpu") {
          throw error;
        }
        this.reason = asPtbrError(error).message;
      }
    }
    this.#useCpu();
  }

  /** What was computed came out: the next loss is a new one. */
  works() {
    this.#losses = 0;
  }

  /**
   * After an error: resolves when there is an engine to go on with, and rejects with the error when a new one would not help.
   * @param {unknown} error
   * @param {number} generation of the engine that failed
   */
  async replace(error, generation) {
    const { code, message } = asPtbrError(error);
    if (this.name === "cpu" && generation === this.generation) {
      throw error;
    }
    if (code !== "device-lost" && code !== "out-of-memory") {
      throw error;
    }
    if (generation === this.generation) {
      this.#rebuilding ??= this.#rebuild(code, message).finally(() => {
        this.#rebuilding = null;
      });
    }
    await this.#rebuilding;
  }

  /**
   * @param {import("./index.js").PtbrErrorCode} code
   * @param {string} message
   */
  async #rebuild(code, message) {
    this.#losses += 1;
    // What did not fit will not fit again.
    if (code === "device-lost" && this.#losses <= MOST_LOSSES) {
      try {
        await this.#useGpu();
        this.#tell("rebuilt", code, message);
        return;
      } catch (error) {
        message = `${message}; ${asPtbrError(error).message}`;
      }
    }
    try {
      this.#useCpu();
    } catch (error) {
      const { message: why } = asPtbrError(error);
      throw new PtbrError(code, `${message}; and the CPU cannot go on: ${why}`);
    }
    this.reason = message;
    this.#tell("fallback", code, message);
  }

  /**
   * @param {"rebuilt" | "fallback"} kind
   * @param {import("./index.js").PtbrErrorCode} code
   * @param {string} reason
   */
  #tell(kind, code, reason) {
    const { name: engine, device, reason: engineReason } = this;
    this.onChange({ kind, engine, device, reason, code, engineReason });
  }

  async #useGpu() {
    const adapter = await findAdapter();
    await this.model.useGpu(adapter.features.has("subgroups"));
    this.name = "webgpu";
    this.device = this.model.gpuName || nameOf(adapter);
    this.reason = null;
    this.generation += 1;
  }

  #useCpu() {
    this.model.useCpu();
    this.name = "cpu";
    this.device = `CPU (WebAssembly ${this.model.instructionSet})`;
    this.generation += 1;
  }
}

/** @returns {Promise<GPUAdapter>} */
async function findAdapter() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) {
    throw new PtbrError("no-webgpu", navigator.gpu ? "WebGPU offers no adapter here" : "this browser has no WebGPU here");
  }
  return adapter;
}

/**
 * In words.
 * @param {GPUAdapter} adapter
 */
function nameOf(adapter) {
  const { description, device, vendor, architecture } = adapter.info;
  return description || device || [vendor, architecture].filter(Boolean).join(" ") || "WebGPU";
}
