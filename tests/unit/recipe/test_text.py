from __future__ import annotations

import math

import pytest

from hvdtrain.recipe.text import YamlSyntaxError, parse, resolve_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("+3", 3),
        (".inf", math.inf),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    in_file, on_command_line = parse(f"key: {text}\n").value["key"], resolve_plain(text)
    assert (type(in_file), in_file) == (type(value), value)
    assert (type(on_command_line), on_command_line) == (type(value), value)


def test_each_value_has_the_line_of_its_key() -> None:
    lines = parse("a: 1\n\nb:\n  c:\n    [1,\n     2]\n").lines
    assert lines == {(): 1, ("a",): 1, ("b",): 3, ("b", "c"): 4, ("b", "c", 0): 5, ("b", "c", 1): 6}


def test_aliases_stand_for_their_anchors() -> None:
    assert parse("a: &x [1, {b: 2}]\nc: *x\n").value == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


def test_every_problem_is_found_and_the_rest_is_read() -> None:
    text = "a: 1\na: 2\nb: !!python/object:os.system ls\nc: !mine 3\n<<: {d: 4}\n5: six\n? [x]\n: y\ne: 7\n"
    parsed = parse(text)
    assert parsed.value == {"a": 1, "b": None, "c": None, "e": 7}
    assert [line for _, line, _ in parsed.problems] == [2, 3, 4, 5, 6, 7]
    messages = " | ".join(message for _, _, message in parsed.problems)
    for part in ("first in line 1", "!!python/object:os.system is not allowed", "!mine", "use extends", "not 5"):
        assert part in messages


@pytest.mark.parametrize("tag", ["!!set {a, b}", "!!binary aGk=", "!!omap [a: 1]", "!!python/name:os.system ''"])
def test_a_tag_never_makes_an_object(tag: str) -> None:
    parsed = parse(f"a: {tag}\n")
    assert parsed.value == {"a": None}
    assert len(parsed.problems) == 1


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: [1,\n 2\n", 3, "flow sequence"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a:\n\tb: 1\n", 2, "a tab"),
        ("a: 'x\nb: 2\n", 3, "end of stream"),
        ("a: 1\nb: \x01\n", 2, "U+0001"),
        ("a: *b\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("%YAML 1.1\n---\na: no\n", 1, "YAML 1.2"),
        ("a: " + "[" * 5000, 1, "nested deeper"),
        ("a: [" + "1," * 100_000 + "]", 1, "more than 10,000 values"),
        ("a: &a [*a]\n", 1, "an alias within"),
    ],
)
def test_what_is_no_recipe_text_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(YamlSyntaxError) as caught:
        parse(text)
    assert caught.value.line == line
    assert part in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    tens = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 5))
    with pytest.raises(YamlSyntaxError, match="10,000 values"):
        parse(f"a0: &a0 [{', '.join('x' * 10)}]\n{tens}")


def test_half_a_character_is_no_text() -> None:
    assert "surrogate" in parse('a: "\\ud800"\n').problems[0][2]
