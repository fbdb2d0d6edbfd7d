// How fast a model loads and writes in the browser, a table on the terminal:
// `PTBR_SITE=../../target/web node speed.mjs FOLDER MODEL.safetensors…` (files of FOLDER). By hand: times are no tests.
//
// The most probable token is always taken, as in `ptbr-slm benchmark`. Every engine gets a fresh profile: the first load downloads from 127.0.0.1, the second one is another tab that finds the file in the cache.

import { basename, resolve } from "node:path";
import { launch } from "./chromium.mjs";
import { Server } from "./server.mjs";

const [folder, ...models] = process.argv.slice(2);
const ENGINES = (process.env.PTBR_ENGINES ?? "webgpu,cpu").split(",");
const ROUNDS = 3;
/** Tokens of a text: a second's work or a few. */
const TOKENS = { webgpu: 50, cpu: 500 };

/** In the page: loads the model, writes `ROUNDS` texts and says how long all took. */
async function measure({ url, engine, rounds, maxTokens }) {
  const { Model } = await import("/package/index.js");
  const start = performance.now();
  const model = await Model.load(url, { engine });
  const load = performance.now() - start;
  const prompt = "A cidade acordou cedo, e pelas ruas de pedra corria ainda a água da chuva.";
  const rows = [];
  for (let round = 0; round < rounds; round++) {
    const session = model.session({ seed: round });
    for await (const _ of session.generate(prompt, { maxTokens, temperature: 0 }));
    rows.push(session.last);
    session.dispose();
  }
  const { device, memory, bytes } = model.info;
  model.dispose();
  const median = (key) => rows.map((row) => row[key]).sort((a, b) => a - b)[rounds >> 1];
  return {
    load,
    device,
    bytes,
    memory: memory.wasmAfterLoad,
    first: rows[0].timeToFirstToken,
    later: median("timeToFirstToken"),
    promptTokens: rows[0].promptTokens,
    speed: median("tokensPerSecond"),
  };
}

console.log("| model | engine | first load, s | second load, s | first token, ms | the same, later texts | tokens/s | wasm memory, MB | file, MB |");
console.log("|---|---|---|---|---|---|---|---|---|");
for (const model of models) {
  for (const engine of ENGINES) {
    const server = await Server.start(process.env.PTBR_SITE, resolve(folder));
    const browser = await launch({ webgpu: engine === "webgpu" });
    const context = await browser.newContext();
    const visit = async () => {
      const page = await context.newPage();
      await page.goto(`${server.url}/blank.html`);
      const found = await page.evaluate(measure, { url: `/fixtures/${basename(model)}`, engine, rounds: ROUNDS, maxTokens: TOKENS[engine] });
      await page.close();
      return found;
    };
    const [first, second] = [await visit(), await visit()];
    const cells = [
      basename(model, ".safetensors"),
      `${engine} (${second.device})`,
      (first.load / 1000).toFixed(2),
      (second.load / 1000).toFixed(2),
      `${second.first.toFixed(0)} (${second.promptTokens} tokens)`,
      second.later.toFixed(0),
      second.speed.toFixed(1),
      (first.memory / 1e6).toFixed(1),
      (second.bytes / 1e6).toFixed(1),
    ];
    console.log(`| ${cells.join(" | ")} |`);
    await browser.close();
    await server.stop();
  }
}
