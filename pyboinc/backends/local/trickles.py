"""Trickles: what instances say to the project while they run, kept for people to read.

A slave writes one into its slot (:func:`pyboinc.slave.pyboinc_send_trickle_up`).  A BOINC client
brings it to the scheduler; the emulated hosts, which report when an instance has ended, bring
the last one then.  It is known by its instance and the time at which it was sent, to the second
as a client has it, so that a request which comes twice changes nothing.
"""

from __future__ import annotations

import os
import re
from html import unescape
from typing import TYPE_CHECKING, NamedTuple

from pyboinc.slave import MOST_TRICKLE, TRICKLE_UP

if TYPE_CHECKING:
    from pyboinc.backends.local.emulator import Emulator
    from pyboinc.backends.local.store import Store

SCHEMA = """
create table if not exists trickle (
    workunit, instance, time, variety, text, primary key (workunit, instance, time)
) without rowid;
"""

KEPT = 20
"""Trickles of an instance that are kept: the last ones."""

_MOST = 8 * MOST_TRICKLE
_PUT = "insert or replace into trickle values (?, ?, ?, ?, ?)"
_FORGET = (
    "delete from trickle where workunit = ?1 and instance = ?2 and time not in ("
    "select time from trickle where workunit = ?1 and instance = ?2 "
    f"order by time desc limit {KEPT})"
)
_VARIETY = re.compile(r"\s*<variety>([^<]{0,255})</variety>\n?")


class Trickle(NamedTuple):
    """What an instance said: *time* is when (s), by its host's clock; *text* without markup."""

    instance: int
    time: float
    variety: str
    text: str


def parse(instance: int, time: float, written: str) -> Trickle:
    """Return the trickle whose file holds *written*: its variety first, then its text."""
    found = _VARIETY.match(written)
    variety = found.group(1) if found else ""
    text = written[found.end() :] if found else written
    return Trickle(instance, time, unescape(variety), unescape(text.strip())[:MOST_TRICKLE])


def read(slot: str, instance: int) -> Trickle | None:
    """Return what the slave in *slot* has said last; most say nothing."""
    from pyboinc import disk
    from pyboinc.errors import RejectedResult

    path = f"{slot}/{TRICKLE_UP}"
    try:
        time = os.stat(path).st_mtime
        written = disk.read_bounded(path, _MOST)
    except (OSError, RejectedResult):  # there is none, or whatever a slave has made of its slot
        return None
    return parse(instance, time, written.decode("utf-8", "replace"))


def keep(emulator: Emulator, workunit: int, said: Trickle) -> None:
    """Have *said* written with the next commit."""
    which = workunit, said.instance
    emulator.write_too(("trickle", *which, said.time), _PUT, (workunit, *said))
    emulator.write_too(("trickles", *which), _FORGET, which)


def latest(store: Store, batch: int) -> tuple[str, Trickle] | None:
    """Return what was said last in *batch*, and the result's name; None if nothing ever was."""
    if not store.ask("select 1 from sqlite_master where name = 'trickle'"):
        return None  # the database of an earlier version
    found = store.ask(
        "select w.name, t.instance, t.time, t.variety, t.text from trickle t "
        "join workunit w on w.id = t.workunit where w.batch = ? order by t.time desc limit 1",
        (batch,),
    )
    return (f"{found[0][0]}_{found[0][1]}", Trickle(*found[0][1:])) if found else None


def of_workunit(store: Store, workunit: int) -> list[Trickle]:
    """Return what the instances of *workunit* said, in the order of time."""
    query = "select instance, time, variety, text from trickle where workunit = ? order by 2, 1"
    return [Trickle(*row) for row in store.ask(query, (workunit,))]
