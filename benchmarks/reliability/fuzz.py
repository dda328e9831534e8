"""Mutated recipes, checkpoints and data files: does any bring a traceback, a deed outside, or the machine down?

    python benchmarks/reliability/fuzz.py [--recipes N] [--checkpoints N] [--resumes N] [--data N] [--seed N]

Recipes are shipped ones with bytes flipped, lines moved, cut or doubled, and values exchanged for hostile ones; each is
read as `hvdtrain validate` reads it. A checkpoint's files are mutated likewise, its manifest made to fit again as a
stranger would, and it is opened as `hvdtrain predict` opens it, or an update is trained from it. Data files of each
format are mutated and read as a recipe's data. Only a UserError may come of it, and of training also that weights are
no numbers. While that is done an audit hook notes files that are opened for writing
or changed outside the campaign's folder, programs, connections and unpickling; memory is limited to 4 GiB more, and
each input to 20 seconds. One line of benchmarks/results/reliability/fuzz.jsonl for each kind.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ledger import Ledger
from watch import Watch, limit_memory, outcome

HOSTILE = [
    *(b"1e999", b"-1", b"0", b"99999999999999999999", b"9" * 5000, b"1e-320", b".nan", b".inf", b"0o777"),
    *(b"0x7fffffffffffffff", b"0x" + b"f" * 5000, b"1_000_000_000_000"),
    *(b"null", b"[]", b"{}", b"true", b"''", b"a" * 70000),
    *(b"'../../../../tmp/x'", b"/etc/passwd", b"/dev/zero", b"/proc/self/mem", b"~root", b"https://example.invalid/x"),
    *(b"!!python/object/apply:os.system [id]", b"&a [*a]", b"*a", b"<<: *a", b"&a {b: &b [1, 2]}"),
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"'\\ud800'", b"%YAML 1.1", b"---", b"? : ?"),
    b"{name: gpt, d_model: 1048576, n_layers: 1048576, n_heads: 1}",
    b"{name: mlp, hidden_dims: [1000000000, 1000000000]}",
]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return content after one to four random changes."""
    for _ in range(draw.randint(1, 4)):
        content = draw.choice((_flip, _cut, _double, _swap_lines, _hostile, _insert))(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content or b" ")
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(content) + 1)
    return content[:begin] + content[begin + draw.randrange(1, 60) :]


