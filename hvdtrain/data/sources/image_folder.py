"""The user's own image files, a folder for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from hvdtrain.data._config import ExamplesConfig

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples

Pixels = Annotated[int, Field(ge=1, le=4096)]


class Config(ExamplesConfig):
    """Images in `path`/CLASS/, or in `path`/train/CLASS/ with `val` and `test` beside it where something is held out.

    Each is resized to `size` pixels, a square or [height, width], and made grey with `grayscale`. `labels: false` takes
    all images below `path` as one kind, for tasks without classes, such as a GAN.
    """

    name: Literal["image_folder"] = "image_folder"
    path: str = Field(min_length=1)
    size: Pixels | Annotated[list[Pixels], Field(min_length=2, max_length=2)] = 64
    grayscale: bool = False
    labels: bool = True


def examples(config: Config) -> Examples:
    """Return images (N, C, H, W), decoded when they are read; DataError where a file or folder can't be used."""
    from hvdtrain.data.formats.image_folder import examples_of
    from hvdtrain.data.formats.images import image_shape

    shape = image_shape(config.size, grayscale=config.grayscale)
    return examples_of(config.path, shape, labelled=config.labels)
