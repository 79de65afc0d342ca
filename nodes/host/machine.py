"""Which machine this is, to compare times of it only."""

from __future__ import annotations

from functools import cache

from comfy.model_management import get_torch_device, get_torch_device_name

from ...storymem.files.harmless import harmless
from ...storymem.loop.time_left import machine_of


@cache
@harmless("")
def machine() -> str:
    """The mark of this machine and of the device that the host samples on."""
    return machine_of(get_torch_device_name(get_torch_device()))
