"""What a model made for a person to look at, kept as files."""

from __future__ import annotations

from collections.abc import Iterator
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
                partial = path.with_name(f".{path.name}.partial")
                partial.unlink(missing_ok=True)  # never through a link
                with partial.open("xb") as file:
                    Image.fromarray(shown.image).save(file, format="PNG")
                partial.replace(path)
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


def show(assembly: Assembly, samples: Samples | NoSamples) -> Iterator[SampleRecord]:
    """Yield what the model makes for a person to look at. Every worker makes the same from the same weights, so nobody
    has to know who reports.
    """
    from hvdtrain.train.generation import generate

    loop, seed = assembly.loop, assembly.recipe.seed
    shown = loop.task.show(loop.model, assembly.data.val, seed)
    if shown is not None:
        yield samples.keep(shown, loop.step)
    request = loop.task.sample_request()
    if request is None:
        return
    pieces = generate(
        loop.model,
        loop.encoder.tokenizer,  # type: ignore[arg-type]
        request.prompt,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        seed=seed,
        device=loop.device,
    )
    yield SampleRecord(step=loop.step, prompt=request.prompt, text="".join(pieces))
