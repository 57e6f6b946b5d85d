"""The emulated project's database: the rows of its workunits and results, in SQLite.

One writer, the project's server process; others may read beside it (write-ahead log).
A commit is durable when it returns: one fsync for however many rows are in it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from pyboinc.backends.local import trickles
from pyboinc.errors import BackendError, DirectoryDamaged
from pyboinc.project import (
    AssimilateState,
    Outcome,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
)

_WORKUNIT_COLUMNS = [field.name for field in fields(Workunit)]
_RESULT_COLUMNS = [field.name for field in fields(Result) if field.name != "workunit_name"]
_DETAIL_COLUMNS = [
    "sequence",
    "slave",
    "bundle",
    "offset",
    "size",
    "crc32",
    "memory",
    "disk",
    "fpops",
]
_TURN_COLUMNS = ["slot", "signal", "elapsed", "stderr", "python", "platform"]

_SCHEMA = f"""
create table if not exists project (version integer, clock real);
create table if not exists batch (id integer primary key autoincrement, token text unique);
create table if not exists workunit (
    id integer primary key, name text,
    {", ".join(_WORKUNIT_COLUMNS[2:])}, {", ".join(_DETAIL_COLUMNS)}
);
create table if not exists result (
    {", ".join(_RESULT_COLUMNS)}, {", ".join(_TURN_COLUMNS)},
    primary key (workunit, instance)
) without rowid;
{trickles.SCHEMA}"""

VERSION = 2
_BEFORE, _FPOPS = 1, 3.6e12
"""The version that had no ``fpops``: brought up to date when it is opened to be written."""


@dataclass(slots=True)
class Details:
    """What the emulator knows of a workunit beside BOINC's columns.

    Its number in the batch, its slave's program and archive, where its input lies in the
    spool, what it may use (bytes), and its estimated work.
    """

    sequence: int
    slave: str
    bundle: str
    offset: int
    size: int
    crc32: str
    memory: float
    disk: float
    fpops: float


class Made(NamedTuple):
    """The call that a workunit was made for: its slave, its input's size, checksum and place."""

    slave: str
    size: int
    crc32: str
    offset: int


@dataclass(slots=True)
class Turn:
    """What the emulator knows of a result beside BOINC's columns: where and how it ran."""

    slot: int | None = None
    signal: int = 0
    elapsed: float = 0.0
    stderr: str = ""
    python: str = ""
    platform: str = ""


@dataclass(slots=True)
class Rows:
    """A workunit with its results and what is known of each, as the server holds them."""

    workunit: Workunit
    results: Results
    details: Details
    turns: dict[int, Turn]


@dataclass(slots=True)
class Tally:
    """How many workunits there are, are good, have failed, and the instances made again."""

    total: int = 0
    done: int = 0
    failed: int = 0
    retries: int = 0


def _upsert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"insert or replace into {table} ({', '.join(columns)}) values ({marks})"


_PUT_WORKUNIT = _upsert("workunit", [*_WORKUNIT_COLUMNS, *_DETAIL_COLUMNS])
_PUT_RESULT = _upsert("result", [*_RESULT_COLUMNS, *_TURN_COLUMNS])
_GET_WORKUNIT = f"select {', '.join([*_WORKUNIT_COLUMNS, *_DETAIL_COLUMNS])} from workunit"
_GET_RESULT = f"select {', '.join([*_RESULT_COLUMNS, *_TURN_COLUMNS])} from result"


