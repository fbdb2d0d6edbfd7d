#!/usr/bin/env python3
"""Cleaners side by side on the same dumps and on the golden pages: ptbr-slm, wikiextractor, mwparserfromhell's strip_code.

    python3 tests/peers/clean_wiki.py run --ptbr-slm target/release/ptbr-slm --work DIR DUMP…
    python3 tests/peers/clean_wiki.py golden --ptbr-slm target/release/ptbr-slm --work DIR
    python3 tests/peers/clean_wiki.py differ --work DIR --seed 7 --draw 100

`run` cleans each dump with each cleaner in a process of its own and prints the table: residue per 1,000 words, prose kept, MB/s, peak memory.
`golden` makes a dump of tests/corpus and counts the numbers that the expected text has and a cleaner's output lacks. `differ`, after `run`,
compares sentences with those of mwparserfromhell and writes those that one keeps and the other loses; a sample drawn by seed is printed.
Needs: pip install wikiextractor mwparserfromhell.
"""

import argparse
import bz2
import collections
import glob
import html
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
import unicodedata
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "..", "corpus")
CLEANERS = ["ptbr-slm", "wikiextractor", "mwparserfromhell"]

# What no clean text should hold. Kept apart from crates/corpus/src/residue.rs on purpose: a second opinion.
RESIDUE = [
    re.compile(p)
    for p in [
        r"\{\{|\}\}",
        r"\[\[|\]\]",
        r"\{\||\|\}",
        r"</?ref",
        r"\|\s*(?:thumb|miniatura|left|right|upright)",
        r"__[^\W\d_a-z]{2,}__",
        r"&(?:nbsp|ndash|mdash|amp|lt|gt|quot|#\d+);",
        r"''+",
        r"<!--|-->",
        r"</?(?:br|span|div|small|center|sup|sub|font|nowiki|gallery|math|blockquote|td|tr|table|poem)\b[^<>]*>",
        r"(?<![\w\])>])\([\s,;:]*\)",
        r"\b(?:formula|codice)_\d+",
        r"(?:colspan|rowspan|bgcolor|cellpadding|style)\s*=",
        r"(?<=[a-zà-ÿ]{3})[.,;!?](?=[A-ZÀ-Ý][a-zà-ÿ])",
    ]
]


def pages(path):
    """Articles of a dump as (title, wikitext): namespace 0, no redirects."""
    stream = bz2.open(path) if path.endswith(".bz2") else open(path, "rb")
    title = text = ns = None
    redirect = False
    try:
        for event, element in ElementTree.iterparse(stream, events=("start", "end")):
            tag = element.tag.rsplit("}", 1)[-1]
            if event == "start":
                if tag == "page":
                    title = text = ns = None
                    redirect = False
                continue
            if tag == "title":
                title = element.text or ""
            elif tag == "ns":
                ns = element.text
            elif tag == "redirect":
                redirect = True
            elif tag == "text":
                text = element.text or ""
            elif tag == "page":
                head = (text or "").lstrip().lower()
                if ns in (None, "0") and not redirect and not head.startswith(("#redir", "#pārvi", "#пренас", "#виж")):
                    yield title, text or ""
                element.clear()
    except ElementTree.ParseError as error:
        print(f"note: {path} ends early: {error}", file=sys.stderr)


def strip_code(dump, output):
    """The peer's process: mwparserfromhell on every page."""
    import mwparserfromhell

    with open(output, "w", encoding="utf-8") as out:
        for title, text in pages(dump):
            clean = mwparserfromhell.parse(text).strip_code()
            out.write(json.dumps({"title": title, "text": clean}, ensure_ascii=False) + "\n")


def command(cleaner, args, dump, folder):
    if cleaner == "ptbr-slm":
        return [args.ptbr_slm, "process-wiki", "--input", dump, "--output", folder, "--min-chars", "0", "--threads", "1"]
    if cleaner == "wikiextractor":
        return ["wikiextractor", "--json", "--processes", "1", "--output", folder, dump]
    return [sys.executable, os.path.abspath(__file__), "strip", dump, os.path.join(folder, "out.jsonl")]


def documents(folder):
    texts = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*"), recursive=True)):
        if os.path.isfile(path) and not path.endswith((".json", ".log")):
            for line in open(path, encoding="utf-8"):
                try:
                    page = json.loads(line)
                except json.JSONDecodeError:
                    continue
                texts[page["title"]] = page["text"]
    return texts


