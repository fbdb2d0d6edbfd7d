// @ts-check
// Cards that say what happened and what can be done: one card a subject, the newest first.

import { byId, make } from "./dom.js";
import { drawn, hasText, t } from "./language.js";

/**
 * @typedef {object} Notice
 * @property {"info" | "warning" | "error"} kind
 * @property {string} text key of the texts `<key>.title` and `<key>.body`
 * @property {Record<string, string | number>} [values] what stands in them
 * @property {string} [detail] for whoever looks for the cause: shown as it is
 * @property {{ label: string, run: () => void }[]} [actions]
 * @property {boolean} [once] not shown on this device again when it has been dismissed
 */

const DISMISSED = "ptbr-slm-dismissed-";

export class Notices {
  #place = byId("notices", HTMLElement);
  /** @type {Map<string, Notice>} */
  #shown = new Map();

  constructor() {
    drawn(() => {
      this.#place.replaceChildren();
      for (const [subject, notice] of this.#shown) this.#draw(subject, notice);
    });
  }

  /**
   * @param {string} subject a later notice of the same subject takes its place
   * @param {Notice} notice
   */
  show(subject, notice) {
    this.hide(subject);
    if (notice.once && wasDismissed(notice.text)) return;
    this.#shown.set(subject, notice);
    const card = this.#draw(subject, notice);
    // On a phone it may be screens away from what failed.
    if (notice.kind === "error") card.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} subject */
  hide(subject) {
    this.#shown.delete(subject);
    this.#place.querySelector(`[data-subject="${CSS.escape(subject)}"]`)?.remove();
  }

  /**
   * @param {string} subject
   * @param {Notice} notice
   */
  #draw(subject, notice) {
    const { kind, text, values, detail, actions = [], once = false } = notice;
    const buttons = actions.map(({ label, run }) => {
      const button = make("button", { type: "button" }, t(label));
      button.addEventListener("click", () => {
        this.hide(subject);
        run();
      });
      return button;
    });
    const close = make("button", { type: "button", className: "quiet" }, t("notice.close"));
    close.addEventListener("click", () => {
      this.hide(subject);
      if (once) rememberDismissal(text);
    });
    const card = make(
      "div",
      { className: `notice ${kind}` },
      make("h2", {}, t(`${text}.title`, values)),
      make("p", {}, t(`${text}.body`, values)),
      ...(detail ? [make("details", {}, make("summary", {}, t("notice.detail")), make("p", { lang: "en" }, detail))] : []),
      make("div", { className: "buttons" }, ...buttons, close),
    );
    card.dataset.subject = subject;
    if (kind === "error") card.setAttribute("role", "alert");
    this.#place.prepend(card);
    return card;
  }
}

/** @param {string} text */
function wasDismissed(text) {
  try {
    return localStorage.getItem(DISMISSED + text) !== null;
  } catch {
    return false; // storage may be forbidden: the notice then comes again
  }
}

/** @param {string} text */
function rememberDismissal(text) {
  try {
    localStorage.setItem(DISMISSED + text, "yes");
  } catch {
    // see wasDismissed
  }
}

/**
 * The text that speaks of an error.
 * @param {unknown} error
 */
export function textOfError(error) {
  const text = `error.${codeOf(error)}`;
  return hasText(`${text}.title`) ? text : "error.internal";
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function codeOf(error) {
  return /** @type {{ code?: string }} */ (error)?.code ?? "internal";
}
