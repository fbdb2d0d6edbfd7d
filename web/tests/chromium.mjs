// Chromium, with a WebGPU that computes in software or with none.

import { chromium } from "playwright-core";

const QUIET = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/**
 * @param {{ webgpu: boolean }} options
 * @returns {Promise<import("playwright-core").Browser>}
 */
export function launch({ webgpu }) {
  return chromium.launch({
    executablePath: process.env.PTBR_CHROMIUM ?? "/usr/bin/chromium",
    args: webgpu ? [...QUIET, ...WEBGPU] : QUIET,
  });
}
