"""What the report of a comparison of strategies says, as blocks: the verdict, one table, what could not run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvdtrain.metrics.strategies import Comparison, StrategyResult
from hvdtrain.metrics.study import Interval
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Table, Terms
from hvdtrain.report.history import metric_names
from hvdtrain.report.study_tables import spread_note

DEFINITIONS = (
    ("step", "the mean over the timed updates of a run, what a strategy does in some of them only included"),
    ("sync tax", "T(n synchronised) / T(n not synchronised) - 1, within each round"),
    (
        "none",
        "the floor: as many workers that do not synchronise, Horovod's engine shut down; each trains a model of its "
        "own on its share of the data, and losses are the mean of theirs",
    ),
    (
        "bytes",
        "what a worker hands to the engine for one update, the mean over updates; of a parameter server also what goes "
        "through it for all workers",
    ),
    (
        "sent",
        "what the system counted on all interfaces of a host for one update and each of its workers, of the host that "
        "sent most: the engine's own messages and other programs' are in it, memory that workers of one host share "
        "(MPI) is not",
    ),
    ("training", "the mean loss over the last updates (train.log_interval of them)"),
    ("validation", "after the last update, of the model that the workers agree on"),
    (
        "memory",
        "of the largest worker: the peak of its resident set during the updates (of device memory on a GPU), libraries "
        "and data included",
    ),
    ("state", "what the optimizer keeps: of the largest worker, with the smallest's beneath where they differ"),
)
_ALIKE = 5e-7
"""Relative: what is shown with four decimals is the same."""


def strategies_document(comparison: Comparison) -> list[Block]:
    """Return the report of a comparison."""
    workers = f"{fmt.plural(comparison.workers, 'worker')}{_hosts(comparison.hosts)}"
    done = fmt.plural(comparison.updates or comparison.steps, "update")
    times = "once" if comparison.rounds == 1 else f"{comparison.rounds} times"
    blocks: list[Block] = [
        Heading(f"Strategies of synchronisation: {comparison.name}", 1),
        *([Paragraph(" ".join(comparison.verdict), strong=True)] if comparison.verdict else []),
        Paragraph(
            f"{comparison.recipe} on {workers}: each strategy trained {done} {times}, in rounds, from the same seed "
            f"and on the same data; the first {comparison.warmup} updates are not timed.{_shorter(comparison)}"
        ),
    ]
    if comparison.results:
        blocks.append(strategies_table(comparison))
    refused = [one for one in comparison.refused if not one.failed]
    failed = [one for one in comparison.refused if one.failed]
    if refused:
        blocks += [Heading("Can't run here"), Bullets(tuple(f"{one.strategy}: {one.message}" for one in refused))]
    if failed:
        blocks += [Heading("Failed"), Bullets(tuple(f"{one.strategy}: {one.message}" for one in failed))]
    if comparison.notes:
        blocks += [Heading("Notes"), Bullets(comparison.notes)]
    blocks += [Heading("Settings"), _settings(comparison)]
    if comparison.command:
        blocks += [Paragraph("Command:"), Code(comparison.command)]
    return [*blocks, Heading("Definitions"), Terms(DEFINITIONS)]


def strategies_table(comparison: Comparison) -> Table:
    """Return a row for each strategy, in the order of the comparison."""
    results = comparison.results
    tokens = comparison.unit == "tokens"
    (validation, _), *_ = metric_names({comparison.metric: 0.0})
    validation = "validation" if validation == "loss" else f"validation {validation}"
    columns = (
        "strategy", "step, ms", "sync tax", f"{comparison.unit}/s", "bytes", "sent", "training", validation, "memory",
        "state",
    )  # fmt: skip
    rows = tuple(
        (
            f"{one.strategy} (floor)" if one.floor else _wrapped(one.strategy),
            _spread(one.step, _milliseconds),
            "-" if one.sync_tax is None else _spread(one.sync_tax, lambda value: fmt.percent(value, 1)),
            fmt.rate(one.tokens_per_second if tokens else one.samples_per_second),
            _bytes(one),
            fmt.size(one.sent_bytes) if one.sent_bytes else "0",
            _outcome(one.train_loss),
            _outcome(one.validation),
            fmt.size(max(one.memory_bytes, default=0)),
            _state(one.state_bytes),
        )
        for one in results
    )
    spread = spread_note([one.step for one in results] + [one.sync_tax for one in results])
    return Table(
        columns,
        rows,
        tuple(text.replace("launches", "rounds").replace("launch", "round") for text in spread) + _marks(comparison),
    )


def _marks(comparison: Comparison) -> tuple[str, ...]:
    notes = [
        "Bytes (handed to the engine) and sent (counted by the system) are a worker's in one update; training is a loss"
        f"{', and so is validation' if comparison.metric == 'loss' else ''}; state is the optimizer's."
    ]
    if any(one.floor for one in comparison.results):
        notes.append(
            f"none: not synchronised, {fmt.plural(comparison.workers, 'separate model')}, losses are their mean."
        )
    repeated = [one for one in comparison.results if one.train_loss.launches > 1]
    if repeated and not any(_differ(loss) for one in repeated for loss in (one.train_loss, one.validation)):
        notes.append("Losses were the same in every round.")
    elif repeated:
        notes.append(
            "Losses differ between rounds where a range stands beneath them: these runs do not repeat exactly."
        )
    sizes = {one.global_batch_size for one in comparison.results}
    if len(sizes) > 1:
        each = ", ".join(f"{one.strategy} {one.global_batch_size}" for one in comparison.results)
        notes.append(f"Their global batches differ ({each}): steps and losses are not of the same work.")
    return tuple(notes)


def _bytes(one: StrategyResult) -> str:
    own = fmt.size(one.bytes_per_step) if one.bytes_per_step else "0"
    return own if one.server_bytes_per_step is None else f"{own}\nserver {fmt.size(one.server_bytes_per_step)}"


def _state(sizes: Sequence[int]) -> str:
    if not sizes:
        return "-"
    least, most = min(sizes), max(sizes)
    shown = fmt.size(most) if most else "0"
    return shown if most - least <= 0.01 * most else f"{shown}\nleast {fmt.size(least) if least else '0'}"


def _outcome(value: Interval) -> str:
    """A loss is the same in every round unless something does not repeat exactly."""
    return (
        f"{fmt.loss(value.median)}\n{fmt.loss(value.low)} to {fmt.loss(value.high)}"
        if _differ(value)
        else fmt.loss(value.median)
    )


def _differ(value: Interval) -> bool:
    return abs(value.high - value.low) > _ALIKE * abs(value.median)


def _spread(value: Interval, show: Callable[[float], str]) -> str:
    if value.kind == "one launch":
        return show(value.median)
    return f"{show(value.median)}\n{show(value.low).removesuffix(' %')} to {show(value.high)}"


def _milliseconds(value: float) -> str:
    return f"{1e3 * value:,.0f}" if value >= 0.0995 else f"{1e3 * value:.1f}"


def _wrapped(name: str) -> str:
    """Options of a strategy stand beneath its name."""
    return name.replace(":", "\n")


def _hosts(count: int) -> str:
    return f" on {count} hosts" if count > 1 else ""


def _shorter(comparison: Comparison) -> str:
    if not comparison.updates or comparison.updates >= comparison.steps:
        return ""
    return f" The recipe is over after {comparison.updates}, not {comparison.steps}."


def _settings(comparison: Comparison) -> Table:
    environment = comparison.environment
    packages = environment.get("packages")
    kept = ("torch", "horovod")
    engines = {fmt.engine(one.engine) for one in comparison.results if one.engine}
    rows = [
        ("recipe", comparison.recipe),
        ("date", comparison.created),
        ("parameters", fmt.quantity(comparison.parameters) if comparison.parameters else ""),
        ("device", comparison.device),
        ("precision", comparison.precision),
        ("controller", comparison.controller),
        ("engine", next(iter(engines)) if len(engines) == 1 else ""),
        *(
            (f"engine, {one.strategy}", fmt.engine(one.engine))
            for one in comparison.results
            if len(engines) > 1 and one.engine
        ),
        ("batch", comparison.batch),
        ("threads a worker", str(comparison.threads_per_worker)),
        *((name, str(environment[name])) for name in ("processor", "system", "host") if environment.get(name)),
        ("packages", ", ".join(f"{n} {packages[n]}" for n in kept if n in packages) if packages else ""),
    ]
    return Table(("setting", "value"), tuple(row for row in rows if row[1]), words=("value",))
