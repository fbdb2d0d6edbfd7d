// Do the engines of the browser compute what the native CPU engine computes?

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { difference, nativeLogits, reference, Stage } from "./harness.mjs";

/**
 * Largest difference of a logit, relative to the largest. Where weights are integers, the CPU engines round activations to eight bits and
 * WebGPU does not: for int8 and int4 the tolerance is that rounding's. Between two CPU engines it is that of a few activations which the
 * last bit of a sum moves over the middle between two steps (2e-3 measured).
 */
const TOLERANCE = {
  webgpu: { f32: 1e-4, f16: 1e-4, fp8: 1e-4, int8: 3e-2, int4: 3e-2 },
  cpu: { f32: 1e-4, f16: 1e-4, fp8: 1e-4, int8: 1e-2, int4: 1e-2 },
};

for (const engine of ["webgpu", "cpu"]) {
  describe(engine, () => {
    let stage, visitor, page;
    before(async () => {
      stage = await Stage.open({ webgpu: engine === "webgpu" });
      visitor = await stage.visitor();
      page = await visitor.tab();
    });
    after(async () => {
      await Stage.end(stage, visitor);
    });

    it(`${engine} is what "auto" chooses, and says why when it is not WebGPU`, async () => {
      const info = await page.evaluate(async () => {
        const { Model } = await import("/package/index.js");
        const model = await Model.load("/fixtures/small-f32.safetensors");
        const { engine, engineReason, device } = model.info;
        model.dispose();
        return { engine, engineReason, device };
      });
      assert.equal(info.engine, engine);
      assert.equal(info.engineReason === null, engine === "webgpu", info.engineReason);
      assert.ok(info.device.length > 0);
    });

    for (const [format, tolerance] of Object.entries(TOLERANCE[engine])) {
      it(`${engine} agrees with native in ${format}, at every position and in greedy text`, async () => {
        const input = { format, text: reference.text, prompt: reference.prompt_tokens, engine };
        const found = await page.evaluate(async ({ format, text, prompt, engine }) => {
          const { Model } = await import("/package/index.js");
          const model = await Model.load(`/fixtures/small-${format}.safetensors`, { engine });
          // Prefill and decode are different kernels.
          const session = model.session();
          const half = text.length / 2;
          const logits = [...(await session.logits(text.slice(0, half)))];
          for (const token of text.slice(half)) logits.push(...(await session.logits([token])));
          const writing = model.session();
          for await (const _ of writing.generate(prompt, { temperature: 0, maxTokens: 200 }));
          const { tokens, reason } = writing.last;
          model.dispose();
          return { logits, tokens: [...tokens], reason };
        }, input);
        const expected = await nativeLogits(format);
        const off = difference(found.logits, expected);
        console.log(`${engine} ${format}: logits differ by ${off.toExponential(1)} of the largest`);
        assert.ok(off <= tolerance, `${off} of the largest logit, ${tolerance} allowed`);

        const { tokens, margins } = reference.greedy[format];
        const largest = expected.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
        const close = margins.findIndex((margin) => margin <= 2 * tolerance * largest);
        const sure = close < 0 ? tokens.length : close;
        if (format === "f32") assert.ok(sure > 100, `the reference is in doubt at position ${sure}: another seed is needed`);
        const end = found.reason === "end-of-text" ? found.tokens.length : Math.min(sure, found.tokens.length);
        assert.ok(found.reason === "end-of-text" || found.tokens.length === tokens.length, found.reason);
        assert.deepEqual(found.tokens.slice(0, Math.min(sure, end)), tokens.slice(0, Math.min(sure, end)));
      });
    }
  });
}
