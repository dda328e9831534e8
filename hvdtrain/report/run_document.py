"""What a run's report says, as blocks: the summary, its drawings, the evaluations and the last sample."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hvdtrain.metrics.records import EvalRecord
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Photo, Picture, Table
from hvdtrain.report.history import History, metric_names
from hvdtrain.report.summary import Section, sections


def run_document(
    history: History, picture: Picture | None = None, notes: Sequence[str] = (), most_evals: int = 200
) -> list[Block]:
    """Return the report of a run; `notes` are what the reader of this report must know first."""
    facts = sections(history)
    # The curves follow what was reached: the losses, which are the second section.
    first = [section for section in facts if section.title in ("Result", "Loss")]
    blocks: list[Block] = [Heading(history.start.name if history.start else "run", 1)]
    blocks += [Paragraph(note, strong=True) for note in (*notes, history.apart) if note]
    blocks += [block for section in first for block in _facts(section)]
    blocks += [Heading("Curves"), picture] if picture else []
    blocks += [block for section in facts if section not in first for block in _facts(section)]
    if history.start and history.start.notes:
        blocks += [Heading("Notes"), Bullets(history.start.notes)]
    if history.resizes:
        changes = [f"at step {one.step:,}: {one.before} to {one.after}" for one in history.resizes]
        blocks += [Heading("Changes of the number of workers"), Bullets(tuple(changes))]
    if history.problems:
        told = [f"{fmt.clean(one.problem)}: {fmt.clean(one.action)}" for one in history.problems]
        blocks += [Heading("Problems"), Bullets(tuple(told))]
    if history.evals:
        blocks += [Heading("Evaluations"), evaluations(history.evals, most_evals)]
    if history.sample:
        blocks += [Heading(f"Sample at step {history.sample.step:,}"), *_sample(history)]
    return blocks


def _sample(history: History) -> list[Block]:
    sample = history.sample
    assert sample is not None
    text = fmt.clean(sample.prompt + sample.text).strip("\n")
    blocks: list[Block] = [Code(text)] if text else []
    # A report is made of records that a stranger may have written: of them no other file is read.
    if re.fullmatch(r"samples/step-[0-9]+\.png", sample.image) and (path := history.directory / sample.image).is_file():
        blocks.append(Photo(sample.image, path.read_bytes(), f"made at step {sample.step:,}"))
    return blocks


def evaluations(evals: Sequence[EvalRecord], most: int) -> Table:
    """Return a table of the evaluations, at most so many, evenly chosen, with every metric that any of them has."""
    if len(evals) > most:
        # The first and the last stay, and as many as fit, evenly, between them.
        evals = [evals[round(index * (len(evals) - 1) / (most - 1))] for index in range(most)]
    names = [name for name, _ in metric_names({name: 0.0 for one in evals for name in one.metrics})]
    rows = []
    for record in evals:
        values = dict(metric_names(record.metrics))
        rows.append((f"{record.step:,}", *(shown(name, values.get(name)) for name in names)))
    return Table(("step", *names), tuple(rows))


def shown(name: str, value: float | None) -> str:
    """Return a metric's value as a person reads it; losses have four decimals."""
    return fmt.loss(value) if name == "loss" else fmt.metric(value)


def _facts(section: Section) -> list[Block]:
    rows = tuple((fact.name, fact.value, fact.note.strip()) for fact in section.facts)
    return [Heading(section.title), Table(("", "value", "note"), rows, words=("value", "note"))]
