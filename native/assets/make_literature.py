#!/usr/bin/env python3
"""Makes literature.txt.bz2, the text sample inside the binary, from the literature folder of the data set.

    python3 make_literature.py PTBR_DATA/literature

A document is a chapter, a line is a paragraph, a blank line stands between documents. The sources are wrapped at the
width of a printed page, which a model would learn as if it were language; here the lines are joined again.
"""
import bz2
import re
import sys
import unicodedata
from pathlib import Path

ROMAN = re.compile(r"^(CAP[IÍ]TULO\s+)?(PRIMEIRO|[IVXLC]+)(\s*[/.–—-]\s*.*)?$")
CLITIC = re.compile(r"^(me|te|se|lhe|lhes|o|a|os|as|lo|la|los|las|no|na|nos|nas|vos)\b")
WORKS = [
    "machado_de_assis/romance/domCasmurro.txt",
    "machado_de_assis/romance/memoriasBras.txt",
    "jose_de_alencar/cinco_minutos.txt",
]


def chapters(lines):
    """Groups of lines, one group a chapter."""
    group = []
    for line in lines:
        if ROMAN.match(line) and len(line) < 80:
            if group:
                yield group
            group = []
        group.append(line)
    if group:
        yield group


def paragraphs(lines):
    """Joins wrapped lines: a paragraph ends at a short line that closes a sentence, or before a line of dialogue."""
    width = sorted(map(len, lines))[int(len(lines) * 0.9)] if lines else 0
    out = []
    previous = ""
    for line in lines:
        heading = line.isupper() or ROMAN.match(line)
        new = (
            not out
            or heading
            or previous.isupper()
            or line.startswith(("—", "--", "–"))
            or (len(previous) < width * 0.85 and previous.endswith((".", "!", "?", "...", "”", '"', ":", ";", ")")))
        )
        if new:
            out.append(line)
        elif out[-1].endswith("-") and line.startswith("-") and not line.startswith("--"):
            out[-1] += line[1:]
        elif re.search(r"\w-$", out[-1]) and line[:1].islower():
            out[-1] = out[-1] + line if CLITIC.match(line) else out[-1][:-1] + line
        else:
            out[-1] += " " + line
        previous = line
    return out


def main():
    root = Path(sys.argv[1])
    documents = []
    for work in WORKS:
        text = unicodedata.normalize("NFC", (root / work).read_text(encoding="utf-8"))
        text = text.replace("\f", "\n").replace("\ufeff", "")
        lines = [re.sub(r"\s+", " ", line).strip() for line in text.split("\n")]
        lines = [line for line in lines if line and not re.fullmatch(r"\d+", line)]
        for chapter in chapters(lines):
            body = [re.sub(r"^--\s*", "— ", p) for p in paragraphs(chapter)]
            body = [re.sub(r" ([;:!?,.])", r"\1", p) for p in body]
            if sum(map(len, body)) >= 200:
                documents.append("\n".join(body))
    data = ("\n\n".join(documents) + "\n").encode()
    (Path(__file__).parent / "literature.txt.bz2").write_bytes(bz2.compress(data, 9))
    print(f"{len(documents)} documents, {len(data)} bytes")


main()
