"""`hvdtrain launch`: train with several workers through horovodrun, with a live view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvdtrain.cli.horovodrun_flags import with_flags
from hvdtrain.errors import RecipeError, RunError, UserError
from hvdtrain.launch.flags import FLAGS

if TYPE_CHECKING:
    from hvdtrain.launch.command import Launch
    from hvdtrain.launch.hosts import Host
    from hvdtrain.launch.runner import Runner
    from hvdtrain.recipe import Recipe
    from hvdtrain.report.console import View

CONTEXT: dict[str, Any] = {}
_SECONDS_TO_JOIN = 180
_PRINTING: Any = {"rich_help_panel": "Instead of running", "show_default": False}


@with_flags(FLAGS)
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
    restarts: Annotated[
        int, typer.Option(min=0, metavar="N", help="How often to start a job that failed again, from its checkpoint.")
    ] = 0,
    host_check: Annotated[
        bool, typer.Option("--host-check/--no-host-check", help="Ask other hosts first whether they fit together.")
    ] = True,
    instead: Annotated[
        Literal["horovodrun", "slurm", "mpijob"] | None,
        typer.Option("--print", help="Write that command, batch script or manifest, and run nothing.", **_PRINTING),
    ] = None,
    cores: Annotated[
        int | None, typer.Option("--cores-per-worker", min=1, help="Cores to ask the scheduler for.", **_PRINTING)
    ] = None,
    gpus: Annotated[bool, typer.Option("--gpus", help="Ask it for a GPU a worker.", **_PRINTING)] = False,
    image: Annotated[str | None, typer.Option(help="Container image of the MPIJob.", **_PRINTING)] = None,
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
    if instead is not None:
        typer.echo(_text(request, instead, cores, gpus, image), nl=False)
        return
    code = _run(request, plain, stop_timeout, host_check, restarts)
    if code:
        raise typer.Exit(code)


def _hosts(text: str | None, file: Path | None) -> tuple[Host, ...]:
    from hvdtrain.launch.hosts import parse_hosts, read_hostfile

    if text is not None and file is not None:
        raise UserError("-H and --hostfile exclude each other")
    return parse_hosts(text) if text is not None else read_hostfile(file) if file is not None else ()


def _validate(request: Launch, *, starts: bool) -> Recipe:
    """Check all that can be checked without the hosts; a job that starts has to do with what is installed here."""
    from hvdtrain.launch import command
    from hvdtrain.recipe import load
    from hvdtrain.recipe.batching import check_elastic, plan_batch
    from hvdtrain.sync._config import training_workers

    command.check(request)
    recipe = load(request.recipe, list(request.overrides)).recipe
    _check_sync(recipe, request, starts)
    if request.elastic:
        check_elastic(recipe)
    else:
        plan_batch(recipe.train, training_workers(recipe.sync, request.workers))
    return recipe


def _check_sizes(recipe: Recipe, request: Launch) -> None:
    """Make sure that the recipe's strategy fits all numbers of workers that an elastic job may come to have; of one
    without a limit, up to twice those that it begins with.
    """
    from hvdtrain.sync._config import check_rollback, check_workers

    most = max(request.flags.get("max_np") or 2 * request.workers, request.workers)
    least = request.flags.get("min_np") or request.workers
    for size in (request.workers, *range(least, most + 1)):
        try:
            check_workers(recipe.sync, size, "gloo")
            if recipe.train.on_nonfinite == "rollback":
                check_rollback(recipe.sync, size)
        except RecipeError as error:
            when = f" (with {size} workers, which this job may come to have)" if size != request.workers else ""
            raise RecipeError(f"{error}{when}") from error


def _check_sync(recipe: Recipe, request: Launch, starts: bool) -> None:
    """Make sure that the recipe's strategy fits the workers; what will coordinate them is looked up if that matters."""
    from hvdtrain.launch.facts import horovod_controllers
    from hvdtrain.sync._config import SyncConfig, check_workers

    sync = recipe.sync
    if request.elastic:
        _check_sizes(recipe, request)
        return
    if request.workers == 1 or not isinstance(sync, SyncConfig):
        return
    controller = request.controller
    problems = [sync.problem(request.workers, name) for name in ("gloo", "mpi")]
    if starts and controller is None and problems[0] != problems[1]:
        controller = "mpi" if "mpi" in horovod_controllers() else "gloo"
    check_workers(sync, request.workers, controller or "mpi")


