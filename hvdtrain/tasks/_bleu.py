"""BLEU and chrF as sums over samples, so that any number of workers gets the score of the whole corpus.

What is counted and how the score follows from the sums is sacrebleu's own (Post 2018, https://arxiv.org/abs/1804.08771;
chrF: Popović 2015, https://aclanthology.org/W15-3049), with the settings that its command has by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hvdtrain.errors import SetupError


class CorpusScores:
    """Corpus BLEU and chrF of translations.

    Raises:
        SetupError: sacrebleu is not installed.
    """

    def __init__(self) -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as error:
            raise SetupError(
                "task.name = translation: BLEU and chrF need sacrebleu, which is not installed: "
                "pip install 'hvdtrain[translation]', or leave them out with task.eval_beam_size=0"
            ) from error
        # `force` only silences a warning about translations that look tokenised, as those of an untrained model may.
        self._metrics: dict[str, Any] = {"bleu": BLEU(force=True), "chrf": CHRF()}
        self._widths = {name: len(self._counts(name, [""], [""])[0]) for name in self._metrics}

    @property
    def signatures(self) -> dict[str, str]:
        """What sacrebleu calls these scores, so that others can compute the same."""
        return {name: str(metric.get_signature()) for name, metric in self._metrics.items()}

    def sums(self, translations: Sequence[str], references: Sequence[str]) -> dict[str, Tensor]:
        """Return the counts of each score, added over samples: float64 vectors, to be added further.

        BLEU: lengths of translations and references, matching n-grams (1 to 4), all n-grams. chrF: n-grams (1 to 6) of
        characters in the translations, in the references, and in both.
        """
        added = {}
        for name, width in self._widths.items():
            rows = self._counts(name, translations, references) if translations else []
            added[name] = torch.tensor(rows, dtype=torch.float64).reshape(-1, width).sum(0)
        return added

    def metrics(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the scores, 0 to 100, from the sums over the whole corpus."""
        return {
            name: float(metric._compute_score_from_stats([round(count) for count in totals[name].tolist()]).score)
            for name, metric in self._metrics.items()
        }

    def _counts(self, name: str, translations: Sequence[str], references: Sequence[str]) -> list[list[int]]:
        """Return the counts of each sample. These methods are what sacrebleu's metrics are derived by; its public
        functions give the counts of BLEU but not those of chrF."""
        counts: list[list[int]] = self._metrics[name]._extract_corpus_statistics(translations, [references])
        return counts
