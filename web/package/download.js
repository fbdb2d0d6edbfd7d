// @ts-check
// A file from a URL: what the cache has of it, then what the network has, written to the cache piece by piece while it arrives.

import { PtbrError, aborted, asPtbrError, checkSignal } from "./errors.js";
import { folderOf, openStore, readNote, readPieces, writeNote, writePiece } from "./pieces.js";

/** @typedef {import("./pieces.js").Store} Store */
/** @typedef {import("./pieces.js").Note} Note */
/** @typedef {(progress: {phase: "connect" | "download" | "cache", loaded: number, total: number | null, resumed: number}) => void} OnProgress */

/** Bytes of a piece: what a killed page has to download again, at most. */
const PIECE = 4 << 20;
/** Connections that may fail one after the other before the download does. */
const ATTEMPTS = 3;

/** An answer that will be the same next time. */
class Refused extends PtbrError {
  /** @param {string} message */
  constructor(message) {
    super("network", message);
  }
}

/**
 * A download: its bytes, and what is to be done when they have been checked.
 * @typedef {object} Download
 * @property {Blob} blob
 * @property {string | null} sha256 that the bytes had when they were checked for the last time
 * @property {number} resumed bytes that came from the cache
 * @property {PtbrError | null} cacheError why it is not kept for the next visit, where it was to be
 * @property {(sha256: string) => Promise<void>} accept notes that they are what they should be
 * @property {() => Promise<void>} reject forgets them
 */

/**
 * @param {string} url absolute
 * @param {{cache: boolean, sha256: string | null, signal: AbortSignal, onProgress: OnProgress}} options
 * @returns {Promise<Download>}
 */
export async function download(url, options) {
  const store = options.cache ? await openStore() : null;
  if (!store) {
    const { blob } = await receive(url, null, options);
    const cacheError = options.cache ? new PtbrError("quota", "this browser keeps nothing for this page") : null;
    const nothing = async () => {};
    return { blob, sha256: null, resumed: 0, cacheError, accept: nothing, reject: nothing };
  }
  const folder = await folderOf(url);
  // One tab downloads a file; another that wants it waits and finds it.
  return locked(folder, options.signal, async () => {
    const place = { store, folder };
    const known = await readNote(store, folder);
    const note = known?.sha256 && options.sha256 && known.sha256 !== options.sha256 ? null : known;
    if (known && !note) {
      // Another file has taken this address.
      await store.remove(folder);
    }
    const received = await receive(url, { ...place, note }, options);
    return {
      blob: received.blob,
      sha256: note?.sha256 ?? null,
      resumed: received.resumed,
      cacheError: received.cacheError,
      async accept(sha256) {
        if (received.note && !received.cacheError && received.note.sha256 !== sha256) {
          await writeNote(store, folder, { ...received.note, total: received.blob.size, sha256 });
        }
      },
      reject: () => store.remove(folder),
    };
  });
}

/**
 * @param {string} url
 * @param {{store: Store, folder: string, note: Note | null} | null} place
 * @param {{sha256: string | null, signal: AbortSignal, onProgress: OnProgress}} options
 * @returns {Promise<{blob: Blob, note: Note | null, resumed: number, cacheError: PtbrError | null}>}
 */
async function receive(url, place, options) {
  const { signal, onProgress } = options;
  const kept = new Kept(url, place, options.sha256);
  await kept.open();
  /** @param {"connect" | "download" | "cache"} phase */
  const report = (phase) => onProgress({ phase, loaded: kept.length, total: kept.note?.total ?? null, resumed: kept.resumed });
  if (kept.isComplete()) {
    report("cache");
    return kept.result();
  }
  report("connect");
  for (let failures = 0; ; ) {
    const before = kept.length;
    try {
      await connect(url, kept, signal, () => report("download"));
      await kept.flush();
      return kept.result();
    } catch (error) {
      await kept.flush();
      checkSignal(signal);
      failures = kept.length > before ? 1 : failures + 1;
      if (error instanceof Refused || failures >= ATTEMPTS) {
        throw error;
      }
    }
  }
}

/**
 * One request, from where `kept` ends.
 * @param {string} url
 * @param {Kept} kept
 * @param {AbortSignal} signal
 * @param {() => void} onBytes
 */
