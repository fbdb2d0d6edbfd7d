#!/usr/bin/python3
"""Replays training steps of the published RWKV-4 recipe in PyTorch. Run by hand; it made crates/train/tests/fixtures/rwkv4_recipe.json.

    PTBR_REPLAY=/tmp/replay cargo test --release -p ptbr-slm -p ptbr-train --test recipe agree   # fails while the fixture is old
    /usr/bin/python3 tests/peers/recipe_replay.py /tmp/replay/rwkv4 --output crates/train/tests/fixtures/rwkv4_recipe.json

Independent of our trainer in everything but its inputs, the initial weights (step-000000/model.safetensors) and the batches
(batches.bin: inputs then targets of each micro-batch, u16): everything is computed in f64, WKV is its definition summed term by
term under plain autograd, clipping and Adam are PyTorch's. The recipe (RWKV-LM, RWKV-v4neo/src/model.py and trainer.py): Adam with
betas 0.9 and 0.99, eps 1e-8, no weight decay; time_decay at twice and time_first at three times the learning rate; L2Wrap; the mean
gradient of the micro-batches clipped to norm 1. The learning rate is this project's schedule: warm-up over at most a tenth of the
steps, then half a cosine to a tenth.

Prints "step loss grad_norm learning_rate". --float32 computes in the precision of our trainer: how far apart two f32 programs may be.
"""
import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from rwkv4_torch import L2Wrap, load_checkpoint, wkv_naive

SAMPLED = 48  # elements of a tensor that the fixture holds, at most


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("run", type=Path, help="folder with step-000000 and batches.bin")
    a.add_argument("--steps", type=int, default=10)
    a.add_argument("--batch", type=int, default=3)
    a.add_argument("--seq", type=int, default=19)
    a.add_argument("--accumulate", type=int, default=2)
    a.add_argument("--learning-rate", type=float, default=3e-3)
    a.add_argument("--float32", action="store_true")
    a.add_argument("--output", type=Path, help="the fixture to write")
    return a.parse_args()


def learning_rate_at(step, steps, peak, warmup=500, floor=0.1):
    warmup = min(warmup, steps // 10)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(steps - 1 - warmup, 1)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)


def adam(model):
    factors = {"time_decay": 2, "time_first": 3}
    groups = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(factors.get(name.rsplit(".", 1)[-1], 1), []).append(parameter)
    groups = [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]
    return torch.optim.Adam(groups, lr=0.0, betas=(0.9, 0.99), eps=1e-8, weight_decay=0)


def digest(tensor):
    flat = tensor.detach().double().flatten()
    every = -(-flat.numel() // SAMPLED)
    return {
        "sum": flat.sum().item(),
        "sum_of_squares": flat.square().sum().item(),
        "every": every,
        "elements": [float(f"{x:.9g}") for x in flat[::every].tolist()],
    }


def main():
    args = arguments()
    model = load_checkpoint(args.run / "step-000000", wkv=wkv_naive)
    model = model.float() if args.float32 else model.double()
    batches = np.fromfile(args.run / "batches.bin", "<u2").astype(np.int64)
    batches = torch.from_numpy(batches.reshape(args.steps, args.accumulate, 2, args.batch, args.seq))
    optimizer, steps = adam(model), []
    for step in range(args.steps):
        optimizer.zero_grad()
        total = 0.0
        for inputs, targets in batches[step]:
            logits = model(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            total += loss.item() / args.accumulate
            L2Wrap.apply(loss, logits).backward()
        for parameter in model.parameters():
            parameter.grad /= args.accumulate
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        rate = learning_rate_at(step, args.steps, args.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.step()
        steps.append({"loss": total, "grad_norm": norm, "learning_rate": rate})
        print(step + 1, f"{total:.9f} {norm:.9f} {rate:.9g}")
    if args.output:
        how = f"made by tests/peers/recipe_replay.py, PyTorch {torch.__version__}, {'f32' if args.float32 else 'f64'}"
        tensors = {name: digest(parameter) for name, parameter in model.named_parameters()}
        text = json.dumps({"how": how, "steps": steps, "tensors": tensors}, indent=1)
        # One tensor's elements on one line.
        text = text.replace(",\n    ", ", ").replace("[\n    ", "[").replace("\n   ]", "]")
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
