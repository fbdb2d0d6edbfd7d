// Runs a command, the tests of the kernels, with Chromium's WebGPU as their GPU: `node gpu_bridge.mjs cargo test …`.
//
// The tests connect to a socket whose address is in PTBR_BROWSER (crates/kernels/tests/common/browser.rs); what they send goes to a
// page (gpu_page.js) that asks for it over HTTP, and back.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { buffer } from "node:stream/consumers";
import { launch } from "./chromium.mjs";

const [program, ...rest] = process.argv.slice(2);

/** Requests that wait for the page, and the page when it waits for one. */
const requests = [];
let idle = null;
/** The socket whose request the page has. */
let asking = null;
let greet;
const greeting = new Promise((resolve) => (greet = resolve));

function handOut() {
  if (!idle || !requests.length) return;
  const { socket, message } = requests.shift();
  asking = socket;
  idle.end(message);
  idle = null;
}

function framed(message) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return Buffer.concat([length, message]);
}

const web = http.createServer(async (request, response) => {
  if (request.url === "/next") {
    idle = response;
    handOut();
    return;
  }
  if (request.url === "/gpu_page.js") {
    response.setHeader("Content-Type", "text/javascript");
    response.end(await readFile(new URL("gpu_page.js", import.meta.url)));
    return;
  }
  const message = await buffer(request);
  if (request.url === "/hello") greet(message);
  if (request.url === "/result") asking.write(framed(message));
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><link rel=icon href=data:,><script type=module src=gpu_page.js></script>");
});

const sockets = net.createServer(async (socket) => {
  socket.on("error", () => {}); // a test that failed has closed it
  socket.write(framed(await greeting));
  let chunks = [];
  let received = 0;
  let expected = null;
  for await (const chunk of socket) {
    chunks.push(chunk);
    received += chunk.length;
    for (;;) {
      if (expected === null && received >= 4) {
        chunks = [Buffer.concat(chunks)];
        expected = 4 + chunks[0].readUInt32LE();
      }
      if (expected === null || received < expected) break;
      const whole = Buffer.concat(chunks);
      requests.push({ socket, message: whole.subarray(4, expected) });
      chunks = [whole.subarray(expected)];
      received -= expected;
      expected = null;
      handOut();
    }
  }
});

async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `127.0.0.1:${server.address().port}`;
}

const [page, tests] = [await listen(web), await listen(sockets)];
const browser = await launch({ webgpu: true });
const tab = await browser.newPage();
tab.on("console", (message) => {
  console.error(`browser: ${message.text()}`);
  process.exitCode = 1;
});
tab.on("pageerror", (error) => {
  console.error(`browser: ${error}`);
  process.exit(1);
});
await tab.goto(`http://${page}/`);
const child = spawn(program, rest, { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, PTBR_BROWSER: tests } });
const [code] = await once(child, "exit");
await browser.close();
process.exit(code || process.exitCode);
