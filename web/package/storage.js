// @ts-check
// What pages may know and do about the files kept for offline use.

import { asPtbrError } from "./errors.js";
import { folderOf, openStore, readNote, readPieces } from "./pieces.js";

export const storage = {
  async estimate() {
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
    const persistent = (await navigator.storage?.persisted?.()) ?? false;
    const models = (await storage.list()).reduce((sum, file) => sum + file.bytes, 0);
    return { usage, quota, models, persistent };
  },

  async persist() {
    return (await navigator.storage?.persist?.()) ?? false;
  },

  /** @returns {Promise<import("./index.js").CachedFile[]>} */
  async list() {
    const store = await openStore();
    const files = [];
    for (const folder of store ? await store.folders() : []) {
      const note = store && (await readNote(store, folder));
      if (!store || !note) {
        continue;
      }
      const bytes = (await readPieces(store, folder)).reduce((sum, piece) => sum + piece.size, 0);
      const { url, total, sha256 } = note;
      files.push({ url, bytes, total, complete: sha256 !== null && bytes === total, sha256 });
    }
    return files;
  },

  /** @param {string | URL} [url] */
  async clear(url) {
    const store = await openStore();
    if (!store) {
      return;
    }
    try {
      const folders = url === undefined ? await store.folders() : [await folderOf(absolute(url))];
      for (const folder of folders) {
        await store.remove(folder);
      }
    } catch (error) {
      throw asPtbrError(error);
    }
  },
};

/**
 * An address as the cache knows it.
 * @param {string | URL} url
 */
export function absolute(url) {
  return new URL(url, document.baseURI).href;
}
