"""Log lines of the pack and of the host, kept back while something is only looked at.

What a run would log, a look ahead hears as well, again and again: a page asks it at every change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PACK = __name__.rpartition(".nodes.")[0]
ALWAYS = f"{PACK}.nodes.host.executor"  # tells once of a host that is not as expected
_HEARD: ContextVar[list[str] | None] = ContextVar("storymem_heard", default=None)


class _Keep(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        heard = _HEARD.get()
        if heard is None:
            return True
        if record.levelno >= logging.WARNING and record.name.startswith(f"{PACK}."):
            heard.append(record.getMessage())
        return False


_KEEP = _Keep()


@contextmanager
def hushed() -> Iterator[list[str]]:
    """What this thread or task logs in here is kept back, the host's words on a prompt included;
    the pack's warnings go to the list given, in order."""
    logging.getLogger().addFilter(_KEEP)  # of the root logger's own lines, as the host writes them
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(f"{PACK}.") and name != ALWAYS:
            logging.getLogger(name).addFilter(_KEEP)  # the same one twice is one
    token = _HEARD.set([])
    try:
        yield _HEARD.get()
    finally:
        _HEARD.reset(token)