def run_one(cleaner, args, dump, folder):
    """Seconds (of processor) and peak memory of one cleaner on one dump."""
    os.makedirs(folder, exist_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.time()
    result = subprocess.run(
        ["/usr/bin/env", "python3", "-c", PEAK, *command(cleaner, args, dump, folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wall = time.time() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = next((int(line.split()[1]) for line in result.stderr.splitlines() if line.startswith("PEAK ")), 0)
    if result.returncode not in (0, 2):
        print(result.stderr[-2000:], file=sys.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used, peak / 1024


# Runs a command and tells the largest resident set among it and its children, KiB.
PEAK = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print("PEAK", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def words(text):
    return re.findall(r"\w+", text)


def residue(text):
    return sum(len(p.findall(text)) for p in RESIDUE)


def normal(sentence):
    """A sentence for comparing: words and numbers only."""
    return " ".join(words(unicodedata.normalize("NFKC", html.unescape(sentence)).lower()))


def fours(text):
    """Runs of four words."""
    split = text.split()
    return [" ".join(split[n : n + 4]) for n in range(len(split) - 3)]


HOLE = " zzholezz "


def rendered_words(wikitext):
    """The words of a page in their order, with a mark where a template or a formula stood: what a sentence without one must be found in."""
    text = re.sub(r"<!--.*?-->", "", wikitext, flags=re.S)
    text = re.sub(r"<ref[^<>]*/>|<ref[^<>]*>.*?</ref>", "", text, flags=re.S | re.I)
    text = re.sub(r"<(math|chem|gallery|timeline|score)\b.*?</\1>", HOLE, text, flags=re.S | re.I)
    for _ in range(8):
        text, n = re.subn(r"\{\{[^{}]*\}\}", HOLE, text)
        if n == 0:
            break
    text = re.sub(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?://\S+ ?([^\[\]]*)\]", r"\1", text)
    text = re.sub(r"</?[a-z][^<>]*>", "", text, flags=re.I).replace("''", "")
    return normal(html.unescape(text).replace("''", ""))


def sentences(text):
    for line in text.splitlines():
        for part in re.split(r"(?<=[.!?…])[\"”»')\]]*\s+(?=[^\W\d_a-z]|\d)", line):
            if len(words(part)) >= 6:
                yield part.strip()


def xml_size(path):
    if path.endswith(".bz2"):
        return sum(len(block) for block in iter(lambda f=bz2.open(path): f.read(1 << 20), b""))
    return os.path.getsize(path)


def run(args):
    total = collections.defaultdict(lambda: collections.Counter())
    size = 0
    for dump in args.dumps:
        size += xml_size(dump)
        name = os.path.basename(dump)
        for cleaner in CLEANERS:
            folder = os.path.join(args.work, cleaner, name)
            wall, used, peak = run_one(cleaner, args, dump, folder)
            t = total[cleaner]
            t["wall"] += wall
            t["used"] += used
            t["peak"] = max(t["peak"], peak)
    kept = {c: {} for c in CLEANERS}
    for cleaner in CLEANERS:
        for dump in args.dumps:
            kept[cleaner].update(documents(os.path.join(args.work, cleaner, os.path.basename(dump))))
    # Prose: sentences of six words and more, free of residue, that at least two of the cleaners agree on, in pages that all have, and inside of which
    # the wikitext has no template or formula: what only lacks one there is no prose, nor is
    # what announces one. Kept is one most of whose runs of four words are there.
    common = set.intersection(*(set(k) for k in kept.values()))
    found = {c: {} for c in CLEANERS}
    for cleaner in CLEANERS:
        for title in common:
            found[cleaner][title] = {normal(s) for s in sentences(kept[cleaner][title]) if residue(s) == 0 and not s.endswith(":")}
    source = {title: rendered_words(text) for dump in args.dumps for title, text in pages(dump) if title in common}
    agreed = 0
    hits = collections.Counter()
    for title in common:
        counts = collections.Counter(s for c in CLEANERS for s in found[c][title])
        runs = {c: set(fours(normal(kept[c][title]))) for c in CLEANERS}
        for sentence, n in counts.items():
            if n >= 2 and sentence in source.get(title, ""):
                agreed += 1
                own = fours(sentence)
                for c in CLEANERS:
                    hits[c] += sentence in found[c][title] or sum(run in runs[c] for run in own) >= 0.6 * len(own)
    print(f"{len(args.dumps)} dumps, {size / 1e6:.1f} MB of XML, {len(common)} articles that all three have, {agreed} sentences that two agree on\n")
    print("| cleaner | articles | words | residue per 1,000 words | prose kept | MB/s of XML, processor time | MB/s, wall | peak memory, MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for cleaner in CLEANERS:
        texts = [kept[cleaner][t] for t in common]
        count = sum(len(words(t)) for t in texts)
        left = sum(residue(t) for t in texts)
        t = total[cleaner]
        print(
            f"| {cleaner} | {len(kept[cleaner])} | {count} | {1000 * left / max(count, 1):.2f} | {100 * hits[cleaner] / max(agreed, 1):.1f} % "
            f"| {size / 1e6 / t['used']:.1f} | {size / 1e6 / t['wall']:.1f} | {t['peak']:.0f} |"
        )


def golden(args):
    """A dump of the golden pages, cleaned by all; numbers of the expected text that are missing, and pages that are as expected."""
    dump = os.path.join(args.work, "golden.xml")
    os.makedirs(args.work, exist_ok=True)
    expected = {}
    with open(dump, "w", encoding="utf-8") as out:
        out.write('<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="pt">\n')
        out.write(open(args.siteinfo, encoding="utf-8").read() if args.siteinfo else "<siteinfo>\n<base>https://pt.wikipedia.org/wiki/P</base>\n</siteinfo>\n")
        for n, path in enumerate(sorted(glob.glob(os.path.join(CORPUS, "*.wiki")))):
            title = os.path.basename(path)[:-5]
            expected[title] = open(path[:-5] + ".txt", encoding="utf-8").read()
            text = html.escape(open(path, encoding="utf-8").read(), quote=False)
            out.write(
                f"  <page>\n    <title>{title}</title>\n    <ns>0</ns>\n    <id>{n + 1}</id>\n    <revision>\n      <id>{n + 1}</id>\n"
                f"      <text xml:space=\"preserve\">{text}</text>\n    </revision>\n  </page>\n"
            )
        out.write("</mediawiki>\n")
    print("| cleaner | pages as expected | numbers lost | residue per 1,000 words | sentences kept |")
    print("|---|---|---|---|---|")
    number = re.compile(r"\d+(?:[.,:]\d+)*")
    for cleaner in CLEANERS:
        folder = os.path.join(args.work, cleaner, "golden")
        run_one(cleaner, args, dump, folder)
        texts = documents(folder)
        same = lost = all_numbers = kept = all_sentences = left = count = 0
        for title, text in expected.items():
            got = texts.get(title, "")
            same += got.strip() == text.strip()
            have = collections.Counter(number.findall(got))
            want = collections.Counter(number.findall(text))
            lost += sum((want - have).values())
            all_numbers += sum(want.values())
            mine = normal(got)
            for sentence in sentences(text):
                all_sentences += 1
                kept += normal(sentence) in mine
            left += residue(got)
            count += len(words(got))
        print(f"| {cleaner} | {same} of {len(expected)} | {lost} of {all_numbers} | {1000 * left / max(count, 1):.1f} | {100 * kept / all_sentences:.1f} % |")


def differ(args):
    """Sentences that ptbr-slm keeps and mwparserfromhell loses, and the other way round."""
    ours_only, theirs_only, both = [], [], 0
    for folder in sorted(glob.glob(os.path.join(args.work, "mwparserfromhell", "*"))):
        name = os.path.basename(folder)
        if name == "golden":
            continue
        ours, theirs = documents(os.path.join(args.work, "ptbr-slm", name)), documents(folder)
        for title in sorted(set(ours) & set(theirs)):
            a = {normal(s): s for s in sentences(ours[title])}
            b = {normal(s): s for s in sentences(theirs[title])}
            both += len(set(a) & set(b))
            ours_only += [(name, title, a[k]) for k in sorted(set(a) - set(b))]
            theirs_only += [(name, title, b[k]) for k in sorted(set(b) - set(a))]
    print(f"{both} sentences in both, {len(ours_only)} only in ptbr-slm, {len(theirs_only)} only in mwparserfromhell")
    rng = random.Random(args.seed)
    for label, found in [("ptbr-slm", ours_only), ("mwparserfromhell", theirs_only)]:
        print(f"\nonly {label}, drawn with seed {args.seed}:")
        for name, title, sentence in rng.sample(found, min(args.draw // 2, len(found))):
            print(f"- [{name[:12]}] {title}: {sentence[:300]}")


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "strip":
        return strip_code(sys.argv[2], sys.argv[3])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["run", "golden", "differ"])
    parser.add_argument("dumps", nargs="*")
    parser.add_argument("--ptbr-slm", default="target/release/ptbr-slm")
    parser.add_argument("--work", required=True)
    parser.add_argument("--siteinfo", help="a file with the <siteinfo> of ptwiki")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--draw", type=int, default=100)
    args = parser.parse_intermixed_args()
    {"run": run, "golden": golden, "differ": differ}[args.task](args)


if __name__ == "__main__":
    main()
