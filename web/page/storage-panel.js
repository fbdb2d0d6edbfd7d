// @ts-check
// What does this site keep on the device, and how is it cleared?

import { storage } from "./package/index.js";
import { byId, make } from "./dom.js";
import { bytes, drawn, t } from "./language.js";
import { forgetSmall } from "./small-files.js";

export class StoragePanel {
  #clear = byId("clear-storage", HTMLButtonElement);
  /** @type {{ usage: number, quota: number, models: number, persistent: boolean } | null} */
  #estimate = null;
  /** @type {import("./package/index.js").CachedFile[]} */
  #files = [];

  /** @param {() => void} cleared called after the models were removed */
  constructor(cleared) {
    this.#clear.addEventListener("click", async () => {
      if (!(await confirmed())) return;
      await storage.clear().catch(() => {}); // what could not be removed stays in the list
      await forgetSmall();
      await this.refresh();
      cleared();
    });
    drawn(() => this.#draw());
  }

  /** Asks the browser again. */
  async refresh() {
    this.#estimate = await storage.estimate().catch(() => null);
    this.#files = await storage.list().catch(() => []);
    this.#draw();
  }

  /** Whether a model is there to the last byte. @param {string} url */
  isComplete(url) {
    return this.#files.some((file) => file.url === url && file.complete);
  }

  #draw() {
    const use = this.#estimate;
    byId("storage-use", HTMLElement).textContent = use
      ? t(use.persistent ? "storage.use.persistent" : "storage.use", { models: bytes(use.models), usage: bytes(use.usage), quota: bytes(use.quota) })
      : t("storage.none");
    byId("storage-files", HTMLElement).replaceChildren(
      ...this.#files.map((file) =>
        make("li", {}, make("span", {}, nameOf(file.url)), make("span", {}, file.complete ? bytes(file.bytes) : t("storage.partial", { bytes: bytes(file.bytes) }))),
      ),
    );
    this.#clear.disabled = this.#files.length === 0;
  }
}

/** @returns {Promise<boolean>} */
function confirmed() {
  const dialog = byId("confirm", HTMLDialogElement);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

/** @param {string} url */
function nameOf(url) {
  return decodeURIComponent(new URL(url).pathname.split("/").pop() ?? url);
}
