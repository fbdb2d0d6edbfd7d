// What every test needs: a server, a browser, pages that may complain of nothing, and the answers of the native engine.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { launch } from "./chromium.mjs";
import { Server } from "./server.mjs";

const FIXTURES = process.env.PTBR_FIXTURES;

/** A server and a browser; each test opens contexts of its own in it, which share nothing. */
export class Stage {
  /** @param {{ webgpu: boolean }} options */
  static async open(options) {
    const stage = new Stage();
    [stage.server, stage.browser] = await Promise.all([Server.start(process.env.PTBR_SITE, FIXTURES), launch(options)]);
    return stage;
  }

  /** The visitor leaves and the stage closes, whatever the page complained of: an open browser would keep the tests from ending. */
  static async end(stage, visitor) {
    try {
      await visitor?.leave();
    } finally {
      await stage?.close();
    }
  }

  async close() {
    await this.browser.close();
    await this.server.stop();
  }

  /** A fresh visitor: no cache, no memory. */
  async visitor(options = {}) {
    const context = await this.browser.newContext(options);
    return new Visitor(context, this.server);
  }
}

export class Visitor {
  /** What no page may do: complain, or talk to anybody but its own server. @type {string[]} */
  complaints = [];
  /** Complaints that a test causes on purpose. @type {RegExp[]} */
  expected = [];

  constructor(context, server) {
    this.context = context;
    this.server = server;
    context.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      if (origin !== server.url && !["data:", "blob:"].includes(protocol)) this.complaints.push(`request to ${request.url()}`);
    });
  }

  /** A tab at this path. */
  async tab(name = "/blank.html") {
    const page = await this.context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(`${message.type()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.complaints.push(`error: ${error}`));
    await page.goto(this.server.url + name);
    return page;
  }

  /** Closes everything; fails where a page complained. */
  async leave() {
    await this.context.close();
    const unexpected = this.complaints.filter((complaint) => !this.expected.some((pattern) => pattern.test(complaint)));
    assert.deepEqual(unexpected, []);
  }
}

/** `reference.json` of crates/runtime/examples/browser_fixtures.rs. */
export const reference = JSON.parse(await readFile(path.join(FIXTURES, "reference.json"), "utf8"));

/** Logits of the native engine after each token of the text. */
export async function nativeLogits(format) {
  const bytes = await readFile(path.join(FIXTURES, `small-${format}.logits`));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** Largest difference, relative to the largest of `expected`. */
export function difference(found, expected) {
  assert.equal(found.length, expected.length);
  let [most, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Number.isFinite(found[i]), `logit ${i} is ${found[i]}`);
    most = Math.max(most, Math.abs(found[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return most / largest;
}
