// @ts-check
// The text on the page: what a person began, what the model wrote under which adapter, and how much of it the model's state
// has read.

export class Draft {
  /**
   * @param {string} prompt
   * @param {{ adapter: string | null, text: string }[]} [spans]
   * @param {number} [read] characters from the start that the session's state stands for
   */
  constructor(prompt, spans = [], read = 0) {
    this.prompt = prompt;
    this.spans = spans.map((span) => ({ ...span }));
    this.read = read;
  }

  /** @param {import("./kept.js").Kept} kept */
  static from(kept) {
    return new Draft(kept.prompt, kept.spans, kept.state ? kept.read : 0);
  }

  get text() {
    return this.prompt + this.spans.map((span) => span.text).join("");
  }

  get isEmpty() {
    return this.prompt === "" && this.spans.length === 0;
  }

  /** What a session has to read before it can go on: nothing after a generation, all of it after a change of model. */
  get unread() {
    return this.text.slice(this.read);
  }

  /** The state is at the end of the text. */
  allRead() {
    this.read = this.text.length;
  }

  /**
   * @param {string | null} adapter
   * @param {string} text
   */
  add(adapter, text) {
    const last = this.spans.at(-1);
    if (last?.adapter === adapter) last.text += text;
    else this.spans.push({ adapter, text });
  }
}
