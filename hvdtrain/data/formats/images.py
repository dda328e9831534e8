"""Images that are decoded when they are read."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hvdtrain.data import cache
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
DECODING = 2
"""The version of `decode`, which what is kept of images depends on."""
SHOWN = 5
"""Images a message lists."""
_DAMAGED = (ValueError, SyntaxError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)
"""What Pillow's decoders let through of damaged files, beside OSError and the errors of modules that they use."""


class LazyImages:
    """N images (C, H, W) uint8, of one shape, decoded by each look: what `Examples.inputs` may be.

    Attributes:
        shape: (N, C, H, W).
    """

    def __init__(self, count: int, image_shape: tuple[int, int, int], open_image: Callable[[int], np.ndarray]) -> None:
        """`open_image` gives an image of `image_shape` by its number."""
        self.shape = (count, *image_shape)
        self._open = open_image

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Return the images of those numbers, (len(indices), C, H, W); DataError where one can't be decoded."""
        images = np.empty((len(indices), *self.shape[1:]), dtype=np.uint8)
        for place, index in enumerate(np.asarray(indices).tolist()):
            images[place] = self._open(index)
        return images


def image_shape(size: int | list[int], *, grayscale: bool) -> tuple[int, int, int]:
    """Return (C, H, W) for a size, or height and width."""
    height, width = (size, size) if isinstance(size, int) else size
    return (1 if grayscale else 3, height, width)


def decode(source: Path | BinaryIO, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return an image file as (C, H, W) uint8: made grey or colour, and resized where it has another size. Of 16 bits a
    pixel the upper 8 are kept.

    Raises:
        DataError: it is no image that Pillow can read, or of numbers without a largest one; `name` is what the message
            calls it.
    """
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(source) as opened:
            image = _of_bytes(opened, name).convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, dtype=np.uint8)
    except (OSError, *_DAMAGED, struct.error, zlib.error, Image.DecompressionBombError) as error:
        reason = str(error) if isinstance(error, (OSError, ValueError)) else f"it is damaged ({error!r})"
        reason = "it is no image of a known format" if "cannot identify" in reason else reason
        raise DataError(f"{name} can't be read as an image: {reason}") from error
    return np.moveaxis(pixels.reshape(height, width, channels), -1, 0)


def _of_bytes(image: Image, name: str) -> Image:
    """Return an image whose pixels are bytes: Pillow would clip wider ones at 255."""
    from PIL.Image import fromarray

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # that one has 16 bits too
        return fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError(
            f"{name} has the mode {image.mode} (32 bits a pixel, without a largest value); expected 8 or 16 bits: save "
            "it as such an image"
        )
    return image


def decode_bytes(content: bytes, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the image of a file's content; see `decode`."""
    return decode(io.BytesIO(content), name, shape)


def check_once(images: LazyImages, name: str, fingerprint: str) -> None:
    """Decode every image, once for each content: the cache keeps that it was done.

    Raises:
        DataError: images can't be decoded; lists the first five.
    """

    def build(_: Path) -> dict[str, int]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            bad = [
                trouble for trouble in pool.map(lambda number: _trouble(images, number), range(len(images))) if trouble
            ]
        if bad:
            more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
            lines = [f"{len(bad)} of {len(images)} images can't be used:", *bad[:SHOWN], *more]
            raise DataError(bad[0] if len(bad) == 1 else "\n  ".join(lines))
        return {"images": len(images)}

    cache.ensure(cache.root() / "prepared" / f"{name}-checked-{fingerprint[:20]}", build)


def _trouble(images: LazyImages, number: int) -> str | None:
    try:
        images[np.array([number])]
    except DataError as error:
        return str(error)
    return None
