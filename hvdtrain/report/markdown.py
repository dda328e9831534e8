"""A run's report as Markdown, made to be read where code is hosted."""

from __future__ import annotations

from hvdtrain.report.document import Picture
from hvdtrain.report.document_markdown import markdown as render
from hvdtrain.report.history import History
from hvdtrain.report.run_document import run_document

_MOST_EVALS = 40


def markdown(history: History, picture: Picture | None = None) -> str:
    """Return the summary, the evaluations and the last sample."""
    return render(run_document(history, picture, most_evals=_MOST_EVALS))
