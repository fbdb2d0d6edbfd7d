// The site and the fixtures over HTTP, with the accidents that tests ask for: a connection that breaks, a byte that changes.

import { once } from "node:events";
import { open, readFile, stat } from "node:fs/promises";
import http from "node:http";
import path from "node:path";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};
// As native/src/server/response.rs has it.
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; " +
  "img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * What happens to requests for one path: every connection breaks at this byte of the file, or only the first one; or the byte there has changed.
 * @typedef {{ breakAt?: number, once?: boolean, changeAt?: number }} Accident
 */

export class Server {
  /** @type {Map<string, Accident>} by path */
  accidents = new Map();
  /** @type {{ path: string, range: string | null }[]} every request so far */
  requests = [];
  /** Path of files that tests make, and their contents. @type {Map<string, string>} */
  made = new Map([["/blank.html", "<!doctype html><link rel=icon href=data:,><title>blank</title>"]]);
  #server;

  /** `/fixtures/…` is the folder of fixtures, everything else the site. */
  static async start(site, fixtures) {
    const server = new Server();
    const fileOf = (name) => (name.startsWith("/fixtures/") ? path.join(fixtures, name.slice(10)) : path.join(site, name));
    server.#server = http.createServer((request, response) => {
      server.#answer(fileOf, request, response).catch((error) => {
        response.statusCode = error.code === "ENOENT" ? 404 : 500;
        response.end(String(error));
      });
    });
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    server.url = `http://127.0.0.1:${server.#server.address().port}`;
    return server;
  }

  /** Nobody answers any more: what a browser's offline switch does not do to service workers. */
  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  /** At the same address again. */
  async resume() {
    this.#server.listen(Number(new URL(this.url).port), "127.0.0.1");
    await once(this.#server, "listening");
  }

  async #answer(fileOf, request, response) {
    const asked = decodeURIComponent(new URL(request.url, this.url).pathname);
    const name = asked.endsWith("/") ? `${asked}index.html` : asked;
    this.requests.push({ path: name, range: request.headers.range ?? null });
    response.setHeader("Content-Security-Policy", POLICY);
    response.setHeader("Content-Type", TYPES[path.extname(name)] ?? "application/octet-stream");
    response.setHeader("Cache-Control", "no-cache");
    const made = this.made.get(name);
    if (made !== undefined) return response.end(made);

    const file = fileOf(name);
    const { size, mtimeMs } = await stat(file);
    response.setHeader("ETag", `"${size}-${mtimeMs}"`);
    response.setHeader("Accept-Ranges", "bytes");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const first = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, size) : size;
    if (first >= end && size > 0) {
      response.writeHead(416, { "Content-Range": `bytes */${size}` });
      return response.end();
    }
    if (range) response.setHeader("Content-Range", `bytes ${first}-${end - 1}/${size}`);
    response.writeHead(range ? 206 : 200, { "Content-Length": end - first });
    const accident = this.accidents.get(name) ?? {};
    if (accident.once) this.accidents.delete(name);
    await send(response, file, first, end, accident);
  }
}

/** Bytes of a file in pieces, so that a connection breaks in the middle of one. */
async function send(response, file, first, end, { breakAt, changeAt }) {
  if (breakAt === undefined && changeAt === undefined) {
    return response.end((await readFile(file)).subarray(first, end));
  }
  const handle = await open(file);
  const piece = Buffer.alloc(64 * 1024);
  for (let at = first; at < end; ) {
    if (at >= breakAt) {
      // What was written has to leave first.
      await new Promise((resolve) => setTimeout(resolve, 300));
      response.destroy();
      break;
    }
    const { bytesRead } = await handle.read(piece, 0, Math.min(piece.length, end - at, (breakAt > at ? breakAt : end) - at), at);
    if (changeAt >= at && changeAt < at + bytesRead) piece[changeAt - at] ^= 0x55;
    if (!response.write(Buffer.from(piece.subarray(0, bytesRead)))) await once(response, "drain");
    at += bytesRead;
  }
  await handle.close();
  response.end();
}
