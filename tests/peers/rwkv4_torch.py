"""RWKV-4 in PyTorch, as published: the model half of the peer in pytorch_train.py.

Parameters carry the official RWKV-4 names and shapes, so that `state_dict()` and our `model.safetensors` hold the same keys.
Needs: python3-torch, g++ (with OpenMP). The WKV extension is compiled from wkv.cpp at first use, into the user's cache folder.
"""
import ctypes
import hashlib
import json
import math
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def load_wkv():
    """Compile wkv.cpp (once per source text and CPU) and return the library."""
    source = Path(__file__).with_name("wkv.cpp")
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
    # GCC's default of 256-bit vectors halves the throughput of exp on AVX-512 machines.
    if "avx512f" in Path("/proc/cpuinfo").read_text():
        flags.append("-mprefer-vector-width=512")
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")][:1]
    key = hashlib.sha256(source.read_bytes() + repr((flags, cpu)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ptbr-slm-peers"
    library = cache / f"libwkv-{key}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = library.with_suffix(f".{os.getpid()}.tmp")
        subprocess.run(["g++", *flags, str(source), "-o", str(partial)], check=True)
        partial.rename(library)
    return ctypes.CDLL(str(library))


class Wkv(torch.autograd.Function):
    """y = wkv(w, u, k, v): w = -exp(time_decay) and u [C]; k, v, y [B, T, C]."""

    library = None

    @staticmethod
    def call(name, dtype, sizes, *tensors):
        if Wkv.library is None:
            Wkv.library = load_wkv()
        suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
        function = getattr(Wkv.library, f"{name}_{suffix}")
        function(*(ctypes.c_int64(n) for n in sizes), *(ctypes.c_void_p(t.data_ptr()) for t in tensors))

    @staticmethod
    def forward(ctx, w, u, k, v):
        w, u, k, v = (t.contiguous() for t in (w, u, k, v))
        y = torch.empty_like(k)
        Wkv.call("wkv_forward", k.dtype, k.shape, w, u, k, v, y)
        ctx.save_for_backward(w, u, k, v, y)
        return y

    @staticmethod
    def backward(ctx, gy):
        w, u, k, v, y = ctx.saved_tensors
        batch, _, channels = k.shape
        gw, gu = (k.new_empty(batch, channels) for _ in range(2))
        gk, gv = torch.empty_like(k), torch.empty_like(v)
        gy = gy.contiguous()
        Wkv.call("wkv_backward", k.dtype, k.shape, w, u, k, v, y, gy, gw, gu, gk, gv)
        return gw.sum(0), gu.sum(0), gk, gv


def wkv_naive(w, u, k, v):
    """The definition, summed term by term (quadratic in T): what the compiled recurrence is checked against."""
    rows = []
    for t in range(k.shape[1]):
        past = torch.arange(t, dtype=k.dtype)
        weight = torch.cat([(t - 1 - past)[None, :, None] * w + k[:, :t], (u + k[:, t])[:, None]], 1).exp()
        rows.append((weight * v[:, : t + 1]).sum(1) / weight.sum(1))
    return torch.stack(rows, 1)


class L2Wrap(torch.autograd.Function):
    """Adds max_logit * 1e-4 / (B*T) to the gradient of each row's largest logit; the loss is passed through."""

    @staticmethod
    def forward(ctx, loss, logits):
        ctx.save_for_backward(logits)
        return loss

    @staticmethod
    def backward(ctx, grad):
        (logits,) = ctx.saved_tensors
        top, index = logits.max(-1, keepdim=True)
        extra = torch.zeros_like(logits).scatter_(-1, index, top * (1e-4 / (logits.shape[0] * logits.shape[1])))
        return grad, extra


def token_shift(x, *mixes):
    """For each mix m [1, 1, C]: x m + previous (1 - m), where previous is the row before, zeros before the first. x [B, T, C].

    Written as previous + (x - previous) m with the difference shared: 40 % less time than the plain form, forward and backward.
    """
    previous = F.pad(x, (0, 0, 1, -1))
    difference = x - previous
    return (torch.addcmul(previous, difference, m) for m in mixes)


class TimeMixing(nn.Module):
    def __init__(self, channels, layer, layers, wkv):
        super().__init__()
        self.wkv = wkv
        depth = layer / max(layers - 1, 1)
        rest = 1 - layer / layers
        h = torch.arange(channels, dtype=torch.float32)
        self.time_decay = nn.Parameter(-5 + 8 * (h / max(channels - 1, 1)) ** (0.7 + 1.3 * depth))
        self.time_first = nn.Parameter(math.log(0.3) + 0.5 * ((h + 1) % 3 - 1))
        mix = (h / channels)[None, None]
        self.time_mix_k = nn.Parameter(mix**rest)
        self.time_mix_v = nn.Parameter(mix**rest + 0.3 * depth)
        self.time_mix_r = nn.Parameter(mix ** (0.5 * rest))
        self.key, self.value, self.receptance, self.output = (nn.Linear(channels, channels, bias=False) for _ in range(4))

    def forward(self, x):
        xk, xv, xr = token_shift(x, self.time_mix_k, self.time_mix_v, self.time_mix_r)
        k, v, r = self.key(xk), self.value(xv), torch.sigmoid(self.receptance(xr))
        return self.output(r * self.wkv(-self.time_decay.exp(), self.time_first, k, v))


class ChannelMixing(nn.Module):
    def __init__(self, channels, hidden, layer, layers):
        super().__init__()
        mix = ((torch.arange(channels, dtype=torch.float32) / channels) ** (1 - layer / layers))[None, None]
        self.time_mix_k = nn.Parameter(mix.clone())
        self.time_mix_r = nn.Parameter(mix.clone())
        self.key = nn.Linear(channels, hidden, bias=False)
        self.value = nn.Linear(hidden, channels, bias=False)
        self.receptance = nn.Linear(channels, channels, bias=False)

    def forward(self, x):
        xk, xr = token_shift(x, self.time_mix_k, self.time_mix_r)
        k = torch.relu(self.key(xk))
        return torch.sigmoid(self.receptance(xr)) * self.value(k * k)


class Block(nn.Module):
    def __init__(self, channels, hidden, layer, layers, eps, wkv):
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(channels, eps)
        self.ln1, self.ln2 = nn.LayerNorm(channels, eps), nn.LayerNorm(channels, eps)
        self.att = TimeMixing(channels, layer, layers, wkv)
        self.ffn = ChannelMixing(channels, hidden, layer, layers)

    def forward(self, x):
        if hasattr(self, "ln0"):
            x = self.ln0(x)
        x = x + self.att(self.ln1(x))
        return x + self.ffn(self.ln2(x))


class Rwkv4(nn.Module):
    """wkv(w, u, k, v): the compiled operation, or anything else of its signature."""

    def __init__(self, vocab, channels, layers, hidden=None, eps=1e-5, wkv=Wkv.apply, init=True):
        super().__init__()
        hidden = hidden or 4 * channels
        self.emb = nn.Embedding(vocab, channels)
        self.blocks = nn.ModuleList(Block(channels, hidden, i, layers, eps, wkv) for i in range(layers))
        self.ln_out = nn.LayerNorm(channels, eps)
        self.head = nn.Linear(channels, vocab, bias=False)
        if init:
            self.init_published()

    @torch.no_grad()
    def init_published(self):
        """RWKV-4's published initialisation: zeros where a branch must start silent, orthogonal elsewhere."""
        nn.init.uniform_(self.emb.weight, -1e-4, 1e-4)
        for name, p in self.named_parameters():
            if p.dim() != 2 or name == "emb.weight":
                continue
            zero = ("att.key", "att.receptance", "att.output", "ffn.value", "ffn.receptance")
            if any(part in name for part in zero):
                nn.init.zeros_(p)
            else:
                gain = math.sqrt(p.shape[0] / p.shape[1]) if p.shape[0] > p.shape[1] else 1.0
                nn.init.orthogonal_(p, gain * (0.5 if name == "head.weight" else 1.0))

    def forward(self, tokens):
        """tokens [B, T] -> logits [B, T, V]."""
        x = self.emb(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_out(x))


def read_safetensors(path):
    """{name: f32 tensor} of a safetensors file: u64 length of a JSON header, the header, raw data."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            raise SystemExit(f"{path}: {name} is {entry['dtype']}; this reader takes F32")
        begin, end = (8 + length + o for o in entry["data_offsets"])
        tensors[name] = torch.from_numpy(np.frombuffer(raw[begin:end], "<f4").copy()).reshape(entry["shape"])
    return tensors


def write_safetensors(path, tensors):
    """The reverse of read_safetensors: F32 tensors in the order given."""
    header, offset, data = {}, 0, []
    for name, tensor in tensors.items():
        blob = tensor.detach().numpy().astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        data.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def load_checkpoint(path, wkv=Wkv.apply):
    """The model of a checkpoint folder (its model.safetensors) or of a safetensors file; sizes come from the shapes."""
    path = Path(path)
    tensors = read_safetensors(path / "model.safetensors" if path.is_dir() else path)
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    vocab, channels = tensors["emb.weight"].shape
    hidden = tensors["blocks.0.ffn.key.weight"].shape[0]
    model = Rwkv4(vocab, channels, layers, hidden, wkv=wkv, init=False)
    model.load_state_dict({n: t.reshape(model.get_parameter(n).shape) for n, t in tensors.items()}, strict=True)
    return model
