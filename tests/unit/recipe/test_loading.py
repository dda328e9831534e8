from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.errors import RecipeError
from hvdtrain.recipe import LoadedRecipe, load, shipped
from hvdtrain.recipe.files import MAX_BYTES

Load = Callable[..., LoadedRecipe]
Write = Callable[..., Path]


def complaint(source: str | Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(source, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_recipe_is_found_by_path_and_by_shipped_name(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    assert load(path).path == path
    assert load(str(path)).recipe.name == "trial"
    monkeypatch.chdir(path.parent)
    assert load("gpt-shakespeare").path == shipped()["gpt-shakespeare"]
    assert load("base/lm.yaml").path == shipped()["base/lm"]


def test_what_is_left_out_has_its_default(loaded: Load) -> None:
    recipe = loaded().recipe
    assert (recipe.seed, recipe.description, recipe.output_dir) == (1234, None, Path("runs/trial"))
    assert (recipe.sync.name, recipe.lr_scheduler.name) == ("allreduce", "constant")
    assert (recipe.train.micro_batch_size, recipe.train.global_batch_size) == (8, None)


def test_output_goes_where_it_is_told(loaded: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded("output_dir=/scratch/run 1").recipe.output_dir == Path("/scratch/run 1")
    assert loaded("output_dir=~/run").recipe.output_dir == tmp_path / "run"


@pytest.mark.parametrize("value", [".", "/", "''", "..", "a/..", '"a\\0b"'])
def test_output_never_goes_where_other_things_are(loaded: Load, value: str) -> None:
    with pytest.raises(RecipeError, match="must name a directory that the run can have to itself"):
        loaded(f"output_dir={value}")


@pytest.mark.parametrize("name", ["my run", "a/b", "../x", "-np", ".hidden", '"a\\n"', "''", "x" * 101])
def test_a_name_is_safe_as_a_directory(loaded: Load, name: str) -> None:
    with pytest.raises(RecipeError, match=r"name = .*: must be letters, digits"):
        loaded(f"name={name}")


def test_all_problems_are_named_at_once_each_with_its_line(write: Write) -> None:
    path = write(
        """\
name: trial
seed: -1
lr: 3
modle: {}
task: {name: language_modelling}
model: {name: gpt, d_model: 100, n_heads: 3}
data: {name: shakespeare, partition: {name: randm}, seq: 3}
tokenizer: {name: bpe}
optimizer: {name: adamw, betas: [0.9, 2.0], wieght_decay: 1, fused: maybe}
lr_scheduler:
  name: cosine
  min_lr: .inf
  batch_size_scaling: lin
sync: {name: allreduce, op: avg, fusion_threshold_mb: x}
sync: {name: none}
train:
  deterministic: no
  global_batch_size: 30
  epochs: 2
  max_tokens: 1
  precision: !!python/object:os.system fp32
"""
    )
    lines = complaint(path, "foo", "train.log_interval=often").splitlines()
    beginnings = [
        "23 problems in recipe",
        ":2: seed = -1: must be greater than or equal to 0",
        ":3: lr = 3: unknown key here; did you mean 'optimizer.lr'?",
        ":4: modle: unknown key; did you mean 'model'?",
        ":5: task.name = language_modelling: must be ",
        ":6: model.n_heads = 3: must divide d_model 100 (nearest that do: 2 and 4)",
        ":7: data.partition.name = randm: must be ",
        ":7: data.seq = 3: unknown key; known: max_seq_len, name, partition, val_fraction",
        ":8: tokenizer.vocab_size: is required",
        ":9: optimizer.lr: is required",
        ":9: optimizer.betas.1 = 2.0: must be less than 1",
        ":9: optimizer.fused = maybe: must be auto or true or false",
        ":9: optimizer.wieght_decay = 1: unknown key; did you mean 'weight_decay'?",
        ":12: lr_scheduler.min_lr = Infinity: must be a finite number",
        ":13: lr_scheduler.batch_size_scaling = lin: must be one of none, linear, sqrt; did you mean 'linear'?",
        ":14: sync.fusion_threshold_mb = x: must be auto or a number",
        ":14: sync.op = avg: must be one of average, sum",
        ":15: sync: the key is there twice, first in line 14",
        ":17: train.deterministic = no: must be true or false (in YAML 1.2, no is text)",
        ":18: train.global_batch_size = 30: must be a multiple of train.micro_batch_size 8, such as 24 or 32",
        ":20: train.max_tokens = 1: only one of max_steps, epochs, max_tokens can be set, not epochs and max_tokens",
        ":21: train.precision = null: the tag !!python/object:os.system is not allowed",
        "override 'foo': must be key=value, such as optimizer.lr=3e-4",
        "override 'train.log_interval=often': train.log_interval = often: must be a whole number",
    ]
    shown = [line.strip().removeprefix(str(path)) for line in lines]
    for line, beginning in zip(shown, beginnings, strict=True):
        assert line.startswith(beginning)


def test_a_problem_has_the_place_of_the_file_that_brought_it(write: Write) -> None:
    lower = write("\n\noptimizer: {name: adamw, lr: -1}\n", name="lower.yaml")
    message = complaint(write("extends: lower.yaml\nname: trial\nseed: x\n"))
    assert f"{lower}:3: optimizer.lr = -1" in message
    assert "trial.yaml:3: seed = x" in message
    assert "trial.yaml: model: is required" in message


def test_an_override_is_not_blamed_for_what_its_section_lacked_before(write: Write) -> None:
    path = write(write().read_text().replace("max_steps", "log_interval"))
    message = complaint(path, "train.eval_interval=5")
    assert message == f"{path}:10: train.max_steps: one of max_steps, epochs, max_tokens is required: how long to train"


def test_a_missing_key_is_where_the_name_that_needs_it_is(write: Write) -> None:
    assert (
        complaint(write(), "tokenizer.name=bpe") == "override 'tokenizer.name=bpe': tokenizer.vocab_size: is required"
    )
    path = write("name: x\noptimizer: {name: sgd}\n" + write().read_text().split("optimizer:")[0].split("\n", 1)[1])
    assert f"{path}:2: optimizer.lr: is required" in complaint(path, "optimizer.momentum=0.5", "train.max_steps=1")


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("model.name=gtp", "model.name = gtp: must be"),
        ("model=gpt", "model = gpt: must be a mapping with a name"),
        ("optimizer.name=adam", "must be one of adamw, sgd; did you mean 'adamw'?"),
        ("optimizer=null", "optimizer = null: must be a mapping"),
        ("train=[1]", "train = [1]: must be a mapping"),
        ("seed=true", "seed = true: must be a whole number"),
        ("seed='8'", "must be a whole number; write it without quotes"),
        ("name=3", "must be text; put it in quotes"),
        ("seed=4294967296", "must be less than 4294967296"),
        ("optimizer.lr=1e999", "must be a finite number"),
        ("optimizer.lr=0", "must be greater than 0"),
        ("optimizer.betas=[0.9]", "optimizer.betas.1: is required"),
        ("optimizer.betas=0.9", "must be a list"),
        ("train.micro_batch_size=1.5", "must be a whole number"),
        ("train.threads_per_worker=0", "must be auto or greater than 0"),
        ("max_steps=3", "unknown key here; did you mean 'train.max_steps'?"),
        ("model={d_model:32}", "unknown key; YAML wants a space after the colon: d_model: 32"),
    ],
)
def test_what_is_expected_is_said(loaded: Load, override: str, part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(override)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("other_model")
def test_names_from_other_packages_are_known(loaded: Load) -> None:
    expected = r"model\.name = other_nett: must be one of .*gpt, .*other_net.*; did you mean 'other_net'\?"
    with pytest.raises(RecipeError, match=expected):
        loaded("model.name=other_nett")


def test_a_long_value_is_cut(loaded: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(f"seed={'x' * 5000}")
    assert "seed = " + "x" * 57 + "...: must" in str(caught.value)


def test_files_that_are_no_recipes(write: Write, tmp_path: Path) -> None:
    assert "did you mean 'gpt-shakespeare'?" in complaint(tmp_path / "gpt-shakespear.yaml")
    assert "is a directory" in complaint(tmp_path)
    assert "is empty" in complaint(write("# nothing\n"))
    assert "holds no mapping" in complaint(write("- a\n"))
    assert "larger than" in complaint(write(b"#" * (MAX_BYTES + 1)))
    assert "trial.yaml:2: not UTF-8 text (byte 0xe9)" in complaint(write(b"name: x\ndescription: caf\xe9\n"))
    assert "trial.yaml:2: not valid YAML: a tab" in complaint(write("train:\n\tmax_steps: 3\n"))


def test_a_file_that_may_not_be_read_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write()
    monkeypatch.setattr(Path, "open", refuse)
    assert complaint(path) == f"cannot read recipe {path}: Permission denied"


def test_a_byte_order_mark_and_carriage_returns_do_no_harm(write: Write) -> None:
    assert load(write(b"\xef\xbb\xbf" + write().read_bytes().replace(b"\n", b"\r\n"))).recipe.name == "trial"


@pytest.mark.parametrize("name", ["a" * 5000, "x\0y", "a/" * 3000])
def test_a_name_that_no_file_can_have_is_refused_like_any_other(tmp_path: Path, name: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"extends: {json.dumps(name)}\n")
    with pytest.raises(RecipeError, match="neither a file"):
        load(recipe)
    with pytest.raises(RecipeError, match="neither a file nor a shipped recipe"):
        load(name)
