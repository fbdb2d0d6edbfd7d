// @ts-check
// The page as an application: kept for offline use, updated when the site has changed, installed on request.

import { byId } from "./dom.js";
import { drawn, t } from "./language.js";

/** @param {import("./notices.js").Notices} notices */
export function startOffline(notices) {
  const state = byId("offline-state", HTMLElement);
  let ready = false;
  drawn(draw);
  addEventListener("online", draw);
  addEventListener("offline", draw);
  offerInstallation();

  // Absent in private windows of some browsers; a folder served without precache.js has no worker to offer.
  navigator.serviceWorker?.register("sw.js").then(
    async (registration) => {
      if (registration.waiting) offerUpdate(notices, registration.waiting);
      registration.addEventListener("updatefound", () => watch(notices, registration.installing));
      await navigator.serviceWorker.ready;
      ready = true;
      draw();
    },
    () => draw(),
  );

  function draw() {
    state.textContent = navigator.onLine ? (ready ? t("offline.ready") : "") : t("offline.now");
  }
}

/**
 * @param {import("./notices.js").Notices} notices
 * @param {ServiceWorker | null} worker
 */
function watch(notices, worker) {
  worker?.addEventListener("statechange", () => {
    // Without a worker in control this is the first visit, not an update.
    if (worker.state === "installed" && navigator.serviceWorker.controller) offerUpdate(notices, worker);
  });
}

/**
 * A new version takes over only when the person says so: it reloads every tab, and one may be writing.
 * @param {import("./notices.js").Notices} notices
 * @param {ServiceWorker} waiting
 */
function offerUpdate(notices, waiting) {
  const run = () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    waiting.postMessage("take-over");
  };
  notices.show("update", { kind: "info", text: "update", actions: [{ label: "update.now", run }] });
}

function offerInstallation() {
  const button = byId("install", HTMLButtonElement);
  /** @type {any} */
  let offer = null;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    offer = event;
    button.hidden = false;
  });
  button.addEventListener("click", () => {
    button.hidden = true;
    offer?.prompt();
  });
}
