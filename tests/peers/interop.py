#!/usr/bin/env python3
"""Do other implementations compute our logits from what `ptbr-slm export` wrote?

    interop.py rwkv          EXPORT/model.safetensors --tokens 5,17,42 --ours logits.json [--strategy "cpu fp32"]
    interop.py transformers  FOLDER                   --tokens 5,17,42 --ours logits.json
    interop.py onnx          FOLDER/model.onnx        --tokens 5,17,42 --ours logits.json
    interop.py rwkv_cpp      EXPORT/model.bin         --tokens 5,17,42 --ours logits.json --rwkv-cpp ITS_SOURCE  (built in build/)
    interop.py file          THEIRS.json              --tokens 5,17,42 --ours logits.json    (a list of logits, as web_rwkv prints it)
    interop.py tokenizers    FOLDER --data DATA --program ptbr-slm           (the ids of every text file below DATA)
    interop.py random        OUT.pth [--dtype bfloat16]                      (random weights under the rwkv package's training names)

`logits.json` is what `ptbr-slm logits --json` prints. Prints the largest difference, and fails where it is beyond --bound.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path


def rwkv(args):
    import torch

    os.environ.setdefault("RWKV_JIT_ON", "0")
    from rwkv.model import RWKV

    path = Path(args.path)
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import load_file

        weights = torch.load(path) if path.suffix == ".pth" else load_file(path)
        if args.float:
            # It would norm the embedding in the precision that it is stored in.
            weights = {name: tensor.float() for name, tensor in weights.items()}
        path = Path(folder) / "model.pth"
        torch.save(weights, path)
        model = RWKV(model=str(path.with_suffix("")), strategy=args.strategy, verbose=False)
        # In two pieces, so that its state is compared as well.
        _, state = model.forward(args.tokens[:1], None)
        logits, _ = model.forward(args.tokens[1:], state)
    return logits.float().tolist()


def transformers(args):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(args.path, dtype="auto")
    if args.float:
        model = model.float()
    with torch.no_grad():
        return model(torch.tensor([args.tokens])).logits[0, -1].float().tolist()


def onnx(args):
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(args.path)
    layers, _, width = {i.name: i.shape for i in session.get_inputs()}["aa"]
    state = {name: numpy.zeros((layers, 1, width), numpy.float32) for name in ["att_x", "ffn_x", "aa", "bb", "pp"]}
    state["pp"] -= 1e38
    names = ["logits"] + [f"next_{name}" for name in state]
    for token in args.tokens:
        logits, *after = session.run(names, {"token": numpy.array([token]), **state})
        state = dict(zip(state, after))
    return logits[0].tolist()


def rwkv_cpp(args):
    sys.path.append(str(Path(args.rwkv_cpp) / "python"))
    from rwkv_cpp import rwkv_cpp_model, rwkv_cpp_shared_library

    library = rwkv_cpp_shared_library.RWKVSharedLibrary(str(Path(args.rwkv_cpp) / "build" / "librwkv.so"))
    model = rwkv_cpp_model.RWKVModel(library, args.path, thread_count=1)
    state = None
    for token in args.tokens:
        logits, state = model.eval(token, state, use_numpy=True)
    return logits.tolist()


def file(args):
    return json.loads(Path(args.path).read_text())


def tokenizers(args):
    import numpy
    from tokenizers import Tokenizer

    path = Path(args.path) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    # `[EOS]` written in a text is text, as in ptbr-slm.
    tokenizer.encode_special_tokens = True
    files = sorted(Path(args.data).rglob("*.txt"))
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    with tempfile.TemporaryDirectory() as folder:
        documents, ids = Path(folder) / "documents.jsonl", Path(folder) / "ids.bin"
        documents.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        command = [args.program, "tokenize", "--input", documents, "--tokenizer", path, "--output", ids]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        # 256 bytes of header; every document ends with [EOS].
        ours = numpy.frombuffer(ids.read_bytes()[256:], dtype="<u2")
    end, at = tokenizer.token_to_id("[EOS]"), 0
    for file, encoding in zip(files, tokenizer.encode_batch(texts, add_special_tokens=False)):
        theirs = encoding.ids + [end]
        if ours[at : at + len(theirs)].tolist() != theirs:
            sys.exit(f"{file}: other ids, from token {at} on")
        at += len(theirs)
    if at != len(ours):
        sys.exit(f"{len(ours)} tokens of ours, {at} of theirs")
    bytes_read = sum(len(text.encode()) for text in texts)
    print(f"{len(files)} files, {bytes_read} bytes, {at} tokens: the same ids")


def random(args):
    """The names and shapes of RWKV-LM's `RWKV-v4neo/src/model.py`, which the package rwkv loads."""
    import torch

    generator = torch.Generator().manual_seed(args.seed)
    dtype = getattr(torch, args.dtype)
    vocab, width, layers = args.vocab, args.width, args.layers
    ffn = args.ffn or 4 * width

    def uniform(low, high, *shape):
        return torch.empty(*shape).uniform_(low, high, generator=generator).to(dtype)

    def matrix(rows, columns):
        bound = (3 / columns) ** 0.5
        return uniform(-bound, bound, rows, columns)

    weights = {"emb.weight": uniform(-1, 1, vocab, width)}

    def norm(name):
        weights[f"{name}.weight"] = uniform(0.5, 1.5, width)
        weights[f"{name}.bias"] = uniform(-0.3, 0.3, width)

    for layer in range(layers):
        block = f"blocks.{layer}"
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
        if layer == 0:
            norm(f"{block}.ln0")
        weights[f"{block}.att.time_decay"] = uniform(-5, 3, width)
        weights[f"{block}.att.time_first"] = uniform(-2, 1, width)
        for part, names in [("att", "kvr"), ("ffn", "kr")]:
            for name in names:
                weights[f"{block}.{part}.time_mix_{name}"] = uniform(0, 1, 1, 1, width)
        for name in ["key", "value", "receptance", "output"]:
            weights[f"{block}.att.{name}.weight"] = matrix(width, width)
        weights[f"{block}.ffn.key.weight"] = matrix(ffn, width)
        weights[f"{block}.ffn.receptance.weight"] = matrix(width, width)
        weights[f"{block}.ffn.value.weight"] = matrix(width, ffn)
    norm("ln_out")
    weights["head.weight"] = matrix(vocab, width)
    if Path(args.path).suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(weights, args.path)
    elif args.module:
        weights = OrderedDict((name, torch.nn.Parameter(tensor)) for name, tensor in weights.items())
        weights._metadata = OrderedDict({"": {"version": 1}})
        torch.save(weights, args.path)
    else:
        torch.save(weights, args.path)
    total = sum(tensor.numel() for tensor in weights.values())
    print(f"{args.path}: {total} parameters, {args.dtype}, by PyTorch {torch.__version__}")


