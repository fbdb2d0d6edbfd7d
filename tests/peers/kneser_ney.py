#!/usr/bin/python3
"""Interpolated modified Kneser-Ney language model over token ids: the count-based model that a trained one must beat.

Install (Debian 12): apt-get install python3-numpy

    /usr/bin/python3 kneser_ney.py TRAIN.bin HELDOUT.bin --tokenizer tokenizer.json [--order 4] [--offset 256] [--json]
    /usr/bin/python3 kneser_ney.py --check

Measures loss, perplexity and bits per byte of HELDOUT under a model counted on TRAIN. Both are our token files
(256-byte header, then little-endian u16; --offset 0 for headerless ones). The tokenizer gives the length in bytes of every token;
special tokens count 0 bytes, but what it costs to predict them counts. Every token but the file's first is predicted, as in
`ptbr-slm evaluate`; contexts run on across documents (their separators are tokens of the context), and the first tokens of the file
use the context there is.

The model (Chen and Goodman 1998, section 3): with c the raw counts at the highest order and, below it, the number of distinct
tokens seen before the n-gram,
    p(w | h) = max(c(hw) - D(c(hw)), 0) / c(h.)  +  (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / c(h.) * p(w | h without its first token)
and the uniform distribution 1/V below the single tokens. Per order, from n_i, the number of n-grams with count i:
    Y = n1 / (n1 + 2 n2),  D1 = 1 - 2 Y n2/n1,  D2 = 2 - 3 Y n3/n2,  D3+ = 3 - 4 Y n4/n3
(where a toy corpus leaves an n_i at zero or a D_i outside 0 to i, the single discount Y, or 0.5 without one, stands for all three;
`discounts` in the output shows which were used). No count is cut off.
"""
import argparse
import json
import math
import sys

import numpy as np

BITS = 16  # an id is a u16, so four of them pack into one u64, the last token lowest


def ngrams(tokens, order):
    """Packed n-grams, one for every position where `order` tokens are present."""
    keys = np.zeros(len(tokens) - order + 1, np.uint64)
    for i in range(order):
        keys = (keys << np.uint64(BITS)) | tokens[i : len(tokens) - order + 1 + i].astype(np.uint64)
    return keys


def discounts(n1, n2, n3, n4):
    """D1, D2, D3+ from the number of n-grams with count 1, 2, 3 and 4."""
    y = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    if min(n1, n2, n3, n4) > 0:
        modified = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 <= d <= i for i, d in enumerate(modified, 1)):
            return modified
    return (y, y, y)


class Level:
    """One order: counts by n-gram; total count and interpolation weight by context."""

    def __init__(self, keys, counts):
        self.keys, self.counts = keys, counts.astype(np.float64)
        self.discounts = discounts(*(int((counts == i).sum()) for i in (1, 2, 3, 4)))
        table = np.array([0.0, *self.discounts])
        self.discounted = self.counts - table[np.minimum(counts, 3)]
        self.contexts, start = np.unique(keys >> np.uint64(BITS), return_index=True)
        self.totals = np.add.reduceat(self.counts, start)
        self.backoff = 1 - np.add.reduceat(self.discounted, start) / self.totals

    def probability(self, contexts, words, lower):
        """p(word | context) of each pair, given p(word | shorter context)."""
        place = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        known = self.contexts[place] == contexts
        keys = (contexts << np.uint64(BITS)) | words
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        mass = np.where(self.keys[at] == keys, self.discounted[at], 0.0)
        return np.where(known, mass / self.totals[place] + self.backoff[place] * lower, lower)


class KneserNey:
    def __init__(self, tokens, vocab_size, order):
        if not 1 <= order <= 4:
            raise SystemExit("--order must be 1 to 4: four 16-bit ids fill a 64-bit key")
        if len(tokens) < order:
            raise SystemExit(f"the training file holds {len(tokens)} tokens: too few for order {order}")
        self.vocab_size, self.order = vocab_size, order
        keys, counts = np.unique(ngrams(tokens, order), return_counts=True)
        self.levels = [Level(keys, counts)]
        for n in range(order - 1, 0, -1):
            # each distinct (n+1)-gram is one distinct left neighbour of the n-gram that ends it
            keys, counts = np.unique(keys & np.uint64((1 << (BITS * n)) - 1), return_counts=True)
            self.levels.insert(0, Level(keys, counts))

    def probability(self, contexts, words):
        """p of each word after its context: contexts packed, at most order-1 tokens long each, given as (packed, length)."""
        packed, lengths = contexts
        p = np.full(len(words), 1 / self.vocab_size)
        for n, level in enumerate(self.levels):
            context = packed & np.uint64((1 << (BITS * n)) - 1)
            p = np.where(lengths >= n, level.probability(context, words, p), p)
        return p

    def stream(self, tokens):
        """p of tokens[1:], each after the tokens before it."""
        tokens = tokens.astype(np.uint64)
        packed = np.zeros(len(tokens) - 1, np.uint64)
        for back in range(1, self.order):
            packed[back - 1 :] |= tokens[: len(tokens) - back] << np.uint64(BITS * (back - 1))
        lengths = np.minimum(np.arange(1, len(tokens)), self.order - 1)
        return self.probability((packed, lengths), tokens[1:])


