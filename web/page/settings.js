// @ts-check
// The settings form: how to draw tokens, and on what.

import { byId } from "./dom.js";
import { drawn, number, t } from "./language.js";

const form = byId("settings", HTMLFormElement);

/** Starts the form. @param {() => void} changed called after every change by the person */
export function startSettings(changed) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    drawValues();
    changed();
  });
  byId("new-seed", HTMLButtonElement).addEventListener("click", () => {
    drawSeed();
    changed();
  });
  drawSeed();
  drawn(drawValues);
}

/** What generation needs; null where the form holds something impossible, which the browser then points at. */
export function generationOptions() {
  if (!form.reportValidity()) return null;
  const read = (/** @type {string} */ name) => field(name).valueAsNumber;
  return {
    temperature: read("temperature"),
    topK: read("topK"),
    topP: read("topP"),
    repetitionPenalty: read("repetitionPenalty"),
    maxTokens: read("maxTokens"),
    seed: read("seed"),
  };
}

/** @returns {"auto" | "webgpu" | "cpu"} */
export function chosenEngine() {
  return /** @type {any} */ (byId("engine", HTMLSelectElement).value);
}

/** @param {"auto" | "webgpu" | "cpu"} engine */
export function chooseEngine(engine) {
  byId("engine", HTMLSelectElement).value = engine;
}

/** @returns {Record<string, string>} */
export function keptSettings() {
  return Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
}

/** @param {Record<string, string>} settings */
export function restoreSettings(settings) {
  for (const [name, value] of Object.entries(settings)) {
    const control = form.elements.namedItem(name);
    if (control instanceof HTMLInputElement || control instanceof HTMLSelectElement) control.value = value;
  }
  drawValues();
}

/** A fresh seed is shown, not hidden: whoever likes a text can have it again. */
function drawSeed() {
  field("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/** Writes the value of each slider beside it. */
function drawValues() {
  for (const output of form.querySelectorAll("output")) {
    const slider = byId(output.htmlFor.value, HTMLInputElement);
    const off = slider.name === "topK" && slider.valueAsNumber === 0;
    const text = off ? t("settings.top-k.all") : number(slider.valueAsNumber, slider.step.includes(".") ? 2 : 0);
    output.value = text;
    slider.setAttribute("aria-valuetext", text);
  }
}

/** @param {string} name */
function field(name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
}
