"""`hvdtrain estimate`: what workers and links that are not here would give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hvdtrain.errors import UserError

if TYPE_CHECKING:
    from hvdtrain.scaling.prediction.request import Estimate


def estimate(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, such as train.micro_batch_size=16.", show_default=False),
    ] = None,
    np: Annotated[str, typer.Option("--np", "-np", metavar="8,64,512", help="The numbers of workers.")] = "2,4,8",
    link: Annotated[
        str | None, typer.Option(metavar="25Gbit", help="What joins the hosts, in each direction.", show_default=False)
    ] = None,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured", help="Take the software's limits from two workers here; with --link the slower counts."
        ),
    ] = False,
    latency: Annotated[
        str | None, typer.Option(metavar="20us", help="Of a message between hosts.", show_default=False)
    ] = None,
    per_host: Annotated[int, typer.Option(min=1, help="Workers a host.")] = 1,
    inner_link: Annotated[
        str | None, typer.Option(metavar="100Gbit", help="What joins the workers of a host.", show_default=False)
    ] = None,
    inner_latency: Annotated[
        str | None, typer.Option(metavar="5us", help="Of a message inside a host.", show_default=False)
    ] = None,
    hierarchical: Annotated[
        bool, typer.Option("--hierarchical", help="Reduce inside hosts first (--hierarchical-allreduce).")
    ] = False,
    mode: Annotated[
        Literal["weak", "strong"],
        typer.Option(help="weak: a micro batch for each worker; strong: they share the recipe's global batch."),
    ] = "weak",
    floor: Annotated[float, typer.Option(help="The efficiency to find the largest number of workers for.")] = 0.9,
    step_time: Annotated[
        str | None,
        typer.Option(metavar="120ms", help="Of one micro batch, forward and backward.", show_default="measured here"),
    ] = None,
    device_tflops: Annotated[
        float | None, typer.Option(metavar="312", help="Peak of a worker's device.", show_default=False)
    ] = None,
    mfu: Annotated[float, typer.Option(help="Share of that peak that the model reaches.")] = 0.4,
    compression: Annotated[
        Literal["none", "fp16"] | None, typer.Option(help="Of gradients.", show_default="the recipe's")
    ] = None,
    steady: Annotated[
        bool, typer.Option("--steady", help="Take the workers not to vary, however the measured steps do.")
    ] = False,
    steps: Annotated[int, typer.Option(min=3, help="Steps to measure.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict step time and efficiency for numbers of workers and links that are not here.

    Compute times are measured with one worker here, unless --step-time or
    --device-tflops gives them; the network is what --link says, or what an
    all-reduce sweep of two workers here finds (--measured). Every input is
    stated in the output.

    Example: hvdtrain estimate gpt-shakespeare --np 2,4,8 --link 1Gbit

    Example: hvdtrain estimate gpt-124m --np 8,64 --per-host 8 --link 100Gbit --inner-link 4800Gbit --device-tflops 312
    """
    from hvdtrain.cli.place import parse_numbers
    from hvdtrain.scaling.prediction.estimation import estimate as predict
    from hvdtrain.scaling.prediction.request import Request

    workers = parse_numbers(np)
    if workers[0] < 1:
        raise UserError(f"--np {np}: expected at least one worker")
    if device_tflops is not None and not device_tflops > 0:
        raise UserError(f"--device-tflops {device_tflops:g}: expected a peak in TFLOP/s, such as 312")
    request = Request(
        source=recipe,
        overrides=tuple(overrides or ()),
        workers=tuple(workers),
        mode=mode,
        link=_rate(link, "--link"),
        latency=_seconds(latency, "--latency"),
        per_host=per_host,
        inner_link=_rate(inner_link, "--inner-link"),
        inner_latency=_seconds(inner_latency, "--inner-latency"),
        hierarchical=hierarchical,
        floor=floor,
        measured=measured,
        step_time=_seconds(step_time, "--step-time"),
        device_flops=None if device_tflops is None else device_tflops * 1e12,
        mfu=mfu,
        compression=compression,
        steady=steady,
        steps=steps,
    )
    _show(predict(request, lambda text: typer.echo(text, err=True)), as_json)


def _show(found: Estimate, as_json: bool) -> None:
    from hvdtrain.scaling.prediction.view import to_json, view

    if as_json:
        typer.echo(to_json(found))
        return
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(view(found))


def _rate(text: str | None, option: str) -> float | None:
    from hvdtrain.scaling.prediction.links import parse_rate

    return None if text is None else parse_rate(text, option)


def _seconds(text: str | None, option: str) -> float | None:
    from hvdtrain.scaling.prediction.links import parse_seconds

    return None if text is None else parse_seconds(text, option)
