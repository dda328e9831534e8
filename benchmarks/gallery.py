"""The gallery: every recipe trained with two workers, its checkpoint measured on held-out data, the table rewritten.

    python benchmarks/gallery.py                       all recipes, one after the other
    python benchmarks/gallery.py cnn-digits mlp-sp500  these only; the others keep the results that they have
    python benchmarks/gallery.py --table               only the table, from the results that are there

Each recipe runs as `hvdtrain launch -np 2 RECIPE` and is measured by `hvdtrain evaluate`: on the test part where its
data has one, else on validation. Results are kept in benchmarks/results/gallery.json, each with its date and machine;
docs/gallery.md and its pictures are made of them and of nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "gallery.json"
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "gallery"
BEGIN, END = "<!-- made by benchmarks/gallery.py: begin -->", "<!-- end -->"

# In the order of the table.
RECIPES = (
    "mlp-binary",
    "mlp-breast-cancer",
    "mlp-regression",
    "mlp-sp500",
    "rnn-shakespeare",
    "lstm-shakespeare",
    "gpt-shakespeare",
    "gpt-chinese",
    "translation-en-es",
    "sentiment-lstm",
    "sentiment-transformer",
    "sentiment-chinese",
    "cnn-digits",
    "cnn-mnist",
    "cnn-fashion-mnist",
    "resnet-fashion-mnist",
    "gan-mnist",
    "ppo-cartpole",
    "dna-splice",
)
# The GAN is judged by a classifier, which is trained before it.
NEEDS = {"gan-mnist": "cnn-mnist"}
# What a checkpoint is measured with beyond its recipe.
EVALUATE: dict[str, tuple[str, ...]] = {
    "gan-mnist": ("task.classifier={runs}/cnn-mnist",),
    "translation-en-es": ("task.eval_beam_size=4",),
}
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help="recipes to run; all where none is given")
    parser.add_argument("--table", action="store_true", help="only rewrite the table")
    parser.add_argument(
        "--evaluate", action="store_true", help="measure the runs that are there anew, without training"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"), help="where the runs go")
    options = parser.parse_args()
    unknown = sorted(set(options.recipes) - set(RECIPES))
    if unknown:
        parser.error(f"no such recipe in the gallery: {', '.join(unknown)} (there are {', '.join(RECIPES)})")
    if not options.table:
        names = _ordered(options.recipes, options.runs)
        failed = [name for name in names if not _measured(name, options.runs, train=not options.evaluate)]
        if failed:
            raise SystemExit(f"failed: {', '.join(failed)}; the others are measured")
    write_page(_known())


def _ordered(wanted: list[str], runs: Path) -> list[str]:
    """Return the recipes to run; before one that is measured with another's run comes that other, where it has none."""
    names = wanted or list(RECIPES)
    missing = [NEEDS[name] for name in names if name in NEEDS and not (runs / NEEDS[name]).exists()]
    return list(dict.fromkeys([*missing, *names]))


def _measured(name: str, runs: Path, *, train: bool) -> bool:
    """Measure a recipe and keep the result; return whether it worked."""
    try:
        if train:
            print(f"{name}: training with {WORKERS} workers", flush=True)
            _hvdtrain("launch", "-np", str(WORKERS), "--resume", "never", name, f"output_dir={runs / name}")
        found = measure(name, runs)
    except subprocess.CalledProcessError as error:
        print(f"{name}: {' '.join(error.cmd)} failed:\n{error.stdout[-2000:]}\n{error.stderr[-2000:]}", flush=True)
        return False
    results = _known() | {name: found}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_page(results)
    return True


def measure(name: str, runs: Path) -> dict[str, Any]:
    """Evaluate what a run left; return the row of the table as facts."""
    output = runs / name
    extra = [change.format(runs=runs) for change in EVALUATE.get(name, ())]
    scored = json.loads(_hvdtrain("evaluate", str(output), *extra, "--json").splitlines()[-1])
    report = json.loads((output / "report.json").read_text())
    environment = json.loads((output / "environment.json").read_text())
    start, end = report["start"], report["end"]
    sample = _sample(output)
    print(f"{name}: {scored['metrics']}", flush=True)
    return {
        "date": datetime.date.today().isoformat(),
        "recipe": recipe_digest(name),
        "hardware": _hardware(environment),
        "training_seconds": round(end["elapsed"], 1),
        "parameters": start["parameters"],
        "workers": start["world_size"],
        "precision": start["precision"],
        "objective": start["objective"],
        "metrics": scored["metrics"],
        "part": scored["part"],
        "samples": scored["samples"],
        "references": scored["references"],
        "rate": round(end["tokens_per_second"], 1),
        "unit": start["unit"],
        "sample": sample,
        "pictures": _pictures(name, output),
    }


