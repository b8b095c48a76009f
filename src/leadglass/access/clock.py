"""The time, as a parameter."""

from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Nanoseconds since 1970 UTC, as `time.time_ns`."""

NANOSECONDS = 1_000_000_000
DAY = 24 * 3600 * NANOSECONDS
