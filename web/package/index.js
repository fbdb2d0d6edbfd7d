// @ts-check
// The public interface; `index.d.ts` describes it.

export { PtbrError } from "./errors.js";
export { Model } from "./model.js";
export { Session } from "./session.js";
export { storage } from "./storage.js";

/** Whether WebGPU offers an adapter here. */
export async function hasWebGpu() {
  return Boolean(await navigator.gpu?.requestAdapter());
}
