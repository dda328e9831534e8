"""The GPT's Config: what it accepts, what it says, and that it costs no torch."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from hvdtrain import registry
from hvdtrain.models.gpt import Config


def message(**values: object) -> tuple[tuple[object, ...], str]:
    with pytest.raises(ValidationError) as caught:
        Config(**values)
    (error,) = caught.value.errors()
    return error["loc"], error["msg"]


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.models.gpt as g; g.Config(d_model=64); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_is_registered_by_its_file_and_private_modules_are_not() -> None:
    assert registry.config_class("models", "gpt") is Config
    assert "gpt" in registry.names("models")
    assert not [name for name in registry.names("models") if name.startswith("_")]


def test_resolves_what_is_left_out() -> None:
    config = Config(d_model=256, n_heads=4)
    assert (config.head_dim, config.kv_heads, config.hidden_dim) == (64, 4, 704)
    assert Config(d_model=768, n_heads=12).hidden_dim == 2048
    given = Config(d_model=256, n_heads=4, n_kv_heads=2, ffn_dim=100)
    assert (given.kv_heads, given.hidden_dim) == (2, 100)


def test_default_feed_forward_has_the_weights_of_a_plain_one_of_four_times_the_width() -> None:
    for d_model in (256, 512, 1024, 4096):
        swiglu = 3 * d_model * Config(d_model=d_model, n_heads=4).hidden_dim
        assert swiglu == pytest.approx(2 * d_model * 4 * d_model, rel=0.05)


@pytest.mark.parametrize(
    ("values", "location", "said"),
    [
        ({"d_model": 256, "n_heads": 3}, "n_heads", ["d_model 256", "2 and 4"]),
        ({"d_model": 250}, "n_heads", ["d_model 250", "2 and 5"]),
        ({"d_model": 12, "n_heads": 4}, "n_heads", ["width 3", "even"]),
        ({"d_model": 8, "n_heads": 64}, "n_heads", ["d_model 8", "nearest that do: 8"]),
        ({"n_heads": 4, "n_kv_heads": 3}, "n_kv_heads", ["n_heads 4", "2 and 4"]),
        ({"n_heads": 4, "n_kv_heads": 8}, "n_kv_heads", ["n_heads 4", "nearest that do: 4"]),
        ({"n_kv_heads": 0}, "n_kv_heads", ["greater than 0"]),
        ({"d_model": 0}, "d_model", ["greater than or equal to 1"]),
        ({"d_model": 10**15}, "d_model", ["less than or equal"]),
        ({"n_layers": 0}, "n_layers", ["greater than or equal to 1"]),
        ({"ffn_dim": 0}, "ffn_dim", ["greater than or equal to 1"]),
        ({"dropout": 1.0}, "dropout", ["less than 1"]),
        ({"dropout": float("nan")}, "dropout", ["finite"]),
        ({"norm_eps": 0}, "norm_eps", ["greater than 0"]),
        ({"rope_base": float("inf")}, "rope_base", ["finite"]),
        ({"init_std": -0.1}, "init_std", ["greater than 0"]),
        ({"width": 3}, "width", ["not permitted"]),
    ],
)
def test_impossible_values_are_located_and_explained(values: dict[str, object], location: str, said: list[str]) -> None:
    where, text = message(**values)
    assert where == (location,)
    for part in said:
        assert part in text


def test_a_wrong_width_is_the_only_error_it_causes() -> None:
    assert message(d_model=-4, n_heads=3)[0] == ("d_model",)
