// @ts-check
// In the worker, and nowhere else: every GPU device is opened with the feature "subgroups" where the adapter has it. wgpu 30 knows no such feature in browsers and would not ask, and without it
// each sum of the decoding kernels costs two barriers of a workgroup (three times as long a token, on a software adapter).

if (typeof GPUAdapter !== "undefined") {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const requiredFeatures = new Set(descriptor.requiredFeatures);
    if (this.features.has("subgroups")) {
      requiredFeatures.add("subgroups");
    }
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
}
