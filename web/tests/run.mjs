// Runs the tests one after the other and ends with the line that `cargo xtask test` adds up: they share two cores.

import { readdir } from "node:fs/promises";
import { run } from "node:test";

const folder = new URL(".", import.meta.url).pathname;
const names = process.argv.slice(2);
const files = (await readdir(folder)).filter((name) => name.endsWith(".test.mjs"));
const chosen = files.filter((name) => names.length === 0 || names.some((part) => name.includes(part)));
const counts = { passed: 0, failed: 0, skipped: 0 };
const start = performance.now();

const events = run({ files: chosen.sort().map((name) => folder + name), concurrency: 1, timeout: 600_000 });
events.on("test:pass", ({ name, details, skip, todo }) => {
  if (details.type === "suite") return;
  if (skip !== undefined || todo !== undefined) counts.skipped++;
  else counts.passed++;
  console.log(`test ${name} ... ok (${Math.round(details.duration_ms)} ms)`);
});
events.on("test:fail", ({ name, details }) => {
  if (details.type === "suite") return;
  counts.failed++;
  const { cause } = details.error;
  console.log(`test ${name} ... FAILED\n${cause?.stack ?? cause ?? details.error}`);
});
events.on("test:diagnostic", ({ message, level }) => {
  if (level === "error") console.log(message);
});
events.on("test:stdout", ({ message }) => process.stdout.write(message));
events.on("test:stderr", ({ message }) => process.stderr.write(message));
await new Promise((resolve) => events.on("end", resolve).resume());

const verdict = counts.failed ? "FAILED" : "ok";
const seconds = ((performance.now() - start) / 1000).toFixed(2);
console.log(
  `\ntest result: ${verdict}. ${counts.passed} passed; ${counts.failed} failed; ${counts.skipped} ignored; 0 measured; 0 filtered out; finished in ${seconds}s`,
);
process.exitCode = counts.failed ? 1 : 0;
