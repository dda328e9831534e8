"""What a model made for a person to look at, kept as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hvdtrain.errors import RunError
from hvdtrain.metrics.records import SampleRecord

if TYPE_CHECKING:
    from hvdtrain.tasks._task import Shown
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.world import World


class Samples:
    """Writes images into a directory; the text goes into the record."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, shown: Shown, step: int) -> SampleRecord:
        """Return the record of what was made at a step, its image written as `step-N.png`.

        Raises:
            RunError: it can't be written.
        """
        image = ""
        if shown.image is not None:
            from PIL import Image

            path = self._directory / f"step-{step}.png"
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                Image.fromarray(shown.image).save(path)
            except OSError as error:
                raise RunError(f"can't write the image {path}: {error.strerror or error}") from error
            image = f"{self._directory.name}/{path.name}"
        return SampleRecord(step=step, prompt=shown.prompt, text=shown.text, image=image)


class NoSamples:
    """The peer of `Samples` on workers that don't write."""

    def keep(self, shown: Shown, step: int) -> SampleRecord:
        return SampleRecord(step=step, prompt=shown.prompt, text=shown.text)


def make_samples(assembly: Assembly, world: World) -> Samples | NoSamples:
    """Return the writer of samples on the worker that reports, and its peer on the others."""
    return Samples(Path(assembly.recipe.output_dir) / "samples") if world.rank == 0 else NoSamples()
