// @ts-check
// Which models does this site offer?

import { fetchSmall } from "./small-files.js";

/**
 * @typedef {{ pt: string, en: string }} Title
 * @typedef {{ name: string, title: Title, url_config: string, url_weights: string }} OfferedAdapter
 * @typedef {{ name: string, title: Title, file: string, bytes: number, sha256?: string, adapters: OfferedAdapter[] }} OfferedModel
 */

const LIST = new URL("models/models.json", document.baseURI).href;

/**
 * Null where there is no list: a site may offer no model at all, files from disk still work.
 * @returns {Promise<OfferedModel[] | null>}
 */
export async function readCatalog() {
  const answer = await fetchSmall(LIST);
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

/**
 * The two files of an adapter. One that is not there is left to the package, which says so.
 * @param {OfferedAdapter} adapter
 * @returns {Promise<import("./package/index.js").AdapterSource>}
 */
export async function readAdapter({ url_config, url_weights }) {
  const [config, weights] = await Promise.all([url_config, url_weights].map(addressOf).map(contentOrAddress));
  return { config, weights };
}

/** @param {string} address */
async function contentOrAddress(address) {
  return (await (await fetchSmall(address))?.arrayBuffer()) ?? address;
}
