"""What a plain model of scikit-learn reaches on the data of each recipe, in the recipe's own parts.

    python benchmarks/references.py                       every recipe that has a reference here, in minutes
    python benchmarks/references.py mlp-sp500 dna-splice  these only; the others keep what was found before

A reference is fitted to the training part that the recipe has, and measured on the part that `hvdtrain evaluate`
measures it on: the test part, or validation where there is no other. Where a reference has something to choose, such as
the strength of its regularisation, that is chosen by cross-validation within the training part. Results go to
benchmarks/results/references.json, by recipe, metric and name. Not here are the references that the data or the task
brings along (what noise allows, the score of real images, a random policy), and the word-by-word translation of
benchmarks/translation_baseline.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from character_bigrams import bits_per_character
from rich.console import Console
from rich.table import Table
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, ShuffleSplit, StratifiedKFold, TimeSeriesSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from hvdtrain.data.parts import make_parts
from hvdtrain.data.prepare import prepare
from hvdtrain.recipe import load, shipped
from hvdtrain.registry import find
from hvdtrain.report.environment import processor

RESULTS = Path(__file__).parent / "results" / "references.json"
SEEDS = range(10)
"""Of a reference that is drawn by chance: its figure is the mean over these."""
STRENGTHS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
"""Of a linear model's regularisation, to choose from."""

Marks = dict[str, float]


