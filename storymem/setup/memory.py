"""Cards, memory and disks as the system tells of them, without making room on any card."""

from __future__ import annotations

import csv
import io
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ASK_CARDS = (
    "nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits",
)  # fmt: skip
NOT_TOLD = "[N/A]"  # by a card that uses the machine's memory
LONGEST_WAIT = 10  # seconds for its answer
MIB = 2**20
NETWORK = {  # file systems of Linux that are another machine's
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "9p", "afs",
    "ceph", "fuse.glusterfs", "lustre", "drvfs", "davfs", "fuse.davfs2", "virtiofs",
}  # fmt: skip
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Card:
    """A graphics card: its memory in bytes.

    Args:
        free: as it is now; None where that is not asked.
        held: by the host itself, which frees it for a run.
    """

    name: str
    total: int
    free: int | None
    held: int = 0


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes; what a container may use where that is less."""

    total: int
    free: int


def nvidia_cards() -> list[Card]:
    """The NVIDIA cards that their driver knows; empty when there is no driver."""
    if shutil.which(ASK_CARDS[0]) is None:
        return []
    try:
        answer = subprocess.run(
            ASK_CARDS, capture_output=True, text=True, timeout=LONGEST_WAIT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return read_cards(answer.stdout, main_memory())


def read_cards(answer: str, shared: Memory | None = None) -> list[Card]:
    """Cards in what ``nvidia-smi`` says: name, MiB, free MiB in each line.

    Args:
        shared: memory of the machine, which cards have that name none of their own.
    """
    cards = []
    for row in csv.reader(io.StringIO(answer), skipinitialspace=True):
        match row:
            case [name, total, free] if total.isdecimal() and free.isdecimal():
                cards.append(Card(name, int(total) * MIB, int(free) * MIB))
            case [name, total, _] if shared and total == NOT_TOLD:
                cards.append(Card(name, shared.total, shared.free))
    return cards


def other_cards() -> list[Card]:
    """Cards of AMD and Intel, as torch knows them; to ask takes a little of their memory."""
    import torch

    for kind in ("cuda", "xpu"):  # AMD's are "cuda" to torch, too
        device = getattr(torch, kind, None)
        if device is None or not device.is_available() or not hasattr(device, "mem_get_info"):
            continue
        numbers = range(device.device_count())
        free = [device.mem_get_info(number) for number in numbers]
        return [Card(device.get_device_name(n), free[n][1], free[n][0]) for n in numbers]
    return []


def main_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> Memory | None:
    """Main memory, and what of it is free; None where nobody says."""
    try:
        import psutil  # of the host's requirements; the pack does without
    except ImportError:
        found = _meminfo(meminfo)
    else:
        now = psutil.virtual_memory()
        found = Memory(now.total, now.available)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if found is None or limit is None or used is None or limit >= found.total:
        return found
    return Memory(limit, max(0, min(found.free, limit - used)))


def _meminfo(path: Path) -> Memory | None:
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        total, free = (int(lines[n].split()[0]) * 1024 for n in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, LookupError):
        return None
    return Memory(total, free)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def is_writable(folder: Path) -> bool:
    """Whether a file can be written there, by writing one that vanishes at once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
            file.flush()
    except OSError:
        return False
    return True


def is_on_network(folder: Path, mounts: Path = Path("/proc/mounts")) -> bool:
    """Whether a folder is on another machine's disk; False where nobody says."""
    if platform.system() == "Windows":
        return _is_windows_network(folder)
    try:
        rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return False
    real = os.path.realpath(folder)
    kinds: dict[str, str] = {}
    for row in rows:
        if len(row) < 3:
            continue
        place = row[1].replace("\\040", " ")
        if real == place or real.startswith(place.rstrip("/") + "/"):
            kinds[place] = row[2]  # a later one covers an earlier one
    return bool(kinds) and kinds[max(kinds, key=len)] in NETWORK


def _is_windows_network(folder: Path) -> bool:
    place = str(folder.absolute())
    if place.startswith("\\\\"):
        return True
    import ctypes

    remote = 4  # DRIVE_REMOTE
    drive = os.path.splitdrive(place)[0] + "\\"
    return ctypes.windll.kernel32.GetDriveTypeW(drive) == remote


def free_space(folder: Path) -> int | None:
    """Bytes free on a folder's disk; None where nobody says."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
