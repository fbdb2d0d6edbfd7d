// @ts-check
// What survives a reload: one text with its settings and the session's state, in IndexedDB.
//
// Every tab has a record of its own, so two tabs never overwrite each other's text; its name is in sessionStorage, which a
// reload keeps. A new tab starts from the record written last.

/**
 * @typedef {object} Kept
 * @property {{ name: string, fromDisk: boolean } | null} model which model wrote it
 * @property {string} modelId id of its weights; a state is of no use to others
 * @property {string | null} adapter
 * @property {string} beginning what stands in the field, written or not
 * @property {string} prompt what the text began with
 * @property {{ adapter: string | null, text: string }[]} spans what was written, by whom
 * @property {Uint8Array | null} state
 * @property {string | null} stateAdapter the adapter chosen when the state was saved, which alone may load it
 * @property {number} read how many characters of the text the state has read
 * @property {Record<string, string>} settings
 */

const DATABASE = "ptbr-slm";
const STORE = "texts";
const MOST_RECORDS = 8;
const TAB_KEY = "ptbr-slm-tab";

/** @type {Promise<string> | undefined} */
let claimed;

/** @returns {Promise<Kept | null>} this tab's record, or the newest; null where there is none or no storage */
export async function readKept() {
  try {
    const [records, tab] = await Promise.all([allRecords(), tabName()]);
    const own = records.find((record) => record.tab === tab);
    return own ?? records[0] ?? null;
  } catch {
    return null; // private windows may refuse; the page then forgets on reload
  }
}

/** @param {Kept} kept */
export async function writeKept(kept) {
  try {
    const tab = await tabName();
    await request("readwrite", (store) => store.put({ ...kept, tab, savedAt: Date.now() }));
    for (const old of (await allRecords()).slice(MOST_RECORDS)) await request("readwrite", (store) => store.delete(old.tab));
  } catch {
    // see readKept
  }
}

/** Newest first. */
async function allRecords() {
  /** @type {(Kept & { tab: string, savedAt: number })[]} */
  const records = await request("readonly", (store) => store.getAll());
  return records.sort((a, b) => b.savedAt - a.savedAt);
}

/** @type {Promise<IDBDatabase> | undefined} */
let opened;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "tab" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return opened;
}

/**
 * @template R
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<R>} ask
 * @returns {Promise<R>}
 */
async function request(mode, ask) {
  const transaction = (await database()).transaction(STORE, mode);
  return new Promise((resolve, reject) => {
    const asked = ask(transaction.objectStore(STORE));
    // A write counts when its transaction has ended, not when it was accepted.
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

function tabName() {
  claimed ??= claimName();
  return claimed;
}

/** The name from before the reload, unless a duplicate of that tab, which copies its sessionStorage, holds it. */
async function claimName() {
  const before = sessionStorage.getItem(TAB_KEY);
  const name = before && (await take(before)) ? before : crypto.randomUUID();
  if (name !== before) await take(name);
  sessionStorage.setItem(TAB_KEY, name);
  return name;
}

/**
 * Takes the lock of this name until the page is gone, if nobody has it.
 * @param {string} name
 * @returns {Promise<boolean>}
 */
function take(name) {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(`${TAB_KEY}-${name}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    });
    held.catch(reject);
  });
}
