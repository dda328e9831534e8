"""What models with convolutions check of the norms that they configure."""

from __future__ import annotations

from collections.abc import Sequence

GROUP_WIDTH = 8
"""Channels of a group of `norm: group`."""


def check_groups(norm: str, key: str, channels: Sequence[int]) -> None:
    """Make sure that the groups of the norm divide the channels that `key` configures.

    Raises:
        ValueError: they don't.
    """
    wrong = [width for width in channels if width % GROUP_WIDTH]
    if norm == "group" and wrong:
        raise ValueError(f"group needs {key}, {wrong[0]}, to be a multiple of {GROUP_WIDTH}; or take batch")
