#!/usr/bin/env python3
"""Our adapter folder in the PEFT package, on top of transformers' RwkvForCausalLM with our weights: the same logits as ours?

    peft_adapter.py --model run/step-001400/model.safetensors --config run/step-001400/config.json --adapter run/adapters/legal \\
        --tokens 5,17,42 --ours ours.json [--plain plain.json] [--save FOLDER]

`ours.json` is what `ptbr-slm logits --model run --adapter legal --tokens 5,17,42 --json` printed, `plain.json` the same without `--adapter`.
`--save` has PEFT write the adapter again, for `ptbr-slm logits --adapter FOLDER`. Exit status 1 where logits are further apart than 1e-4 of
the largest.
"""
import argparse
import json
import re
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import RwkvConfig, RwkvForCausalLM

TOLERANCE = 1e-4

# Official names to those of transformers, in this order.
NAMES = [
    (r"^emb\.", "rwkv.embeddings."),
    (r"^ln_out\.", "rwkv.ln_out."),
    (r"^blocks\.", "rwkv.blocks."),
    (r"\.ln0\.", ".pre_ln."),
    (r"\.att\.", ".attention."),
    (r"\.ffn\.", ".feed_forward."),
    (r"time_mix_k$", "time_mix_key"),
    (r"time_mix_v$", "time_mix_value"),
    (r"time_mix_r$", "time_mix_receptance"),
]


def build(weights_path, config_path):
    """The model in transformers, every weight of it ours."""
    with open(config_path, encoding="utf-8") as file:
        sizes = json.load(file)
    config = RwkvConfig(
        vocab_size=sizes["vocab_size"],
        context_length=sizes["max_seq_len"],
        hidden_size=sizes["d_model"],
        num_hidden_layers=sizes["n_layers"],
        attention_hidden_size=sizes["d_model"],
        intermediate_size=sizes["d_ffn"],
        layer_norm_epsilon=1e-5,
        # Its way to keep half precision in range; in f32 it only changes the weights while they are in use.
        rescale_every=0,
        tie_word_embeddings=False,
    )
    model = RwkvForCausalLM(config).eval()
    renamed = {}
    for name, tensor in load_file(weights_path).items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    expected = model.state_dict()
    for name, tensor in renamed.items():
        renamed[name] = tensor.reshape(expected[name].shape)
    model.load_state_dict(renamed, strict=True)
    return model


def last_logits(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0, -1].double()


def compare(what, theirs, path):
    """Prints how far apart they are; whether that is within the tolerance."""
    with open(path, encoding="utf-8") as file:
        ours = torch.tensor(json.load(file)["logits"], dtype=torch.float64)
    apart = (theirs - ours).abs().max().item()
    largest = ours.abs().max().item()
    print(f"{what}: {len(ours)} logits, largest {largest:.4f}, furthest apart {apart:.2e}, {apart / largest:.2e} of the largest")
    return apart <= TOLERANCE * largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model.safetensors of a checkpoint, f32")
    parser.add_argument("--config", required=True, help="config.json beside it")
    parser.add_argument("--adapter", required=True, help="an adapter folder")
    parser.add_argument("--tokens", required=True, help="ids with commas between them")
    parser.add_argument("--ours", required=True, help="our logits with the adapter")
    parser.add_argument("--plain", help="our logits without it")
    parser.add_argument("--save", help="where PEFT is to write the adapter")
    args = parser.parse_args()
    tokens = [int(token) for token in args.tokens.split(",")]

    model = build(args.model, args.config)
    good = True
    before = last_logits(model, tokens)
    if args.plain:
        good &= compare("without the adapter", before, args.plain)
    adapted = PeftModel.from_pretrained(model, args.adapter)
    after = last_logits(adapted, tokens)
    layers = [name for name, _ in adapted.named_modules() if name.endswith("lora_A")]
    print(f"PEFT put the adapter on {len(layers)} matrices; it moves the logits by up to {(after - before).abs().max().item():.4f}")
    good &= compare("with the adapter", after, args.ours)
    if args.save:
        adapted.save_pretrained(args.save)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
