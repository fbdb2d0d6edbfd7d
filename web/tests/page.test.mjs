// The page as a visitor uses it.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { Stage } from "./harness.mjs";

const PROMPT = "O sertanejo é, antes de tudo,";

/** The site's list of models, made of fixtures. */
async function catalog() {
  const entry = async (name, folder) => ({
    name,
    title: { pt: `Modelo ${name}`, en: `Model ${name}` },
    file: `../fixtures/${name}.safetensors`,
    bytes: (await readFile(path.join(process.env.PTBR_FIXTURES, `${name}.safetensors`))).length,
    adapters: ["um", "dois"].map((adapter) => ({
      name: adapter,
      title: { pt: `adaptador ${adapter}`, en: `adapter ${adapter}` },
      url_config: `../fixtures/${folder}/${adapter}/adapter_config.json`,
      url_weights: `../fixtures/${folder}/${adapter}/adapter_model.safetensors`,
    })),
  });
  const list = [await entry("large", "large-adapters"), await entry("small-int4", "adapters"), { ...(await entry("markup", "")), adapters: [] }];
  return JSON.stringify(list);
}

/** Opens a model that is on offer and waits until it can write. */
async function openModel(page, name) {
  await page.selectOption("#model", name);
  await page.click("#open-model");
  await page.waitForSelector("#write:enabled", { timeout: 60_000 });
}

/** Writes to the end and returns the text. */
async function write(page, prompt, { tokens, seed = 1 }) {
  await page.fill("#length", String(tokens));
  await page.fill("#seed", String(seed));
  await page.fill("#prompt", prompt);
  await page.click("#write");
  await written(page);
  return page.textContent("#paper");
}

/** Until the model has ended. */
async function written(page) {
  await page.waitForSelector("#paper[aria-busy=false]", { timeout: 60_000 });
}

