// @ts-check
// The page's policy lets no string become script, but for addresses of workers on this very site. It must be there before the
// first worker, so app.js imports it first.

/** @type {any} */
const trustedTypes = /** @type {any} */ (globalThis).trustedTypes;

// Browsers without Trusted Types ignore that part of the policy.
trustedTypes?.createPolicy("default", {
  createScriptURL(/** @type {string} */ address) {
    if (new URL(address, document.baseURI).origin === location.origin) return address;
    throw new TypeError(`not a script of this site: ${address}`);
  },
});
