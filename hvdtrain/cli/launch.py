"""`hvdtrain launch`: train with several workers through horovodrun, with a live view."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.errors import UserError
from hvdtrain.launch.flags import FLAGS, Flag

if TYPE_CHECKING:
    from hvdtrain.launch.command import Launch
    from hvdtrain.launch.hosts import Host

CONTEXT: dict[str, Any] = {}
_TYPES: dict[str, Any] = {
    "text": str,
    "whole": int,
    "number": float,
    "switch": bool,
    "pair": tuple[int, int],
}


def _with_horovodrun_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each of `FLAGS`; it gets them as keywords, None where they were not given."""
    own = inspect.signature(command, eval_str=True)
    kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    more = [
        inspect.Parameter(flag.key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(flag))
        for flag in FLAGS
    ]
    command.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
    command.__annotations__ |= {parameter.name: parameter.annotation for parameter in more}
    return command


def _annotation(flag: Flag) -> Any:
    names = (flag.name, flag.short) if flag.short else (flag.name,)
    option = typer.Option(*names, help=flag.help, rich_help_panel=flag.group, show_default=False)
    return Annotated[_TYPES[flag.kind] | None, option]


@_with_horovodrun_flags
def launch(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    workers: Annotated[int, typer.Option("-np", "--num-proc", metavar="N", help="The number of workers.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as optimizer.lr=3e-4.", show_default=False)
    ] = None,
    hosts: Annotated[
        str | None, typer.Option("-H", "--hosts", metavar="A:2,B:2", help="Hosts, each with its number of workers.")
    ] = None,
    hostfile: Annotated[
        Path | None, typer.Option("--hostfile", "-hostfile", help="A file of them: a line 'NAME slots=N' each.")
    ] = None,
    gloo: Annotated[bool, typer.Option("--gloo", help="Coordinate the workers over TCP.")] = False,
    mpi: Annotated[
        bool, typer.Option("--mpi", help="Coordinate them by MPI: the default where Horovod has it.")
    ] = False,
    resume: Annotated[
        str,
        typer.Option(help="auto: go on from the newest checkpoint, if any; never: begin anew; or a checkpoint's path."),
    ] = "auto",
    plain: Annotated[bool, typer.Option("--plain", help="Print lines, also on a terminal.")] = False,
    stop_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that the workers have for a checkpoint after Ctrl-C or SIGTERM.")
    ] = 120.0,
    **flags: Any,
) -> None:
    """Train a recipe with several workers, and watch.

    Starts horovodrun, which starts 'hvdtrain train' with this recipe N times.

    Ctrl-C stops the run at the end of a step, with a checkpoint; a second Ctrl-C
    ends it at once.

    Exit codes: 0 finished; 1 the run failed; 2 something to mend first;
    128 + N stopped by signal N.

    Example: hvdtrain launch -np 2 gpt-shakespeare train.max_steps=50
    """
    from hvdtrain.launch.command import Launch

    if gloo and mpi:
        raise UserError("--gloo and --mpi exclude each other")
    request = Launch(
        recipe=recipe,
        workers=workers,
        overrides=tuple(overrides or ()),
        resume=resume,
        hosts=_hosts(hosts, hostfile),
        controller="gloo" if gloo else "mpi" if mpi else None,
        flags=flags,
    )
    code = _run(request, plain, stop_timeout)
    if code:
        raise typer.Exit(code)


def _hosts(text: str | None, file: Path | None) -> tuple[Host, ...]:
    from hvdtrain.launch.hosts import parse_hosts, read_hostfile

    if text is not None and file is not None:
        raise UserError("-H and --hostfile exclude each other")
    return parse_hosts(text) if text is not None else read_hostfile(file) if file is not None else ()


def _run(request: Launch, plain: bool, stop_timeout: float) -> int:
    """Check all that can be checked before anything is started, then run the job; return its exit code."""
    from hvdtrain.launch import command, hosts
    from hvdtrain.launch.processes import Job
    from hvdtrain.launch.runner import Runner
    from hvdtrain.recipe import load
    from hvdtrain.recipe.batching import plan_batch
    from hvdtrain.report.console import make_view

    command.check(request)
    trained = load(request.recipe, list(request.overrides)).recipe
    if not request.elastic:
        plan_batch(trained.train, request.workers)
    line = command.horovodrun(command.find_horovodrun(), request)
    script = request.flags.get("host_discovery_script")
    elsewhere = hosts.remote(request.hosts or (hosts.discover(script) if script else ()))
    view = make_view(plain=plain)
    if elsewhere and request.controller != "mpi" and (problem := hosts.loopback_problem(socket.gethostname())):
        if request.controller == "gloo":
            raise UserError(f"{problem} (or use --mpi)")
        view.message(f"warning: {problem}; with MPI it does not matter")
    job = Job("", elsewhere, request.flags.get("ssh_port"), request.flags.get("ssh_identity_file"))
    view.notice(f"starting {request.workers} workers")
    return Runner(line, view, job, stop_timeout=stop_timeout).run()