def token_bytes(path):
    """Length in bytes of every id; a byte-level vocabulary spells each byte as one character. Special tokens count 0."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    vocab = data["model"]["vocab"]
    added = {t["id"]: t for t in data.get("added_tokens", [])}
    lengths = np.zeros(1 + max([*vocab.values(), *added]), np.int64)
    for text, token in vocab.items():
        lengths[token] = len(text)
    for token, entry in added.items():
        lengths[token] = 0 if entry["special"] else len(entry["content"].encode())
    return lengths


def check():
    rng = np.random.default_rng()
    for vocab, count in ((5, 60), (37, 5000), (300, 20000)):
        # a skewed Markov source, so that every count from 1 up occurs and many contexts do not
        tokens = (rng.zipf(1.4, count) + np.arange(count) // 3 % 2).clip(1, vocab) - 1
        tokens = tokens.astype(np.uint64)
        for order in (1, 2, 3, 4):
            model = KneserNey(tokens, vocab, order)
            words = np.arange(vocab, dtype=np.uint64)
            contexts = [tokens[i : i + order - 1] for i in rng.integers(0, count - 4, 30)]
            contexts += [rng.integers(0, vocab, rng.integers(0, order), dtype=np.uint64) for _ in range(30)]
            worst, lowest = 0.0, 1.0
            for context in contexts:
                packed = 0
                for token in context:
                    packed = packed << BITS | int(token)
                p = model.probability((np.full(vocab, packed, np.uint64), np.full(vocab, len(context))), words)
                worst, lowest = max(worst, abs(p.sum() - 1)), min(lowest, p.min())
            assert worst < 1e-12 and lowest >= 0, (vocab, order, worst, lowest)
            # the vectorised stream against one token at a time, from the definition
            text = rng.integers(0, vocab, 40).astype(np.uint64)
            text[10:30] = tokens[100:120] if count > 200 else tokens[10:30]
            definition = naive(tokens.tolist(), vocab, order)
            slow = [definition(text[max(0, i - order + 1) : i].tolist(), int(text[i])) for i in range(1, 40)]
            assert np.allclose(model.stream(text), slow, rtol=1e-10), (vocab, order)
            print(f"vocabulary {vocab}, order {order}: sums to 1 within {worst:.0e} over {len(contexts)} contexts, equals the definition")
    print("ok")


def naive(tokens, vocab, order):
    """The docstring's formulas in dictionaries, nothing but the discounts shared with the code above: returns p(context, word)."""
    grams, levels = {}, {}
    for i in range(len(tokens) - order + 1):
        gram = tuple(tokens[i : i + order])
        grams[gram] = grams.get(gram, 0) + 1
    for n in range(order, 0, -1):
        d = [0, *discounts(*(sum(c == i for c in grams.values()) for i in (1, 2, 3, 4)))]
        followers, shorter = {}, {}
        for gram, c in grams.items():
            followers.setdefault(gram[:-1], {})[gram[-1]] = c
            shorter[gram[1:]] = shorter.get(gram[1:], 0) + 1
        levels[n] = (followers, d)
        grams = shorter

    def p(context, word):
        n = len(context) + 1
        followers, d = levels[n]
        lower = p(context[1:], word) if n > 1 else 1 / vocab
        seen = followers.get(tuple(context))
        if seen is None:
            return lower
        count = seen.get(word, 0)
        left = sum(d[min(c, 3)] for c in seen.values())
        return (count - d[min(count, 3)] + left * lower) / sum(seen.values())

    return p


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("train", nargs="?")
    a.add_argument("heldout", nargs="?")
    a.add_argument("--tokenizer")
    a.add_argument("--order", type=int, default=4)
    a.add_argument("--offset", type=int, default=256, help="bytes of header before the tokens")
    a.add_argument("--json", action="store_true")
    a.add_argument("--check", action="store_true")
    args = a.parse_args()
    if args.check:
        return check()
    if not (args.train and args.heldout and args.tokenizer):
        a.error("TRAIN, HELDOUT and --tokenizer are needed (or --check)")
    train, heldout = (np.fromfile(path, "<u2", offset=args.offset) for path in (args.train, args.heldout))
    lengths = token_bytes(args.tokenizer)
    top = int(max(train.max(), heldout.max()))
    if top >= len(lengths):
        sys.exit(f"a token file holds id {top}, the tokenizer has {len(lengths)} ids: wrong tokenizer or wrong --offset")
    model = KneserNey(train, len(lengths), args.order)
    nats = -np.log(model.stream(heldout)).sum()
    size = int(lengths[heldout[1:]].sum())
    tokens = len(heldout) - 1
    result = {
        "model": f"interpolated modified Kneser-Ney, order {args.order}", "vocab_size": len(lengths), "train_tokens": len(train),
        "tokens": tokens, "bytes": size, "loss": nats / tokens, "perplexity": math.exp(nats / tokens),
        "bits_per_byte": nats / math.log(2) / size, "ngrams": [len(level.keys) for level in model.levels],
        "discounts": [[round(d, 4) for d in level.discounts] for level in model.levels],
    }
    print(json.dumps(result) if args.json else "\n".join(f"{k:14} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
