"""Shipped recipes, shrunken to seconds: two workers compute what one does, and learn a part of what it promises."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hvdtrain.cli.train import train as train_here
from hvdtrain.data.fetch import needs_fetching
from hvdtrain.recipe import load, shipped

SAME = 4
"""Updates whose losses are compared; later ones drift apart as float32's rounding grows, in a GAN within dozens."""


@dataclass(frozen=True)
class Shrunk:
    """Changes that shrink a recipe, and what it must reach on validation data: a metric, how, and the mark, which is a
    number or the name of a reference that the run itself gives."""

    changes: tuple[str, ...]
    metric: str
    how: Callable[[float, float], bool]
    mark: float | str
    alone: tuple[str, ...] = ()
    """What one worker needs beyond that to compute what two do."""
    classifier: bool = False
    """Whether it is measured by the shrunken cnn-mnist, trained first."""


LANGUAGE_MODEL = (
    "data.max_seq_len=32",
    "tokenizer={name: bytes}",
    "train.global_batch_size=16",
    "train.micro_batch_size=8",
    "train.eval_samples=64",
    "task.sample_tokens=4",
    "optimizer.lr=1e-2",
)
GPT = Shrunk(
    ("model={d_model: 32, n_layers: 1, n_heads: 2, dropout: 0}", "train.max_steps=80", *LANGUAGE_MODEL),
    "loss",
    operator.lt,
    "unigram baseline",
)
RECURRENT = Shrunk(
    ("model={d_model: 48, n_layers: 1}", "train.max_steps=80", *LANGUAGE_MODEL),
    "loss",
    operator.lt,
    "unigram baseline",
)
NO_DROPOUT = ("model.dropout=0",)
"""Dropout's random numbers are each worker's own."""
CLASSIFIED_TEXTS = (*NO_DROPOUT, "model.token_dropout=0", "train.early_stopping=null")
SENTIMENT = (*CLASSIFIED_TEXTS, "data.max_seq_len=32", "tokenizer.vocab_size=2000", "train.epochs=1")
FRECHET_DISTANCE = 700.0
"""What the shrunken GAN must come below: it reaches about 340, and one update leaves it at 1,490."""
IMAGES = ("train.epochs=null", "train.eval_samples=500")

RECIPES = {
    "base/lm": GPT,
    "cnn-digits": Shrunk((*NO_DROPOUT, "train.epochs=6"), "accuracy", operator.gt, 0.9),
    "cnn-fashion-mnist": Shrunk((*NO_DROPOUT, *IMAGES, "train.max_steps=60"), "accuracy", operator.gt, 0.6),
    "cnn-mnist": Shrunk((*NO_DROPOUT, *IMAGES, "train.max_steps=60"), "accuracy", operator.gt, 0.8),
    "dna-splice": Shrunk((*CLASSIFIED_TEXTS, "train.epochs=3"), "accuracy", operator.gt, 0.85),
    "gan-mnist": Shrunk(
        ("model.width=16", "train.max_steps=150"), "frechet_distance", operator.lt, FRECHET_DISTANCE, classifier=True
    ),
    "gpt-124m": GPT,
    "gpt-chinese": GPT,
    "gpt-shakespeare": GPT,
    "lstm-shakespeare": RECURRENT,
    "mlp-binary": Shrunk(("train.epochs=8",), "accuracy", operator.gt, 0.85),
    "mlp-breast-cancer": Shrunk(("train.epochs=8",), "accuracy", operator.gt, 0.9),
    "mlp-regression": Shrunk((*NO_DROPOUT, "train.epochs=30"), "r2", operator.gt, 0.35),
    "mlp-sp500": Shrunk((*NO_DROPOUT, "train.epochs=1"), "r2", operator.gt, 0.15),
    "ppo-cartpole": Shrunk(("train.max_steps=160",), "mean_return", operator.gt, 100),
    "resnet-fashion-mnist": Shrunk(
        (*IMAGES, "optimizer={name: adamw, lr: 3e-3}", "train.max_steps=100"),
        "accuracy",
        operator.gt,
        0.5,
        alone=("train.micro_batch_size=128",),
    ),
    "rnn-shakespeare": RECURRENT,
    "sentiment-chinese": Shrunk(
        (*SENTIMENT, "train.epochs=null", "train.max_steps=100"), "accuracy", operator.gt, 0.65
    ),
    "sentiment-lstm": Shrunk(SENTIMENT, "accuracy", operator.gt, 0.6),
    "sentiment-transformer": Shrunk(SENTIMENT, "accuracy", operator.gt, 0.6),
    "translation-en-es": Shrunk(
        (
            *NO_DROPOUT,
            "model={d_model: 64, n_encoder_layers: 1, n_decoder_layers: 1}",
            "tokenizer.vocab_size=1000",
            "data.max_seq_len=32",
            "task.eval_beam_size=0",
            "train.max_steps=80",
            "train.eval_samples=100",
        ),
        "perplexity",
        operator.lt,
        300,
    ),
}

EVERYWHERE = (
    "train.precision=fp32",
    "train.threads_per_worker=1",
    "lr_scheduler={name: constant, warmup_steps: 0}",
    "train.save_interval=0",
    "train.eval_interval=100000",
    "train.log_interval=1",
    "train.plots=false",
    "sync.cycle_time_ms=1",
)


def train(recipe: str, output: Path, changes: tuple[str, ...], horovodrun) -> list[dict]:
    """Train on two workers, or in this process where there is no horovodrun; return the records."""
    if horovodrun is not None:
        horovodrun(2, "-m", "hvdtrain", "train", recipe, f"output_dir={output}", *changes)
    else:
        train_here(recipe, [f"output_dir={output}", *changes], plain=True)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(records: list[dict]) -> list[list[float]]:
    """The losses of each update's phases, the last one's also as the update's own."""
    return [[record["loss"], *record["losses"].values()] for record in records if record["event"] == "step"]


def test_every_recipe_is_here() -> None:
    """But those of benchmarks, which train for their time: tests/unit/benchmarks/test_bench_recipes.py holds them."""
    assert RECIPES.keys() == {name for name in shipped() if not name.startswith("bench/")}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_two_workers_train_it_as_one_would_and_it_learns(
    horovodrun, fetched_data: Callable[[str], Path], corpus: Path, tmp_path: Path, name: str
) -> None:
    shrunk = RECIPES[name]
    data = load(name).recipe.data.name
    if needs_fetching(data):
        fetched_data(data)
    changes = [*shrunk.changes, *([f"data.paths=['{corpus}']"] if data == "text" else []), *EVERYWHERE]
    if shrunk.classifier:
        train("cnn-mnist", tmp_path / "classifier", (*RECIPES["cnn-mnist"].changes, *EVERYWHERE), None)
        changes.append(f"task.classifier={tmp_path / 'classifier'}")
    together = train(name, tmp_path / "together", tuple(changes), horovodrun)
    alone = train(
        name, tmp_path / "alone", (*changes, *shrunk.alone, f"train.max_steps={SAME}", "train.epochs=null"), None
    )
    for ours, theirs in zip(losses(together)[:SAME], losses(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    [start] = [record for record in together if record["event"] == "start"]
    evaluation = [record for record in together if record["event"] == "eval"][-1]
    found = evaluation["metrics"][shrunk.metric]
    mark = start["references"][shrunk.metric][shrunk.mark] if isinstance(shrunk.mark, str) else shrunk.mark
    assert shrunk.how(found, mark), f"{shrunk.metric} {found} against {mark}"
    assert together[-1]["reason"] in ("finished", "converged")
