"""What tests of every folder share: a corpus, a small recipe, and a cache of their own."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvdtrain.data import cache
from hvdtrain.data.fetch import fetch

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "he",
    "was",
    "it",
    "his",
    "is",
    "with",
    "as",
    "I",
    "had",
    "for",
    "at",
    "by",
    "on",
    "not",
    "be",
    "from",
    "but",
    "they",
    "which",
    "you",
    "were",
    "her",
    "all",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "said",
    "what",
    "up",
    "its",
    "about",
    "into",
    "than",
    "them",
    "can",
    "only",
    "other",
    "new",
    "some",
    "time",
    "could",
    "these",
    "two",
    "may",
    "then",
    "do",
    "first",
    "any",
    "my",
    "now",
    "such",
    "like",
    "our",
    "over",
    "man",
    "me",
    "even",
    "most",
    "made",
    "after",
]

SMALL = """\
name: small
task: {name: language_modeling, sample_tokens: 8}
model: {name: gpt, d_model: 32, n_layers: 2, n_heads: 2}
data: {name: text, paths: [CORPUS], max_seq_len: 16}
tokenizer: {name: bytes}
optimizer: {name: adamw, lr: 3e-3, betas: [0.9, 0.95], weight_decay: 0.1}
lr_scheduler: {name: cosine, warmup_steps: 5, min_lr: 3e-4}
sync: {name: allreduce, cycle_time_ms: 1}
train:
  global_batch_size: 12
  micro_batch_size: 2
  max_steps: 20
  precision: fp32
  eval_interval: 10
  save_interval: 10
  log_interval: 1
  plots: false
  threads_per_worker: 1
"""


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what tests prepare out of the user's cache, and share it between them; the value is the user's cache."""
    users = cache.root()
    patch = pytest.MonkeyPatch()
    patch.setenv("HVDTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield users
    patch.undo()


@pytest.fixture(scope="session")
def fetched_data(own_cache: Path) -> Callable[[str], Path]:
    """Return a function that brings a data set into the tests' cache: as scripts/install fetched it, or fetched now."""

    def bring(name: str) -> Path:
        for there in (own_cache / "datasets").glob(f"{name}-*/"):
            shutil.copytree(there, cache.root() / "datasets" / there.name, dirs_exist_ok=True)
        return fetch(name)

    return bring


@pytest.fixture(scope="session")
def demo_text(fetched_data: Callable[[str], Path]) -> None:
    """Shakespeare's works in the tests' cache."""
    fetched_data("shakespeare")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight documents of seeded random words, 24 kB in all."""
    folder = tmp_path_factory.mktemp("corpus")
    source = random.Random(7)
    for number in range(8):
        text = " ".join(source.choice(WORDS) for _ in range(720))
        (folder / f"{number}.txt").write_text(text + "\n")
    return folder


@pytest.fixture(scope="session")
def small_recipe(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains 20 updates of a tiny GPT in a second."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL.replace("CORPUS", str(corpus)))
    return path