def compare(args, theirs):
    ours = json.loads(Path(args.ours).read_text())["logits"]
    if len(ours) != len(theirs):
        sys.exit(f"{len(ours)} logits of ours, {len(theirs)} of theirs")
    difference = max(abs(a - b) for a, b in zip(ours, theirs))
    largest = max(map(abs, ours))
    print(f"largest difference {difference:.2e}, largest logit {largest:.2f}")
    if not difference <= args.bound:
        sys.exit(f"beyond {args.bound:.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["rwkv", "transformers", "onnx", "rwkv_cpp", "file", "tokenizers", "random"])
    parser.add_argument("path")
    parser.add_argument("--tokens", type=lambda text: [int(id) for id in text.split(",")])
    parser.add_argument("--ours", metavar="logits.json")
    parser.add_argument("--bound", type=float, default=1e-3)
    parser.add_argument("--strategy", default="cpu fp32", help="of the rwkv package")
    parser.add_argument("--float", action="store_true", help="compute in f32 what is stored in half precision")
    parser.add_argument("--rwkv-cpp", metavar="FOLDER")
    parser.add_argument("--data", metavar="FOLDER")
    parser.add_argument("--program", default="ptbr-slm")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--ffn", type=int)
    parser.add_argument("--module", action="store_true", help="random: parameters in an ordered dictionary, as a module's state")
    args = parser.parse_args()
    if args.peer in ("tokenizers", "random"):
        globals()[args.peer](args)
    else:
        compare(args, globals()[args.peer](args))


if __name__ == "__main__":
    main()
