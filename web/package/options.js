// @ts-check
// What callers give, checked and in the form that the worker wants it.

import { PtbrError } from "./errors.js";
import { absolute } from "./storage.js";

/** @param {string} message @returns {never} */
function refuse(message) {
  throw new PtbrError("bad-input", message);
}

/**
 * A file from anywhere as what a message carries cheaply: an address or a blob.
 * @param {unknown} source
 * @returns {string | Blob}
 */
export function fileFrom(source) {
  if (typeof source === "string" || source instanceof URL) {
    return absolute(source);
  }
  if (source instanceof Blob) {
    return source;
  }
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    return new Blob([/** @type {BlobPart} */ (source)]);
  }
  return refuse("a file is a URL, a File, a Blob, an ArrayBuffer or a Uint8Array");
}

/** @param {import("./index.js").LoadOptions} options */
export function loadOptions({ engine = "auto", cache = true, sha256 }) {
  if (!["auto", "webgpu", "cpu"].includes(engine)) {
    refuse(`there is no engine "${engine}"; it is "auto", "webgpu" or "cpu"`);
  }
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) {
    refuse("a SHA-256 has 64 hexadecimal digits");
  }
  return { engine, cache, sha256: sha256?.toLowerCase() ?? null };
}

/**
 * @param {ArrayLike<number>} tokens
 * @returns {Uint16Array}
 */
export function tokenIds(tokens) {
  const ids = Uint16Array.from(tokens);
  // Conversion wraps around silently.
  const index = ids.findIndex((id, at) => id !== tokens[at]);
  if (index >= 0) {
    refuse(`${tokens[index]} at index ${index} is no token id`);
  }
  return ids;
}

/**
 * @param {unknown} seed
 * @returns {bigint}
 */
export function seedFrom(seed) {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    refuse(`the seed ${seed} is no whole number; use a bigint for large ones`);
  }
  if (typeof seed !== "number" && typeof seed !== "bigint") {
    refuse("a seed is a number or a bigint");
  }
  return BigInt.asUintN(64, BigInt(/** @type {number | bigint} */ (seed)));
}

/**
 * @param {string | ArrayLike<number>} prompt
 * @param {import("./index.js").GenerateOptions} options
 * @param {bigint} sessionSeed
 * @returns {import("./sessions.js").Generation}
 */
export function generation(prompt, options, sessionSeed) {
  const { maxTokens = 100, temperature = 1, topK = 0, topP = 1, repetitionPenalty = 1, seed, stop = [] } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 0 || maxTokens > 0xffff_ffff) {
    refuse(`maxTokens is ${maxTokens}, but must be a whole number from 0 on`);
  }
  if (!Number.isInteger(topK) || topK < 0 || topK > 0xffff_ffff) {
    refuse(`topK is ${topK}, but must be a whole number from 0 on`);
  }
  for (const [name, value] of Object.entries({ temperature, topP, repetitionPenalty })) {
    if (typeof value !== "number" || !Number.isFinite(value)) {
      refuse(`${name} is ${value}, but must be a number`);
    }
  }
  const stops = typeof stop === "string" ? [stop] : [...stop];
  if (!stops.every((text) => typeof text === "string")) {
    refuse("stop texts are strings");
  }
  return {
    prompt: typeof prompt === "string" ? prompt : tokenIds(prompt),
    maxTokens,
    sampler: JSON.stringify({ temperature, top_k: topK, top_p: topP, repetition_penalty: repetitionPenalty }),
    seed: seed === undefined ? sessionSeed : seedFrom(seed),
    stop: stops,
  };
}
