// @ts-check
// A session as pages see it.

import { PtbrError, checkSignal } from "./errors.js";
import { generation, tokenIds } from "./options.js";

/** @typedef {import("./index.js").GenerationResult} GenerationResult */

/** See `index.d.ts`. */
export class Session {
  #channel;
  #id;
  #seed;
  #generating = 0;
  /** @type {string | null} */
  #adapter;
  /** @type {GenerationResult | null} */
  #last = null;
  /** @type {Promise<unknown>} */
  #created;

  /**
   * Made by `Model.session`.
   * @param {import("./index.js").Model} model
   * @param {import("./channel.js").Channel} channel
   * @param {number} id
   * @param {{adapter: string | null, seed: bigint}} options
   */
  constructor(model, channel, id, { adapter, seed }) {
    this.model = model;
    this.#channel = channel;
    this.#id = id;
    this.#seed = seed;
    this.#adapter = adapter;
    this.#created = channel.call("session", { session: id, adapter });
    // Whoever uses the session hears of it.
    this.#created.catch(() => {});
  }

  get adapter() {
    return this.#adapter;
  }

  get last() {
    return this.#last;
  }

  get busy() {
    return this.#generating > 0;
  }

  /**
   * @param {string | ArrayLike<number>} prompt
   * @param {import("./index.js").GenerateOptions} [options]
   * @returns {AsyncGenerator<string, GenerationResult, void>}
   */
  async *generate(prompt, options = {}) {
    const asked = generation(prompt, options, this.#seed);
    checkSignal(options.signal);
    /** @type {string[]} */
    const pieces = [];
    /** @type {{result?: GenerationResult, error?: unknown} | null} */
    let outcome = null;
    let wake = () => {};
    const ended = this.#call("generate", { options: asked }, options.signal, (text) => {
      pieces.push(text);
      wake();
    }).then(
      (result) => {
        this.#last = result;
        outcome = { result };
      },
      (error) => {
        outcome = { error };
      },
    );
    ended.then(() => wake());
    this.#generating += 1;
    try {
      for (;;) {
        const piece = pieces.shift();
        if (piece !== undefined) {
          yield piece;
        } else if (outcome) {
          break;
        } else {
          await new Promise((resolve) => {
            wake = () => resolve(undefined);
          });
        }
      }
    } finally {
      // The loop was left before the end.
      if (!outcome) {
        this.stop();
        await ended;
      }
      this.#generating -= 1;
    }
    const { result, error } = /** @type {{result?: GenerationResult, error?: unknown}} */ (outcome);
    if (!result) {
      throw error;
    }
    return result;
  }

  stop() {
    this.#call("stop").catch(() => {});
  }

  /** @param {string | null} name */
  async setAdapter(name) {
    await this.#call("setAdapter", { adapter: name });
    this.#adapter = name;
  }

  /** @param {ArrayLike<number>} tokens */
  async prefill(tokens) {
    return this.#call("prefill", { tokens: tokenIds(tokens) });
  }

  /** @param {ArrayLike<number>} tokens */
  async logits(tokens) {
    return this.#call("logits", { tokens: tokenIds(tokens) });
  }

  saveState() {
    return this.#call("saveState");
  }

  /** @param {Uint8Array | ArrayBuffer} bytes */
  async loadState(bytes) {
    if (!(bytes instanceof ArrayBuffer) && !ArrayBuffer.isView(bytes)) {
      throw new PtbrError("bad-input", "a saved state is an ArrayBuffer or a Uint8Array");
    }
    await this.#call("loadState", { bytes: new Uint8Array(/** @type {ArrayBuffer} */ (bytes)) });
  }

  async reset() {
    await this.#call("reset");
  }

  dispose() {
    this.#call("disposeSession").catch(() => {});
  }

  /**
   * @param {string} command
   * @param {object} [args]
   * @param {AbortSignal} [signal]
   * @param {(notice: any) => void} [onNotice]
   */
  #call(command, args = {}, signal, onNotice) {
    // In the order of the calls: this one is under way before anybody can make the next.
    const answer = this.#channel.call(command, { session: this.#id, ...args }, { signal, onNotice });
    return this.#created.then(
      () => answer,
      (error) => {
        answer.catch(() => {});
        throw error;
      },
    );
  }
}
