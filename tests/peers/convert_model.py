#!/usr/bin/python3
"""Our f32 weights in the layouts of two other runtimes: f16 safetensors for web-rwkv, ggmf version 101 for rwkv.cpp.

    convert_model.py model.safetensors --web-rwkv model.st --rwkv-cpp model.bin [--f32]

Official RWKV-4 names and shapes in all three. ggmf: sizes in the header, then for each tensor the number of dimensions, length of the name,
type (0 f32, 1 f16), dimensions fastest first, name, data; vectors stay f32 and `time_decay` is stored as -exp of itself.
"""
import argparse
import json
import struct

import numpy as np

GGMF_MAGIC, GGMF_VERSION = 0x67676D66, 101


def read(path):
    """Tensors by name, in the file's order."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = struct.unpack("<Q", data[:8].tobytes())[0]
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        if info["dtype"] != "F32":
            raise SystemExit(f"{name} is {info['dtype']}; give the f32 model")
        begin, end = info["data_offsets"]
        raw = data[8 + length + begin : 8 + length + end]
        tensors[name] = np.frombuffer(raw.tobytes(), dtype="<f4").reshape(info["shape"])
    return tensors


def write_web_rwkv(path, tensors):
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.size * 2
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            out.write(tensor.astype("<f2").tobytes())


def write_rwkv_cpp(path, tensors, half):
    vocab, width = tensors["emb.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    with open(path, "wb") as out:
        out.write(struct.pack("<6i", GGMF_MAGIC, GGMF_VERSION, vocab, width, layers, int(half)))
        for name, tensor in tensors.items():
            if ".time_" in name:
                tensor = tensor.squeeze()
            if name.endswith("time_decay"):
                tensor = -np.exp(tensor)
            as_half = half and tensor.ndim >= 2
            key = name.encode()
            out.write(struct.pack("<3i", tensor.ndim, len(key), int(as_half)))
            out.write(struct.pack(f"<{tensor.ndim}i", *reversed(tensor.shape)) + key)
            out.write(tensor.astype("<f2" if as_half else "<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--web-rwkv", metavar="FILE.st")
    parser.add_argument("--rwkv-cpp", metavar="FILE.bin")
    parser.add_argument("--f32", action="store_true", help="for rwkv.cpp: f32 matrices instead of f16")
    args = parser.parse_args()
    tensors = read(args.model)
    if args.web_rwkv:
        write_web_rwkv(args.web_rwkv, tensors)
    if args.rwkv_cpp:
        write_rwkv_cpp(args.rwkv_cpp, tensors, not args.f32)


if __name__ == "__main__":
    main()
