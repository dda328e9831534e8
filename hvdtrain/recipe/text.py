"""YAML 1.2 text to plain values, with the line of each: read safely, and unsafe or ambiguous constructs named."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

KeyPath = tuple[str | int, ...]

# A recipe has some dozens of values; what goes far beyond is an alias bomb or not a recipe.
_MAX_VALUES = 10_000
_MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"
_FOREIGN_VERSION = re.compile(r"^%YAML(?!\s+1\.2\s*$)", re.MULTILINE)


class YamlSyntaxError(Exception):
    """The text is no YAML, or not the kind that a recipe may hold; nothing can be read of it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Parsed:
    """Plain values, the line of each by its path, and what is wrong with them as YAML: (path, line, message).

    A value that has a problem is there as None, so that the rest can still be looked at.
    """

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, int, str]] = field(default_factory=list)


def parse(text: str) -> Parsed:
    """Read one YAML document.

    Raises:
        YamlSyntaxError: with the line.
    """
    if found := _FOREIGN_VERSION.search(text):
        raise YamlSyntaxError(_line_at(text, found.start()), "recipes are YAML 1.2; remove the %YAML directive")
    node = _compose(text)
    builder = _Builder()
    if node is not None:
        builder.result.value = builder.build(node, ())
    return builder.result


def resolve_plain(text: str) -> Any:
    """Return the value of text that stands for one unquoted scalar: `1e-3` a number, `no` text, an empty one null."""
    tag = str(YAML(typ="safe", pure=True).resolver.resolve(ScalarNode, text, (True, False)))
    return _scalar(tag, text)


def _compose(text: str) -> Node | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            _check_extent(text)
            node: Node | None = YAML(typ="safe", pure=True).compose(text)
            return node
    except ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{code:04X} is not allowed in YAML"
        raise YamlSyntaxError(_line_at(text, error.position), message) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlSyntaxError(mark.line + 1 if mark else 1, _explain(error)) from None
    except YAMLError as error:
        raise YamlSyntaxError(1, " ".join(str(error).split())) from None


def _check_extent(text: str) -> None:
    """Stop early at what would take long to read."""
    depth = 0
    for count, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        line = event.start_mark.line + 1
        if depth > _MAX_DEPTH:
            raise YamlSyntaxError(line, f"nested deeper than {_MAX_DEPTH} levels: not a recipe")
        if count > 2 * _MAX_VALUES:
            raise _too_many(line)


def _too_many(line: int) -> YamlSyntaxError:
    return YamlSyntaxError(line, f"more than {_MAX_VALUES:,} values, aliases expanded: not a recipe")


def _explain(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error).removeprefix("but ")
    if "'\\t'" in problem:
        return "not valid YAML: a tab where only spaces may indent"
    began = f", {error.context} from line {error.context_mark.line + 1}" if error.context and error.context_mark else ""
    return f"not valid YAML: {problem}{began}"


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


class _Builder:
    """Walks the node tree once, aliases expanded and counted."""

    def __init__(self) -> None:
        self.result = Parsed()
        self._count = 0

    def build(self, node: Node, path: KeyPath, line: int | None = None) -> Any:
        line = line or node.start_mark.line + 1
        self.result.lines[path] = line
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _too_many(line)
        if len(path) > _MAX_DEPTH:
            raise YamlSyntaxError(line, "an alias within what it stands for")
        tag = str(node.tag)
        if isinstance(node, ScalarNode) and _is_scalar_tag(tag):
            return self._scalar(node, path, line)
        if isinstance(node, MappingNode) and tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == f"{_TAG}seq":
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
        self._problem(path, line, f"the tag {shown} is not allowed: a recipe holds plain values only")
        return None

    def _scalar(self, node: ScalarNode, path: KeyPath, line: int) -> Any:
        value = _scalar(str(node.tag), node.value)
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            self._problem(path, line, "half of a surrogate pair is not text")
            return None
        return value

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, path, line)
            if key is None:
                continue
            if key in values:
                inner = (*path, key)
                first = self.result.lines[inner]
                self._problem(inner, line, f"the key is there twice, first in line {first}")
                continue
            values[key] = self.build(value_node, (*path, key), line)
        return values

    def _key(self, node: Node, path: KeyPath, line: int) -> str | None:
        if str(node.tag) == f"{_TAG}merge":
            self._problem(path, line, "merge keys (<<) are not part of YAML 1.2; use extends")
        elif isinstance(node, ScalarNode) and isinstance(key := _scalar(str(node.tag), node.value), str):
            return key
        else:
            shown = node.value if isinstance(node, ScalarNode) else "a list or mapping"
            self._problem(path, line, f"a key must be text, not {shown or 'nothing'}")
        return None

    def _problem(self, path: KeyPath, line: int, message: str) -> None:
        self.result.problems.append((path, line, message))


def _is_scalar_tag(tag: str) -> bool:
    # Dates are text in YAML 1.2, and so is a lone "=".
    return tag.removeprefix(_TAG) in ("null", "bool", "int", "float", "str", "timestamp", "value")


def _scalar(tag: str, text: str) -> Any:
    """Return the value of a scalar; what looks like a number to the resolver and is none of 64 bits stays text."""
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            digits = text.replace("_", "")
            value = int(digits, 0) if re.match(r"[-+]?0[box]", digits) else int(digits)
            return value if -(2**63) <= value < 2**63 else text
        if kind == "float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
    return text