class Store:
    """The database in one file; *read_only* for those who look on while a server runs."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        mode = _read_only_mode(path) if read_only else "rwc"
        try:
            self._database = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=30,
            )
            if not read_only:
                self._prepare()
            (version,) = self._database.execute("select version from project").fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if version == _BEFORE:
            raise DirectoryDamaged(
                f"{path} was written by an earlier PyBOINC; go on with the batch once, which "
                "brings it up to date"
            )
        if version != VERSION:
            raise DirectoryDamaged(
                f"{path} was written by another version of PyBOINC ({version}, this one knows "
                f"{VERSION}); use that version, or remove the batch with pyboinc clean"
            )

    def _prepare(self) -> None:
        database = self._database
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = full")
        database.executescript(_SCHEMA)
        if database.execute("select version from project").fetchone() == (_BEFORE,):
            database.executescript(
                f"begin immediate; alter table workunit add column fpops default {_FPOPS};"
                f"update project set version = {VERSION}; commit"
            )
        if database.execute("select count(*) from project").fetchone() == (0,):
            database.execute("insert into project values (?, 0)", (VERSION,))

    def _unusable(self, error: sqlite3.Error) -> BackendError | DirectoryDamaged:
        if isinstance(error, sqlite3.OperationalError):
            return BackendError(
                f"the emulated project's database {self.path} can not be used: {error}; mend that "
                "(is the disk full or read-only?) and run the same command"
            )
        return DirectoryDamaged(
            f"the emulated project's database {self.path} is damaged: {error}; restore it from a "
            "backup, or remove the batch with pyboinc clean"
        )

    def ask(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Do *query* and return its rows; what goes wrong is explained."""
        try:
            return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def batch(self, token: str, known: int | None = None) -> int:
        """Return the ID of the batch of this token; begin it if there is none.

        *known* is the ID that it had in a database that is lost: outcomes have its name.
        """
        query = "select id from batch where token = ?"
        if not self.ask(query, (token,)):
            self.ask("insert into batch values (?, ?)", (known, token))
        return int(self.ask(query, (token,))[0][0])

    def clock(self) -> float:
        """Return the project's time at the last commit (s), 0 if there was none."""
        return float(self.ask("select clock from project")[0][0])

    def write(
        self,
        rows: Iterable[Rows],
        turns: Iterable[tuple[Rows, Result]],
        clock: float,
        others: Iterable[tuple[str, tuple[object, ...]]] = (),
    ) -> None:
        """Write workunits and single results in one transaction; durable when it returns.

        *others* are statements for tables that are not this class's own, with their values.
        """
        try:
            self._database.execute("begin immediate")
            self._database.executemany(_PUT_WORKUNIT, map(_workunit_values, rows))
            self._database.executemany(_PUT_RESULT, (_result_values(*one) for one in turns))
            for statement, values in others:
                self._database.execute(statement, values)
            self._database.execute("update project set clock = ?", (clock,))
            self._database.execute("commit")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def existing(self, batch: int, first: int, last: int) -> dict[int, Made]:
        """Return which sequence numbers first <= n < last have a workunit, and for which call."""
        found = self.ask(
            "select sequence, slave, size, crc32, offset from workunit where id >= ? and id < ?",
            (workunit_id(batch, first), workunit_id(batch, last)),
        )
        return {row[0]: Made(*row[1:]) for row in found}

    def load(self, ids: Sequence[int]) -> list[Rows]:
        """Return the workunits of these IDs with their results."""
        where = f"({','.join(map(str, ids))})"
        found: dict[int, Rows] = {}
        for row in self.ask(f"{_GET_WORKUNIT} where id in {where}"):
            split = len(_WORKUNIT_COLUMNS)
            found[row[0]] = Rows(Workunit(*row[:split]), (), Details(*row[split:]), {})
        results = f"{_GET_RESULT} where workunit in {where} order by workunit, instance"
        split = len(_RESULT_COLUMNS)
        for row in self.ask(results):
            owner = found[row[0]]
            owner.results += (Result(row[0], owner.workunit.name, *row[1:split]),)
            owner.turns[row[1]] = Turn(*row[split:])
        return [found[one] for one in ids if one in found]

    def unsent(self, batch: int) -> list[tuple[int, int, int, int]]:
        """Return (minus priority, sequence, instance, workunit ID) of every unsent result."""
        return self.ask(
            "select -w.priority, w.sequence, r.instance, w.id from result r join workunit w "
            "on w.id = r.workunit where r.server_state = ? and w.batch = ?",
            (int(ServerState.UNSENT), batch),
        )

    def at_hosts(self, batch: int) -> list[tuple[str, int, int, float]]:
        """Return (host, workunit ID, instance, deadline) of every result in progress."""
        return self.ask(
            "select r.host, w.id, r.instance, r.report_deadline from result r join workunit w "
            "on w.id = r.workunit where w.batch = ? and r.server_state = ?",
            (batch, int(ServerState.IN_PROGRESS)),
        )

    def in_progress(self, batch: int) -> list[int]:
        """Return the IDs of workunits that a stopped server left with an instance running."""
        found = self.ask(
            "select distinct w.id from workunit w join result r on r.workunit = w.id "
            "where w.batch = ? and r.server_state = ? order by w.id",
            (batch, int(ServerState.IN_PROGRESS)),
        )
        return [row[0] for row in found]

    def unfinished(self, batch: int) -> list[int]:
        """Return the IDs of workunits with neither a canonical result nor an error mask."""
        found = self.ask(
            "select id from workunit where batch = ? and canonical_instance is null "
            "and error_mask = 0 order by id",
            (batch,),
        )
        return [row[0] for row in found]

    def decided(self, batch: int) -> list[tuple[int, bool]]:
        """Return the number in the batch of each assimilated workunit, and whether it is good."""
        found = self.ask(
            "select sequence, canonical_instance is not null from workunit "
            "where batch = ? and assimilate_state = ? order by sequence",
            (batch, int(AssimilateState.DONE)),
        )
        return [(row[0], bool(row[1])) for row in found]

    def totals(self, batch: int) -> tuple[int, int, int, int]:
        """Return how many workunits there are, are good, have failed, and the retries."""
        total, done, failed = self.ask(
            "select count(*), count(canonical_instance), "
            "coalesce(sum(canonical_instance is null and error_mask != 0), 0) "
            "from workunit where batch = ?",
            (batch,),
        )[0]
        (retries,) = self.ask(
            "select count(*) from result r join workunit w on w.id = r.workunit "
            "where w.batch = ? and r.instance >= w.min_quorum",
            (batch,),
        )[0]
        return total, done, failed, retries

    def running(self, batch: int) -> int:
        """Return how many workunits have an instance in progress."""
        (running,) = self.ask(
            "select count(distinct w.id) from workunit w join result r on r.workunit = w.id "
            "where w.batch = ? and r.server_state = ? and w.canonical_instance is null",
            (batch, int(ServerState.IN_PROGRESS)),
        )[0]
        return int(running)

    def retried(self, batch: int) -> list[int]:
        """Return the IDs of workunits that are not given up and had an instance fail."""
        found = self.ask(
            "select distinct w.id from workunit w join result r on r.workunit = w.id "
            "where w.batch = ? and w.error_mask = 0 "
            "and (r.outcome not in (?, ?, ?) or r.validate_state = ?) order by w.id",
            (batch, *map(int, _NO_ERROR), int(ValidateState.INVALID)),
        )
        return [row[0] for row in found]

    def named(self, name: str) -> Rows | None:
        """Return the workunit *name*, or None; a name says the batch and the sequence."""
        batch, _, sequence = name.partition("_")
        found = self.load([workunit_id(int(batch), int(sequence))])
        return found[0] if found else None

    def set_bundle(self, batch: int, slave: str, bundle: str) -> None:
        """Let the workunits of *slave* run another archive from now on."""
        self.ask(
            "update workunit set bundle = ? where batch = ? and slave = ? and bundle != ?",
            (bundle, batch, slave, bundle),
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _read_only_mode(path: Path) -> str:
    """Return how to open a database to be read, also by who may write nothing beside it.

    Even to read, SQLite makes a file for what is shared with a writer.  Where we can not make
    one and no write-ahead log is there, nobody is writing, and it can do without.
    """
    if os.access(path.parent, os.W_OK) or os.path.exists(f"{path}-wal"):
        return "ro"
    return "ro&immutable=1"


def workunit_id(batch: int, sequence: int) -> int:
    """Return the ID of a batch's workunit: IDs of one batch are adjacent, in call order."""
    return (batch << 40) | sequence


# In both: "+ 0" makes a plain integer of an enumeration or a bool; sqlite3 asks its adapters
# about each value that is not quite an int, which takes three times as long.


def _workunit_values(rows: Rows) -> tuple[object, ...]:
    one, more = rows.workunit, rows.details
    return (
        one.id,
        one.name,
        one.batch,
        one.priority,
        one.delay_bound,
        one.min_quorum,
        one.target_nresults,
        one.max_error_results,
        one.max_total_results,
        one.max_success_results,
        one.need_validate + 0,
        one.canonical_instance,
        one.transition_time,
        one.error_mask + 0,
        one.assimilate_state + 0,
        one.file_delete_state + 0,
        more.sequence,
        more.slave,
        more.bundle,
        more.offset,
        more.size,
        more.crc32,
        more.memory,
        more.disk,
        more.fpops,
    )


def _result_values(rows: Rows, one: Result) -> tuple[object, ...]:
    turn = rows.turns.get(one.instance) or Turn()
    return (
        one.workunit,
        one.instance,
        one.server_state + 0,
        one.outcome + 0,
        one.client_state + 0,
        one.validate_state + 0,
        one.exit_status,
        one.host,
        one.sent_time,
        one.report_deadline,
        one.received_time,
        one.file_delete_state + 0,
        one.output,
        one.credited + 0,
        turn.slot,
        turn.signal,
        turn.elapsed,
        turn.stderr,
        turn.python,
        turn.platform,
    )


_NO_ERROR = (Outcome.INIT, Outcome.SUCCESS, Outcome.DIDNT_NEED)
