// @ts-check
// In the worker: sessions. The commands of one take their turns; only a change of adapter and a stop reach a generation that is under way, between two of its steps.

import { PtbrError, asPtbrError, checkSignal } from "./errors.js";

/** @typedef {import("./wasm/ptbr_web.js").WasmSession} WasmSession */
/** @typedef {import("./wasm/ptbr_web.js").WasmAdapter} WasmAdapter */
/** @typedef {import("./engine.js").Engine} Engine */

/**
 * @typedef {object} Generation what a page asks for, checked there
 * @property {string | Uint16Array} prompt
 * @property {number} maxTokens
 * @property {string} sampler JSON of the runtime's `SamplerConfig` without its seed
 * @property {bigint} seed
 * @property {string[]} stop
 */

/** Milliseconds that the CPU computes before the worker looks at its messages. */
const BREATH = 8;

/** One session. */
export class WorkerSession {
  /** The last of the commands that wait for their turn. */
  #turn = Promise.resolve();
  #disposed = false;
  /** Generations asked for, ended, and asked to stop: each the number of the last one. */
  #asked = 0;
  #ended = 0;
  #stopped = 0;
  /** @type {{adapter: WasmAdapter | null, done: () => void, failed: (error: unknown) => void}[]} */
  #changes = [];
  /** Of the engine that the session computes on. */
  #engineGeneration;

  /**
   * @param {WasmSession} wasm
   * @param {Engine} engine
   */
  constructor(wasm, engine) {
    this.wasm = wasm;
    this.engine = engine;
    this.#engineGeneration = engine.generation;
  }

  /**
   * @template T
   * @param {() => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  #inTurn(work) {
    const result = this.#turn.then(() => {
      if (this.#disposed) {
        throw new PtbrError("aborted", "the session was disposed of");
      }
      return work();
    });
    this.#turn = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  /**
   * Does `work`; again, with the session recovered, when the GPU was lost meanwhile.
   * @template T
   * @param {() => T | Promise<T>} work
   * @returns {Promise<T>}
   */
  async #onEngine(work) {
    for (;;) {
      const generation = this.engine.generation;
      try {
        if (this.#engineGeneration !== generation) {
          await this.wasm.recover();
          this.#engineGeneration = generation;
        }
        const result = await work();
        this.engine.works();
        return result;
      } catch (error) {
        await this.engine.replace(error, generation);
      }
    }
  }

  /**
   * @param {Generation} options
   * @param {AbortSignal} signal
   * @param {(text: string) => void} onText
   * @returns {Promise<import("./index.js").GenerationResult>}
   */
  generate(options, signal, onText) {
    const asked = performance.now();
    const number = ++this.#asked;
    const ended = this.#inTurn(async () => {
      checkSignal(signal);
      const { prompt, maxTokens, sampler, seed, stop } = options;
      if (typeof prompt === "string") {
        this.wasm.begin(prompt, maxTokens, sampler, seed, stop);
      } else {
        this.wasm.beginTokens(prompt, maxTokens, sampler, seed, stop);
      }
      return this.#write(asked, () => this.#stopped >= number, signal, onText);
    });
    return ended.finally(() => {
      this.#ended = number;
      this.#applyChanges();
    });
  }

  /**
   * @param {number} asked when
   * @param {() => boolean} isStopped
   * @param {AbortSignal} signal
   * @param {(text: string) => void} onText
   */
  async #write(asked, isStopped, signal, onText) {
    const promptTokens = this.wasm.promptTokens;
    let first = 0;
    let firstCount = 0;
    let last = 0;
    let breathed = performance.now();
    try {
      for (;;) {
        this.#applyChanges();
        checkSignal(signal);
        if (isStopped()) {
          this.wasm.interrupt();
        }
        const step = await this.#onEngine(() => this.wasm.step());
        const { text, written, reason } = step;
        step.free();
        const now = performance.now();
        if (written > 0) {
          last = now;
          if (first === 0) {
            [first, firstCount] = [now, written];
          }
        }
        if (text) {
          onText(text);
        }
        if (reason !== undefined) {
          const tokens = this.wasm.end();
          const seconds = (last - first) / 1000;
          return {
            tokens,
            promptTokens,
            reason: /** @type {import("./index.js").StopReason} */ (reason),
            timeToFirstToken: (first || now) - asked,
            tokensPerSecond: seconds > 0 ? (tokens.length - firstCount) / seconds : 0,
          };
        }
        if (now - breathed >= BREATH) {
          await breath();
          breathed = performance.now();
        }
      }
    } catch (error) {
      // What was drawn and not read yet is read all the same, so that the session stands behind its text.
      this.wasm.interrupt();
      await this.wasm.step().then(
        (step) => step.free(),
        () => {},
      );
      this.wasm.end();
      throw error;
    }
  }

  /** Ends the generations asked for so far. */
  stop() {
    this.#stopped = this.#asked;
  }

  /**
   * @param {WasmAdapter | null} adapter
   * @returns {Promise<void>}
   */
  setAdapter(adapter) {
    if (this.#ended === this.#asked) {
      return this.#inTurn(() => this.#apply(adapter));
    }
    return new Promise((done, failed) => {
      this.#changes.push({ adapter, done, failed });
    });
  }

  #applyChanges() {
    for (const { adapter, done, failed } of this.#changes.splice(0)) {
      try {
        this.#apply(adapter);
        done();
      } catch (error) {
        failed(error);
      }
    }
  }

  /** @param {WasmAdapter | null} adapter */
  #apply(adapter) {
    if (adapter) {
      this.wasm.setAdapter(adapter);
    } else {
      this.wasm.clearAdapter();
    }
  }

  /** @param {Uint16Array} tokens */
  prefill(tokens) {
    return this.#inTurn(() => {
      const start = this.wasm.position;
      // Of tokens that were being read when the GPU was lost, some may have been.
      return this.#onEngine(() => this.wasm.prefill(tokens.subarray(this.wasm.position - start)));
    });
  }

  /** @param {Uint16Array} tokens */
  logits(tokens) {
    return this.#inTurn(async () => {
      const start = this.wasm.position;
      const rows = new Float32Array(tokens.length * this.wasm.vocabSize);
      await this.#onEngine(() => {
        const read = this.wasm.position - start;
        return this.wasm.logits(tokens.subarray(read), rows, read);
      });
      return rows;
    });
  }

  saveState() {
    return this.#inTurn(() => this.#onEngine(() => this.wasm.saveState()));
  }

  /** @param {Uint8Array} bytes */
  loadState(bytes) {
    return this.#inTurn(() => this.#onEngine(() => this.wasm.loadState(bytes)));
  }

  reset() {
    return this.#inTurn(() => this.#onEngine(() => this.wasm.reset()));
  }

  /** Frees it once the command under way has ended. */
  dispose() {
    this.stop();
    const freed = this.#inTurn(() => {
      this.#disposed = true;
      this.wasm.free();
    });
    return freed.catch((error) => {
      if (asPtbrError(error).code !== "aborted") {
        throw error;
      }
    });
  }
}

/** @type {(() => void)[]} */
const breathing = [];
const channel = new MessageChannel();
channel.port1.onmessage = () => breathing.shift()?.();

/**
 * Lets the worker look at its messages: a timer would do too, but browsers make the fifth wait four milliseconds.
 * @returns {Promise<void>}
 */
function breath() {
  return new Promise((resolve) => {
    breathing.push(resolve);
    channel.port2.postMessage(null);
  });
}
