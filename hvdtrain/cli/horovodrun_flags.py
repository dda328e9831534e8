"""Flags of horovodrun as options of a command of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from hvdtrain.launch.flags import Flag

_TYPES: dict[str, Any] = {
    "text": str,
    "whole": int,
    "number": float,
    "switch": bool,
    "pair": tuple[int, int],
}

Command = Callable[..., None]


def with_flags(flags: Sequence[Flag]) -> Callable[[Command], Command]:
    """Give a command an option for each flag; it gets keywords by `Flag.key`, None where one was not given."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(flag.key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(flag))
            for flag in flags
        ]
        command.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
        command.__annotations__ |= {parameter.name: parameter.annotation for parameter in more}
        return command

    return decorate


def _annotation(flag: Flag) -> Any:
    names = (flag.name, flag.short) if flag.short else (flag.name,)
    option = typer.Option(*names, help=flag.help, rich_help_panel=flag.group, show_default=False)
    return Annotated[_TYPES[flag.kind] | None, option]
