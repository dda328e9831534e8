"""Fashion-MNIST: 70,000 grey images of 28 x 28 pixels of ten kinds of clothing, by Zalando (Xiao et al. 2017).

The last 10,000 are the test part that its authors set apart (https://arxiv.org/abs/1708.07747); validation is drawn
from the first 60,000.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hvdtrain.data._config import ExamplesConfig
from hvdtrain.data._download import DebianPackage, Download
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from hvdtrain.data.examples import Examples

CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
TRAINING, TESTING, SIDE = 60_000, 10_000, 28
FOLDER = "usr/share/datasets/fashion-mnist/"
PACKAGE = DebianPackage(
    "dataset-fashion-mnist",
    {
        FOLDER + "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        FOLDER + "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        FOLDER + "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        FOLDER + "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    },
)


class Config(ExamplesConfig):
    """Fashion-MNIST, as `hvdtrain data fetch fashion_mnist` put it into the cache; its own test part."""

    name: Literal["fashion_mnist"] = "fashion_mnist"


def examples(config: Config) -> Examples:
    """Return the images (70,000, 1, 28, 28) uint8, mapped from the file; DataError where they were not fetched."""
    import numpy as np

    from hvdtrain.data.examples import TEST, TRAIN, Examples

    folder = DOWNLOAD.require()
    return Examples(
        inputs=np.load(folder / "images.npy", mmap_mode="r"),
        targets=np.load(folder / "labels.npy").astype(np.int64),
        fingerprint=DOWNLOAD.fingerprint,
        class_names=CLASSES,
        parts=np.repeat(np.array([TRAIN, TEST], dtype=np.int8), (TRAINING, TESTING)),
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `images.npy` (70,000, 1, 28, 28) and `labels.npy` (70,000,), both uint8, training before test."""
    import numpy as np

    files = PACKAGE.read(archives[0])
    pairs = [("train", TRAINING), ("t10k", TESTING)]
    images = [_idx(files[f"{part}-images-idx3-ubyte.gz"], (count, SIDE, SIDE)) for part, count in pairs]
    labels = [_idx(files[f"{part}-labels-idx1-ubyte.gz"], (count,)) for part, count in pairs]
    np.save(folder / "images.npy", np.concatenate(images)[:, None])
    np.save(folder / "labels.npy", np.concatenate(labels))


def _idx(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Read the IDX format of MNIST (http://yann.lecun.com/exdb/mnist): 0, 0, type 8 = uint8, rank, sizes, values."""
    import numpy as np

    content = gzip.decompress(packed)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if not content.startswith(header) or len(content) != len(header) + np.prod(shape):
        raise DataError(f"a file of Fashion-MNIST is not an IDX array of shape {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)


DOWNLOAD = Download(
    name="fashion_mnist",
    version="1",
    summary="70,000 images of clothing, 28 x 28, ten classes (Xiao et al. 2017)",
    licence="MIT, Zalando SE",
    archives=(PACKAGE,),
    unpack=unpack,
)