def _double(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    index = draw.randrange(len(lines))
    return b"\n".join(lines[: index + 1] + lines[index:])


def _swap_lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.split(b"\n")
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _hostile(content: bytes, draw: random.Random) -> bytes:
    """Exchange what stands behind a colon or a comma."""
    places = [index for index, byte in enumerate(content) if byte in b":,"]
    if not places:
        return content + draw.choice(HOSTILE)
    begin = draw.choice(places) + 1
    ends = [index for index in range(begin, min(len(content), begin + 200)) if content[index] in b",}\n"]
    return content[:begin] + b" " + draw.choice(HOSTILE) + content[ends[0] if ends else begin :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(HOSTILE) + content[place:]


Case = Callable[[], object]
SMALL = (
    "data={name: text, max_seq_len: 16}",
    "tokenizer={name: bpe, vocab_size: 300}",
    "model={d_model: 16, n_layers: 1, n_heads: 2}",
    "train.micro_batch_size=2",
    "train.global_batch_size=2",
    "train.eval_samples=4",
    "train.plots=false",
    "lr_scheduler={name: constant, warmup_steps: 0}",
)


def recipes(folder: Path, draw: random.Random) -> Iterator[Case]:
    """Yield the reading of a mutated recipe, each time another."""
    from hvdtrain.recipe import load, locate, shipped

    originals = [locate(name).read_bytes() for name in shipped()]
    file = folder / "recipe.yaml"
    while True:
        file.write_bytes(mutated(draw.choice(originals), draw))
        yield lambda: load(file)


def checkpoints(folder: Path, draw: random.Random) -> Iterator[Case]:
    """Yield the opening of a mutated checkpoint whose manifest fits."""
    from hvdtrain.cli.train import train
    from hvdtrain.train.opening import open_trained

    corpus = folder / "corpus.txt"
    corpus.write_text(" ".join(f"word{number % 97}" for number in range(5000)))
    changes = [*SMALL, f"output_dir={folder / 'run'}", f"data.paths=[{corpus}]", "train.max_steps=2"]
    _quietly(train, "gpt-shakespeare", changes, "never")
    original, place = folder / "run" / "checkpoints" / "step-2", folder / "step-2"
    files = sorted(path.name for path in original.iterdir())
    while True:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(original, place)
        victim = place / draw.choice(files)
        victim.write_bytes(mutated(victim.read_bytes(), draw))
        if victim.name != "manifest.json":
            manifest = json.loads((place / "manifest.json").read_text())
            manifest["files"][victim.name] = hashlib.sha256(victim.read_bytes()).hexdigest()
            (place / "manifest.json").write_text(json.dumps(manifest))
        yield lambda: open_trained(place)


def resumes(folder: Path, draw: random.Random) -> Iterator[Case]:
    """Yield one more update from a mutated checkpoint whose manifest fits."""
    from hvdtrain.cli.train import train

    opened = checkpoints(folder, draw)
    while True:
        next(opened)
        shutil.rmtree(folder / "resumed", ignore_errors=True)
        changes = [*SMALL, f"output_dir={folder / 'resumed'}", f"data.paths=[{folder / 'corpus.txt'}]"]
        yield partial(_quietly, train, "gpt-shakespeare", [*changes, "train.max_steps=3"], str(folder / "step-2"))


def _quietly(train: Callable[..., None], recipe: str, changes: list[str], resume: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        train(recipe, changes, resume, True)


def data_files(folder: Path, draw: random.Random) -> Iterator[Case]:
    """Yield the reading of a mutated data file of some format, without the cache's help."""
    from hvdtrain.recipe import load
    from hvdtrain.train.assemble import prepare_for

    originals = _formats(folder / "originals")
    os.environ["HVDTRAIN_CACHE"] = str(folder / "cache")
    while True:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        source, name, own = draw.choice(originals)
        victim = folder / f"mutated{source.suffix}"
        victim.write_bytes(mutated(source.read_bytes(), draw))
        changes = [change.replace("PATH", str(victim)) for change in (*own, "data.val_fraction=0.2")]
        yield partial(lambda name, changes: prepare_for(load(name, changes).recipe), name, changes)


def _formats(folder: Path) -> list[tuple[Path, str, tuple[str, ...]]]:
    """Write a small good file of each format; return it with a recipe, and what makes that read it."""
    import numpy as np

    folder.mkdir()
    rows = np.random.default_rng(0)
    inputs, labels = rows.normal(size=(40, 3)), rows.integers(0, 2, 40)
    lines = [f"{a:.3f},{b:.3f},{c:.3f},{y}\n" for (a, b, c), y in zip(inputs, labels, strict=True)]
    (folder / "x.csv").write_text("a,b,c,y\n" + "".join(lines))
    texts = [json.dumps({"text": f"word {y} " * 5, "label": int(y)}) + "\n" for y in labels]
    (folder / "x.jsonl").write_text("".join(texts))
    (folder / "x.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    np.savez(folder / "x.npz", x=inputs, y=labels)
    np.save(folder / "x.npy", rows.integers(0, 255, 4000).astype(np.uint16))
    small = ("train.micro_batch_size=2", "train.global_batch_size=4", "data.partition={name: random}")
    return [
        (folder / "x.csv", "mlp-binary", ("data={name: csv, paths: [PATH], target: y}", *small)),
        (folder / "x.npz", "mlp-binary", ("data={name: npz, paths: [PATH], target: y}", *small)),
        (folder / "x.jsonl", "sentiment-lstm", ("data={name: jsonl, paths: [PATH], text: text, target: label}",)),
        (folder / "x.txt", "gpt-shakespeare", ("data={name: text, paths: [PATH]}", "tokenizer={name: bytes}")),
        (folder / "x.npy", "gpt-shakespeare", ("data={name: tokens, paths: [PATH]}", "tokenizer=null")),
    ]


KINDS = {"recipes": recipes, "checkpoints": checkpoints, "resumes": resumes, "data": data_files}


def campaign(kind: str, count: int, seed: int) -> None:
    """Try so many inputs of a kind, and append what came of them."""
    from hvdtrain.errors import HvdtrainError, UserError

    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        cases = KINDS[kind](folder, draw)
        watch, outcomes, wrong, deeds, longest = Watch(folder), Counter[str](), Counter[str](), Counter[str](), 0.0
        first = next(cases)  # what is made before the first input may do as it likes
        limit_memory(4 * 2**30)
        for number in range(count):
            case = first if number == 0 else next(cases)
            began = time.perf_counter()
            with watch.ing(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = outcome(case, HvdtrainError if kind == "resumes" else UserError, 20.0)
            longest = max(longest, time.perf_counter() - began)
            deeds.update(watch.deeds)
            outcomes[said if said in ("fine", "refused") else "wrong"] += 1
            if said not in ("fine", "refused"):
                wrong[said] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = {"tried": count, "seed": seed, "outcomes": dict(outcomes), "wrong": dict(wrong.most_common(20))}
    Ledger("fuzz").add(kind=kind, **facts, deeds=dict(deeds), longest_seconds=round(longest, 2), peak_bytes=peak)
    print(f"{kind}: {dict(outcomes)}; wrong {dict(wrong.most_common(10))}; deeds {dict(deeds)}")
    print(f"    longest {longest:.2f} s, most memory {peak / 2**20:.0f} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=100_000)
    parser.add_argument("--checkpoints", type=int, default=5_000)
    parser.add_argument("--resumes", type=int, default=1_000)
    parser.add_argument("--data", type=int, default=5_000)
    parser.add_argument("--seed", type=int, help="left out: another than any campaign before")
    asked = parser.parse_args()
    if asked.seed is None:
        asked.seed = len(Ledger("fuzz").trials)
    for kind in KINDS:
        count = getattr(asked, kind)
        if count and os.fork() == 0:  # its memory's limit and its audit hook stay with it
            campaign(kind, count, asked.seed)
            os._exit(0)
        if count and (status := os.waitstatus_to_exitcode(os.wait()[1])):
            Ledger("fuzz").add(kind=kind, tried=count, seed=asked.seed, wrong={f"the process ended with {status}": 1})
            print(f"{kind}: the process ended with {status}")


if __name__ == "__main__":
    main()
