// @ts-check
// The one kind of error of this package, and how it crosses from the worker to the page.

/** @typedef {import("./index.js").PtbrErrorCode} PtbrErrorCode */

/** An error with a code for programs; see `index.d.ts`. */
export class PtbrError extends Error {
  /**
   * @param {PtbrErrorCode} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "PtbrError";
    /** @type {PtbrErrorCode} */
    this.code = code;
  }
}

/** What `signal` asks for. */
export function aborted() {
  return new PtbrError("aborted", "stopped before the end");
}

/**
 * Throws when it was asked to stop.
 * @param {AbortSignal | undefined | null} signal
 */
export function checkSignal(signal) {
  if (signal?.aborted) {
    throw aborted();
  }
}

/**
 * Any error as one of this package. Those of the WebAssembly module carry a code already.
 * @param {unknown} error
 * @returns {PtbrError}
 */
export function asPtbrError(error) {
  if (error instanceof PtbrError) {
    return error;
  }
  const { code, name, message } = /** @type {{code?: unknown, name?: string, message?: string}} */ (
    error ?? {}
  );
  const text = message || String(error);
  if (typeof code === "string") {
    return new PtbrError(/** @type {PtbrErrorCode} */ (code), text);
  }
  if (name === "AbortError") {
    return aborted();
  }
  if (name === "QuotaExceededError") {
    return new PtbrError("quota", text);
  }
  return new PtbrError("internal", text);
}

/**
 * @param {unknown} error
 * @returns {{code: PtbrErrorCode, message: string}} what `postMessage` can carry
 */
export function toWire(error) {
  const { code, message } = asPtbrError(error);
  return { code, message };
}

/** @param {{code: PtbrErrorCode, message: string}} wire */
export function fromWire(wire) {
  return new PtbrError(wire.code, wire.message);
}
