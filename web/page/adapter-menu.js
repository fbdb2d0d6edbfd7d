// @ts-check
// The adapter menu: none, those that the site offers for this model, and those opened from disk. It works while text is being
// written; an adapter is loaded when it is first chosen.

import { readAdapter } from "./catalog.js";
import { byId, make } from "./dom.js";
import { drawn } from "./language.js";

/**
 * @typedef {{ name: string, read: () => Promise<import("./package/index.js").AdapterSource> }} Choice
 */

export class AdapterMenu {
  #place = byId("adapters", HTMLFieldSetElement);
  /** @type {Choice[]} */
  #choices = [];
  /** @type {import("./package/index.js").Model | null} */
  #model = null;
  /** @type {string | null} */
  #chosen = null;
  #titleOf;
  #onChoice;
  #onError;

  /**
   * @param {(name: string | null) => string} titleOf what readers call an adapter
   * @param {(name: string | null) => Promise<void>} onChoice a rejection puts the menu back
   * @param {(error: unknown) => void} onError when a choice in the menu failed
   */
  constructor(titleOf, onChoice, onError) {
    this.#titleOf = titleOf;
    this.#onChoice = onChoice;
    this.#onError = onError;
    drawn(() => this.#draw());
  }

  /**
   * @param {import("./package/index.js").Model | null} model
   * @param {import("./catalog.js").OfferedAdapter[]} offered
   */
  show(model, offered) {
    this.#model = model;
    this.#chosen = null;
    this.#choices = offered.map((adapter) => ({ name: adapter.name, read: () => readAdapter(adapter) }));
    this.#draw();
  }

  /** Name of the adapter chosen, or null. */
  get chosen() {
    return this.#chosen;
  }

  /** Whether the menu has this one. @param {string | null} name */
  has(name) {
    return name === null || this.#choices.some((choice) => choice.name === name);
  }

  /** @param {Choice} choice from disk */
  add(choice) {
    this.#choices = [...this.#choices.filter(({ name }) => name !== choice.name), choice];
    this.#draw();
    return this.choose(choice.name);
  }

  /** Loads the adapter where needed, then makes it the one of the tokens to come. @param {string | null} name */
  async choose(name) {
    const before = this.#chosen;
    this.#mark(name);
    try {
      await this.#load(name);
      // Another may have been chosen while this one was loading: the last choice counts.
      if (this.#chosen === name) await this.#onChoice(name);
    } catch (error) {
      if (this.#chosen === name) this.#mark(before);
      throw error;
    }
  }

  /** @param {string | null} name */
  async #load(name) {
    if (name === null || !this.#model || this.#model.adapters.includes(name)) return;
    const choice = this.#choices.find((choice) => choice.name === name);
    if (choice) await this.#model.loadAdapter(name, await choice.read());
  }

  /** @param {string | null} name */
  #mark(name) {
    this.#chosen = name;
    for (const radio of this.#place.querySelectorAll("input")) radio.checked = radio.value === (name ?? "");
  }

  #draw() {
    const names = [null, ...this.#choices.map((choice) => choice.name)];
    const focused = this.#place.contains(document.activeElement);
    for (const label of this.#place.querySelectorAll("label")) label.remove();
    for (const name of names) {
      const radio = make("input", { type: "radio", name: "adapter", value: name ?? "", checked: name === this.#chosen });
      radio.addEventListener("change", () => this.choose(name).catch(this.#onError));
      this.#place.append(make("label", {}, radio, make("span", {}, this.#titleOf(name))));
    }
    this.#place.disabled = this.#model === null;
    if (focused) for (const radio of this.#place.querySelectorAll("input")) if (radio.checked) radio.focus();
  }
}