def _text(request: Launch, kind: str, cores: int | None, gpus: bool, image: str | None) -> str:
    """Return what `--print` asks for."""
    from hvdtrain.launch import command, hosts, scripts

    recipe = _validate(request, starts=False)
    if kind == "horovodrun":
        request = replace(request, flags=hosts.flags_for(request.flags, request.hosts))
        return scripts.horovodrun(request, command.find_horovodrun())
    threads = recipe.train.threads_per_worker
    cores = cores or (1 if threads == "auto" else threads)
    resources = scripts.Resources(recipe.name, cores, gpus, image or scripts.IMAGE)
    return scripts.slurm(request, resources) if kind == "slurm" else scripts.mpijob(request, resources)


def _run(request: Launch, plain: bool, stop_timeout: float, host_check: bool, restarts: int) -> int:
    """Check all that can be checked before anything is started, then run the job; return its exit code."""
    from hvdtrain.launch import hosts
    from hvdtrain.launch.preflight import preflight
    from hvdtrain.report.console import make_view
    from hvdtrain.report.format import plural

    silence = _validate(request, starts=True).train.hang_timeout
    script = request.flags.get("host_discovery_script")
    named = request.hosts or (hosts.discover(script) if script else ())
    if not script:
        request = replace(request, flags=hosts.flags_for(request.flags, named))
    elsewhere = hosts.remote(named)
    view = make_view(plain=plain)
    if request.elastic:
        request = replace(request, flags=_elastic_flags(request.flags, len(named) < 2 or not elsewhere, view))
    if elsewhere and host_check:
        for warning in preflight(named, request.controller, request.flags).warnings:
            view.message(f"warning: {warning}")
    view.notice(f"starting {plural(request.workers, 'worker')}")
    for again in range(1, restarts + 1):
        runner = _runner(request, elsewhere, view, stop_timeout, silence)
        try:
            return runner.run()
        except RunError as error:
            typer.echo(f"warning: {error}; starting the job again ({again} of at most {restarts} times)", err=True)
        if runner.saved or (runner.began and request.resume == "never"):
            # Not before: what the directory holds until then may be an earlier run's.
            request = replace(request, resume="auto")
        view = make_view(plain=plain)
    return _runner(request, elsewhere, view, stop_timeout, silence).run()


def _elastic_flags(flags: Mapping[str, Any], alone: bool, view: View) -> dict[str, Any]:
    """Return the flags of a job whose workers come and go, where horovodrun by itself would wait or end.

    `alone` says that it begins on one machine.
    """
    from hvdtrain.launch import hosts

    chosen = dict(flags)
    if flags.get("gloo_timeout_seconds") is None:
        # Those that are there wait so long for a worker that starts, and all end where it takes longer.
        chosen["gloo_timeout_seconds"] = _SECONDS_TO_JOIN
    if flags.get("host_discovery_script") and alone and not flags.get("network_interfaces"):
        # Left to itself horovodrun finds an interface by asking a second host, and waits until there is one.
        chosen["network_interfaces"] = hosts.interface_to_others()
        view.message(f"workers talk over {chosen['network_interfaces']}; --network-interfaces names another")
    return chosen


def _runner(
    request: Launch, elsewhere: tuple[str, ...], view: View, stop_timeout: float, silence: float | None
) -> Runner:
    from hvdtrain.launch import command, doors
    from hvdtrain.launch.processes import Job
    from hvdtrain.launch.runner import Runner

    program = doors.command(command.find_horovodrun(), doors.address_for(request.hosts, request.flags))
    line = command.horovodrun(program, request)
    flags = request.flags
    ssh = (flags.get("ssh_port"), flags.get("ssh_identity_file"))
    job = Job("", elsewhere, *ssh, flags.get("host_discovery_script"))
    return Runner(line, view, job, stop_timeout=stop_timeout, elastic=request.elastic, silence=silence)