describe("page", () => {
  let stage, visitor, page;
  before(async () => {
    stage = await Stage.open({ webgpu: true });
    stage.server.made.set("/models/models.json", await catalog());
  });
  after(() => stage?.close());
  beforeEach(async () => {
    visitor = await stage.visitor({ locale: "pt-BR", viewport: { width: 1280, height: 900 } });
    page = await visitor.tab("/");
  });
  afterEach(async () => {
    stage.server.accidents.clear();
    await visitor.leave();
  });

  it("writes, the same text for the same seed, on WebGPU", async () => {
    await openModel(page, "large");
    assert.match(await page.textContent("#engine-now"), /WebGPU/);
    const first = await write(page, PROMPT, { tokens: 30 });
    assert.ok(first.startsWith(PROMPT) && first.length > PROMPT.length, first);
    assert.equal(await write(page, PROMPT, { tokens: 30 }), first);
    assert.notEqual(await write(page, PROMPT, { tokens: 30, seed: 2 }), first);
    assert.match(await page.textContent("#speed"), /\d/);
  });

  it("shows markup as text", async () => {
    const dialogs = [];
    page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
    await openModel(page, "markup");
    await page.fill("#temperature", "0");
    const prompt = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    const text = await write(page, prompt, { tokens: 30 });
    assert.ok(text.startsWith(prompt), text);
    assert.ok(text.includes("<b><b><b>"), text);
    assert.equal(await page.locator("#paper :is(b, img, script)").count(), 0);
    assert.deepEqual(dialogs, []);
  });

  it("changes the adapter while it writes, and stops", async () => {
    await openModel(page, "large");
    await page.fill("#length", "5000");
    await page.fill("#prompt", PROMPT);
    await page.click("#write");
    await page.waitForFunction((length) => document.querySelector("#paper").textContent.length > length + 20, PROMPT.length);
    await page.locator("#adapters label", { hasText: "adaptador dois" }).click();
    await page.waitForSelector("#paper mark[data-adapter=dois]");
    const before = (await page.textContent("#paper")).length;
    await page.waitForFunction((length) => document.querySelector("#paper").textContent.length > length + 20, before);
    await page.click("#stop");
    await written(page);
    const stopped = await page.textContent("#paper");
    await page.waitForTimeout(300);
    assert.equal(await page.textContent("#paper"), stopped);
    assert.ok(await page.isEnabled("#go-on"));
  });

  it("goes on after a reload as if nothing had happened", async () => {
    await openModel(page, "small-int4");
    await page.fill("#temperature", "0");
    await write(page, PROMPT, { tokens: 20 });
    await page.click("#go-on");
    await page.waitForSelector("#paper[aria-busy=true]");
    await written(page);
    const undisturbed = await page.textContent("#paper");

    const first = await write(page, PROMPT, { tokens: 20 });
    await page.focus("#temperature");
    await page.keyboard.press("ArrowRight");
    const warmer = await page.inputValue("#temperature");
    assert.ok(undisturbed.startsWith(first) && undisturbed.length > first.length);
    await page.waitForTimeout(500); // what is kept is written beside the page
    await page.reload();
    await page.waitForSelector("#go-on:enabled", { timeout: 60_000 });
    assert.equal(await page.textContent("#paper"), first);
    assert.equal(await page.inputValue("#prompt"), PROMPT);
    assert.equal(await page.inputValue("#temperature"), warmer);
    await page.fill("#temperature", "0");
    await page.click("#go-on");
    await page.waitForSelector("#paper[aria-busy=true]");
    await written(page);
    assert.equal(await page.textContent("#paper"), undisturbed);
  });

  it("opens and writes without a network after the first visit", async () => {
    await openModel(page, "small-int4");
    await page.evaluate(() => navigator.serviceWorker.ready);
    const text = await write(page, PROMPT, { tokens: 20 });
    await stage.server.stop();
    try {
      visitor.expected.push(/ERR_/);
      await page.reload();
      await page.waitForSelector("#write:enabled", { timeout: 60_000 });
      assert.equal(await write(page, PROMPT, { tokens: 20 }), text);
    } finally {
      await stage.server.resume();
    }
  });

  it("goes on writing after the GPU process has crashed", async () => {
    await openModel(page, "large");
    await page.fill("#length", "5000");
    await page.fill("#prompt", PROMPT);
    await page.click("#write");
    const grows = async () => {
      const before = (await page.textContent("#paper")).length;
      await page.waitForFunction((length) => document.querySelector("#paper").textContent.length > length + 10, before, { timeout: 60_000 });
    };
    await grows();
    const inspector = await stage.browser.newBrowserCDPSession();
    await inspector.send("Browser.crashGpuProcess");
    await page.waitForSelector(".notice[data-subject=engine]", { timeout: 60_000 });
    await grows();
    await page.click("#stop");
    await written(page);
    assert.ok((await page.textContent("#paper")).startsWith(PROMPT));
  });

  it("offers a new version, and changes to it when told", async () => {
    const address = `${stage.server.url}/precache.js`;
    const list = await (await fetch(address)).text();
    const [, version] = /version: "(\w+)"/.exec(list);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.reload(); // from now on by the worker
    stage.server.made.set("/precache.js", list.replace(version, "0123456789abcdef"));
    try {
      await page.evaluate(async () => (await navigator.serviceWorker.getRegistration()).update());
      const offer = page.locator(".notice[data-subject=update] button").first();
      await offer.waitFor({ timeout: 60_000 });
      await Promise.all([page.waitForEvent("load", { timeout: 60_000 }), offer.click()]);
      const kept = await page.evaluate(() => caches.keys());
      assert.ok(kept.some((name) => name.endsWith("0123456789abcdef")), `${kept}`);
      assert.ok(!kept.some((name) => name.endsWith(version)), `${kept}`);
      assert.equal(await page.textContent("#write"), "Escrever");
    } finally {
      stage.server.made.delete("/precache.js");
    }
  });

  it("says that a file is damaged, and opens it when it is whole again", async () => {
    stage.server.accidents.set("/fixtures/small-int4.safetensors", { changeAt: 20 });
    await page.selectOption("#model", "small-int4");
    await page.click("#open-model");
    const card = page.locator("#notices .notice.error");
    await card.waitFor({ timeout: 60_000 });
    stage.server.accidents.clear();
    await card.locator("button").first().click();
    await page.waitForSelector("#write:enabled", { timeout: 60_000 });
  });

  it("speaks English when asked, and in an English browser", async () => {
    assert.equal(await page.getAttribute("html", "lang"), "pt-BR");
    assert.equal(await page.textContent("#write"), "Escrever");
    await page.click("[data-language=en]");
    assert.equal(await page.textContent("#write"), "Write");
    await page.reload();
    assert.equal(await page.textContent("#write"), "Write");
    const other = await stage.visitor({ locale: "en-GB" });
    assert.equal(await (await other.tab("/")).textContent("#write"), "Write");
    await other.leave();
  });

  it("is reached and used by keyboard alone", async () => {
    await openModel(page, "small-int4");
    await page.fill("#length", "10");
    await page.evaluate(() => document.activeElement.blur());
    let ends = 0;
    for (let i = 0; i < 200; i++) {
      await page.keyboard.press("Tab");
      const id = await page.evaluate(() => {
        const element = document.activeElement;
        const shown = getComputedStyle(element);
        const ring = shown.outlineStyle !== "none" || shown.boxShadow !== "none";
        element.dataset.reached = ring ? "visibly" : "";
        return element === document.body ? null : element.outerHTML;
      });
      // Once round: the walk begins where the last click was.
      if (id === null && ++ends === 2) break;
    }
    const left = await page.evaluate(() =>
      [...document.querySelectorAll("a[href], button:enabled, input:enabled, select:enabled, textarea, summary")]
        // One of a group of radio buttons stands for all: arrows go on from there.
        .filter((element) => !(element instanceof HTMLInputElement && element.type === "radio" && !element.checked))
        .filter((element) => element.checkVisibility({ visibilityProperty: true }) && element.dataset.reached !== "visibly")
        .map((element) => element.outerHTML),
    );
    assert.deepEqual(left, []);

    await page.focus("#prompt");
    await page.keyboard.type("Era uma vez");
    await page.keyboard.press("Control+Enter");
    await written(page);
    assert.match(await page.textContent("#paper"), /^Era uma vez./);
  });

  it("fits a desktop and a phone, light and dark", async () => {
    await mkdir(process.env.PTBR_SCREENSHOTS, { recursive: true });
    await openModel(page, "large");
    await write(page, PROMPT, { tokens: 60 });
    for (const [width, height] of [
      [1280, 900],
      [360, 740],
    ]) {
      await page.setViewportSize({ width, height });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${wide} pixels wider than ${width}`);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: path.join(process.env.PTBR_SCREENSHOTS, `page-${width}-${colorScheme}.png`), fullPage: true });
      }
    }
  });
});

describe("page without WebGPU", () => {
  it("goes on with the CPU and says so", async () => {
    const stage = await Stage.open({ webgpu: false });
    stage.server.made.set("/models/models.json", await catalog());
    const visitor = await stage.visitor({ locale: "pt-BR" });
    const page = await visitor.tab("/");
    await openModel(page, "small-int4");
    assert.match(await page.textContent("#engine-now"), /CPU/);
    assert.match(await page.textContent("#notices"), /WebGPU/);
    const text = await write(page, PROMPT, { tokens: 20 });
    assert.ok(text.length > PROMPT.length);
    await Stage.end(stage, visitor);
  });
});
