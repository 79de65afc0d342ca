"""Dies by ``kill -9`` right before it touches a file that an order names.

Python imports this by itself in every process that has this folder on PYTHONPATH. From outside, a
file that is there for a tenth of a millisecond is missed nearly always; Python's audit events come
before each step with a file, so the moment is exact. See ``kill_moments.Orders``, which writes the
orders.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys

ORDERS = os.environ.get("STORYMEM_KILL_ORDERS")
STEPS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.mkdir": 0, "shutil.rmtree": 0}  # which path
_counts: dict[str, int] = {}


def _look(event: str, arguments: tuple) -> None:
    place = STEPS.get(event)
    if place is None or (event == "open" and not (arguments[2] or 0) & os.O_CREAT):
        return
    try:
        path = os.fsdecode(arguments[place])
        with open(ORDERS, "rb") as file:
            order = json.load(file)
    except (OSError, TypeError, ValueError):  # no order, or a file without a name
        return
    if not path.startswith(f"{order['root']}{os.sep}"):
        return
    path = os.path.relpath(path, order["root"]).replace(os.sep, "/")
    if not re.search(order["pattern"], path):
        return
    count = _counts[order["id"]] = _counts.get(order["id"], 0) + 1
    if order["trace"] or count == order["number"]:
        line = f"{event} {path}\n".encode()
        descriptor = os.open(f"{ORDERS}.done", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)
    if count == order["number"]:
        os.kill(os.getpid(), signal.SIGKILL)


if ORDERS:
    sys.addaudithook(_look)
