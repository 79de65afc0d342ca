"""Commands that look at a story's folder and say something of it, line by line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from ..files.messages import reason_of
from .exit_codes import DONE, REFUSED

logger = logging.getLogger(__name__)


def tell(options: argparse.Namespace, lines: Callable[[argparse.Namespace], list[str]]) -> int:
    """Write what ``lines`` finds about ``options.folder``: 0, or 2 and why it cannot."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.INFO)
    try:
        found = lines(options)
    except OSError as error:
        logger.error("error: %s: %s", options.folder, reason_of(error))
        return REFUSED
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return DONE
