// Service worker: after the first visit the page opens without a network.
//
// `cargo xtask web` writes precache.js beside this file, once per build:
//     self.PRECACHE = { version: "<hash of all files>", files: ["index.html", "app.js", …] };
// with every file of the site except sw.js, precache.js and models/. It is loaded with importScripts because browsers
// compare imported scripts too when they look for an update: a new build is noticed although this file stays the same.
//
// Model files are not kept here: the package has a cache for them that can resume and that knows their hash.
// models.json and adapters are kept by the page (small-files.js), which also works before this worker is in control.

importScripts("precache.js");

const PREFIX = "ptbr-slm-page-";
const CACHE = PREFIX + self.PRECACHE.version;
const FILES = new Set(self.PRECACHE.files.map((file) => new URL(file, self.registration.scope).href));
const INDEX = new URL("index.html", self.registration.scope).href;

self.addEventListener("install", (event) => event.waitUntil(keepAll()));
self.addEventListener("activate", (event) => event.waitUntil(dropOthers()));
self.addEventListener("message", (event) => {
  if (event.data === "take-over") self.skipWaiting();
});
self.addEventListener("fetch", (event) => {
  const address = addressInCache(event.request);
  if (address) event.respondWith(fromCache(address, event.request));
});

/** All files or none: a version that is half in the cache would mix old and new modules. */
async function keepAll() {
  const cache = await caches.open(CACHE);
  // "reload" goes past the browser's own HTTP cache, which may still hold the files of the build before.
  await cache.addAll([...FILES].map((address) => new Request(address, { cache: "reload" })));
}

async function dropOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** Which kept file answers this request: none for models, other hosts and anything but GET. */
function addressInCache(request) {
  if (request.method !== "GET") return null;
  const address = new URL(request.url);
  address.search = "";
  address.hash = "";
  if (address.href === self.registration.scope) return INDEX;
  return FILES.has(address.href) ? address.href : null;
}

async function fromCache(address, request) {
  const kept = await (await caches.open(CACHE)).match(address);
  // The browser may have evicted the cache while this worker lived on.
  return kept ?? fetch(request);
}
