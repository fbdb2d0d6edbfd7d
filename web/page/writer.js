// @ts-check
// Writing: one session, one draft. Who writes is asked here; where it appears is the paper's matter.

import { Draft } from "./draft.js";

/**
 * @typedef {object} Listener
 * @property {(draft: Draft) => void} onDraft another text
 * @property {() => void} onStart
 * @property {(adapter: string | null, piece: string) => void} onPiece
 * @property {(result: import("./package/index.js").GenerationResult | null, error: unknown) => void} onEnd
 */

export class Writer {
  draft = new Draft("");
  /** What the session remembered when it had read `draft.read` characters. @type {Uint8Array | null} */
  state = null;
  /** The adapter at that time. @type {string | null} */
  stateAdapter = null;
  /** @type {import("./package/index.js").Session | null} */
  #session = null;
  #writing = false;
  /** The last writing, under way or done. @type {Promise<void>} */
  #turn = Promise.resolve();
  #listener;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  get writing() {
    return this.#writing;
  }

  get ready() {
    return this.#session !== null && !this.#writing;
  }

  /** Shows a text that was written before. @param {import("./kept.js").Kept} kept */
  restore(kept) {
    this.draft = Draft.from(kept);
    this.state = kept.state;
    this.stateAdapter = kept.stateAdapter;
    this.#listener.onDraft(this.draft);
  }

  /** Lets the model go, after the token at hand. The text stays; its state is of no use to another model. */
  async close() {
    this.stop();
    await this.#turn;
    this.#session?.dispose();
    this.#session = null;
    this.draft.read = 0;
    this.state = null;
  }

  /** This model goes on with the text. @param {import("./package/index.js").Model} model */
  use(model) {
    this.#session = model.session();
    this.draft.read = 0;
  }

  /**
   * Goes back to the state of a text that this model wrote, so that nothing need be read again.
   * @param {Uint8Array} state
   * @param {number} read
   */
  async resume(state, read) {
    if (!this.#session) return;
    await this.#session.loadState(state);
    this.state = state;
    this.stateAdapter = this.#session.adapter;
    this.draft.read = read;
  }

  /** @param {string | null} name from the next token on */
  async setAdapter(name) {
    await this.#session?.setAdapter(name);
    if (this.ready) await this.#remember();
  }

  /**
   * @param {string} prompt
   * @param {import("./package/index.js").GenerateOptions} options
   */
  async begin(prompt, options) {
    await this.#take(options, new Draft(prompt));
  }

  /** @param {import("./package/index.js").GenerateOptions} options */
  async goOn(options) {
    await this.#take(options, this.draft);
  }

  stop() {
    this.#session?.stop();
  }

  /**
   * @param {import("./package/index.js").GenerateOptions} options
   * @param {Draft} draft
   */
  async #take(options, draft) {
    if (!this.#session || this.#writing) return;
    this.#writing = true;
    this.#turn = this.#write(this.#session, options, draft);
    await this.#turn;
  }

  /**
   * @param {import("./package/index.js").Session} session
   * @param {import("./package/index.js").GenerateOptions} options
   * @param {Draft} draft
   */
  async #write(session, options, draft) {
    this.draft = draft;
    this.#listener.onStart();
    let failure = null;
    try {
      if (draft.read === 0) {
        await session.reset();
        this.state = null;
        this.#listener.onDraft(draft);
      }
      for await (const piece of session.generate(draft.unread, options)) {
        draft.add(session.adapter, piece);
        this.#listener.onPiece(session.adapter, piece);
      }
      draft.allRead();
      await this.#remember();
    } catch (error) {
      failure = error;
      draft.read = 0; // how far the session came is not known: the next one reads the text again
      this.state = null;
    }
    this.#writing = false;
    this.#listener.onEnd(failure ? null : session.last, failure);
  }

  async #remember() {
    if (!this.#session) return;
    this.state = await this.#session.saveState();
    this.stateAdapter = this.#session.adapter;
  }
}
