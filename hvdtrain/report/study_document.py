"""What the report of a scaling study says, as blocks: tables, diagnosis, laws, settings, definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from hvdtrain.metrics.study import Diagnosis, Finding, Mode, ScalabilityLaw, SizeResult, Study
from hvdtrain.report import format as fmt
from hvdtrain.report.document import Block, Bullets, Code, Heading, Paragraph, Picture, Table, Terms, numbered
from hvdtrain.report.study_tables import communication_table, scaling_table, split_table, throughput

MODES: tuple[Mode, ...] = get_args(Mode)
_FIXED = {"weak": "micro batch per worker fixed", "strong": "global batch fixed"}

DEFINITIONS = (
    ("throughput X(n)", "tokens (samples) of all n workers in a window over its wall time: a sum over the workers"),
    (
        "weak scaling efficiency",
        "X(n) / (n X(1)), micro batch per worker fixed; X(1) is one worker with the threads and pinning that each of "
        "the n has, on the otherwise idle machine",
    ),
    ("strong scaling efficiency", "T(1) / (n T(n)), global batch fixed; T is the time of a step"),
    ("sync tax", "T(n synchronised) / T(n not synchronised) - 1"),
    (
        "contention",
        "T(n workers that do not synchronise) - T(1): cores, memory bandwidth and clock shared, no messages; where "
        "they share a batch, T(1) is the n-th part of one worker's data, forward and backward, and all of the rest",
    ),
    (
        "communication",
        "the exposed part: waiting in synchronize, less the imbalance; what is hidden behind backward is not in it",
    ),
    ("imbalance", "the busy time of the slowest worker less one's own, as durations since the last synchronisation"),
    (
        "Karp-Flatt e",
        "(1/speedup - 1/n) / (1 - 1/n): the serial part that the speedup implies; growing with n it is overhead",
    ),
    ("bus bandwidth", "bytes / time x 2(n-1)/n: what each link carries in a ring all-reduce"),
    ("MFU", "model FLOP/s over the peak of the devices"),
)


def study_document(study: Study, picture: Picture | None = None, notes: Sequence[str] = ()) -> list[Block]:
    """Return the report of a study; `notes` are what the reader of this report must know first."""
    made_up = " Its data are made up: losses mean nothing, times do." if study.synthetic else ""
    blocks: list[Block] = [
        Heading(f"Scaling of {study.name}", 1),
        *(Paragraph(note, strong=True) for note in notes),
        Paragraph(
            f"{study.recipe}: each size launched {'once' if study.repeats == 1 else f'{study.repeats} times'}, "
            f"{fmt.plural(study.steps, 'step')} a launch, or more where they are short.{made_up}"
        ),
    ]
    shown = [mode for mode in MODES if study.of(mode)]
    for mode in shown:
        blocks += _verdicts(study, mode, shown)
    blocks += [Heading("Plots"), picture] if picture else []
    for mode in shown:
        blocks += _tables(study, mode)
    for diagnosis in study.diagnoses:
        blocks += _diagnosis(diagnosis)
    blocks += _laws(study)
    if study.failures:
        items = (f"{one.mode}, {fmt.plural(one.workers, 'worker')}: {one.message}" for one in study.failures)
        blocks += [Heading("Failed sizes"), Bullets(tuple(items))]
    if study.notes:
        blocks += [Heading("Notes"), Bullets(study.notes)]
    blocks += [Heading("Settings"), _settings(study)]
    if study.command:
        blocks += [Paragraph("Command:"), Code(study.command)]
    return [*blocks, Heading("Definitions"), Terms(DEFINITIONS)]


def _verdicts(study: Study, mode: Mode, shown: Sequence[Mode]) -> Iterator[Block]:
    """The answer first; the evidence follows."""
    for diagnosis in study.diagnoses:
        if diagnosis.mode == mode:
            which = f"{mode.capitalize()} scaling: " if len(shown) > 1 else ""
            yield Paragraph(f"{which}{diagnosis.verdict}", strong=True)


def _tables(study: Study, mode: Mode) -> Iterator[Block]:
    sizes = study.of(mode)
    yield Heading(f"{mode.capitalize()} scaling ({_FIXED[mode]})")
    yield scaling_table(sizes)
    if study.all_cores and study.all_cores.mode == sizes[0].mode:
        yield Paragraph(_all_cores(study.all_cores, sizes))
    yield Heading("Where a step's time goes", 3)
    yield split_table(sizes)
    if (communication := communication_table(sizes)) is not None:
        yield Heading("Communication", 3)
        yield communication


def _all_cores(one: SizeResult, sizes: Sequence[SizeResult]) -> str:
    """What the user would do instead of starting several workers."""
    unit, rates = throughput([*sizes, one])
    own = rates[-1].median
    most, best = max(zip(rates[:-1], sizes, strict=True), key=lambda pair: pair[0].median)
    ratio = (
        f"; the best size here, {fmt.plural(best.workers, 'worker')}, does {most.median / own:.2f} times that"
        if own
        else ""
    )
    threads = fmt.plural(one.threads_per_worker, "thread")
    return f"One worker with all cores ({threads}): {fmt.rate(own)} {unit}{ratio}."


def _diagnosis(diagnosis: Diagnosis) -> Iterator[Block]:
    yield Heading(f"Diagnosis: {diagnosis.mode} scaling, {fmt.plural(diagnosis.workers, 'worker')}")
    yield Paragraph(diagnosis.verdict, strong=True)
    titles = numbered([_title(finding) for finding in diagnosis.findings])
    for title, finding in zip(titles, diagnosis.findings, strict=True):
        yield Heading(title, 3)
        if finding.evidence:
            yield Bullets(finding.evidence)
        if finding.change:
            yield Paragraph("Change:")
            yield Code(finding.change)
        if finding.otherwise:
            yield Paragraph(f"{'Or' if finding.change else 'Change'}: {finding.otherwise}")
        if finding.gain:
            yield Paragraph(f"Gain: {finding.gain}")


def _title(finding: Finding) -> str:
    return f"{finding.title}: {_milliseconds(finding.seconds)}, {fmt.percent(finding.share, 1)} of the step"


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:,.0f} ms" if abs(value) >= 100 else f"{value:.1f} ms"


def _laws(study: Study) -> Iterator[Block]:
    if study.laws:
        yield Heading("Universal Scalability Law")
        yield Bullets(tuple(_law(law) for law in study.laws))


def _law(law: ScalabilityLaw) -> str:
    peak = f"; it is highest at {law.peak_workers:,.0f} workers" if law.peak_workers else ""
    return (
        f"{law.mode}: X(n) = {law.rate:,.4g} n / (1 + {law.contention:.3g} (n - 1) + {law.coherence:.3g} n (n - 1)), "
        f"fitted{peak}"
    )


def _settings(study: Study) -> Table:
    rows = [
        ("recipe", study.recipe),
        ("date", study.created),
        ("device", study.device),
        ("precision", study.precision),
        ("controller", study.controller),
        ("engine", fmt.engine(study.engine)),
        ("steps x launches", f"{study.steps:,} x {study.repeats:,}"),
        ("data", "made up (--synthetic)" if study.synthetic else ""),
        ("batch", "; ".join(f"{mode}: {batch}" for mode in MODES if (batch := _batches(study.of(mode))))),
        ("threads a worker", _threads(study.sizes)),
        ("peak", _peak(study)),
        *((name, str(value)) for name, value in _machine(study)),
    ]
    return Table(("setting", "value"), tuple(row for row in rows if row[1]), words=("value",))


def _batches(sizes: Sequence[SizeResult]) -> str:
    return ", ".join(
        f"{size.global_batch_size} = {size.micro_batch_size} x {fmt.plural(size.workers, 'worker')}"
        + (f" x {size.gradient_accumulation_steps}" if size.gradient_accumulation_steps > 1 else "")
        for size in sizes
    )


def _threads(sizes: Sequence[SizeResult]) -> str:
    counts = sorted({size.threads_per_worker for size in sizes})
    return ", ".join(str(count) for count in counts)


def _peak(study: Study) -> str:
    if study.peak_flops is None:
        return ""
    return (
        f"{fmt.quantity(study.peak_flops, 'FLOP/s')} {f'({study.peak_source})' if study.peak_source else ''}".rstrip()
    )


def _machine(study: Study) -> Iterator[tuple[str, str]]:
    environment = study.environment
    for name in ("processor", "system", "host"):
        if value := environment.get(name):
            yield name, str(value)
    packages = environment.get("packages")
    if isinstance(packages, dict):
        yield "packages", ", ".join(f"{name} {packages[name]}" for name in ("torch", "horovod") if name in packages)
