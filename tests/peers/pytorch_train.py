#!/usr/bin/python3
"""The same RWKV-4 training step in PyTorch, to set our CPU training beside. Run by hand; no part of the build.

Install (Debian 12):  apt-get install python3-torch python3-numpy g++ libopenblas0-pthread
    Without an optimised BLAS Debian's PyTorch multiplies matrices with the reference BLAS, some 40 times slower:
    that would be no peer. This program says which BLAS it found.

Speed (tokens a second, median of the steps after warm-up; forward, backward, clipping, AdamW; 2 threads):
    /usr/bin/python3 pytorch_train.py --shape nano|micro|85m [--no-wkv]
    --no-wkv puts k*v where WKV stands, so that WKV's time is left out. The machine must be otherwise idle: OpenMP's threads wait for
    each other at every operation, so one busy core costs ten times its share. best and worst show it; with --threads 1,
    tokens_per_cpu_second is a fair figure even then.
Self-check (WKV gradients against finite differences and the naive definition in f64, reader, first-step loss):
    /usr/bin/python3 pytorch_train.py --check
Our checkpoint's logits after the last token, as `ptbr-slm logits --json` prints them, or the mean loss over the tokens:
    /usr/bin/python3 pytorch_train.py --checkpoint DIR --tokens 5,17,42 [--loss]
Our training curve: N AdamW steps from the same checkpoint on the same batches; prints "step loss grad_norm learning_rate":
    /usr/bin/python3 pytorch_train.py --checkpoint DIR --replay batches.npy [--learning-rate 3e-4 ...] [--write after.safetensors]
    batches.npy: integers [N, 2, B, T] (inputs, targets) or [N, B, T+1]; batches.bin: little-endian u16 [N, 2, B, T] with --batch
    and --seq. With --accumulate A, A consecutive batches make a step. The learning rate is ours: --warmup-steps (at most a tenth of
    --max-steps), then half a cosine to --min-lr-ratio at --max-steps; constant without --max-steps.
"""
import argparse
import json
import math
import os
import resource
import statistics
import sys
import time

SHAPES = {  # vocabulary, channels, layers, batch, sequence length
    "nano": (2048, 128, 4, 8, 128),
    "micro": (8192, 256, 6, 8, 256),
    "85m": (32000, 768, 12, 1, 512),
}


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--shape", choices=SHAPES, default="nano")
    a.add_argument("--no-wkv", action="store_true")
    a.add_argument("--check", action="store_true")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--steps", type=int, default=0, help="timed steps (default: about 20 seconds' worth, at least 5)")
    a.add_argument("--warmup", type=int, default=3, help="steps before timing")
    a.add_argument("--batch", type=int)
    a.add_argument("--seq", type=int)
    a.add_argument("--checkpoint")
    a.add_argument("--tokens", help="comma-separated token ids")
    a.add_argument("--loss", action="store_true")
    a.add_argument("--replay", metavar="FILE")
    a.add_argument("--write", metavar="FILE", help="write the weights after the last step")
    a.add_argument("--accumulate", type=int, default=1)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--learning-rate", type=float, default=3e-4)
    a.add_argument("--warmup-steps", type=int, default=500)
    a.add_argument("--max-steps", type=int, default=0)
    a.add_argument("--min-lr-ratio", type=float, default=0.1)
    a.add_argument("--layerwise-lr", action="store_true", help="published groups: time_decay 2x, time_first 3x")
    a.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.999))
    a.add_argument("--eps", type=float, default=1e-8)
    a.add_argument("--weight-decay", type=float, default=0.01)
    a.add_argument("--decay", choices=("all", "matrices"), default="matrices", help="which tensors decay")
    a.add_argument("--clip", type=float, default=1.0)
    a.add_argument("--l2wrap", action="store_true")
    return a.parse_args()


args = arguments()
# Before numpy and torch load: their thread pools read these once.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(args.threads)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from rwkv4_torch import L2Wrap, Rwkv4, Wkv, load_checkpoint, read_safetensors, wkv_naive, write_safetensors  # noqa: E402

torch.set_num_threads(args.threads)


def loss_of(model, inputs, targets):
    logits = model(inputs)
    loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))
    return L2Wrap.apply(loss, logits) if args.l2wrap else loss


