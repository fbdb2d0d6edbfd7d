"""The Python package `tokenizers` on the texts and the tokenizer of `cargo run --release -p ptbr-tokenizer --example tokenizer_speed`, by hand:

    pip install tokenizers==0.23.3
    python tests/peers/tokenizers_bench.py [--vocab-size 32000] FILES...

Give both programs the same files, in the same order: the two SHA-256 of the ids must be equal. Training uses all threads; encoding one, with a cold
cache, every file once.
"""

import argparse
import array
import hashlib
import json
import os
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[SEP]"]


def train(texts, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL_TOKENS,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab-size", type=int, default=32000)
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    texts = []
    for path in arguments.files:
        with open(path, encoding="utf-8", newline="") as file:
            texts.append(file.read())
    size = sum(len(text.encode()) for text in texts)
    print(f"tokenizers {tokenizers.__version__}: {len(texts)} files, {size / 1e6:.2f} MB, vocabulary {arguments.vocab_size}")

    start = time.perf_counter()
    trained = train(texts, arguments.vocab_size)
    print(f"train   {time.perf_counter() - start:.3f} s")

    # Loaded anew, so that no cache is warm. Special tokens in text are text, as in ptbr-tokenizer.
    tokenizer = Tokenizer.from_str(trained.to_str())
    tokenizer.encode_special_tokens = True
    start = time.perf_counter()
    encodings = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    seconds = time.perf_counter() - start
    print(f"encode  {size / 1e6 / seconds:.2f} MB/s on one thread")

    digest = hashlib.sha256()
    count = 0
    for encoding in encodings:
        ids = array.array("H", encoding.ids)
        if sys.byteorder == "big":
            ids.byteswap()
        digest.update(ids.tobytes())
        count += len(ids)
    print(f"encode  {count} tokens, sha256 of the ids as little-endian u16: {digest.hexdigest()}")
    # The decoder's settings have no effect and cannot be chosen from Python; ptbr-tokenizer writes those of the pre-tokenizer.
    content = json.loads(trained.to_str())
    content["decoder"] = content["pre_tokenizer"]
    json_digest = hashlib.sha256(json.dumps(content, indent=2, ensure_ascii=False).encode()).hexdigest()
    print(f"train   sha256 of the tokenizer.json: {json_digest}")


if __name__ == "__main__":
    main()
