"""Image files as bytes: wide pixels, and damaged files."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvdtrain.data.formats.images import decode, decode_bytes
from hvdtrain.errors import DataError

WIDE = (np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000) + 300
"""Up to 55,300: nearly all are above 255."""


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bits_a_pixel_are_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.pgm":
        path.write_bytes(b"P5 4 3 65535\n" + WIDE.astype(">u2").tobytes())
    else:
        Image.fromarray(WIDE).save(path)
    assert np.array_equal(decode(path, name, (1, 3, 4))[0], WIDE >> 8)
    assert np.array_equal(decode(path, name, (3, 3, 4)), np.stack([WIDE >> 8] * 3))


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_numbers_without_a_largest_one_are_refused_with_their_mode(tmp_path: Path, dtype: type, mode: str) -> None:
    Image.fromarray(WIDE.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"^a.tif has the mode {mode} \(32 bits .*expected 8 or 16 bits"):
        decode(tmp_path / "a.tif", "a.tif", (1, 3, 4))


@pytest.mark.parametrize("error", [KeyError(5), IndexError("x"), TypeError("x"), ZeroDivisionError("x")], ids=repr)
def test_whatever_a_decoder_trips_over_is_a_damaged_file(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def trip(*_: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", trip)
    with pytest.raises(DataError, match=r"^a.png can't be read as an image: it is damaged \(") as caught:
        decode_bytes(b"", "a.png", (1, 3, 4))
    assert type(error).__name__ in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "JPEG", "BMP", "WEBP"])
@pytest.mark.filterwarnings("ignore")  # Pillow's own, of what it skips
def test_damage_is_another_image_or_a_data_error(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray((WIDE >> 8).astype(np.uint8)).save(stream, kind)
    source = random.Random(5)
    refused = 0
    for _ in range(150):
        content = bytearray(stream.getvalue())
        for _ in range(source.randint(1, 6)):
            content[source.randrange(len(content))] = source.randrange(256)
        try:
            image = decode_bytes(bytes(content), "it", (1, 3, 4))
        except DataError:
            refused += 1
        else:
            assert image.shape == (1, 3, 4)
    assert refused > 10
