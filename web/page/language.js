// @ts-check
// Which language does the page speak, and how is a thing said in it?
//
// Portuguese text that stands in index.html is written there and nowhere else: elements name its key in data-t (their text),
// data-t-label (aria-label) or data-t-empty (what an empty text shows), and what they hold at the start is that key's
// Portuguese. What only scripts say is in text/pt.js. text/en.js has both.

import { pt } from "./text/pt.js";
import { en } from "./text/en.js";

/** @typedef {"pt" | "en"} Language */

const REMEMBERED = "ptbr-slm-language";
const IN_ATTRIBUTES = { "data-t-label": "aria-label", "data-t-empty": "data-empty" };
const LOCALE = { pt: "pt-BR", en: "en" };

/** @type {Record<Language, Record<string, string>>} */
const texts = { pt: { ...pt }, en };
/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {Language} */
let current = "pt";

/** Reads the Portuguese of the page, then speaks the language chosen before or else the browser's. */
export function startLanguage() {
  for (const { key, said } of sayings()) texts.pt[key] = said();
  for (const button of switches()) {
    button.addEventListener("click", () => speak(/** @type {Language} */ (button.dataset.language), true));
  }
  speak(remembered() ?? (navigator.languages.find(isKnown)?.startsWith("en") ? "en" : "pt"), false);
}

/** @returns {Language} */
export function language() {
  return current;
}

/**
 * The text of a key, with `{name}` replaced by values.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = texts[current][key] ?? texts.pt[key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * Whether the key has a text.
 * @param {string} key
 */
export function hasText(key) {
  return key in texts.pt;
}

/**
 * Calls `draw` now and whenever the language changes.
 * @param {() => void} draw
 */
export function drawn(draw) {
  listeners.add(draw);
  draw();
}

/**
 * @param {number} value
 * @param {number} [digits] behind the comma
 */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(LOCALE[current], { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** @param {number} bytes */
export function bytes(bytes) {
  const [unit, size, digits] = bytes >= 1e9 ? ["gigabyte", 1e9, 2] : bytes >= 1e6 ? ["megabyte", 1e6, 1] : ["kilobyte", 1e3, 0];
  return new Intl.NumberFormat(LOCALE[current], {
    style: "unit",
    unit: String(unit),
    minimumFractionDigits: Number(digits),
    maximumFractionDigits: Number(digits),
  }).format(bytes / Number(size));
}

/**
 * @param {Language} chosen
 * @param {boolean} remember
 */
function speak(chosen, remember) {
  current = chosen;
  document.documentElement.lang = LOCALE[chosen];
  for (const { key, say } of sayings()) say(t(key));
  for (const button of switches()) button.setAttribute("aria-pressed", String(button.dataset.language === chosen));
  for (const draw of listeners) draw();
  if (remember) {
    try {
      localStorage.setItem(REMEMBERED, chosen);
    } catch {
      // Storage may be forbidden; the choice then holds until the page is closed.
    }
  }
}

/** Every place of the page that says something by key. */
function* sayings() {
  for (const element of document.querySelectorAll("[data-t]")) {
    yield {
      key: element.getAttribute("data-t") ?? "",
      said: () => element.textContent ?? "",
      say: (/** @type {string} */ text) => void (element.textContent = text),
    };
  }
  for (const [names, attribute] of Object.entries(IN_ATTRIBUTES)) {
    for (const element of document.querySelectorAll(`[${names}]`)) {
      yield {
        key: element.getAttribute(names) ?? "",
        said: () => element.getAttribute(attribute) ?? "",
        say: (/** @type {string} */ text) => element.setAttribute(attribute, text),
      };
    }
  }
}

/** @returns {NodeListOf<HTMLElement>} */
function switches() {
  return document.querySelectorAll("[data-language]");
}

/** @param {string} tag */
function isKnown(tag) {
  return /^(pt|en)\b/i.test(tag);
}

/** @returns {Language | null} */
function remembered() {
  try {
    const chosen = localStorage.getItem(REMEMBERED);
    return chosen === "pt" || chosen === "en" ? chosen : null;
  } catch {
    return null;
  }
}
