// Sessions: adapters, stopping, states, a device that is lost. On both engines where both have something to lose.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { reference, Stage } from "./harness.mjs";

/** Put into each page: what the tests say again and again. */
function tools() {
  window.tools = {
    async open(name, options) {
      const { Model } = await import("/package/index.js");
      const model = await Model.load(`/fixtures/${name}.safetensors`, options);
      const folder = name === "large" ? "large-adapters" : "adapters";
      for (const adapter of ["um", "dois"]) {
        const at = `/fixtures/${folder}/${adapter}`;
        await model.loadAdapter(adapter, { config: `${at}/adapter_config.json`, weights: `${at}/adapter_model.safetensors` });
      }
      return model;
    },
    /** The greedy tokens after `prompt`; `onPiece` is called with the number of the piece. */
    async write(session, prompt, maxTokens, onPiece = () => {}) {
      let pieces = 0;
      for await (const _ of session.generate(prompt, { temperature: 0, maxTokens })) await onPiece(++pieces);
      return [...session.last.tokens];
    },
    async codeOf(promise) {
      const { PtbrError } = await import("/package/index.js");
      return promise.then(
        () => "no error",
        (error) => (error instanceof PtbrError && error.message ? error.code : `not a PtbrError: ${error}`),
      );
    },
  };
}

