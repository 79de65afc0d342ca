"""What is nice to know must not stop what is needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


def harmless(otherwise: Result) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """For functions that a run can do without: gives ``otherwise`` where they fail, whatever the
    cause, and says so once each."""

    def guarded(function: Callable[..., Result]) -> Callable[..., Result]:
        told = False

        @wraps(function)
        def tried(*arguments, **named) -> Result:
            nonlocal told
            try:
                return function(*arguments, **named)
            except Exception as error:
                if not told:
                    told = True
                    logger.warning(
                        "StoryMem: %s failed, and the run goes on without it (%s: %s)",
                        function.__qualname__, type(error).__name__, error,
                    )  # fmt: skip
                return otherwise

        return tried

    return guarded
