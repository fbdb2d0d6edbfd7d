// @ts-check
// A loaded model as pages see it.

import { Channel } from "./channel.js";
import { PtbrError, checkSignal } from "./errors.js";
import { fileFrom, loadOptions, seedFrom, tokenIds } from "./options.js";
import { Session } from "./session.js";

/** @typedef {import("./index.js").ModelInfo} ModelInfo */
/** @typedef {import("./index.js").EngineEvent} EngineEvent */

/** Milliseconds between two reports of progress within a phase. */
const REPORT = 50;

/** See `index.d.ts`. */
export class Model {
  #channel = new Channel((change) => this.#onEngine(change));
  /** @type {ModelInfo} */
  #info = /** @type {ModelInfo} */ ({});
  /** @type {Set<string>} */
  #adapters = new Set();
  /** @type {Set<(event: EngineEvent) => void>} */
  #listeners = new Set();
  #sessions = 0;

  /**
   * @param {string | URL | File | Blob | ArrayBuffer | Uint8Array} source
   * @param {import("./index.js").LoadOptions} [options]
   */
  static async load(source, options = {}) {
    const args = { from: fileFrom(source), ...loadOptions(options) };
    const { signal } = options;
    checkSignal(signal);
    const model = new Model();
    try {
      const onNotice = options.onProgress && slowly(options.onProgress);
      model.#info = Object.freeze(await model.#channel.call("load", args, { signal, onNotice }));
      // It may have been asked to stop while the answer was on its way.
      checkSignal(signal);
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  get info() {
    return this.#info;
  }

  get adapters() {
    return [...this.#adapters];
  }

  async memory() {
    const memory = await this.#channel.call("memory");
    this.#info = Object.freeze({ ...this.#info, memory });
    return memory;
  }

  /** @param {import("./index.js").SessionOptions} [options] */
  session({ adapter = null, seed = 0 } = {}) {
    this.#checkAdapter(adapter);
    this.#sessions += 1;
    const api = /** @type {import("./index.js").Model} */ (/** @type {unknown} */ (this));
    return new Session(api, this.#channel, this.#sessions, { adapter, seed: seedFrom(seed) });
  }

  /**
   * @param {string} name
   * @param {import("./index.js").AdapterSource} source
   * @param {{signal?: AbortSignal, cache?: boolean}} [options]
   */
  async loadAdapter(name, { config, weights }, { signal, cache = true } = {}) {
    const args = { name, config: fileFrom(config), weights: fileFrom(weights), cache };
    const adapter = await this.#channel.call("loadAdapter", args, { signal });
    this.#adapters.add(name);
    return adapter;
  }

  /** @param {string} name */
  async unloadAdapter(name) {
    this.#checkAdapter(name);
    this.#adapters.delete(name);
    await this.#channel.call("unloadAdapter", { name });
  }

  /** @param {string} text */
  tokenize(text) {
    return this.#channel.call("tokenize", { text });
  }

  /** @param {ArrayLike<number>} tokens */
  async detokenize(tokens) {
    return this.#channel.call("detokenize", { tokens: tokenIds(tokens) });
  }

  /**
   * @param {"engine"} event
   * @param {(event: EngineEvent) => void} listener
   */
  on(event, listener) {
    if (event !== "engine") {
      throw new PtbrError("bad-input", `there is no event "${event}"`);
    }
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  loseDevice() {
    return this.#channel.call("loseDevice");
  }

  dispose() {
    this.#channel.end(new PtbrError("aborted", "the model was disposed of"));
  }

  /** @param {string | null} name */
  #checkAdapter(name) {
    if (name !== null && !this.#adapters.has(name)) {
      throw new PtbrError("bad-input", `no adapter is called "${name}"`);
    }
  }

  /** @param {EngineEvent & {engineReason: string | null, memory: import("./index.js").MemoryInfo}} change */
  #onEngine({ engineReason, memory, ...event }) {
    const { engine, device } = event;
    this.#info = Object.freeze({ ...this.#info, engine, device, engineReason, memory });
    for (const listener of this.#listeners) {
      listener(event);
    }
  }
}

/**
 * Every change of phase, and within one no more than somebody can see.
 * @param {(progress: import("./index.js").LoadProgress) => void} report
 */
function slowly(report) {
  let phase = "";
  let next = 0;
  return (/** @type {import("./index.js").LoadProgress} */ progress) => {
    const now = performance.now();
    if (progress.phase !== phase || now >= next || progress.loaded === progress.total) {
      [phase, next] = [progress.phase, now + REPORT];
      report(progress);
    }
  };
}
