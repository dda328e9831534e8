"""The bidirectional LSTM, held against torch's own on packed sequences."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hvdtrain.errors import RecipeError
from hvdtrain.models._bilstm import BiLSTM
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.bilstm import Config, build

VOCAB, PAD, LENGTH, OUTPUTS = 31, 30, 12, 3


def make(**values: object) -> BiLSTM:
    torch.manual_seed(0)
    config = Config(**{"d_model": 6, "hidden_dim": 5, "n_layers": 2} | values)
    return build(config, DataSpec(VOCAB, LENGTH, PAD, outputs=OUTPUTS)).eval()


def texts(*lengths: int, seed: int = 1) -> Tensor:
    """Ids of texts of these lengths, the end of text among them, padded to the longest."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((len(lengths), max(lengths)), PAD)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(PAD, (length - 1,), generator=generator)
    return ids


def reference_logits(model: BiLSTM, ids: Tensor) -> Tensor:
    """The same from torch's bidirectional LSTM with packed sequences, pooled one text at a time."""
    lengths = [(row == PAD).int().argmax().item() + 1 for row in ids]
    x = model.embedding(ids)
    for layer in model.layers:
        lstm = nn.LSTM(x.shape[-1], layer.forwards.hidden_size, batch_first=True, bidirectional=True)
        for name, parameter in layer.forwards.named_parameters():
            getattr(lstm, name).data = parameter.data
            getattr(lstm, f"{name}_reverse").data = layer.backwards.get_parameter(name).data
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        x, _ = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)
    rows = [row[:length] for row, length in zip(x, lengths, strict=True)]
    pooled = torch.stack([torch.cat([row.mean(0), row.max(0).values]) for row in rows])
    return model.output(pooled)


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.bilstm as m; m.Config(d_model=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_logits_equal_those_of_torchs_lstm_on_packed_sequences() -> None:
    model, ids = make(), texts(9, 1, 4, 12, 2)
    logits = model(ids)
    assert logits.shape == (5, OUTPUTS)
    torch.testing.assert_close(logits, reference_logits(model, ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_padding_changes_no_result_and_no_gradient(n_layers: int) -> None:
    model, short = make(n_layers=n_layers), texts(7, 3)
    padded = torch.cat([short, torch.full((2, 5), PAD)], 1)
    torch.testing.assert_close(model(padded), model(short), rtol=0, atol=1e-6)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(model(padded).square().sum(), parameters),
        torch.autograd.grad(model(short).square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_text_cut_at_the_length_has_no_end_and_counts_whole() -> None:
    model = make()
    ids = torch.randint(PAD, (2, LENGTH), generator=torch.Generator().manual_seed(3))
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % PAD
    assert (model(ids) - model(changed)).abs().min() > 1e-4


def test_both_directions_and_every_token_reach_the_result() -> None:
    model, ids = make(n_layers=1), texts(8)
    for place in range(8 - 1):
        changed = ids.clone()
        changed[0, place] = (changed[0, place] + 1) % PAD
        assert (model(ids) - model(changed)).abs().max() > 1e-5
    gradients = torch.autograd.grad(model(ids).square().sum(), [*model.layers[0].backwards.parameters()])
    assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_an_empty_batch_gives_no_rows_and_no_gradient() -> None:
    model = make(dropout=0.5, token_dropout=0.2).train()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(torch.empty(0, 4, dtype=torch.int64))
        assert logits.shape == (0, OUTPUTS)
        logits.float().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_dropout_acts_in_training_only() -> None:
    model, ids = make(dropout=0.5), texts(9, 9)
    assert torch.equal(model(ids), model(ids))
    assert not torch.equal(model.train()(ids), model(ids))
    whole = make(dropout=0.0, token_dropout=0.5).train()
    assert not torch.equal(whole(ids), whole(ids))


def test_a_fresh_model_remembers_and_is_a_function_of_the_seed() -> None:
    one, other = make(), make()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    layer = one.layers[0].forwards
    torch.testing.assert_close(layer.bias_ih_l0, torch.tensor([0.0] * 5 + [1.0] * 5 + [0.0] * 10))
    for gate in layer.weight_hh_l0.split(5):
        torch.testing.assert_close(gate @ gate.T, torch.eye(5), rtol=0, atol=1e-6)


def test_flops_are_six_a_weight_and_token_and_of_the_output_six_a_weight() -> None:
    layers = sum(2 * 4 * 5 * (inputs + 5) for inputs in (6, 10))
    assert make().flops_per_token(LENGTH) == 6 * (LENGTH * layers + 4 * 5 * OUTPUTS)


@pytest.mark.parametrize("values", [{"dropout": 1.0}, {"token_dropout": -0.1}, {"hidden_dim": 0}, {"n_layers": True}])
def test_values_outside_of_their_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Config(**values)


def test_data_that_is_no_text_is_refused() -> None:
    with pytest.raises(RecipeError, match="bilstm: reads tokens, and the data of this recipe has images"):
        build(Config(), DataSpec(image=(1, 8, 8), outputs=2))
