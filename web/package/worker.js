// @ts-check
// The worker: one model. Messages of the page are commands with a number, answered once, with notices before the answer where there is something to tell meanwhile.
//
// | from the page | |
// |---|---|
// | `{id, command, args}` | do it |
// | `{cancel: id}` | stop doing it |
//
// | to the page | |
// |---|---|
// | `{id, value}` or `{id, error}` | the answer |
// | `{id, notice}` | progress of loading, text of a generation |
// | `{engine}` | the engine has changed |
// | `{fatal}` | nothing works any more |

import { Engine } from "./engine.js";
import { PtbrError, asPtbrError, checkSignal, toWire } from "./errors.js";
import { WorkerSession } from "./sessions.js";
import { openSource, readSmall, readerOf } from "./source.js";
import init, { WasmModel, lastPanic } from "./wasm/ptbr_web.js";

/** @typedef {import("./wasm/ptbr_web.js").WasmAdapter} WasmAdapter */
/** @typedef {{signal: AbortSignal, notify: (notice: unknown) => void}} Call */

/** @type {WebAssembly.Memory} */
let memory;
/** @type {WasmModel} */
let model;
/** @type {Engine} */
let engine;
let wasmAfterLoad = 0;
/** @type {Record<string, any>} */
let facts = {};
/** @type {Map<string, WasmAdapter>} */
const adapters = new Map();
/** @type {Map<number, WorkerSession>} */
const sessions = new Map();
/** @type {Map<number, AbortController>} */
const running = new Map();

/** @type {Record<string, (args: any, call: Call) => unknown>} */
const commands = {
  async load({ from, engine: wanted, cache, sha256 }, { signal, notify }) {
    memory = (await loadModule()).memory;
    const options = { cache, sha256, signal, onProgress: notify };
    const source = await open(from, options);
    checkSignal(signal);
    engine = new Engine(model, (change) => {
      postMessage({ engine: { ...change, memory: memoryInfo() } });
    });
    await engine.start(wanted);
    checkSignal(signal);
    wasmAfterLoad = memory.buffer.byteLength;
    const { bytes } = facts;
    notify({ phase: "done", loaded: bytes, total: bytes, resumed: source.resumed });
    const { largestTensor, tensorBytes, ...about } = facts;
    return {
      ...about,
      cached: source.cached,
      cacheError: source.cacheError,
      engine: engine.name,
      engineReason: engine.reason,
      device: engine.device,
      memory: memoryInfo(),
    };
  },

  memory: () => memoryInfo(),

  async loadAdapter({ name, config, weights, cache }, { signal }) {
    const read = (/** @type {string | Blob} */ from) => readSmall(from, { cache, signal });
    const [json, tensors] = await Promise.all([read(config), read(weights)]);
    checkSignal(signal);
    const adapter = model.addAdapter(name, json, tensors);
    adapters.get(name)?.free();
    adapters.set(name, adapter);
    return { name, ...JSON.parse(adapter.facts) };
  },

  unloadAdapter({ name }) {
    // Sessions hold what they use.
    adapters.get(name)?.free();
    adapters.delete(name);
  },

  tokenize: ({ text }) => model.tokenize(text),
  detokenize: ({ tokens }) => model.detokenize(tokens),

  loseDevice() {
    if (engine.name === "cpu") {
      return false;
    }
    model.loseGpu();
    return true;
  },

  session({ session, adapter }) {
    const created = new WorkerSession(model.session(), engine);
    sessions.set(session, created);
    return adapter === null ? undefined : created.setAdapter(adapterNamed(adapter));
  },

  generate: ({ session, options }, { signal, notify }) => sessionOf(session).generate(options, signal, notify),
  stop: ({ session }) => sessionOf(session).stop(),
  setAdapter: ({ session, adapter }) =>
    sessionOf(session).setAdapter(adapter === null ? null : adapterNamed(adapter)),
  prefill: ({ session, tokens }) => sessionOf(session).prefill(tokens),
  logits: ({ session, tokens }) => sessionOf(session).logits(tokens),
  saveState: ({ session }) => sessionOf(session).saveState(),
  loadState: ({ session, bytes }) => sessionOf(session).loadState(bytes),
  reset: ({ session }) => sessionOf(session).reset(),

  async disposeSession({ session }) {
    const disposed = sessionOf(session);
    sessions.delete(session);
    await disposed.dispose();
  },
};

async function loadModule() {
  try {
    return await init();
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) {
      throw new PtbrError("unsupported", `this browser cannot run the module: ${error.message}`);
    }
    throw new PtbrError("network", `the module cannot be loaded: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * Opens the file and checks all of it. A damaged copy in the cache is downloaded again, once.
 * @param {string | Blob} from
 * @param {{cache: boolean, sha256: string | null, signal: AbortSignal, onProgress: (progress: any) => void}} options
 */
async function open(from, options) {
  /** @type {PtbrError | null} */
  let damage = null;
  for (;;) {
    const source = await openSource(from, options).catch((error) => {
      throw damage ?? error;
    });
    const { size } = source.blob;
    options.onProgress({ phase: "prepare", loaded: size, total: size, resumed: source.resumed });
    try {
      model = WasmModel.open(source.label, readerOf(source.blob), size, source.sha256 ?? undefined);
    } catch (error) {
      const known = explain(error);
      if (known.code === "damaged-file") {
        await source.reject();
        if (source.resumed > 0 && !damage) {
          damage = known;
          continue;
        }
      }
      throw known;
    }
    facts = JSON.parse(model.facts);
    await source.accept(facts.sha256);
    return source;
  }
}

function memoryInfo() {
  return {
    wasm: memory.buffer.byteLength,
    wasmAfterLoad: wasmAfterLoad || memory.buffer.byteLength,
    gpu: engine.name === "webgpu" ? facts.tensorBytes : 0,
    largestTensor: facts.largestTensor,
  };
}

/** @param {number} session */
function sessionOf(session) {
  const found = sessions.get(session);
  if (!found) {
    throw new PtbrError("aborted", "the session was disposed of");
  }
  return found;
}

/** @param {string} name */
function adapterNamed(name) {
  const found = adapters.get(name);
  if (!found) {
    throw new PtbrError("bad-input", `no adapter is called "${name}"`);
  }
  return found;
}

/**
 * A trap of the module in words; any other error as it is.
 * @param {unknown} error
 */
function explain(error) {
  if (!(error instanceof WebAssembly.RuntimeError)) {
    return asPtbrError(error);
  }
  const panic = lastPanic();
  // Memory that cannot be had is the one trap without a message.
  return panic
    ? new PtbrError("internal", panic)
    : new PtbrError("out-of-memory", "the browser gives the module no more memory");
}

/** @param {MessageEvent} message */
async function onMessage({ data }) {
  if ("cancel" in data) {
    running.get(data.cancel)?.abort();
    return;
  }
  const { id, command, args } = data;
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const notify = (/** @type {unknown} */ notice) => postMessage({ id, notice });
    const value = await commands[command](args, { signal: controller.signal, notify });
    postMessage({ id, value });
  } catch (error) {
    postMessage({ id, error: toWire(explain(error)) });
  } finally {
    running.delete(id);
  }
}

/** @param {unknown} error */
function fail(error) {
  postMessage({ fatal: toWire(explain(error)) });
}

addEventListener("message", onMessage);
// A trap inside of something that was waited for ends no promise: whoever waits would wait forever.
addEventListener("error", (event) => {
  event.preventDefault();
  fail(event.error);
});
addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  fail(event.reason);
});
