// @ts-check
// What is this model, what computes it, and how much memory does that take?

import { byId, make } from "./dom.js";
import { bytes, drawn, number, t } from "./language.js";

export class ModelCard {
  #card = byId("model-card", HTMLDetailsElement);
  /** @type {import("./package/index.js").Model | null} */
  #model = null;
  /** @type {() => string} */
  #titleOf = () => "";

  constructor() {
    drawn(() => this.draw());
  }

  /**
   * @param {import("./package/index.js").Model | null} model
   * @param {() => string} titleOf what readers call it, in their language
   */
  show(model, titleOf) {
    this.#model = model;
    this.#titleOf = titleOf;
    this.draw();
  }

  /** Asks for the memory used now, then draws. */
  async refresh() {
    await this.#model?.memory().catch(() => {}); // a model disposed of meanwhile has none
    this.draw();
  }

  draw() {
    this.#card.hidden = this.#model === null;
    const info = this.#model?.info;
    byId("engine-now", HTMLElement).textContent = info ? t(`engine.${info.engine}`) : "–";
    byId("device", HTMLElement).textContent = info?.device ?? "–";
    byId("memory", HTMLElement).textContent = info ? memoryText(info.memory) : "–";
    if (!info) return;
    byId("model-name", HTMLElement).textContent = [
      this.#titleOf(),
      t("model.millions", { n: number(info.parameters / 1e6, 1) }),
      info.format,
      t(`engine.${info.engine}`),
    ].join(" · ");
    const { architecture, n_layers, d_model, vocab_size } = info.config;
    byId("model-facts", HTMLElement).replaceChildren(
      ...fact("model.parameters", number(info.parameters)),
      ...fact("model.shape", t("model.shape.value", { layers: Number(n_layers), width: Number(d_model) })),
      ...fact("model.vocabulary", number(Number(vocab_size))),
      ...fact("model.architecture", String(architecture ?? "rwkv4").toUpperCase()),
      ...fact("model.format", info.formats.join(", ")),
      ...fact("model.bytes", bytes(info.bytes)),
      ...fact("model.id", make("code", {}, info.modelId)),
      ...fact("model.sha256", make("code", {}, info.sha256)),
    );
  }
}

/**
 * @param {string} key
 * @param {string | Node} value
 */
function fact(key, value) {
  return [make("dt", {}, t(key)), make("dd", {}, value)];
}

/** @param {import("./package/index.js").MemoryInfo} memory */
function memoryText(memory) {
  const parts = [t("meter.memory.wasm", { bytes: bytes(memory.wasm) })];
  if (memory.gpu > 0) parts.push(t("meter.memory.gpu", { bytes: bytes(memory.gpu) }));
  return parts.join(" · ");
}
