// @ts-check
// The page's end of the line to the worker: commands out, answers and notices in.

import { PtbrError, aborted, fromWire } from "./errors.js";

/**
 * @typedef {object} Pending
 * @property {(value: any) => void} resolve
 * @property {(error: PtbrError) => void} reject
 * @property {((notice: any) => void) | undefined} onNotice
 */

export class Channel {
  #worker;
  #nextId = 1;
  /** @type {Map<number, Pending>} */
  #pending = new Map();
  /** @type {PtbrError | null} */
  #ended = null;

  /** @param {(engine: any) => void} onEngine */
  constructor(onEngine) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "ptbr-slm" });
    this.#worker.onmessage = ({ data }) => {
      if (data.engine) {
        onEngine(data.engine);
      } else if (data.fatal) {
        this.end(fromWire(data.fatal));
      } else {
        this.#answer(data);
      }
    };
    // The script itself could not be loaded or understood.
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end(new PtbrError("unsupported", `the worker cannot be started: ${event.message ?? "it did not load"}`));
    };
  }

  /** @param {{id: number, value?: any, notice?: any, error?: {code: import("./index.js").PtbrErrorCode, message: string}}} data */
  #answer(data) {
    const pending = this.#pending.get(data.id);
    if ("notice" in data) {
      pending?.onNotice?.(data.notice);
      return;
    }
    this.#pending.delete(data.id);
    if (data.error) {
      pending?.reject(fromWire(data.error));
    } else {
      pending?.resolve(data.value);
    }
  }

  /**
   * @param {string} command
   * @param {object} [args]
   * @param {{signal?: AbortSignal, onNotice?: (notice: any) => void}} [options]
   * @returns {Promise<any>}
   */
  async call(command, args = {}, { signal, onNotice } = {}) {
    if (this.#ended) {
      throw this.#ended;
    }
    if (signal?.aborted) {
      throw aborted();
    }
    const id = this.#nextId++;
    const cancel = () => this.#worker.postMessage({ cancel: id });
    signal?.addEventListener("abort", cancel);
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(id, { resolve, reject, onNotice });
        this.#worker.postMessage({ id, command, args });
      });
    } finally {
      signal?.removeEventListener("abort", cancel);
    }
  }

  /**
   * Ends the worker; whoever waits for an answer gets this error.
   * @param {PtbrError} error
   */
  end(error) {
    if (this.#ended) {
      return;
    }
    this.#ended = error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) {
      reject(error);
    }
    this.#pending.clear();
  }
}
