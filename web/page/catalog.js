// @ts-check
// Which models does this site offer?

/**
 * @typedef {{ pt: string, en: string }} Title
 * @typedef {{ name: string, title: Title, url_config: string, url_weights: string }} OfferedAdapter
 * @typedef {{ name: string, title: Title, file: string, bytes: number, sha256?: string, adapters: OfferedAdapter[] }} OfferedModel
 */

const LIST = new URL("models/models.json", document.baseURI);
const CACHE = "ptbr-slm-catalog";

/**
 * The site's list; without a network the one seen last. Null where there is neither: a site may offer no model at all, files
 * from disk still work.
 * @returns {Promise<OfferedModel[] | null>}
 */
export async function readCatalog() {
  const answer = (navigator.onLine ? await fromNetwork() : null) ?? (await remembered());
  try {
    return answer ? await answer.json() : null;
  } catch {
    return null;
  }
}

/**
 * Addresses in the list are relative to it.
 * @param {string} file
 */
export function addressOf(file) {
  return new URL(file, LIST).href;
}

async function fromNetwork() {
  try {
    const answer = await fetch(LIST, { cache: "no-cache" });
    if (!answer.ok) return null;
    await remember(answer.clone());
    return answer;
  } catch {
    return null;
  }
}

/** @param {Response} answer */
async function remember(answer) {
  try {
    await (await caches.open(CACHE)).put(LIST, answer);
  } catch {
    // No room, or no caches in a private window: the list is then only there with a network.
  }
}

async function remembered() {
  try {
    return (await (await caches.open(CACHE)).match(LIST)) ?? null;
  } catch {
    return null;
  }
}
