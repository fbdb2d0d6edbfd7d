// @ts-check
// Opening a model: progress by bytes, cancel, go on later; and what is said when it fails.

import { Model, storage } from "./package/index.js";
import { byId } from "./dom.js";
import { bytes, drawn, t } from "./language.js";
import { codeOf, textOfError } from "./notices.js";

/**
 * @typedef {object} Source
 * @property {string} name how a record of the text names it
 * @property {File | null} file from disk, or else
 * @property {string} url from this site
 * @property {string} [sha256]
 */

const SUBJECT = "opening";

export class Opener {
  #place = byId("loading", HTMLElement);
  #bar = byId("loading-bar", HTMLProgressElement);
  #text = byId("loading-text", HTMLElement);
  #notices;
  /** @type {AbortController | null} */
  #abort = null;
  /** @type {import("./package/index.js").LoadProgress | null} */
  #progress = null;
  /** Bytes a second are counted from here. */
  #since = { time: 0, loaded: 0 };

  /** @param {import("./notices.js").Notices} notices */
  constructor(notices) {
    this.#notices = notices;
    byId("cancel-loading", HTMLButtonElement).addEventListener("click", () => this.#abort?.abort());
    drawn(() => this.#draw());
  }

  get busy() {
    return this.#abort !== null;
  }

  /**
   * @param {Source} source
   * @param {"auto" | "webgpu" | "cpu"} engine
   * @param {(engine: "auto" | "webgpu" | "cpu") => void} again opens the same once more
   * @returns {Promise<Model | null>} null where it failed or was cancelled, which has been said
   */
  async open(source, engine, again) {
    this.#abort = new AbortController();
    this.#notices.hide(SUBJECT);
    this.#show(null);
    try {
      const model = await Model.load(source.file ?? source.url, {
        engine,
        sha256: source.sha256,
        signal: this.#abort.signal,
        onProgress: (progress) => this.#show(progress),
      });
      // The package loads on without a cache; the person should know that the next visit downloads again.
      if (model.info.cacheError) this.#notices.show("quota", { kind: "warning", text: "error.quota", detail: model.info.cacheError });
      return model;
    } catch (error) {
      this.#sayFailure(error, source, engine, again);
      return null;
    } finally {
      this.#abort = null;
      this.#place.hidden = true;
    }
  }

  /** @param {import("./package/index.js").LoadProgress | null} progress */
  #show(progress) {
    const started = progress?.phase === "download" && this.#progress?.phase !== "download";
    if (started) this.#since = { time: performance.now(), loaded: progress.loaded };
    this.#progress = progress;
    this.#place.hidden = false;
    this.#draw();
  }

  #draw() {
    const progress = this.#progress ?? { phase: "connect", loaded: 0, total: null, resumed: 0 };
    const { loaded, total } = progress;
    if (total && (progress.phase === "download" || progress.phase === "cache" || progress.phase === "file")) {
      this.#bar.max = total;
      this.#bar.value = loaded;
    } else {
      this.#bar.removeAttribute("value"); // moving, without a measure
    }
    const seconds = (performance.now() - this.#since.time) / 1000;
    const speed = progress.phase === "download" && seconds > 0.5 ? bytes((loaded - this.#since.loaded) / seconds) : null;
    this.#text.textContent = [
      t(`loading.${progress.phase}`, { loaded: bytes(loaded), total: total ? bytes(total) : "?" }),
      progress.phase === "download" && progress.resumed ? t("loading.resumed", { bytes: bytes(progress.resumed) }) : "",
      speed ? t("loading.speed", { speed }) : "",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /**
   * @param {unknown} error
   * @param {Source} source
   * @param {"auto" | "webgpu" | "cpu"} engine
   * @param {(engine: "auto" | "webgpu" | "cpu") => void} again
   */
  #sayFailure(error, source, engine, again) {
    const code = codeOf(error);
    const retry = (/** @type {string} */ label) => ({ label, run: () => again(engine) });
    const onCpu = { label: "retry.cpu", run: () => again("cpu") };
    const detail = error instanceof Error ? error.message : String(error);
    const loaded = bytes(this.#progress?.loaded ?? 0);
    if (code === "aborted") {
      this.#notices.show(SUBJECT, { kind: "info", text: "error.aborted", values: { loaded }, actions: [retry("retry.go-on")] });
    } else if (code === "network" && !navigator.onLine) {
      this.#notices.show(SUBJECT, { kind: "warning", text: "error.offline", actions: [retry("retry.go-on")] });
    } else {
      /** @type {Record<string, { label: string, run: () => void }[]>} */
      const remedies = {
        "network": [retry("retry.go-on")],
        "damaged-file": source.file ? [] : [{ label: "retry.download", run: () => void storage.clear(source.url).finally(() => again(engine)) }],
        "out-of-memory": engine === "cpu" ? [] : [onCpu],
        "device-lost": [retry("retry.again"), onCpu],
        "no-webgpu": [onCpu],
      };
      this.#notices.show(SUBJECT, { kind: "error", text: textOfError(error), values: { loaded }, detail, actions: remedies[code] ?? [] });
    }
  }
}
