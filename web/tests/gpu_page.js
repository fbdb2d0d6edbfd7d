// Runs kernels with the browser's WebGPU: asks the bridge (gpu_bridge.mjs) for one request after another. The layout of a
// request is described in crates/kernels/tests/common/browser.rs.

const WORD = 4;
const READ_WRITE = 1;
const WRITTEN = 2;
const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;

/** @type {Map<string, Promise<GPUComputePipeline>>} */
const pipelines = new Map();
let device;

async function main() {
  const adapter = await navigator.gpu.requestAdapter();
  const subgroups = adapter.features.has("subgroups");
  device = await adapter.requestDevice({ requiredFeatures: subgroups ? ["subgroups"] : [] });
  const { vendor, architecture } = adapter.info;
  const name = new TextEncoder().encode(`${vendor} ${architecture} in the browser`);
  await fetch("/hello", { method: "POST", body: new Blob([Uint32Array.of(Number(subgroups)), name]) });
  for (;;) {
    const answer = await fetch("/next", { cache: "no-store" });
    await fetch("/result", { method: "POST", body: await answered(await answer.arrayBuffer()) });
  }
}

/** @param {ArrayBuffer} request */
async function answered(request) {
  try {
    return new Blob([Uint32Array.of(0), ...(await run(parse(request)))]);
  } catch (error) {
    return new Blob([Uint32Array.of(1), String(error)]);
  }
}

/** @param {ArrayBuffer} request */
function parse(request) {
  const words = new Uint32Array(request);
  const [x, y, z, labelLength, sourceLength, count] = words;
  let at = 6;
  const bindings = Array.from({ length: count }, () => ({ length: words[at++], kind: words[at++] }));
  const text = (length) => {
    const bytes = new Uint8Array(request, at * WORD, length);
    at += Math.ceil(length / WORD);
    return new TextDecoder().decode(bytes);
  };
  const [label, source] = [text(labelLength), text(sourceLength)];
  const contents = bindings.map(({ length }) => words.subarray(at, (at += length)));
  return { label, source, bindings, contents, workgroups: [x, y, z] };
}

/** What the bindings that the kernel writes hold afterwards. */
async function run({ label, source, bindings, contents, workgroups }) {
  if (!pipelines.has(label)) pipelines.set(label, compile(label, source));
  const pipeline = await pipelines.get(label);

  device.pushErrorScope("out-of-memory");
  device.pushErrorScope("validation");
  // The trainer's kernels get slices of one buffer.
  const shared = bindings.every(({ kind }) => kind & READ_WRITE);
  const sizes = contents.map(({ byteLength }) => byteLength);
  const all = shared && newBuffer(sizes.reduce((sum, size) => sum + size), STORAGE | COPY_SRC | COPY_DST);
  let end = 0;
  const places = sizes.map((size) => {
    if (!shared) return { buffer: newBuffer(size, STORAGE | COPY_SRC | COPY_DST), offset: 0, size };
    const offset = end;
    end += size;
    return { buffer: all, offset, size };
  });
  places.forEach(({ buffer, offset }, i) => device.queue.writeBuffer(buffer, offset, contents[i]));
  const entries = places.map((resource, binding) => ({ binding, resource }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(...workgroups);
  pass.end();
  const downloads = places
    .filter((_, i) => bindings[i].kind & WRITTEN)
    .map(({ buffer, offset, size }) => {
      const download = newBuffer(size, COPY_DST | MAP_READ);
      encoder.copyBufferToBuffer(buffer, offset, download, 0, size);
      return download;
    });
  device.queue.submit([encoder.finish()]);
  const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
  for (const error of errors) if (error) throw new Error(error.message);

  const found = [];
  for (const download of downloads) {
    await download.mapAsync(GPUMapMode.READ);
    found.push(download.getMappedRange().slice(0));
  }
  for (const { buffer } of places) buffer.destroy();
  for (const download of downloads) download.destroy();
  return found;
}

/** A message of the compiler is an error, be it a warning. */
async function compile(label, source) {
  const code = label.endsWith("_subgroups") ? `enable subgroups;\n${source}` : source;
  const module = device.createShaderModule({ label, code });
  const { messages } = await module.getCompilationInfo();
  if (messages.length) {
    const lines = code.split("\n");
    throw new Error(messages.map((m) => `${m.type} ${m.lineNum}:${m.linePos} ${m.message}: ${lines[m.lineNum - 1]}`).join("\n"));
  }
  return device.createComputePipelineAsync({ label, layout: "auto", compute: { module, entryPoint: "main" } });
}

function newBuffer(size, usage) {
  return device.createBuffer({ size, usage });
}

main().catch((error) => console.error(error));
