"""Takes by their names: how the key of a finished shot begins, as scripts hold it."""

from __future__ import annotations

from collections.abc import Iterable

from ..script.fields import TAKE
from ..script.story import Shot
from .passes import FILM, pass_of_facts
from .shot_record import Record
from .shot_store import ShotStore

LENGTH = 16  # hexadecimal digits: among a million takes, one in ten million million is ambiguous


def take_name(key: str) -> str:
    """What a script calls the record of ``key``."""
    return key[:LENGTH]


def find_key(store: ShotStore, name: str, pass_: str = "") -> str:
    """The key of the only record whose key begins with ``name``; empty for none or several, and for
    one of another pass than ``pass_`` where that is given."""
    if not TAKE.fullmatch(name):
        return ""
    found = [path.name for path in (store.root / "shots" / name[:2]).glob(f"{name}*")]
    key = found[0] if len(found) == 1 else ""
    is_other = key and pass_ and pass_of_facts(store.find_facts(key)) != pass_
    return "" if is_other else key


def find_take(store: ShotStore, name: str, pass_: str = "") -> Record | None:
    """The take of a name when it is there and whole, else ``None`` (damage is logged)."""
    return store.find(find_key(store, name, pass_))


def missing_takes(store: ShotStore, shots: Iterable[Shot], pass_: str = FILM) -> list[str]:
    """What the artist should know, before the first shot, of takes that the script names and the
    store lacks. A film's takes are no draft's, and the other way round."""
    shots = list(shots)
    others = [
        f"take {take_name(shot.take)}, which the script names for shot {shot.index + 1}, is one of "
        f"the {found} and not used in the film; choose another in Takes, or none"
        for shot in shots
        if pass_ == FILM
        and (key := find_key(store, shot.take))
        and (found := pass_of_facts(store.find_facts(key))) != FILM
    ]
    return others + [
        f"take {take_name(shot.take)}, which the script names for shot {shot.index + 1}, is not "
        "among the finished shots: the shot is made as the script describes it unless that is "
        "finished; choose another in Takes, or none"
        for shot in shots
        if shot.take and find_take(store, shot.take) is None
    ]
