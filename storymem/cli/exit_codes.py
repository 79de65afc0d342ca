"""Exit codes of the commands; what each means to a command stands in its ``--help``."""

from __future__ import annotations

DONE = 0
BROKEN = 1  # an unexpected error
LACKING = 1  # of doctor: something is missing or wrong
REFUSED = 2  # an option, a script or a file is wrong
INCOMPLETE = 3  # a shot failed, or a story could not be measured
INTERRUPTED = 130
