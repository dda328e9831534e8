"""Translation: the loss against its definition, search with a model, evaluation, and what else the loop asks for."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import cross_entropy

from hvdtrain.data.encoders import PairEncoder, TextEncoder, padded
from hvdtrain.data.tokenizers.bytes import ByteTokenizer
from hvdtrain.errors import RecipeError, SetupError
from hvdtrain.models import transformer
from hvdtrain.models._seq2seq import Transformer
from hvdtrain.tasks._task import Batch
from hvdtrain.tasks._translation import Translation
from hvdtrain.tasks.translation import Config, build

sacrebleu = pytest.importorskip("sacrebleu")

TOKENIZER = ByteTokenizer()
END = TOKENIZER.eos_id
ENCODER = PairEncoder(tokenizer=TOKENIZER, max_seq_len=24)
PAIRS = [("one day", "un día"), ("a", "uno"), ("", ""), ("the third", "el tercero"), ("four", "cuatro cuatro")]


def task(**values: object) -> Translation:
    return build(Config(**values), ENCODER)


def model(seed: int = 0, spread: float = 1.0, **values: object) -> Transformer:
    """A small transformer whose logits are far apart where `spread` is large."""
    torch.manual_seed(seed)
    shape = {"d_model": 16, "n_encoder_layers": 1, "n_decoder_layers": 1, "n_heads": 2, "dropout": 0.0}
    built = transformer.build(transformer.Config(**shape | values), task().spec)
    with torch.no_grad():
        built.decoder_norm.weight *= spread
    return built.eval()


def batch(pairs: Sequence[tuple[str, str]] = PAIRS) -> Batch:
    """A batch as the data set makes it."""
    if not pairs:
        empty = torch.empty(0, 1, dtype=torch.int64)
        return {"source": empty, "inputs": empty, "targets": empty}
    targets = ENCODER.ids([target for _, target in pairs])
    arrays = {
        "source": ENCODER.encode([source for source, _ in pairs])["source"],
        "inputs": padded([np.array([END, *ids[:-1]]) for ids in targets], END),
        "targets": padded(targets, -100),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def evaluated(the_task: Translation, network: Transformer, data: Batch) -> dict[str, Tensor]:
    """What an evaluation adds up, as the loop asks for it."""
    with torch.inference_mode():
        return the_task.evaluate(network, data)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_the_training_loss_is_smoothed_cross_entropy_summed_over_targets(smoothing: float) -> None:
    """-(1 - e) log p(target) - e times the mean of log p, a target at a time; and torch's own of the mean, times n."""
    network, data = model(), batch()
    logits = network(data["source"], data["inputs"]).detach().double()
    expected = 0.0
    for row, text in zip(logits, data["targets"].tolist(), strict=True):
        for scores, target in zip(row, text, strict=True):
            if target != -100:
                log_p = scores - scores.exp().sum().log()
                expected -= float((1 - smoothing) * log_p[target] + smoothing * log_p.mean())
    the_task = task(label_smoothing=smoothing)
    loss = the_task.phases[0].loss(network, data)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    mean = cross_entropy(
        logits.flatten(0, 1), data["targets"].flatten(), ignore_index=-100, label_smoothing=smoothing, reduction="mean"
    )
    assert loss.item() == pytest.approx(mean.item() * the_task.count(data), rel=1e-5)
    assert the_task.count(data) == sum(len(target.encode()) + 1 for _, target in PAIRS)


