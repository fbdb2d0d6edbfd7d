// @ts-check
// Small files of this site, the list of models and the adapters: as they are now, or without a network as they were last seen.
// Models are too large to be asked for at each visit; those are the package's.

const CACHE = "ptbr-slm-small-files";

/**
 * @param {string} address
 * @returns {Promise<Response | null>} null where neither network nor cache has it
 */
export async function fetchSmall(address) {
  return (navigator.onLine ? await fromNetwork(address) : null) ?? (await remembered(address));
}

/** Forgets what was seen. */
export async function forgetSmall() {
  await caches.delete(CACHE).catch(() => {}); // no caches in some private windows
}

/** @param {string} address */
async function fromNetwork(address) {
  try {
    // The browser's own cache answers when the server says that nothing has changed.
    const answer = await fetch(address, { cache: "no-cache" });
    if (!answer.ok) return null;
    await remember(address, answer.clone());
    return answer;
  } catch {
    return null;
  }
}

/**
 * @param {string} address
 * @param {Response} answer
 */
async function remember(address, answer) {
  try {
    await (await caches.open(CACHE)).put(address, answer);
  } catch {
    // No room, or no caches: the file is then only there with a network.
  }
}

/** @param {string} address */
async function remembered(address) {
  try {
    return (await (await caches.open(CACHE)).match(address)) ?? null;
  } catch {
    return null;
  }
}
