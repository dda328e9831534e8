"""BiLSTM: a classifier of texts that reads them forwards and backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hvdtrain.registry import RegisteredConfig

if TYPE_CHECKING:
    from hvdtrain.models._bilstm import BiLSTM
    from hvdtrain.models._spec import DataSpec


class Config(RegisteredConfig):
    """Shape of a bidirectional LSTM (Graves and Schmidhuber 2005, https://doi.org/10.1016/j.neunet.2005.06.042), with
    the mean and the maximum over all tokens as what is known of a text.

    `d_model` is the width of the embedding, `hidden_dim` that of each direction. `dropout` acts on the embedding,
    between layers and before the output; `token_dropout` leaves out whole tokens.
    """

    name: Literal["bilstm"] = "bilstm"
    d_model: int = Field(128, ge=1, le=2**17)
    hidden_dim: int = Field(128, ge=1, le=2**17)
    n_layers: int = Field(1, ge=1, le=4096)
    dropout: float = Field(0.3, ge=0, lt=1)
    token_dropout: float = Field(0.0, ge=0, lt=1)
    embedding_std: float = Field(0.02, gt=0)


def build(config: Config, spec: DataSpec) -> BiLSTM:
    """Return a freshly initialised classifier; its weights depend on torch's global seed alone.

    Raises:
        RecipeError: the data are no texts.
    """
    from hvdtrain.models._bilstm import BiLSTM

    spec.needs("bilstm", "vocab_size")
    return BiLSTM(config, spec)