async function connect(url, kept, signal, onBytes) {
  const response = await network(
    // The browser's own cache would keep a second copy.
    fetch(url, { headers: kept.headers(), signal, cache: "no-store" }),
    signal,
  );
  if (response.status === 206) {
    const [, start, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "") ?? [];
    if (Number(start) !== kept.length) {
      throw new Refused(`the server sent other bytes of ${url} than those asked for`);
    }
    await kept.describe(response, Number(total));
  } else if (response.status === 200) {
    // It knows no ranges, or the file is another one by now.
    const length = response.headers.get("Content-Encoding") ? null : response.headers.get("Content-Length");
    await kept.restart();
    await kept.describe(response, length === null ? null : Number(length));
  } else if (response.status === 416 && kept.length > 0) {
    // It has become shorter than what is here.
    await kept.restart();
    throw new PtbrError("network", `${url} has changed while it was downloaded`);
  } else {
    throw new Refused(`the server answered ${response.status} for ${url}`);
  }
  const total = kept.note?.total ?? null;
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await network(reader.read(), signal);
    if (done) {
      break;
    }
    await kept.append(value);
    onBytes();
  }
  if (total !== null && kept.length !== total) {
    throw new PtbrError("network", `${url} ended after ${kept.length} of ${total} bytes`);
  }
}

/** The bytes so far: of the cache, as long as it takes them, and in memory. */
class Kept {
  /** @type {Blob[]} */
  #pieces = [];
  /** @type {Uint8Array[]} */
  #tail = [];
  #tailLength = 0;
  /** @type {PtbrError | null} */
  #cacheError = null;
  /** Bytes so far. */
  length = 0;
  /** Those that were there before. */
  resumed = 0;
  /** @type {Note | null} */
  note;

  /**
   * @param {string} url
   * @param {{store: Store, folder: string, note: Note | null} | null} place
   * @param {string | null} sha256 expected
   */
  constructor(url, place, sha256) {
    this.url = url;
    this.place = place;
    this.sha256 = sha256;
    this.note = place?.note ?? null;
  }

  async open() {
    if (!this.place || !this.note) {
      return;
    }
    this.#pieces = await readPieces(this.place.store, this.place.folder);
    this.length = this.#pieces.reduce((sum, piece) => sum + piece.size, 0);
    this.resumed = this.length;
    // A beginning can be trusted when its end is known to be of the same file: by the server's word, or by the digest that is checked at last.
    if (!this.isComplete() && !this.note.validator && !this.sha256) {
      await this.restart();
    }
  }

  isComplete() {
    return this.length > 0 && this.length === this.note?.total;
  }

  headers() {
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.length > 0) {
      headers.Range = `bytes=${this.length}-`;
      if (this.note?.validator) {
        headers["If-Range"] = this.note.validator;
      }
    }
    return headers;
  }

  async restart() {
    this.resumed = 0;
    this.#pieces = [];
    this.#tail = [];
    this.#tailLength = 0;
    this.length = 0;
    this.note = null;
    await this.place?.store.remove(this.place.folder);
  }

  /**
   * @param {Response} response
   * @param {number | null} total
   */
  async describe(response, total) {
    const etag = response.headers.get("ETag");
    const validator = etag && !etag.startsWith("W/") ? etag : response.headers.get("Last-Modified");
    this.note = { url: this.url, total, validator, sha256: null };
    await this.#tryCache((store, folder) => writeNote(store, folder, /** @type {Note} */ (this.note)));
  }

  /** @param {Uint8Array} bytes */
  async append(bytes) {
    this.#tail.push(bytes);
    this.#tailLength += bytes.length;
    this.length += bytes.length;
    if (this.#tailLength >= PIECE) {
      await this.flush();
    }
  }

  /** Writes what is in memory as a piece, unless the cache is full: then it stays where it is. */
  async flush() {
    if (this.#tailLength === 0) {
      return;
    }
    const blob = new Blob(/** @type {BlobPart[]} */ (this.#tail));
    const start = this.length - this.#tailLength;
    this.#tail = [];
    this.#tailLength = 0;
    const bytes = new Uint8Array(await blob.arrayBuffer());
    await this.#tryCache((store, folder) => writePiece(store, folder, start, bytes));
    this.#pieces.push(blob);
  }

  /** @param {(store: Store, folder: string) => Promise<void>} write */
  async #tryCache(write) {
    if (!this.place) {
      return;
    }
    try {
      await write(this.place.store, this.place.folder);
    } catch (error) {
      // No room, most often. The model can be used all the same; only the next visit has to download the rest.
      this.#cacheError = asPtbrError(error);
      this.place = null;
    }
  }

  result() {
    return { blob: new Blob(this.#pieces), note: this.note, resumed: this.resumed, cacheError: this.#cacheError };
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
async function network(promise, signal) {
  try {
    return await promise;
  } catch (error) {
    if (signal.aborted) {
      throw aborted();
    }
    throw new PtbrError("network", `the server cannot be reached: ${/** @type {Error} */ (error).message}`);
  }
}

/**
 * @template T
 * @param {string} folder
 * @param {AbortSignal} signal
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function locked(folder, signal, work) {
  if (!navigator.locks) {
    return work();
  }
  try {
    return await navigator.locks.request(`ptbr-slm-models/${folder}`, { signal }, work);
  } catch (error) {
    checkSignal(signal);
    throw error;
  }
}
