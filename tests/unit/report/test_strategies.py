from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hvdtrain.errors import UserError
from hvdtrain.metrics.strategies import Comparison, Refused, StrategyResult
from hvdtrain.metrics.study import Interval
from hvdtrain.report.strategies import check_writable, strategies_console, write_strategies
from hvdtrain.report.strategies_document import strategies_document, strategies_table


def spread(low: float, median: float, high: float, launches: int = 3) -> Interval:
    return Interval(
        low=low, median=median, high=high, launches=launches, kind="range" if launches > 1 else "one launch"
    )


def result(strategy: str, **changes: Any) -> StrategyResult:
    known: dict[str, Any] = {
        "strategy": strategy,
        "step": spread(0.6, 0.61, 0.65),
        "sync_tax": spread(0.05, 0.06, 0.07),
        "samples_per_second": 26.0,
        "tokens_per_second": 3300.0,
        "bytes_per_step": 21e6,
        "sent_bytes": 22e6,
        "train_loss": spread(5.1, 5.1, 5.1),
        "validation": spread(5.2, 5.2, 5.2),
        "memory_bytes": (700_000_000, 690_000_000),
        "state_bytes": (42_000_000, 42_000_000),
        "global_batch_size": 32,
        "engine": {"HOROVOD_CYCLE_TIME": "20 (auto)"},
    }
    return StrategyResult(**known | changes)


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(
        name="gpt", recipe="gpt-[bold]shakespeare", created="2026-01-01", command="hvdtrain compare gpt", workers=2,
        rounds=3, steps=60, warmup=5, updates=40, verdict=("a is the fastest.", "b loses."),
        results=(
            result("parameter_server", server_bytes_per_step=84e6, state_bytes=(42_000_000, 0)),
            result("allreduce:compression=fp16:groups=4"),
            result("none", sync_tax=None, step=spread(0.57, 0.58, 0.58), bytes_per_step=0.0, sent_bytes=0.0, engine={}),
        ),
        refused=(
            Refused(strategy="adasum", message="needs a power of two of workers"),
            Refused(strategy="topk", message="worker 1 died", failed=True),
        ),
        notes=("the split is by document",),
    )  # fmt: skip


def shown(comparison: Comparison, width: int) -> str:
    console = Console(width=width, record=True, highlight=False, file=io.StringIO())
    console.print(strategies_console(comparison, width))
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_nothing_is_lost_at_any_width(width: int, comparison: Comparison) -> None:
    text = shown(comparison, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for cell in (
        "parameter_server",
        "compression=fp16",
        "none (floor)",
        "600 to 650",
        "5.0 to 7.0 %",
        "84 MB",
        "5.2000",
    ):
        assert cell in text
    for said in ("adasum: needs a power", "topk: worker 1 died", "not synchronised, 2 separate models"):
        assert said in " ".join(text.split())


def test_at_120_columns_a_strategy_is_a_row(comparison: Comparison) -> None:
    lines = shown(comparison, 120).splitlines()
    (head,) = (line for line in lines if line.startswith("strategy"))
    assert head.split() == [
        "strategy", "step,", "ms", "sync", "tax", "tokens/s", "bytes", "sent", "training", "validation", "memory",
        "state",
    ]  # fmt: skip


def test_the_cells_say_what_was_measured(comparison: Comparison) -> None:
    table = strategies_table(comparison)
    server = dict(zip(table.columns, table.rows[0], strict=True))
    assert server["step, ms"] == "610\n600 to 650"
    assert server["bytes"] == "21 MB\nserver 84 MB"
    assert server["memory"] == "700 MB"
    assert server["state"] == "42 MB\nleast 0"
    assert server["training"] == "5.1000"
    assert dict(zip(table.columns, table.rows[2], strict=True))["sync tax"] == "-"
    assert "Losses were the same in every round." in table.notes


def test_losses_that_do_not_repeat_show_their_range(comparison: Comparison) -> None:
    other = result("x", validation=spread(5.1, 5.2, 5.3))
    table = strategies_table(comparison.model_copy(update={"results": (other,)}))
    assert table.rows[0][table.columns.index("validation")] == "5.2000\n5.1000 to 5.3000"
    assert any("do not repeat exactly" in note for note in table.notes)
    assert not any("separate models" in note for note in table.notes)


def test_one_round_has_no_spread_and_says_nothing_of_rounds(comparison: Comparison) -> None:
    one = result("x", step=spread(0.5, 0.5, 0.5, 1), sync_tax=None, train_loss=spread(1, 1, 1, 1))
    table = strategies_table(comparison.model_copy(update={"results": (one,)}))
    assert table.rows[0][1] == "500"
    assert not any("every round" in note for note in table.notes)


def test_batches_that_differ_are_named(comparison: Comparison) -> None:
    both = (result("x"), result("server", global_batch_size=16))
    notes = strategies_table(comparison.model_copy(update={"results": both})).notes
    assert any("x 32, server 16" in note for note in notes)


def test_a_recipe_that_ends_early_is_told(comparison: Comparison) -> None:
    assert "The recipe is over after 40, not 60." in " ".join(shown(comparison, 200).split())
    whole = comparison.model_copy(update={"updates": 60})
    assert "is over" not in shown(whole, 200)


def test_three_files_are_written_and_the_json_is_the_whole(tmp_path: Path, comparison: Comparison) -> None:
    write_strategies(tmp_path / "new", comparison)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "comparison.html", "comparison.json", "comparison.md",
    ]  # fmt: skip
    assert Comparison.model_validate_json((tmp_path / "new" / "comparison.json").read_bytes()) == comparison
    page = (tmp_path / "new" / "comparison.html").read_text()
    assert "gpt-[bold]shakespeare" in page
    assert "<script" not in page
    assert "| parameter\\_server |" in (tmp_path / "new" / "comparison.md").read_text()


def test_a_directory_that_can_not_be_made_is_refused(tmp_path: Path, comparison: Comparison) -> None:
    (tmp_path / "file").touch()
    for write in (check_writable, lambda place: write_strategies(place, comparison)):
        with pytest.raises(UserError, match="--output"):
            write(tmp_path / "file")


def test_a_comparison_of_nothing_can_be_shown(comparison: Comparison) -> None:
    empty = comparison.model_copy(update={"results": (), "verdict": ()})
    assert strategies_document(empty)
