"""What a model has to know of its data before it can be built."""

from __future__ import annotations

from dataclasses import dataclass

from hvdtrain.errors import RecipeError


@dataclass(frozen=True)
class DataSpec:
    """Shapes of the data; what does not apply to it is 0 or None.

    `vocab_size` is the number of token ids, `max_seq_len` the most tokens of a sample, `pad_id` the id that fills a
    shorter one up; `features` the numbers of a row, `image` an image's (channels, height, width); `outputs` the numbers
    that the task wants for a sample: classes, regression targets, actions.
    """

    vocab_size: int = 0
    max_seq_len: int = 0
    pad_id: int = 0
    features: int = 0
    image: tuple[int, int, int] | None = None
    outputs: int = 0

    def needs(self, model: str, what: str) -> None:
        """Make sure that the data has what a model reads: "vocab_size" (tokens), "features" (rows) or "image".

        Raises:
            RecipeError: it has something else; names the model and both.
        """
        if not getattr(self, what):
            found = next((name for key, name in _INPUTS.items() if getattr(self, key)), "nothing that a model reads")
            raise RecipeError(f"model.name = {model}: reads {_INPUTS[what]}, and the data of this recipe has {found}")


_INPUTS = {"image": "images", "features": "rows of numbers", "vocab_size": "tokens"}
