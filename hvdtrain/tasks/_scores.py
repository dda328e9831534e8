"""Scores of classes and numbers, from counts and sums that any number of workers add, and AUC from all scores."""

from __future__ import annotations

import torch
from torch import Tensor


def confusion(targets: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return how many samples of class i were taken for class j: (classes, classes) int64, for (B,) each."""
    return torch.bincount(targets * classes + predicted, minlength=classes**2).view(classes, classes)


def accuracy(counts: Tensor) -> float:
    """Return the share of samples on the diagonal of a confusion (C, C)."""
    return float(counts.diagonal().sum() / counts.sum())


def f1_of_each(counts: Tensor) -> Tensor:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each class of a confusion (C, C): (C,), NaN of a class that neither is
    there nor was predicted."""
    hits = counts.diagonal()
    return 2 * hits / (counts.sum(0) + counts.sum(1))


def macro_f1(counts: Tensor) -> float:
    """Return the mean of F1 over the classes that are there or were predicted."""
    return float(f1_of_each(counts).nanmean())


def auc(scores: Tensor, targets: Tensor) -> float | None:
    """Return the area under the ROC curve: the probability that a sample of class 1 scores higher than one of class 0,
    ties counted half (the Mann-Whitney statistic: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).

    Args:
        scores: (N,), in any order.
        targets: (N,) of 0 and 1.

    Returns:
        None where one of the classes has no sample, so that there is no pair to compare, or a score is NaN.
    """
    if bool(scores.isnan().any()):
        return None
    _, places, repeats = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = repeats.cumsum(0) - (repeats - 1) / 2  # of equal scores the mean of their ranks, from 1
    positive = targets > 0.5
    ones = int(positive.sum())
    zeros = len(targets) - ones
    if not (ones and zeros):
        return None
    sum_of_ranks = float(ranks.double()[places[positive]].sum())
    return (sum_of_ranks - ones * (ones + 1) / 2) / (ones * zeros)
