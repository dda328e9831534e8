"""Inception-style score and Frechet distance, against closed forms and independent formulas."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvdtrain.errors import RecipeError
from hvdtrain.tasks._generative_scores import Scorer, distance, frechet_distance, half, inception_score


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covariance(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size + 2, generator=generator(seed), dtype=torch.float64)
    return root @ root.T / size


class Classifier(nn.Module):
    """Two linear layers over pixels; convolutions aside, what a classifier is."""

    def __init__(self, features: int = 4, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(features, classes)  # made first, called last
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, features), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.last(self.body(images))
        return logits


def pixels(count: int, seed: int = 1) -> Tensor:
    return torch.randint(256, (count, 1, 4, 4), generator=generator(seed), dtype=torch.uint8)


def encode(images: Tensor) -> Tensor:
    return images.float() / 128 - 1


def totals(scorer: Scorer, images: Tensor, numbers: Tensor, batches: list[Tensor]) -> dict[str, Tensor]:
    added: dict[str, Tensor] = {}
    for rows in batches:
        for name, value in scorer.sums("x", images[rows], numbers[rows]).items():
            added[name] = added[name] + value if name in added else value
    return added


def test_equal_distributions_are_nowhere_apart() -> None:
    mean, spread = torch.randn(5, generator=generator(), dtype=torch.float64), covariance(5, 1)
    assert frechet_distance(mean, spread, mean, spread) == pytest.approx(0, abs=1e-9)


def test_shifted_by_a_vector_the_distance_is_its_square() -> None:
    spread, shift = covariance(3, 2), torch.tensor([3.0, -4.0, 0.0], dtype=torch.float64)
    assert frechet_distance(torch.zeros(3), spread, shift, spread) == pytest.approx(25)


def test_of_diagonal_covariances_it_is_the_squared_difference_of_standard_deviations() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([16.0, 1.0, 0.0]).double()
    zero = torch.zeros(3, dtype=torch.float64)
    expected = (1 - 4) ** 2 + (2 - 1) ** 2 + (3 - 0) ** 2
    assert frechet_distance(zero, torch.diag(a), zero, torch.diag(b)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_agrees_with_the_eigenvalues_of_the_product_and_with_the_nuclear_norm(size: int) -> None:
    """Neither formula takes the root that the implementation takes: numpy's general eigenvalues of C_a C_b, and the
    singular values of L_a^T L_b for any factors C = L L^T."""
    a, b = covariance(size, 3), covariance(size, 4)
    zero = torch.zeros(size, dtype=torch.float64)
    found = frechet_distance(zero, a, zero, b)
    of_product = np.sqrt(np.linalg.eigvals(a.numpy() @ b.numpy()).astype(complex)).real.sum()
    nuclear = torch.linalg.svdvals(torch.linalg.cholesky(a).T @ torch.linalg.cholesky(b)).sum()
    traces = float(a.trace() + b.trace())
    assert found == pytest.approx(traces - 2 * of_product, rel=1e-9)
    assert found == pytest.approx(traces - 2 * float(nuclear), rel=1e-9)
    assert found == pytest.approx(frechet_distance(zero, b, zero, a), rel=1e-9)


def test_covariances_without_full_rank_have_a_distance() -> None:
    flat = torch.diag(torch.tensor([4.0, 0.0, 0.0], dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    assert frechet_distance(zero, flat, zero, torch.zeros_like(flat)) == pytest.approx(4)


def test_sums_give_the_moments_of_each_half() -> None:
    classifier = Classifier().eval()
    images, numbers = pixels(60), torch.arange(60)
    with torch.no_grad():
        found = totals(Scorer(classifier, encode), images, numbers, [torch.arange(0, 23), torch.arange(23, 60)])
        features = classifier.body(encode(images)).double().numpy()
    first, second = (features[half(numbers).numpy() == which] for which in (0, 1))
    means = [torch.from_numpy(part.mean(0)) for part in (first, second)]
    spreads = [torch.from_numpy(np.cov(part, rowvar=False)) for part in (first, second)]
    expected = frechet_distance(means[0], spreads[0], means[1], spreads[1])
    assert expected > 1e-3
    assert distance(found, "x", 0, "x", 1) == pytest.approx(expected, rel=1e-6)
    assert distance(found, "x", 1, "x", 1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_finds_the_same(workers: int) -> None:
    scorer, images, numbers = Scorer(Classifier().eval(), encode), pixels(50), torch.arange(50) * 3
    with torch.no_grad():
        alone = totals(scorer, images, numbers, [torch.arange(50)])
        shared = totals(scorer, images, numbers, [torch.arange(rank, 50, workers) for rank in range(workers)])
    assert inception_score(shared, "x") == pytest.approx(inception_score(alone, "x"), rel=1e-9)
    assert distance(shared, "x", 0, "x", 1) == pytest.approx(distance(alone, "x", 0, "x", 1), rel=1e-6)


def test_inception_score_is_exp_of_the_mean_divergence() -> None:
    classifier, images = Classifier().eval(), pixels(40)
    with torch.no_grad():
        found = inception_score(totals(Scorer(classifier, encode), images, torch.arange(40), [torch.arange(40)]), "x")
        p = classifier(encode(images)).double().softmax(1)
    divergences = [sum(a * math.log(a / b) for a, b in zip(row, p.mean(0), strict=True)) for row in p.tolist()]
    assert found == pytest.approx(math.exp(sum(divergences) / 40), rel=1e-6)
    assert found > 1.0001


@pytest.mark.parametrize(("spread", "score"), [(4, 4.0), (1, 1.0)])
def test_sure_and_varied_scores_the_number_of_classes_and_one_class_scores_one(spread: int, score: float) -> None:
    class Sure(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.one_hot(images[:, 0, 0, 0].long() % spread, 4).float() * 1000

    images = torch.arange(40, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    found = Scorer(Sure(), lambda x: x).sums("x", images, torch.arange(40))
    assert inception_score(found, "x") == pytest.approx(score)
    assert found["x_features"].shape == (2, 4), "without a linear layer the logits are the features"


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 10])
def test_halves_are_about_equal_for_every_kth_sample(stride: int) -> None:
    assert 0.45 < half(torch.arange(0, 1000 * stride, stride)).double().mean() < 0.55


def test_too_few_images_have_no_score_and_no_distance() -> None:
    scorer = Scorer(Classifier().eval(), encode)
    with torch.no_grad():
        none = scorer.sums("x", pixels(0), torch.arange(0))
        one = scorer.sums("x", pixels(1), torch.arange(1))
    assert math.isnan(inception_score(none, "x"))
    assert inception_score(one, "x") == pytest.approx(1)
    assert distance(one, "x", 0, "x", 1) == math.inf


def test_scores_are_in_full_precision_under_autocast() -> None:
    scorer = Scorer(Classifier().eval(), encode)
    with torch.no_grad():
        plain = scorer.sums("x", pixels(9), torch.arange(9))
        with torch.autocast("cpu", torch.bfloat16):
            cast = scorer.sums("x", pixels(9), torch.arange(9))
    assert all(torch.equal(plain[name], cast[name]) for name in plain)


def test_too_many_features_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"task\.classifier.*reads 2049 features.*at most 2048"):
        Scorer(Classifier(2049), encode).sums("x", pixels(2), torch.arange(2))
