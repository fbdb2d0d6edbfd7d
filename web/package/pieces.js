// @ts-check
// Where downloaded files are kept: each a folder of numbered pieces and a note about it, in the origin's private file system (OPFS), or in the Cache API where there is none.
//
// A piece is named for the place of its first byte and written once. A file is what its pieces hold from 0 on without a gap, so whatever ends a download, the pieces before it stay good.

/**
 * What is known of a file, kept beside its pieces.
 * @typedef {object} Note
 * @property {string} url
 * @property {number | null} total bytes of the whole file, where the server said so
 * @property {string | null} validator `ETag` or `Last-Modified`: only the same file is resumed
 * @property {string | null} sha256 of a complete file that has been checked
 */

/**
 * A place for small files by folder and name.
 * @typedef {object} Store
 * @property {() => Promise<string[]>} folders
 * @property {(folder: string) => Promise<string[]>} names
 * @property {(folder: string, name: string) => Promise<Blob | null>} get
 * @property {(folder: string, name: string, bytes: Uint8Array) => Promise<void>} put
 * @property {(folder: string) => Promise<void>} remove a folder and all in it
 */

const ROOT = "ptbr-slm-models";
const NOTE = "note.json";
/** Digits of a piece's name: enough for any file, so that names sort as numbers do. */
const DIGITS = 15;

/**
 * The best store of this browser, or `null` where a page may keep nothing (a private window, an insecure address).
 * @returns {Promise<Store | null>}
 */
export async function openStore() {
  try {
    const root = await navigator.storage.getDirectory();
    return opfsStore(await root.getDirectoryHandle(ROOT, { create: true }));
  } catch {
    // Some browsers have the function and refuse it in private windows.
  }
  try {
    return cacheStore(await caches.open(ROOT));
  } catch {
    return null;
  }
}

/**
 * The folder of a URL.
 * @param {string} url
 */
export async function folderOf(url) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url));
  return Array.from(new Uint8Array(digest, 0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Store} store
 * @param {string} folder
 * @returns {Promise<Note | null>}
 */
export async function readNote(store, folder) {
  const blob = await store.get(folder, NOTE);
  try {
    return blob && JSON.parse(await blob.text());
  } catch {
    // Cut short when it was written: as good as none.
    return null;
  }
}

/**
 * @param {Store} store
 * @param {string} folder
 * @param {Note} note
 */
export function writeNote(store, folder, note) {
  return store.put(folder, NOTE, new TextEncoder().encode(JSON.stringify(note)));
}

/**
 * What is there of a file, from its first byte on without a gap.
 * @param {Store} store
 * @param {string} folder
 * @returns {Promise<Blob[]>}
 */
export async function readPieces(store, folder) {
  const names = (await store.names(folder)).filter((name) => name !== NOTE).sort();
  const pieces = [];
  let end = 0;
  for (const name of names) {
    const piece = await store.get(folder, name);
    if (Number(name) !== end || !piece || piece.size === 0) {
      break;
    }
    pieces.push(piece);
    end += piece.size;
  }
  return pieces;
}

/**
 * @param {Store} store
 * @param {string} folder
 * @param {number} start place of the first byte
 * @param {Uint8Array} bytes
 */
export function writePiece(store, folder, start, bytes) {
  return store.put(folder, String(start).padStart(DIGITS, "0"), bytes);
}

/**
 * @param {FileSystemDirectoryHandle} root
 * @returns {Store}
 */
function opfsStore(root) {
  /** @param {string} folder @param {boolean} create */
  const open = (folder, create) => root.getDirectoryHandle(folder, { create });
  return {
    folders: () => keys(root),
    async names(folder) {
      const directory = await orNull(open(folder, false));
      return directory ? keys(directory) : [];
    },
    async get(folder, name) {
      const directory = await orNull(open(folder, false));
      const handle = directory && (await orNull(directory.getFileHandle(name)));
      return handle ? handle.getFile() : null;
    },
    async put(folder, name, bytes) {
      const handle = await (await open(folder, true)).getFileHandle(name, { create: true });
      // Only workers have it, and only they write.
      const access = await handle.createSyncAccessHandle();
      try {
        access.truncate(0);
        if (access.write(bytes, { at: 0 }) !== bytes.length) {
          throw new DOMException("the browser took only a part of a piece", "QuotaExceededError");
        }
        access.flush();
      } finally {
        access.close();
      }
    },
    async remove(folder) {
      await orNull(root.removeEntry(folder, { recursive: true }));
    },
  };
}

/**
 * @param {Cache} cache
 * @returns {Store}
 */
function cacheStore(cache) {
  // Keys of the cache must look like addresses; nothing is ever asked of these.
  const prefix = `${location.origin}/.${ROOT}/`;
  const paths = async () => (await cache.keys()).map((request) => request.url.slice(prefix.length).split("/"));
  return {
    folders: async () => [...new Set((await paths()).map(([folder]) => folder))],
    names: async (wanted) => (await paths()).filter(([folder]) => folder === wanted).map(([, name]) => name),
    async get(folder, name) {
      const response = await cache.match(`${prefix}${folder}/${name}`);
      return response ? response.blob() : null;
    },
    put: (folder, name, bytes) => cache.put(`${prefix}${folder}/${name}`, new Response(/** @type {BodyInit} */ (bytes))),
    async remove(folder) {
      for (const request of await cache.keys()) {
        if (request.url.startsWith(`${prefix}${folder}/`)) {
          await cache.delete(request);
        }
      }
    },
  };
}

/** @param {FileSystemDirectoryHandle} directory */
async function keys(directory) {
  const names = [];
  for await (const name of directory.keys()) {
    names.push(name);
  }
  return names;
}

/**
 * `null` for what is not there.
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T | null>}
 */
async function orNull(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") {
      return null;
    }
    throw error;
  }
}