for (const engine of ["webgpu", "cpu"]) {
  describe(engine, () => {
    let stage, visitor, page;
    before(async () => {
      stage = await Stage.open({ webgpu: engine === "webgpu" });
      visitor = await stage.visitor();
      await visitor.context.addInitScript(tools);
      page = await visitor.tab();
    });
    after(async () => {
      await Stage.end(stage, visitor);
    });
    const input = { engine, prompt: reference.prompt_tokens };

    it(`${engine}: an adapter chosen in the middle of a generation computes from the next token on`, async () => {
      const found = await page.evaluate(async ({ engine, prompt }) => {
        const { open, write } = window.tools;
        const model = await open("large", { engine });
        const only = await write(model.session({ adapter: "um" }), prompt, 60);
        const session = model.session({ adapter: "um" });
        // A piece has the text of one token or, on WebGPU, of a few.
        const mixed = await write(session, prompt, 60, (piece) => piece === 5 && session.setAdapter("dois"));
        // Where it changed hands is a matter of time; from there on it must be what the second adapter writes behind the first.
        let from = mixed.findIndex((token, i) => token !== only[i]);
        let replayed = null;
        for (let at = from; at >= 0 && replayed === null; at--) {
          const replay = model.session({ adapter: "um" });
          await write(replay, prompt, at || 1);
          await replay.setAdapter("dois");
          const rest = at ? await write(replay, "", 60 - at) : [];
          if (rest.every((token, i) => token === mixed[at + i])) replayed = at;
        }
        model.dispose();
        return { from, replayed, adapter: session.adapter };
      }, input);
      assert.equal(found.adapter, "dois");
      assert.ok(found.from >= 5, `differs from token ${found.from}`);
      assert.ok(found.replayed >= 4, `no place at which the second adapter gives the same text: ${found.replayed}`);
    });

    it(`${engine}: stop ends a generation, a signal aborts it, and the session goes on`, async () => {
      const found = await page.evaluate(async ({ engine, prompt }) => {
        const { open, write, codeOf } = window.tools;
        const model = await open("large", { engine });
        const session = model.session();
        const stopped = await write(session, prompt, 5000, (piece) => piece === 5 && session.stop());
        const reason = session.last.reason;
        const more = await write(session, "", 5);
        const abort = new AbortController();
        const aborted = codeOf(
          (async () => {
            let pieces = 0;
            for await (const _ of session.generate("", { maxTokens: 5000, signal: abort.signal })) if (++pieces === 3) abort.abort();
          })(),
        );
        const code = await aborted;
        const after = await write(session, "", 3);
        model.dispose();
        const disposed = await codeOf(session.prefill([1]));
        return { stopped: stopped.length, reason, more: more.length, code, after: after.length, disposed };
      }, input);
      assert.equal(found.reason, "stopped");
      assert.ok(found.stopped < 1000, `${found.stopped} tokens`);
      assert.deepEqual([found.more, found.code, found.after, found.disposed], [5, "aborted", 3, "aborted"]);
    });

    it(`${engine}: a saved state goes on with the same text, in another page too, and only where it belongs`, async () => {
      const saved = await page.evaluate(async ({ engine, prompt }) => {
        const { open, write, codeOf } = window.tools;
        const model = await open("small-f32", { engine });
        const session = model.session({ adapter: "um" });
        await write(session, prompt, 20);
        const state = await session.saveState();
        const next = await write(session, "", 20);
        await session.loadState(state);
        const again = await write(session, "", 20);
        const codes = [
          await codeOf(model.session().loadState(state)),
          await codeOf(model.session({ adapter: "dois" }).loadState(state)),
          await codeOf(model.session({ adapter: "um" }).loadState(state.slice(0, -5))),
        ];
        model.dispose();
        return { state: [...state], next, again, codes };
      }, input);
      assert.deepEqual(saved.again, saved.next);
      assert.deepEqual(saved.codes.slice(0, 2), ["wrong-model", "wrong-model"]);
      assert.match(saved.codes[2], /^(damaged-file|bad-input)$/);

      const other = await visitor.tab();
      const found = await other.evaluate(async ({ engine, state }) => {
        const { open, write, codeOf } = window.tools;
        const model = await open("small-f32", { engine });
        const session = model.session({ adapter: "um" });
        await session.loadState(Uint8Array.from(state));
        const next = await write(session, "", 20);
        model.dispose();
        const large = await open("large", { engine });
        const code = await codeOf(large.session({ adapter: "um" }).loadState(Uint8Array.from(state)));
        large.dispose();
        return { next, code };
      }, { engine, state: saved.state });
      assert.deepEqual(found, { next: saved.next, code: "wrong-model" });
      await other.close();
    });

    it(`${engine}: an adapter of another model is refused, and so are arguments out of range`, async () => {
      const codes = await page.evaluate(async ({ engine }) => {
        const { open, codeOf } = window.tools;
        const model = await open("small-int4", { engine });
        const at = "/fixtures/large-adapters/um";
        const generate = (options) => model.session().generate("a", options).next();
        const codes = [
          await codeOf(model.loadAdapter("alheio", { config: `${at}/adapter_config.json`, weights: `${at}/adapter_model.safetensors` })),
          await codeOf(model.loadAdapter("nada", { config: `${at}/none.json`, weights: `${at}/adapter_model.safetensors` })),
          await codeOf((async () => model.session({ adapter: "nenhum" }))()),
          await codeOf((async () => generate({ topP: 7 }))()),
          await codeOf((async () => generate({ temperature: -1 }))()),
          await codeOf(model.session().prefill([60000])),
        ];
        model.dispose();
        return codes;
      }, input);
      assert.deepEqual(codes, ["wrong-model", "network", "bad-input", "bad-input", "bad-input", "bad-input"]);
      visitor.expected.push(/404/);
    });

    it(`${engine}: two tabs load and write at once`, async () => {
      const tabs = await Promise.all([visitor.tab(), visitor.tab()]);
      const texts = await Promise.all(
        tabs.map((tab) =>
          tab.evaluate(async ({ engine, prompt }) => {
            const { open, write } = window.tools;
            const model = await open("large", { engine });
            const tokens = await write(model.session(), prompt, 40);
            model.dispose();
            return tokens;
          }, input),
        ),
      );
      assert.equal(texts[0].length, 40);
      assert.deepEqual(texts[0], texts[1]);
      await Promise.all(tabs.map((tab) => tab.close()));
    });
  });
}

describe("a lost device", () => {
  let stage, visitor;
  before(async () => {
    stage = await Stage.open({ webgpu: true });
    visitor = await stage.visitor();
    await visitor.context.addInitScript(tools);
  });
  after(async () => {
    await Stage.end(stage, visitor);
  });

  it("is opened again in the middle of a generation, and the text is the same", async () => {
    const page = await visitor.tab();
    const found = await page.evaluate(async (prompt) => {
      const { open, write } = window.tools;
      const model = await open("large", { engine: "webgpu" });
      const calm = await write(model.session(), prompt, 40);
      const events = [];
      model.on("engine", ({ kind, engine, reason, code }) => events.push({ kind, engine, reason, code }));
      const lost = await write(model.session(), prompt, 40, (piece) => piece === 10 && model.loseDevice());
      const { engine } = model.info;
      model.dispose();
      return { calm, lost, events, engine };
    }, reference.prompt_tokens);
    assert.deepEqual(found.lost, found.calm);
    assert.equal(found.events.length, 1);
    const [{ kind, engine, reason, code }] = found.events;
    assert.deepEqual([kind, engine, code, found.engine], ["rebuilt", "webgpu", "device-lost", "webgpu"]);
    assert.ok(reason);
  });
});
