// @ts-check
// The text for people who hear it: whole sentences, a few seconds apart. Announcing each token would drown everything else that
// a screen reader has to say.

import { byId, make } from "./dom.js";

const MILLISECONDS_APART = 2500;
/** Sentences kept in the log, for reading back. */
const MOST_LINES = 50;

export class Announcer {
  #log = byId("announcer", HTMLElement);
  #heard = "";
  #timer = 0;

  /** @param {string} text */
  add(text) {
    this.#heard += text;
    this.#timer ||= setTimeout(() => this.#say(lastSentenceEnd(this.#heard)), MILLISECONDS_APART);
  }

  /** Says the rest, whether or not it is a whole sentence. */
  finish() {
    this.#say(this.#heard.length);
  }

  clear() {
    this.#heard = "";
    this.#say(0);
    this.#log.replaceChildren();
  }

  /** @param {number} length */
  #say(length) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const text = this.#heard.slice(0, length).trim();
    this.#heard = this.#heard.slice(length);
    if (text) this.#log.append(make("p", {}, text));
    while (this.#log.childElementCount > MOST_LINES) this.#log.firstElementChild?.remove();
  }
}

/** @param {string} text */
function lastSentenceEnd(text) {
  return Math.max(...[...".!?…\n"].map((mark) => text.lastIndexOf(mark))) + 1;
}