@pytest.mark.parametrize("groups", [2, 3, 9])
def test_groups_of_similar_length_change_neither_loss_nor_gradient(groups: int) -> None:
    network, data = model(), batch()
    parameters = list(network.parameters())
    whole, grouped = (task(length_groups=n).phases[0].loss(network, data) for n in (1, groups))
    torch.testing.assert_close(grouped, whole)
    for one, other in zip(
        torch.autograd.grad(grouped, parameters), torch.autograd.grad(whole, parameters), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_groups_of_similar_length_save_padding() -> None:
    seen: list[tuple[int, ...]] = []
    network, pairs = model(), [("a" * length, "b" * length) for length in (20, 2, 3, 19)]
    network.register_forward_pre_hook(lambda _, given: seen.append((*given[0].shape, *given[1].shape)))
    task(length_groups=2).phases[0].loss(network, batch(pairs))
    assert sorted(seen) == [(2, 4, 2, 4), (2, 21, 2, 21)]


@pytest.mark.parametrize("groups", [1, 4])
def test_an_empty_batch_has_no_loss_and_no_translations(groups: int) -> None:
    network, the_task = model(), task(length_groups=groups)
    loss = the_task.phases[0].loss(network, batch([]))
    loss.backward()
    assert loss.item() == 0
    found = evaluated(the_task, network, batch([]))
    assert {name: tensor.sum().item() for name, tensor in found.items()} == dict.fromkeys(found, 0)
    assert {name: t.shape for name, t in found.items()} == {
        name: t.shape for name, t in evaluated(the_task, network, batch()).items()
    }
    assert the_task.predict(network, {"source": torch.empty(0, 0, dtype=torch.int64)}) == []


@pytest.mark.parametrize("beam", [1, 4])
def test_search_with_a_transformer_gives_the_probabilities_of_its_forward(beam: int) -> None:
    """And neither its batch nor the padding of its source changes a translation."""
    network, the_task = model(spread=2.0), task(beam_size=beam)
    source = batch()["source"]
    together = the_task.predict(network, {"source": source})
    found = the_task._search(network, source, beam)
    for place, (text, one) in enumerate(zip(found, together, strict=True)):
        ids = torch.tensor([[*text.tokens, END]])
        logits = network(source[place : place + 1], torch.cat([torch.tensor([[END]]), ids[:, :-1]], 1))
        log_p = logits.log_softmax(-1)[0].gather(1, ids.T).sum().item()
        assert one["score"] == pytest.approx(log_p, rel=1e-4)
        assert one["translation"] == TOKENIZER.decode(text.tokens)
        alone = source[place : place + 1, : len(PAIRS[place][0].encode()) + 1]
        assert the_task._search(network, alone, beam)[0].tokens == text.tokens


def test_a_translation_is_no_longer_than_its_source_allows() -> None:
    network = model()
    with torch.no_grad():  # so that it never ends by itself
        network.source_embedding.weight[END] = 0
        network.source_embedding.weight[END, 0] = -100
        network.decoder_norm.weight[:] = 0
        network.decoder_norm.bias[:] = 0
        network.decoder_norm.bias[0] = 1
    source = batch([("abc", ""), ("abcdefgh", "")])["source"]
    lengths = [len(found.tokens) + 1 for found in task(max_length_ratio=0.7)._search(network, source, 2)]
    assert lengths == [10 + math.ceil(0.7 * 4), 10 + math.ceil(0.7 * 9)]
    longest = task(max_length_ratio=50.0)._search(network, source, 2)
    assert [len(found.tokens) + 1 for found in longest] == [ENCODER.max_seq_len] * 2


@pytest.mark.parametrize("cuts", [(5,), (2, 5), (1, 3, 4, 5)])
def test_evaluation_in_parts_equals_the_whole(cuts: tuple[int, ...]) -> None:
    network, the_task = model(spread=2.0), task(eval_beam_size=2)
    totals: dict[str, Tensor] = {}
    for begin, end in itertools.pairwise((0, *cuts)):
        for name, value in evaluated(the_task, network, batch(PAIRS[begin:end])).items():
            totals[name] = totals.get(name, torch.zeros(())) + value.double()
    found = the_task.metrics(totals)
    data = batch()
    logits = network(data["source"], data["inputs"])
    loss = cross_entropy(logits.flatten(0, 1).double(), data["targets"].flatten(), ignore_index=-100).item()
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    said = [one["translation"] for one in task(beam_size=2).predict(network, {"source": data["source"]})]
    expected = sacrebleu.corpus_bleu(said, [[target for _, target in PAIRS]], force=True)
    assert found["bleu"] == expected.score
    assert found["chrf"] == sacrebleu.corpus_chrf(said, [[target for _, target in PAIRS]]).score
    assert the_task.objective == ("bleu", "max")


def test_without_a_beam_only_the_loss_is_evaluated() -> None:
    the_task = task(eval_beam_size=0)
    found = the_task.metrics(evaluated(the_task, model(), batch()))
    assert found.keys() == {"loss", "perplexity"}
    assert the_task.objective == ("loss", "min")


class Pairs:
    """A validation set."""

    def __len__(self) -> int:
        return len(PAIRS)

    def batch(self, indices: np.ndarray) -> Batch:
        return batch([PAIRS[index] for index in indices.tolist()])


def test_the_same_few_texts_are_shown_with_their_references() -> None:
    network = model().train()
    shown = task(show=2).show(network, Pairs(), seed=4)
    assert shown is not None
    assert network.training
    blocks = shown.text.split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        source, reference, translation = (line[13:] for line in block.split("\n", 2))
        assert (source, reference) in PAIRS
        expected = task().predict(network.eval(), {"source": batch([(source, "")])["source"]})
        assert translation == expected[0]["translation"]
    assert task(show=2).show(network, Pairs(), seed=4) == shown
    everything = task(show=9).show(network, Pairs(), seed=4)
    assert everything is not None
    assert all(target in everything.text for _, target in PAIRS)
    assert task(show=0).show(network, Pairs(), seed=4) is None


def test_a_model_learns_to_translate_what_it_saw() -> None:
    network, the_task, data = model(d_model=32), task(label_smoothing=0.0), batch()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        (the_task.phases[0].loss(network, data) / the_task.count(data)).backward()
        optimizer.step()
    found = the_task.metrics(evaluated(the_task, network, data))
    assert found["chrf"] > 99
    assert [one["translation"] for one in the_task.predict(network, data)] == [target for _, target in PAIRS]


def test_without_sacrebleu_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sacrebleu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(SetupError, match=r"not installed: pip install 'hvdtrain\[translation\]'.*eval_beam_size=0"):
        task()
    task(eval_beam_size=0)


def test_data_and_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match="translation: reads pairs of texts, and the data of this recipe are texts"):
        build(Config(), TextEncoder(tokenizer=TOKENIZER, max_seq_len=8))
    with pytest.raises(RecipeError, match=r"this recipe \(Linear\) is not; take model: {name: transformer}"):
        task().phases[0].loss(torch.nn.Linear(2, 2), batch())


@pytest.mark.parametrize(
    "values", [{"label_smoothing": 1.0}, {"beam_size": 0}, {"length_penalty": -1.0}, {"length_groups": 0}]
)
def test_values_that_do_not_fit_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.tasks.translation as t; t.Config(beam_size=2); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
