// @ts-check
// A model file, wherever it comes from, as one thing: a blob that the WebAssembly module reads from.

import { PtbrError } from "./errors.js";
import { download } from "./download.js";

/**
 * @typedef {object} Source
 * @property {string} label names it in messages
 * @property {Blob} blob
 * @property {string | null} sha256 that it must have: what the caller asks for, or what it had when it was cached
 * @property {number} resumed bytes of it that came from the cache
 * @property {boolean} cached whether it is kept for the next visit once it is accepted
 * @property {import("./index.js").PtbrErrorCode | null} cacheError
 * @property {(sha256: string) => Promise<void>} accept
 * @property {() => Promise<void>} reject
 */

/**
 * @param {string | Blob} from a URL, or the file itself
 * @param {{cache: boolean, sha256: string | null, signal: AbortSignal, onProgress: (progress: import("./index.js").LoadProgress) => void}} options
 * @returns {Promise<Source>}
 */
export async function openSource(from, options) {
  if (typeof from !== "string") {
    options.onProgress({ phase: "file", loaded: from.size, total: from.size, resumed: 0 });
    const label = from instanceof File ? from.name : "the model in memory";
    const nothing = async () => {};
    return { label, blob: from, sha256: options.sha256, resumed: 0, cached: false, cacheError: null, accept: nothing, reject: nothing };
  }
  const got = await download(from, options);
  return {
    label: new URL(from).pathname.split("/").pop() || from,
    blob: got.blob,
    sha256: options.sha256 ?? got.sha256,
    resumed: got.resumed,
    cached: options.cache && !got.cacheError,
    cacheError: got.cacheError?.code ?? null,
    accept: got.accept,
    reject: got.reject,
  };
}

/**
 * A small file as bytes.
 * @param {string | Blob} from
 * @param {{cache: boolean, signal: AbortSignal}} options
 * @returns {Promise<Uint8Array>}
 */
export async function readSmall(from, options) {
  if (typeof from !== "string") {
    return new Uint8Array(await from.arrayBuffer());
  }
  const got = await download(from, { ...options, sha256: null, onProgress() {} });
  return new Uint8Array(await got.blob.arrayBuffer());
}

/**
 * What the WebAssembly module reads a blob with: it cannot wait, and a worker need not.
 * @param {Blob} blob
 */
export function readerOf(blob) {
  const reader = new FileReaderSync();
  /** @param {number} offset @param {number} length */
  return (offset, length) => {
    try {
      return new Uint8Array(reader.readAsArrayBuffer(blob.slice(offset, offset + length)));
    } catch (error) {
      throw new PtbrError("damaged-file", `the file can no longer be read: ${/** @type {Error} */ (error).message}`);
    }
  };
}
