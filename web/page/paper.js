// @ts-check
// Where the text appears while it is written. Everything is put in as text nodes: a model that writes markup shows markup.

import { byId, make } from "./dom.js";
import { drawn, t } from "./language.js";

/** Pixels below the screen's edge within which the end of the text is taken to be followed. */
const FOLLOWS = 48;
/** Pixels kept free below it. */
const MARGIN = 64;

export class Paper {
  #element = byId("paper", HTMLElement);
  /** @type {(name: string | null) => string} */
  #titleOf;
  /** The adapter of the last span. @type {string | null | undefined} */
  #adapter;
  /** Grows while the model writes. @type {Text | null} */
  #end = null;
  /** Pieces of this frame. */
  #waiting = "";
  #frame = 0;

  /** @param {(name: string | null) => string} titleOf what readers call an adapter */
  constructor(titleOf) {
    this.#titleOf = titleOf;
    drawn(() => {
      for (const mark of this.#element.querySelectorAll("mark")) this.#nameMark(mark);
    });
  }

  /** @param {import("./draft.js").Draft} draft */
  show(draft) {
    this.#flush();
    this.#element.replaceChildren();
    this.#adapter = undefined;
    this.#end = null;
    if (draft.prompt) this.#element.append(make("span", { className: "begun" }, draft.prompt));
    for (const { adapter, text } of draft.spans) this.add(adapter, text);
    this.#flush();
  }

  /**
   * @param {string | null} adapter
   * @param {string} text
   */
  add(adapter, text) {
    if (this.#adapter !== adapter || !this.#end) {
      this.#flush();
      this.#begin(adapter);
    }
    this.#waiting += text;
    // A frame may see several tokens: one change of the page for all of them.
    this.#frame ||= requestAnimationFrame(() => {
      const follows = this.#beyond() < FOLLOWS + MARGIN;
      this.#flush();
      if (follows) this.#follow();
    });
  }

  /** @param {boolean} writing */
  set busy(writing) {
    this.#element.setAttribute("aria-busy", String(writing));
    this.#element.classList.toggle("writing", writing);
    if (writing) this.#follow();
    else this.#flush();
  }

  /** Pixels by which the end of the text is too low on the screen. */
  #beyond() {
    return this.#element.getBoundingClientRect().bottom + MARGIN - innerHeight;
  }

  #follow() {
    const beyond = this.#beyond();
    if (beyond > 0) scrollBy({ top: beyond, behavior: "instant" });
  }

  /** @param {string | null} adapter */
  #begin(adapter) {
    // The first span needs a mark only when an adapter writes it.
    if (this.#adapter !== undefined || adapter !== null) {
      const mark = make("mark");
      mark.dataset.adapter = adapter ?? "";
      this.#nameMark(mark);
      this.#element.append(mark);
    }
    this.#adapter = adapter;
    this.#end = document.createTextNode("");
    this.#element.append(this.#end);
  }

  /** @param {HTMLElement} mark */
  #nameMark(mark) {
    mark.textContent = this.#titleOf(mark.dataset.adapter || null);
    mark.title = t("paper.adapter", { name: mark.textContent });
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#end?.appendData(this.#waiting);
    this.#waiting = "";
  }
}