def optimizer_of(model):
    groups = {}
    for name, p in model.named_parameters():
        factor = {"time_decay": 2.0, "time_first": 3.0}.get(name.rsplit(".", 1)[-1], 1.0) if args.layerwise_lr else 1.0
        decays = args.decay == "all" or (p.squeeze().dim() >= 2)
        groups.setdefault((factor, args.weight_decay if decays else 0.0), []).append(p)
    return torch.optim.AdamW(
        [{"params": ps, "weight_decay": decay, "factor": factor} for (factor, decay), ps in groups.items()],
        lr=args.learning_rate, betas=tuple(args.betas), eps=args.eps, foreach=False,  # True is slower on a CPU
    )


def learning_rate_at(step):
    """Learning rate of the step, counted from 0."""
    if not args.max_steps:
        return args.learning_rate
    warmup = min(args.warmup_steps, args.max_steps // 10)
    if step < warmup:
        return args.learning_rate * (step + 1) / warmup
    progress = min((step - warmup) / max(args.max_steps - 1 - warmup, 1), 1.0)
    return args.learning_rate * (args.min_lr_ratio + (1 - args.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def train_step(model, optimizer, batches, learning_rate):
    """One optimizer step over the micro-batches; returns (mean loss, gradient norm before clipping)."""
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for inputs, targets in batches:
        loss = loss_of(model, inputs, targets)
        (loss / len(batches)).backward()
        total += loss.item() / len(batches)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]
    optimizer.step()
    return total, norm.item()


def blas_speed():
    a, b = torch.randn(512, 768), torch.randn(768, 3072)
    a @ b
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * 512 * 768 * 3072 / statistics.median(times) / 1e9


def measure():
    vocab, channels, layers, batch, seq = SHAPES[args.shape]
    batch, seq = args.batch or batch, args.seq or seq
    torch.manual_seed(args.seed)
    speed = blas_speed()
    model = Rwkv4(vocab, channels, layers, wkv=(lambda w, u, k, v: k * v) if args.no_wkv else Wkv.apply)
    optimizer = optimizer_of(model)
    parameters = sum(p.numel() for p in model.parameters())
    times, cpu_times, first, spent = [], [], None, 0.0
    step = 0
    while True:
        tokens = torch.randint(0, vocab, (batch, seq + 1))
        start, cpu = time.perf_counter(), time.process_time()
        loss, _ = train_step(model, optimizer, [(tokens[:, :-1], tokens[:, 1:])], args.learning_rate)
        elapsed = time.perf_counter() - start
        first = loss if first is None else first
        step += 1
        if step > args.warmup:
            times.append(elapsed)
            cpu_times.append(time.process_time() - cpu)
            spent += elapsed
            if len(times) >= (args.steps or 5) and (args.steps or spent > 20):
                break
    median = statistics.median(times)
    print(json.dumps({
        "shape": args.shape, "parameters": parameters, "batch": batch, "seq": seq, "threads": args.threads, "wkv": not args.no_wkv,
        "torch": torch.__version__, "matmul_gflops": round(speed, 1), "steps": len(times),
        "tokens_per_second": round(batch * seq / median, 1), "best": round(batch * seq / min(times), 1),
        "worst": round(batch * seq / max(times), 1),
        "tokens_per_cpu_second": round(batch * seq / statistics.median(cpu_times), 1), "first_loss": round(first, 4), "ln_vocab": round(math.log(vocab), 4),
        "last_loss": round(loss, 4), "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))
    if speed < 10 * args.threads:
        print("warning: this BLAS is the reference one or the machine is busy; install libopenblas0-pthread", file=sys.stderr)


def replay():
    model = load_checkpoint(args.checkpoint)
    if args.replay.endswith(".npy"):
        data = np.load(args.replay)
        if data.ndim == 3:
            data = np.stack([data[:, :, :-1], data[:, :, 1:]], 1)
    else:
        if not (args.batch and args.seq):
            raise SystemExit("--replay of a .bin file needs --batch and --seq")
        data = np.fromfile(args.replay, "<u2").reshape(-1, 2, args.batch, args.seq)
    data = torch.from_numpy(data.astype(np.int64))
    optimizer = optimizer_of(model)
    for step in range(len(data) // args.accumulate):
        rate = learning_rate_at(step)
        batches = [tuple(pair) for pair in data[step * args.accumulate : (step + 1) * args.accumulate]]
        loss, norm = train_step(model, optimizer, batches, rate)
        print(step + 1, f"{loss:.7f} {norm:.7f} {rate:.8g}")
    if args.write:
        write_safetensors(args.write, model.state_dict())


@torch.no_grad()
def logits():
    model = load_checkpoint(args.checkpoint)
    tokens = torch.tensor([[int(t) for t in args.tokens.split(",")]])
    out = model(tokens)[0]
    if args.loss:
        print(json.dumps({"loss": F.cross_entropy(out[:-1], tokens[0, 1:]).item(), "tokens": tokens.shape[1] - 1}))
    else:
        print(json.dumps({"logits": out[-1].tolist()}))


def check():
    torch.manual_seed(0)
    for batch, length, channels in ((2, 7, 3), (1, 40, 37), (3, 1, 33)):
        w, u = -torch.rand(channels, dtype=torch.float64) * 3, torch.randn(channels, dtype=torch.float64)
        k, v = (torch.randn(batch, length, channels, dtype=torch.float64) * 2 for _ in range(2))
        inputs = [t.requires_grad_() for t in (w, u, k, v)]
        weight = torch.randn(batch, length, channels, dtype=torch.float64)
        ours, naive = Wkv.apply(*inputs), wkv_naive(*inputs)
        pairs = [(ours, naive)] + list(zip(torch.autograd.grad((ours * weight).sum(), inputs),
                                           torch.autograd.grad((naive * weight).sum(), inputs)))
        worst = max(((a - b).abs().max() / (1 + b.abs().max())).item() for a, b in pairs)
        print(f"wkv [{batch}, {length}, {channels}] against the definition, f64: worst relative difference {worst:.1e}")
        assert worst < 1e-10
        single = Wkv.apply(*(t.detach().float() for t in inputs))
        assert ((single - ours).abs().max() / ours.abs().max()).item() < 1e-5
        if batch * length * channels < 100:
            assert torch.autograd.gradcheck(Wkv.apply, inputs)
            print("    and gradcheck (finite differences)")
    for key in (80.0, -80.0):
        k = torch.full((1, 50, 32), key).requires_grad_()
        y = Wkv.apply(torch.full((32,), -20.0), torch.zeros(32), k, torch.randn(1, 50, 32))
        y.sum().backward()
        assert y.isfinite().all() and k.grad.isfinite().all()
    print("extreme keys of +-80 stay finite")

    model = Rwkv4(211, 64, 3)
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"ptbr-peer-{os.getpid()}.safetensors")
    write_safetensors(path, model.state_dict())
    again = load_checkpoint(path)
    tokens = torch.randint(0, 211, (2, 30))
    assert torch.equal(model(tokens), again(tokens)) and list(read_safetensors(path)) == list(model.state_dict())
    os.remove(path)
    print("safetensors written and read back: equal logits")
    losses = []
    for trial in range(2):
        torch.manual_seed(5)
        model = Rwkv4(2048, 128, 4)
        data = torch.randint(0, 2048, (8, 129))
        optimizer = optimizer_of(model)
        halves = [(data[i : i + 4, :-1], data[i : i + 4, 1:]) for i in (0, 4)] if trial else [(data[:, :-1], data[:, 1:])]
        losses.append([train_step(model, optimizer, halves, 1e-3)[0] for _ in range(10)])
    expected = math.log(2048) + 0.125
    print(f"first loss {losses[0][0]:.4f}, ln V + 0.125 = {expected:.4f}; after 10 steps on one batch {losses[0][-1]:.4f}")
    assert abs(losses[0][0] - expected) < 0.02 and losses[0][-1] < losses[0][0] - 0.5
    assert max(abs(a - b) for a, b in zip(*losses)) < 1e-3, "accumulation over halves must equal the whole batch"
    print("ok")


if __name__ == "__main__":
    if args.check:
        check()
    elif args.tokens:
        logits()
    elif args.replay:
        replay()
    else:
        measure()