@dataclass(frozen=True)
class Samples:
    """Raw samples and their targets in the recipe's parts; `inputs` are rows (N, F), or (N,) texts."""

    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray
    feature_names: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The references of a recipe. `references` are as in `hvdtrain.data.examples.Examples`: by metric and name."""

    part: str
    fitted_to: int
    measured_on: int
    references: dict[str, Marks]


def samples_of(data: Any, tokenizer: Any, seed: int) -> tuple[Samples, str]:
    """Return the samples of a recipe's data, and the name of the part that is held out.

    The parts are made as the recipe's are, of the raw samples, and held against what the recipe itself is given.
    """
    examples = find("data", data.name).examples(data)
    parts = make_parts(examples, data.name, data.val_fraction, data.test_fraction, seed)
    part, held_out = ("validation", parts.val) if parts.test is None else ("test", parts.test)
    targets = np.asarray(examples.targets)
    prepared = prepare(data, tokenizer, seed, "examples")
    for dataset, rows in ((prepared.train, parts.train), (prepared.test or prepared.val, held_out)):
        given = dataset.batch(np.arange(len(dataset)))["targets"].numpy()
        scale = (prepared.encoder.target_mean, prepared.encoder.target_std)
        wanted = targets[rows] if examples.class_names else (targets[rows] - scale[0]) / scale[1]
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-5)
    is_text = isinstance(examples.inputs, (list, tuple))
    inputs = np.array(examples.inputs, dtype=object) if is_text else np.asarray(examples.inputs)
    if inputs.ndim == 4:
        inputs = inputs.reshape(len(inputs), -1).astype(np.float32) / 255
    train = parts.train
    return Samples(inputs[train], targets[train], inputs[held_out], targets[held_out], examples.feature_names), part


def chosen(estimator: BaseEstimator, choices: dict[str, list[Any]], samples: Samples, folds: Any = 5) -> BaseEstimator:
    """Return the estimator, fitted to the training part with what cross-validation within it found best."""
    search = GridSearchCV(estimator, choices, cv=folds)
    return search.fit(samples.train_inputs, samples.train_targets).best_estimator_


def score(estimator: BaseEstimator, samples: Samples) -> float:
    """Return the accuracy, or R2, of a fitted estimator on the held-out part."""
    said = estimator.predict(samples.test_inputs)
    measure = accuracy_score if samples.test_targets.dtype.kind == "i" else r2_score
    return float(measure(samples.test_targets, said))


def over_seeds(estimator: BaseEstimator, samples: Samples) -> float:
    """Return the mean score of a pipeline that ends in a network, over the seeds that draw its weights."""
    last = estimator.steps[-1][0]
    fitted = (clone(estimator).set_params(**{f"{last}__random_state": seed}) for seed in SEEDS)
    return float(np.mean([score(one.fit(samples.train_inputs, samples.train_targets), samples) for one in fitted]))


def logistic_regression(*before: BaseEstimator, **settings: Any) -> BaseEstimator:
    return make_pipeline(*before, LogisticRegression(max_iter=2000, **settings))


def mlp_binary(samples: Samples) -> dict[str, Marks]:
    """Logistic regression, and scikit-learn's network of the mission's example: one hidden layer of 10."""
    linear = chosen(logistic_regression(StandardScaler()), {"logisticregression__C": STRENGTHS}, samples)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    network = make_pipeline(StandardScaler(), MLPClassifier((10,), solver="lbfgs", max_iter=2000, random_state=0))
    network = chosen(network, {"mlpclassifier__alpha": [1e-3, 1e-2, 0.1, 1.0, 10.0]}, samples, folds)
    return {
        "accuracy": {
            "logistic regression": score(linear, samples),
            "scikit-learn's MLP, 10 hidden, mean of 10 seeds": over_seeds(network, samples),
        }
    }


def mlp_regression(samples: Samples) -> dict[str, Marks]:
    ridge = chosen(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": STRENGTHS}, samples)
    return {"r2": {"ridge regression": score(ridge, samples)}}


def mlp_sp500(samples: Samples) -> dict[str, Marks]:
    """Last value, exponential average, HAR (Corsi 2009, here of log ranges), and ridge regression of all columns.

    The strength of ridge regression is chosen by years that come after those it is fitted to.
    """
    column = {name: place for place, name in enumerate(samples.feature_names)}
    terms = [column[name] for name in ("log range 0 days ago", "weekly average", "monthly average")]
    har = LinearRegression().fit(samples.train_inputs[:, terms], samples.train_targets)
    folds = TimeSeriesSplit(5)
    ridge = chosen(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": STRENGTHS}, samples, folds)
    r2 = {
        name: float(r2_score(samples.test_targets, samples.test_inputs[:, column[which]]))
        for name, which in (("last value", "log range 0 days ago"), ("exponential average", "exponential average"))
    }
    r2["HAR"] = float(r2_score(samples.test_targets, har.predict(samples.test_inputs[:, terms])))
    return {"r2": r2 | {"ridge regression": score(ridge, samples)}}


def words(samples: Samples) -> dict[str, Marks]:
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = chosen(logistic_regression(tfidf), {"logisticregression__C": [1.0, 3.0, 10.0, 30.0]}, samples, 3)
    return {"accuracy": {"logistic regression of TF-IDF, words and pairs": score(model, samples)}}


def characters(samples: Samples) -> dict[str, Marks]:
    """For texts without spaces between words."""
    tfidf = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
    model = chosen(logistic_regression(tfidf), {"logisticregression__C": [1.0, 3.0, 10.0, 30.0]}, samples, 3)
    return {"accuracy": {"logistic regression of TF-IDF, characters and pairs": score(model, samples)}}


def pixels(samples: Samples) -> dict[str, Marks]:
    model = logistic_regression(StandardScaler(), tol=1e-3)
    folds = ShuffleSplit(1, test_size=0.1, random_state=0)  # one will do where there are so many samples
    model = chosen(model, {"logisticregression__C": [1e-3, 3e-3, 1e-2, 3e-2]}, samples, folds)
    return {"accuracy": {"logistic regression of pixels": score(model, samples)}}


def support_vectors(samples: Samples) -> dict[str, Marks]:
    choices = {"C": [1.0, 10.0, 100.0], "gamma": [0.01, 0.03, 0.1, "scale"]}
    return {"accuracy": {"support vector machine, RBF kernel": score(chosen(SVC(), choices, samples), samples)}}


def bases(samples: Samples) -> dict[str, Marks]:
    """Each of the 60 places is a category of its own."""
    spelled = Samples(
        np.array([list(text) for text in samples.train_inputs]),
        samples.train_targets,
        np.array([list(text) for text in samples.test_inputs]),
        samples.test_targets,
        (),
    )
    model = logistic_regression(OneHotEncoder(handle_unknown="ignore"))
    model = chosen(model, {"logisticregression__C": STRENGTHS}, spelled)
    return {"accuracy": {"logistic regression of one-hot bases": score(model, spelled)}}


Reference = Callable[[Samples], dict[str, Marks]]
OF_SAMPLES: dict[str, Reference] = {
    "mlp-binary": mlp_binary,
    "mlp-breast-cancer": mlp_binary,
    "mlp-regression": mlp_regression,
    "mlp-sp500": mlp_sp500,
    "sentiment-lstm": words,
    "sentiment-transformer": words,
    "sentiment-chinese": characters,
    "cnn-digits": support_vectors,
    "cnn-mnist": pixels,
    "cnn-fashion-mnist": pixels,
    "resnet-fashion-mnist": pixels,
    "dna-splice": bases,
}
OF_TEXT = ("gpt-chinese",)


def find_references(name: str) -> Found:
    """Return the references of a shipped recipe."""
    recipe = load(name).recipe
    if name in OF_SAMPLES:
        return _of_samples(OF_SAMPLES[name], recipe.data, recipe.tokenizer, recipe.seed)
    prepared = prepare(recipe.data, recipe.tokenizer, recipe.seed, "corpus")
    bigrams = bits_per_character(prepared)
    marks = {"bits_per_character": {"character bigrams, Kneser-Ney": bigrams.bits}}
    return Found("validation", bigrams.fitted_to, bigrams.measured_on, marks)


@cache
def _of_samples(reference: Reference, data: Any, tokenizer: Any, seed: int) -> Found:
    """Two recipes may have the same data in the same parts: their references are found once."""
    samples, part = samples_of(data, tokenizer, seed)
    return Found(part, len(samples.train_targets), len(samples.test_targets), reference(samples))


def write(name: str, found: Found, seconds: float) -> None:
    """Put the references of one recipe among the others."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[name] = {
        "date": date.today().isoformat(),
        "command": f"python benchmarks/references.py {name}",
        "hardware": f"{len(os.sched_getaffinity(0))} cores of {processor()}",
        "versions": {package: version(package) for package in ("hvdtrain", "scikit-learn", "numpy")},
        "seconds": round(seconds, 1),
        **asdict(found),
    }
    ordered = {one: known[one] for one in (*OF_SAMPLES, *OF_TEXT) if one in known}
    RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="NAME", help="recipes; all where none is given")
    names = parser.parse_args().recipes or [*OF_SAMPLES, *OF_TEXT]
    unknown = sorted(set(names) - {*OF_SAMPLES, *OF_TEXT})
    if unknown:
        parser.error(f"no reference for {', '.join(unknown)} (there are {', '.join((*OF_SAMPLES, *OF_TEXT))})")
    table = Table("recipe", "held out", "metric", "reference", "", "seconds")
    console = Console()
    warnings.simplefilter("error", ConvergenceWarning)
    for name in names:
        if name not in shipped():
            console.print(f"{name}: skipped, there is no such recipe", style="yellow")
            continue
        began = time.perf_counter()
        found = find_references(name)
        took = time.perf_counter() - began
        write(name, found, took)
        for metric, marks in found.references.items():
            for reference, value in marks.items():
                part = f"{found.part}, {found.measured_on:,}"
                table.add_row(name, part, metric, reference, f"{value:.4f}", f"{took:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
