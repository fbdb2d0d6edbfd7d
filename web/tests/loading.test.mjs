// How a model arrives: progress, cache, interruption, damage, a file from disk, no network at all.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, beforeEach, afterEach, describe, it } from "node:test";
import { Stage } from "./harness.mjs";

const LARGE = "/fixtures/large.safetensors";

/** Put into each page: loads and says how it went. */
function tools() {
  window.load = async (source, options = {}) => {
    const { Model, PtbrError } = await import("/package/index.js");
    const progress = [];
    try {
      const model = await Model.load(source, { engine: "cpu", ...options, onProgress: (moment) => progress.push(moment) });
      const logits = await model.session().prefill([1, 2, 3]);
      const { bytes, memory, sha256 } = model.info;
      model.dispose();
      return { progress, logits: [...logits], bytes, memory, sha256 };
    } catch (error) {
      if (!(error instanceof PtbrError)) throw error;
      return { progress, code: error.code, message: error.message };
    }
  };
}

describe("loading", () => {
  let stage, visitor, page, large;
  before(async () => {
    large = await readFile(path.join(process.env.PTBR_FIXTURES, "large.safetensors"));
    stage = await Stage.open({ webgpu: true });
  });
  after(() => stage?.close());
  beforeEach(async () => {
    visitor = await stage.visitor();
    await visitor.context.addInitScript(tools);
    page = await visitor.tab();
    stage.server.requests.length = 0;
  });
  afterEach(async () => {
    stage.server.accidents.clear();
    await visitor.leave();
  });
  const load = (source, options) => page.evaluate(([source, options]) => window.load(source, options), [source, options]);
  const asked = () => stage.server.requests.filter((request) => request.path === LARGE);

  it("progress goes from nothing to all bytes, and the second time they come from the cache", async () => {
    const first = await load(LARGE);
    assert.equal(first.bytes, large.length);
    const { progress } = first;
    assert.equal(progress.at(-1).phase, "done");
    assert.equal(Math.max(...progress.map(({ loaded }) => loaded)), large.length);
    progress.reduce((before, now) => (assert.ok(now.loaded >= before.loaded, JSON.stringify([before, now])), now));
    const downloads = asked().length;
    assert.ok(downloads > 0);

    const second = await load(LARGE);
    assert.deepEqual(second.logits, first.logits);
    assert.ok(second.progress.some(({ phase }) => phase === "cache"));
    assert.ok(!second.progress.some(({ phase }) => phase === "download"));
  });

  it("without a network a cached model and a file from disk are loaded", async () => {
    // The package's own files come from the page's service worker then.
    visitor.expected.push(/404/); // this site offers no models
    const page = await visitor.tab("/");
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.reload();
    const load = (source) => page.evaluate((source) => window.load(source), source);
    const [cached, other] = [await load(LARGE), await load("/fixtures/small-int8.safetensors")];
    await page.evaluate(() => document.body.append(Object.assign(document.createElement("input"), { type: "file", id: "disk" })));
    await page.setInputFiles("#disk", path.join(process.env.PTBR_FIXTURES, "small-int8.safetensors"));
    await stage.server.stop();
    try {
      visitor.expected.push(/ERR_/);
      assert.deepEqual((await load(LARGE)).logits, cached.logits);
      const fromDisk = await page.evaluate(async () => {
        const [file] = document.querySelector("#disk").files;
        return [await window.load(file), await window.load(await file.arrayBuffer())];
      });
      for (const { logits, progress } of fromDisk) {
        assert.deepEqual(logits, other.logits);
        assert.ok(progress.some(({ phase }) => phase === "file"));
      }
    } finally {
      await stage.server.resume();
    }
  });

  it("a connection that breaks once is taken up where it broke", async () => {
    const breakAt = Math.floor(large.length * 0.7);
    stage.server.accidents.set(LARGE, { breakAt, once: true });
    visitor.expected.push(/ERR_/);
    const healed = await load(LARGE);
    assert.equal(healed.code, undefined, healed.message);
    const [first, second] = asked().map(({ range }) => Number(/\d+/.exec(range ?? "0")[0]));
    assert.ok(first === 0 && second > 0 && second <= breakAt, `${first}, ${second}`);
  });

  it("an interrupted download goes on where it stopped at the next visit", async () => {
    const breakAt = Math.floor(large.length * 0.7);
    stage.server.accidents.set(LARGE, { breakAt });
    visitor.expected.push(/ERR_/);
    const broken = await load(LARGE);
    assert.equal(broken.code, "network", broken.message);
    stage.server.accidents.clear();
    stage.server.requests.length = 0;

    const whole = await load(LARGE);
    assert.equal(whole.code, undefined, whole.message);
    const { resumed } = whole.progress.at(-1);
    assert.ok(resumed > 0 && resumed <= breakAt, `${resumed} bytes were kept of ${breakAt}`);
    const ranges = asked().map(({ range }) => range);
    assert.ok(ranges.length > 0 && ranges.every((range) => range !== null && Number(/\d+/.exec(range)[0]) >= resumed), `${ranges}`);
    const other = await (await visitor.tab()).evaluate((source) => window.load(source, { cache: false }), LARGE);
    assert.deepEqual(whole.logits, other.logits);
  });

  it("a changed byte is refused, and the next download is clean", async () => {
    const whole = await load("/fixtures/small-f32.safetensors");
    const name = "/fixtures/small-f32.safetensors";
    const size = whole.bytes;
    await page.evaluate(async () => (await import("/package/index.js")).storage.clear());
    stage.server.accidents.set(name, { changeAt: size - 1000 });
    const damaged = await load(name, { sha256: whole.sha256 });
    assert.equal(damaged.code, "damaged-file", damaged.message);
    stage.server.accidents.clear();
    const clean = await load(name, { sha256: whole.sha256 });
    assert.deepEqual(clean.logits, whole.logits);
  });

  it("a browser that grants no room loads without the cache and says so", async () => {
    const inspector = await visitor.context.newCDPSession(page);
    await inspector.send("Storage.overrideQuotaForOrigin", { origin: stage.server.url, quotaSize: 2_000_000 });
    const found = await page.evaluate(async (source) => {
      const { Model, storage } = await import("/package/index.js");
      const model = await Model.load(source, { engine: "cpu" });
      const logits = [...(await model.session().prefill([1, 2, 3]))];
      const { cached, cacheError } = model.info;
      model.dispose();
      return { cached, cacheError, logits, complete: (await storage.list()).filter(({ complete }) => complete).length };
    }, LARGE);
    assert.deepEqual([found.cached, found.cacheError, found.complete], [false, "quota", 0]);
    const { logits } = await (await visitor.tab()).evaluate((source) => window.load(source, { cache: false }), LARGE);
    assert.deepEqual(found.logits, logits);
  });

  it("what is no model is refused", async () => {
    stage.server.made.set("/nothing.safetensors", "");
    stage.server.made.set("/page.safetensors", "<!doctype html>".repeat(100));
    visitor.expected.push(/404/);
    const codes = [];
    for (const source of ["/nothing.safetensors", "/page.safetensors", "/fixtures/adapters/um/adapter_model.safetensors", "/fixtures/none"]) {
      codes.push((await load(source)).code);
    }
    assert.deepEqual(codes, ["damaged-file", "damaged-file", "damaged-file", "network"]);
  });

  it("loading can be called off", async () => {
    const code = await page.evaluate(async (source) => {
      const { Model } = await import("/package/index.js");
      const abort = new AbortController();
      const options = { signal: abort.signal, engine: "cpu", onProgress: ({ loaded }) => loaded > 0 && abort.abort() };
      return Model.load(source, options).then(
        () => "loaded",
        (error) => error.code,
      );
    }, LARGE);
    assert.equal(code, "aborted");
  });

  it("the cache is listed and cleared", async () => {
    const found = await page.evaluate(async (source) => {
      const { storage } = await import("/package/index.js");
      await window.load(source);
      const [listed, estimate] = [await storage.list(), await storage.estimate()];
      await storage.clear();
      return { listed, estimate, left: await storage.list() };
    }, LARGE);
    assert.equal(found.listed.length, 1);
    const [{ url, bytes, total, complete }] = found.listed;
    assert.deepEqual([new URL(url).pathname, bytes, total, complete], [LARGE, large.length, large.length, true]);
    assert.ok(found.estimate.models >= large.length && found.estimate.usage > 0 && found.estimate.quota > 0);
    assert.deepEqual(found.left, []);
  });

  it("wasm memory stays within the largest tensor and 64 MB on WebGPU, and 1.3 files on the CPU", async () => {
    for (const [engine, limit] of [
      ["webgpu", ({ memory }) => memory.largestTensor + 64e6],
      ["cpu", ({ bytes }) => bytes * 1.3],
    ]) {
      const found = await load(LARGE, { engine });
      console.log(`${engine}: ${found.bytes} bytes of model, ${found.memory.wasmAfterLoad} of wasm memory`);
      assert.ok(found.memory.wasmAfterLoad <= limit(found), `${engine}: ${found.memory.wasmAfterLoad}`);
    }
  });
});