def recipe_digest(name: str) -> str:
    """Return what tells whether a recipe is still the one that was measured."""
    from hvdtrain.recipe import load

    said = load(name).recipe.model_dump(mode="json", exclude_defaults=True, exclude={"description"})
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def write_page(results: dict[str, Any]) -> None:
    """Put the table, and what there is to look at, between the marks of docs/gallery.md."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{_table(results)}\n\n{_shown(results)}{END}{after}")


def _table(results: dict[str, Any]) -> str:
    from hvdtrain.recipe import load
    from hvdtrain.report import format as fmt

    lines = [
        "| recipe | model | data | result on held-out data | to compare | time | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in RECIPES:
        found = results.get(name)
        recipe = load(name).recipe
        link = f"[{name}](../recipes/{name}.yaml)"
        if found is None:
            lines.append(f"| {link} | {recipe.model.name} | {recipe.data.name} | not measured | | | |")
            continue
        model = f"{recipe.model.name}, {fmt.quantity(found['parameters'])} parameters"
        lines.append(
            f"| {link} | {model} | {recipe.data.name} | {_result(found)} | {_marks(name, found)} | "
            f"{fmt.duration(found['training_seconds'])} | {found['date']}{_stale(name, found)} |"
        )
    machines = sorted({found["hardware"] for found in results.values()})
    if machines:
        measured = f"Measured on {'; '.join(machines)}; {WORKERS} workers, one run each."
        lines += ["", f"{measured} Time is the training's, with evaluations."]
    return "\n".join(lines)


def _stale(name: str, found: dict[str, Any]) -> str:
    return "" if found["recipe"] == recipe_digest(name) else ", and the recipe was changed since"


def _marks(name: str, found: dict[str, Any]) -> str:
    """Say what the result is held against: what the run knows, what benchmarks/references.py measured on the same
    split, and what benchmarks/translation_baseline.py did."""
    marks = {(metric, mark): value for metric, named in found["references"].items() for mark, value in named.items()}
    for file in ("references.json", "translation_baseline.json"):
        path = RESULTS.with_name(file)
        measured = json.loads(path.read_text()).get(name, {}) if path.exists() else {}
        for metric, named in measured.get("references", {}).items():
            marks |= {(metric, mark): value for mark, value in named.items()}
    for metric in found["metrics"]:
        if f"{metric}_real" in found["metrics"]:
            marks[metric, "real images"] = found["metrics"][f"{metric}_real"]
    headline = _headline(found)
    return "; ".join(
        f"{mark}: {_shown_value(metric, value, named=metric != headline)}" for (metric, mark), value in marks.items()
    )


def _headline(found: dict[str, Any]) -> str:
    """Return the metric that a recipe is judged by: its objective, or of a language model what tokenizers share."""
    for name in ("bits_per_character", "bits_per_byte"):
        if name in found["metrics"]:
            return name
    return str(found["objective"][0])


def _result(found: dict[str, Any]) -> str:
    from hvdtrain.report.history import ordered

    first = _headline(found)
    # What real data gets in the place of the model's is something to compare with.
    every = found["metrics"]
    own = {name: every[name] for name in every if not name.endswith("_real") or name[: -len("_real")] not in every}
    names = [first, *(name for name in ordered(own) if name != first)]
    shown = [_shown_value(name, own[name], named=True) for name in names if name in own]
    return f"**{shown[0]}**" + (f"; {', '.join(shown[1:4])}" if shown[1:] else "") + f" ({found['part']})"


def _shown_value(metric: str, value: float, *, named: bool = False) -> str:
    from hvdtrain.report import format as fmt
    from hvdtrain.report.history import metric_names

    [(name, _)] = metric_names({metric: 0.0})
    return f"{name} {fmt.metric(value)}" if named else fmt.metric(value)


def _shown(results: dict[str, Any]) -> str:
    parts = []
    for name in RECIPES:
        found = results.get(name)
        if found is None or not (found["sample"] or found["pictures"]):
            continue
        parts.append(f"### {name}\n")
        parts += [f"![{name}]({picture})\n" for picture in found["pictures"]]
        if found["sample"]:
            parts.append("\n".join(f"    {line}" for line in found["sample"].split("\n")) + "\n")
    return "\n".join(parts) + ("\n" if parts else "")


def _sample(output: Path) -> str:
    from hvdtrain.report import format as fmt
    from hvdtrain.report.files import read_history

    sample = read_history(output).sample
    return "\n".join(fmt.excerpt(sample.prompt + sample.text).split("\n")[:16]) if sample else ""


def _pictures(name: str, output: Path) -> list[str]:
    """Copy the newest image that the run made, and the curves of a run whose curve is the result."""
    made = sorted((output / "samples").glob("step-*.png"), key=lambda path: int(path.stem.removeprefix("step-")))
    chosen = [(made[-1], f"{name}.png")] if made else []
    if name == "ppo-cartpole":
        chosen.append((output / "report.png", f"{name}-report.png"))
    PICTURES.mkdir(exist_ok=True)
    for source, target in chosen:
        shutil.copyfile(source, PICTURES / target)
    return [f"{PICTURES.name}/{target}" for _, target in chosen]


def _hardware(environment: dict[str, Any]) -> str:
    torch = environment["packages"].get("torch", "?")
    return f"{environment['cores']['usable']} cores of {environment['processor']}, torch {torch}"


def _hvdtrain(*arguments: str) -> str:
    command = [sys.executable, "-m", "hvdtrain", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def _known() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


if __name__ == "__main__":
    main()
