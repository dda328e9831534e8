"""The user's own Hugging Face data sets: a folder, or one in the cache of `datasets`; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hvdtrain.data.formats.columns import ColumnsConfig

if TYPE_CHECKING:
    from hvdtrain.data.documents import TextDocument
    from hvdtrain.data.examples import Examples

Pixels = Annotated[int, Field(ge=1, le=4096)]
Split = Annotated[str, Field(min_length=1)]


class Config(ColumnsConfig):
    """A data set that `datasets` reads without a network: pip install 'hvdtrain[datasets]'.

    `path` is a folder that `save_to_disk` wrote or that holds files of one kind (Parquet, CSV, ...), or the name of a
    data set in the cache of Hugging Face, `subset` being one of its configurations. `split` is for training,
    `val_split` and `test_split` are held out, instead of a share of `split`. A column within a column has a dot in its
    name: `translation.en`. With `size`, a square or [height, width], `inputs` is a column of images.
    """

    name: Literal["huggingface"] = "huggingface"
    path: str = Field(min_length=1)
    subset: Split | None = None
    split: Split = "train"
    val_split: Split | None = None
    test_split: Split | None = None
    size: Pixels | Annotated[list[Pixels], Field(min_length=2, max_length=2)] | None = None
    grayscale: bool = False

    @property
    def needs_tokenizer(self) -> bool:
        """Whether inputs are texts."""
        return isinstance(self.inputs, str) and self.size is None


def examples(config: Config) -> Examples:
    """Return one sample a row; DataError where the data set is not here, or a row can't be used."""
    from hvdtrain.data.formats.huggingface import image_examples, read_splits
    from hvdtrain.data.formats.tables import examples_of, wanted_columns

    splits = read_splits(config.path, config.subset, (config.split, config.val_split, config.test_split))
    if config.size is not None:
        return image_examples(config, splits)
    return examples_of(config, [split.part(wanted_columns(config)) for split in splits])


def documents(config: Config) -> list[TextDocument]:
    """Return the texts of the input column, one a row; DataError where the data set or a row can't be used."""
    from hvdtrain.data.formats.huggingface import read_splits
    from hvdtrain.data.formats.tables import documents_of, wanted_columns

    splits = read_splits(config.path, config.subset, (config.split, config.val_split, config.test_split))
    return documents_of(config, [split.part(wanted_columns(config)) for split in splits])
