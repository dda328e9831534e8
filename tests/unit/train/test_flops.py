"""What a target costs: of texts of any length by their own lengths, of attention all its products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hvdtrain.data.encoders import ImageEncoder, PairEncoder, TextEncoder
from hvdtrain.data.example_sets import ArrayDataset, PairDataset, TextDataset
from hvdtrain.data.token_rows import TokenRows
from hvdtrain.data.tokenizers.bytes import ByteTokenizer
from hvdtrain.models import bilstm, cnn, cnn1d, mlp, resnet, transformer, transformer_encoder
from hvdtrain.tasks import classification, translation
from hvdtrain.train.flops import flops_per_target

TOKENIZER = ByteTokenizer()
LONGEST = 20
CPU = torch.device("cpu")


def rows(*lengths: int) -> TokenRows:
    """Texts of so many tokens, their ends not counted."""
    return TokenRows(np.ones(sum(lengths), dtype=np.int64), np.cumsum([0, *lengths]), TOKENIZER.eos_id)


def texts(*lengths: int) -> TextDataset:
    labels = np.zeros(len(lengths), dtype=np.int64)
    return TextDataset(rows(*lengths), LONGEST, np.arange(len(lengths)), labels, labels)


CLASSIFIED = classification.build(
    classification.Config(), TextEncoder(tokenizer=TOKENIZER, max_seq_len=LONGEST, class_names=("a", "b"))
)


@pytest.mark.parametrize(
    ("module", "values"),
    [
        (bilstm, {"d_model": 4, "hidden_dim": 4, "n_layers": 1}),
        (transformer_encoder, {"d_model": 8, "n_heads": 2, "n_layers": 1}),
    ],
)
def test_a_text_costs_what_its_own_length_does(module, values: dict[str, int]) -> None:
    model = module.build(module.Config(**values), CLASSIFIED.spec)
    found = flops_per_target(model, CLASSIFIED, texts(1, 4, 40), CPU)
    assert found == pytest.approx(np.mean([model.flops_per_token(length) for length in (2, 5, LONGEST)]))
    many = [3] * 32 + [19] * 50
    assert flops_per_target(model, CLASSIFIED, texts(*many), CPU) == model.flops_per_token(4), "the first 32 stand"


def test_counted_texts_are_not_charged_the_padding_of_others() -> None:
    config = cnn1d.Config(d_model=4, channels=8, n_layers=1, kernel_size=1)
    model = cnn1d.build(config, CLASSIFIED.spec)
    found = flops_per_target(model, CLASSIFIED, texts(1, 9), CPU)
    assert found == 6 * ((2 + 10) / 2 * 4 * 8 + 8 * 2)


@pytest.mark.parametrize("training", [True, False])
def test_a_transformers_attention_is_counted(training: bool) -> None:
    """Held against the sum of its matrix products: 6 for each weight and the tokens it meets, and 12 times the width
    for each pair of positions that attend."""
    task = translation.build(
        translation.Config(eval_beam_size=0), PairEncoder(tokenizer=TOKENIZER, max_seq_len=LONGEST)
    )
    width, inner = 8, 16
    shape = {"d_model": width, "ffn_dim": inner, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}
    model = transformer.build(transformer.Config(**shape, dropout=0.1), task.spec).train(training)
    data = PairDataset(rows(2, 7), rows(5, 1), LONGEST, np.arange(2))
    square, forward = width * width, 2 * width * inner
    expected = 0
    for source, target in ((3, 6), (8, 2)):
        expected += 6 * (source * (4 * square + forward) + target * (4 * square + forward + 2 * square))
        expected += 6 * (source * 2 * square + target * width * TOKENIZER.vocab_size)
        expected += 12 * width * (source * source + target * target + target * source)
    assert flops_per_target(model, task, data, CPU) == expected / (6 + 2)
    assert model.training is training
    assert all(p.grad is None for p in model.parameters())


class Taught(torch.nn.Module):
    """A network that looks at what it says in inference mode first, as one with a teacher does."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            self.network(inputs)
        return self.network(inputs)


@pytest.mark.parametrize("wrapped", [Taught, torch.nn.Sequential])
@pytest.mark.parametrize("module", [cnn, resnet, mlp])
def test_products_and_convolutions_are_counted_as_torchs_counter_does(module, wrapped) -> None:
    encoder = ImageEncoder(shape=(1, 28, 28), mean=np.zeros(1), std=np.ones(1), class_names=("0", "1"))
    task = classification.build(classification.Config(), encoder)
    model = wrapped(module.build(module.Config(), task.spec))
    labels = np.zeros(3, dtype=np.int64)
    data = ArrayDataset(np.zeros((3, 1, 28, 28), dtype=np.uint8), encoder, np.arange(3), labels, labels)
    with FlopCounterMode(display=False) as counter:
        task.phases[0].loss(model, data.batch(np.arange(2))).backward()
    assert flops_per_target(model, task, data, CPU) == counter.get_total_flops() / 2 > 0
