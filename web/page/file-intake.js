// @ts-check
// Files from disk, chosen or dropped: a model, or an adapter's two files.

import { byId } from "./dom.js";

/**
 * @typedef {{ model: File } | { adapter: { name: string, config: File, weights: File } } | { unknown: string }} Intake
 */

/** @param {(intake: Intake) => void} take */
export function startFileIntake(take) {
  const input = byId("file", HTMLInputElement);
  byId("open-file", HTMLButtonElement).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files?.length) take(sort([...input.files]));
    input.value = ""; // so that the same file can be chosen again
  });

  // Over the whole page: a file dropped beside a target would otherwise be opened by the browser in the page's place.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take(sort([...event.dataTransfer.files]));
  });
}

/**
 * An adapter is a JSON file and a safetensors file together; a safetensors file alone is a model.
 * @param {File[]} files
 * @returns {Intake}
 */
function sort(files) {
  const weights = files.filter((file) => file.name.endsWith(".safetensors"));
  const configs = files.filter((file) => file.name.endsWith(".json"));
  if (weights.length === 1 && configs.length === 1 && files.length === 2) {
    return { adapter: { name: adapterName(weights[0]), config: configs[0], weights: weights[0] } };
  }
  if (weights.length === 1 && files.length === 1) return { model: weights[0] };
  return { unknown: files.map((file) => file.name).join(", ") };
}

/** The file's name, unless it is the one that every adapter has. @param {File} weights */
function adapterName(weights) {
  const stem = weights.name.replace(/\.safetensors$/, "").toLowerCase().replace(/[^a-z0-9._-]+/g, "-");
  return stem === "adapter_model" ? "disk" : stem;
}
