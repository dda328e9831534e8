"""Models, data and tasks that do not go together: an error that says so, and what would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hvdtrain.data.encoders import CorpusEncoder, TableEncoder, TextEncoder
from hvdtrain.data.tokenizers.bytes import ByteTokenizer
from hvdtrain.errors import RecipeError
from hvdtrain.models import actor_critic, bilstm, gpt, transformer
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks import classification, language_modeling

TEXTS = TextEncoder(tokenizer=ByteTokenizer(), max_seq_len=8, class_names=("a", "b"))
TABLE = TableEncoder(class_names=("a", "b"), mean=np.zeros(3), std=np.ones(3))
CORPUS = CorpusEncoder(vocab_size=9, max_seq_len=4)


def test_a_gpt_reads_tokens_only() -> None:
    with pytest.raises(RecipeError, match="gpt: reads tokens, and the data of this recipe has rows of numbers"):
        gpt.build(gpt.Config(d_model=8, n_heads=2, n_layers=1), DataSpec(features=3, outputs=2))


def test_a_translator_is_no_classifier() -> None:
    spec = classification.build(classification.Config(), TEXTS).spec
    with pytest.raises(RecipeError, match=r"wants 2 outputs; take model: \{name: transformer_encoder\}"):
        transformer.build(transformer.Config(), spec)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("module", "values"),
    [
        (bilstm, {"d_model": 4, "hidden_dim": 4, "n_layers": 1}),
        (transformer, {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1}),
    ],
)
def test_language_modelling_needs_a_prediction_after_each_token(module, values: dict[str, int]) -> None:
    task = language_modeling.build(language_modeling.Config(), CORPUS)
    model = module.build(module.Config(**values), task.spec)
    batch = {"inputs": torch.ones(2, 4, dtype=torch.int64), "targets": torch.ones(2, 4, dtype=torch.int64)}
    with pytest.raises(RecipeError, match=rf"\({type(model).__name__}\) does not; take model: {{name: gpt}}"):
        task.phases[0].loss(model, batch)


def test_a_policy_is_no_classifier() -> None:
    task = classification.build(classification.Config(), TABLE)
    model = actor_critic.build(actor_critic.Config(hidden=[4]), task.spec)
    batch = {"inputs": torch.zeros(5, 3), "targets": torch.zeros(5, dtype=torch.int64)}
    with pytest.raises(RecipeError, match=r"\(ActorCritic\) gives several things for a batch of 5 samples.*needs 2"):
        task.phases[0].loss(model, batch)
