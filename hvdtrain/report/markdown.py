"""A run's report as Markdown, made to be read where code is hosted."""

from __future__ import annotations

from hvdtrain.report import format as fmt
from hvdtrain.report.history import History, metric_names
from hvdtrain.report.summary import sections

_MAX_EVALS = 40


def markdown(history: History) -> str:
    """Return the summary, the evaluations and the last sample."""
    name = history.start.name if history.start else "run"
    parts = [f"# {_escape(name)}", *_summary(history), *_evaluations(history), *_sample(history)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(history: History) -> list[str]:
    parts = []
    for section in sections(history):
        rows = [
            f"| {_escape(fact.name)} | {_escape(fact.value)} | {_escape(fact.note.strip())} |" for fact in section.facts
        ]
        parts.append("\n".join([f"## {section.title}", "", "| | value | note |", "|---|---|---|", *rows]))
    notes = history.start.notes if history.start else ()
    if notes:
        parts.append("\n".join(["## Notes", "", *(f"- {_escape(note)}" for note in notes)]))
    return parts


def _evaluations(history: History) -> list[str]:
    evals = history.evals
    if not evals:
        return []
    if len(evals) > _MAX_EVALS:
        # The first and the last stay, and as many as fit, evenly, between them.
        last = len(evals) - 1
        evals = [evals[round(index * last / (_MAX_EVALS - 1))] for index in range(_MAX_EVALS)]
    names = [name for name, _ in metric_names(evals[-1].metrics)]
    lines = [
        "## Evaluations",
        "",
        "| step | " + " | ".join(_escape(name) for name in names) + " |",
        "|---:|" + "---:|" * len(names),
    ]
    for record in evals:
        values = dict(metric_names(record.metrics))
        cells = (
            fmt.loss(value) if name == "loss" else fmt.metric(value)
            for name, value in ((n, values.get(n)) for n in names)
        )
        lines.append(f"| {record.step:,} | " + " | ".join(cells) + " |")
    return ["\n".join(lines)]


def _sample(history: History) -> list[str]:
    if history.sample is None:
        return []
    text = fmt.clean(history.sample.prompt + history.sample.text).strip("\n")
    # An indented block can't be closed by what the model writes, as a fence could.
    block = "\n".join(f"    {line}" for line in text.split("\n"))
    return [f"## Sample at step {history.sample.step:,}", block]


def _escape(text: str) -> str:
    cleaned = fmt.clean(text).replace("\n", " ")
    for character in "\\`*_[]<>|#":
        cleaned = cleaned.replace(character, f"\\{character}")
    return cleaned
