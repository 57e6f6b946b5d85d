"""What is asked of the project's database, and what is written there.

Queries that may concern a million rows are asked for in pages.  Only one is asked every
second, and it finds one row by its number.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyboinc.backends.boinc.database import Database, Gone, Row
from pyboinc.backends.boinc.names import parse_workunit, pattern, workunit_name
from pyboinc.errors import BackendError, ConfigurationError

PAGE = 2000
"""Rows of workunits read at a time."""

INIT, IN_PROGRESS, COMPLETE, ABORTED, RETIRED = range(5)
"""The states of a batch (``html/inc/common_defs.inc``)."""

CANCELLED = 16
"""The bit of a workunit's error mask (``db/boinc_db_types.h``)."""

_TEXTS = ("char", "varchar", "text", "blob", "tinytext", "mediumtext", "tinyblob", "mediumblob")

# What it was made of stands in a workunit's XML: the archive's name first, the input's MD5 last.
_ARCHIVE = "substring_index(substring_index(xml_doc, '</name>', 1), '<name>', -1)"
_CKSUM = "substring_index(substring_index(xml_doc, '<md5_cksum>', -1), '</md5_cksum>', 1)"
_MADE = f"id, name, canonical_resultid, error_mask, {_ARCHIVE}, {_CKSUM}"


@dataclass(frozen=True, slots=True)
class Made:
    """A workunit of ours: which job it is, what it was made of, and whether it is decided."""

    id: int
    sequence: int
    issue: int
    succeeded: bool
    error_mask: int
    archive: str
    md5: str

    @property
    def finished(self) -> bool:
        """Whether it is decided, for good or ill."""
        return self.succeeded or self.error_mask != 0


class Census(NamedTuple):
    """How many workunits of a batch there are, and how many outcomes were delivered."""

    total: int = 0
    done: int = 0
    failed: int = 0


class Batches:
    """The rows of batches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> int | None:
        """Return the number of the batch called *name*, if there is one."""
        rows = self._database.select("select id from batch where name=%s order by id limit 1", name)
        return int(rows[0][0]) if rows else None

    def make(self, name: str, app: str, user: str | None, description: str) -> int:
        """Return the number of a new batch called *name*; its state is "being made"."""
        values = {
            "user_id": self._user(user),
            "create_time": int(time.time()),
            "name": name,
            "app_id": self.app(app),
            "state": INIT,
            "description": description[:255],
        }
        columns = self._database.select("show columns from batch")
        given = {str(each[0]): values.get(str(each[0]), _nothing(each)) for each in columns}
        given.pop("id", None)
        names = ", ".join(f"`{each}`" for each in given)
        places = ", ".join(["%s"] * len(given))
        for _ in range(3):
            try:
                query = f"insert into batch ({names}) values ({places})"
                return self._database.insert(query, *given.values())
            except Gone:  # it may have been inserted, or not
                found = self.find(name)
                if found is not None:
                    return found
        raise BackendError(
            "the project's database goes away whenever a batch is begun; nothing is lost: run the "
            "same command when it is well again"
        )

    def app(self, name: str) -> int:
        """Return the number of the application called *name*."""
        rows = self._database.select("select id from app where name=%s", name)
        if not rows:
            raise ConfigurationError(
                f"the project has no application {name!r}; its owner types pyboinc setup, or name "
                "another one with --app"
            )
        return int(rows[0][0])

    def _user(self, user: str | None) -> int:
        if user is None:
            rows = self._database.select("select min(id) from user")
            return int(rows[0][0] or 0)
        column = "id" if user.isdecimal() else "email_addr"
        rows = self._database.select(f"select id from user where {column}=%s", user)
        if not rows:
            raise ConfigurationError(
                f"the project has no user {user!r}; give the e-mail address or the number of one "
                "with --batch-user"
            )
        return int(rows[0][0])

    def state(self, batch: int) -> int:
        """Return the state of a batch."""
        rows = self._database.select("select state from batch where id=%s", batch)
        return int(rows[0][0]) if rows else INIT

    def glance(self, batch: int) -> int | None:
        """Return the state of a batch, None if the database does not answer: the cheap query."""
        rows = self._database.look("select state from batch where id=%s", batch)
        return int(rows[0][0]) if rows else None

    def write(self, batch: int, **columns: float) -> None:
        """Write columns of the row of a batch."""
        self._database.change(_update(columns), *columns.values(), batch)

    def tell(self, batch: int, **columns: float) -> bool:
        """Do so if the database answers just now: for what people look at, now or later."""
        return self._database.try_to_change(_update(columns), *columns.values(), batch)


def _update(columns: Iterable[str]) -> str:
    pairs = ", ".join(f"{name}=%s" for name in columns)
    return f"update batch set {pairs} where id=%s"


def _nothing(column: Row) -> object:
    """Return what stands for nothing in a column: no column of BOINC's has a default."""
    kind = str(column[1]).lower()
    return "" if kind.startswith(_TEXTS) else 0


class Workunits:
    """The workunits of one batch."""

    def __init__(self, database: Database, batch: int) -> None:
        self._database = database
        self.batch = batch

    def pages(self) -> Iterator[list[Made]]:
        """Yield all workunits of the batch, in the order in which they were made, page by page."""
        last = 0
        query = f"select {_MADE} from workunit where batch=%s and id>%s order by id limit {PAGE}"
        while rows := self._database.select(query, self.batch, last):
            last = int(rows[-1][0])
            yield self._made(rows)

    def named(self, names: Sequence[str]) -> list[Made]:
        """Return the workunits of these names that there are."""
        found: list[Made] = []
        for start in range(0, len(names), PAGE):
            part = names[start : start + PAGE]
            places = ", ".join(["%s"] * len(part))
            rows = self._database.select(
                f"select {_MADE} from workunit where name in ({places})", *part
            )
            found += self._made(rows)
        return found

    def numbered(self, numbers: Sequence[int]) -> list[Made]:
        """Return the workunits of these numbers that there are."""
        if not numbers:
            return []
        places = ", ".join(["%s"] * len(numbers))
        rows = self._database.select(
            f"select {_MADE} from workunit where id in ({places})", *numbers
        )
        return self._made(rows)

    def _made(self, rows: Iterable[Row]) -> list[Made]:
        found = []
        for number, name, canonical, mask, archive, cksum in rows:
            job = parse_workunit(str(name))
            if job is not None and job.batch == self.batch:
                what = _text(archive), _text(cksum)
                found.append(
                    Made(int(number), job.sequence, job.issue, bool(canonical), int(mask), *what)
                )
        return found

    def reissued(self) -> dict[int, int]:
        """Return the jobs that were made again, each with the number of its latest issue."""
        rows = self._database.select(
            "select name from workunit where batch=%s and name regexp '^pyb_[0-9]+_[0-9]+_[0-9]+$'",
            self.batch,
        )
        found: dict[int, int] = {}
        for (name,) in rows:
            job = parse_workunit(str(name))
            if job is not None:
                found[job.sequence] = max(job.issue, found.get(job.sequence, 0))
        return found

    def number(self) -> int:
        """Return how many workunits there are."""
        rows = self._database.select("select count(*) from workunit where batch=%s", self.batch)
        return int(rows[0][0])

    def failed(self) -> Iterator[list[Made]]:
        """Yield the workunits that were given up, page by page."""
        last = 0
        query = (
            f"select {_MADE} from workunit where batch=%s and id>%s and canonical_resultid=0 "
            f"and error_mask<>0 order by id limit {PAGE}"
        )
        while rows := self._database.select(query, self.batch, last):
            last = int(rows[-1][0])
            yield self._made(rows)

    def census(self, superseded: Sequence[str], aborted: bool) -> Census | None:
        """Count the workunits, without those *superseded*; None if the database does not answer.

        What counts is what was delivered.  In an *aborted* batch nobody may be told for days of
        those that were never sent: there it counts that they are given up.
        """
        delivered = "" if aborted else " and assimilate_state=2"
        sums = (
            "count(*), coalesce(sum(canonical_resultid<>0 and assimilate_state=2), 0), "
            f"coalesce(sum(canonical_resultid=0 and error_mask<>0{delivered}), 0)"
        )
        rows = self._database.look(f"select {sums} from workunit where batch=%s", self.batch)
        if rows is None:
            return None
        counts = [int(each) for each in rows[0]]
        for start in range(0, len(superseded), PAGE):
            part = superseded[start : start + PAGE]
            places = ", ".join(["%s"] * len(part))
            rows = self._database.look(
                f"select {sums} from workunit where name in ({places})", *part
            )
            if rows is None:
                return None
            counts = [all_ - int(old) for all_, old in zip(counts, rows[0], strict=True)]
        return Census(*counts)

    def at_work(self) -> tuple[int, int] | None:
        """Return how many jobs have an instance at work, and how many instances were retries."""
        rows = self._database.look(
            "select count(distinct if(r.server_state=4, w.id, null)), "
            "coalesce(sum(substring_index(r.name, '_', -1)+0 >= w.min_quorum), 0) "
            "from workunit w join result r on r.workunitid=w.id where w.batch=%s",
            self.batch,
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def unfinished(self) -> list[int]:
        """Return the numbers of all workunits that are not decided, ascending."""
        rows = self._database.select(
            "select id from workunit where batch=%s and canonical_resultid=0 and error_mask=0 "
            "order by id",
            self.batch,
        )
        return [int(number) for (number,) in rows]

    def cancel(self, numbers: Sequence[int]) -> None:
        """Cancel workunits as cancel_jobs does, which takes ranges only."""
        for start in range(0, len(numbers), PAGE):
            part = numbers[start : start + PAGE]
            places = ", ".join(["%s"] * len(part))
            self._database.change(
                "update result set server_state=5, outcome=5 "
                f"where server_state<=2 and workunitid in ({places})",
                *part,
            )
            self._database.change(
                f"update workunit set error_mask=error_mask|{CANCELLED}, "
                f"transition_time=%s where id in ({places})",
                int(time.time()),
                *part,
            )

    def wake(self) -> None:
        """Have the daemons look at what was aborted: the web's abort does not tell them."""
        self._database.change(
            "update workunit set transition_time=%s where batch=%s and assimilate_state=0",
            int(time.time()),
            self.batch,
        )

    def issues_of(self, sequence: int) -> list[Made]:
        """Return the workunits that a job was made as, the first one first."""
        rows = self._database.select(
            f"select {_MADE} from workunit where name=%s or name like %s order by id",
            workunit_name(self.batch, sequence),
            pattern(self.batch, sequence),
        )
        return [one for one in self._made(rows) if one.sequence == sequence]

    def instances(self, numbers: Sequence[int]) -> list[Row]:
        """Return the instances of these workunits that were sent, with their hosts."""
        if not numbers:
            return []
        places = ", ".join(["%s"] * len(numbers))
        return self._database.select(
            "select r.workunitid, r.name, r.server_state, r.outcome, r.client_state, "
            "r.validate_state, r.exit_status, r.stderr_out, r.hostid, r.sent_time, "
            "r.received_time, r.elapsed_time, h.domain_name, h.os_name "
            "from result r left join host h on h.id=r.hostid "
            f"where r.server_state>=4 and r.hostid<>0 and r.workunitid in ({places}) order by r.id",
            *numbers,
        )

    def with_failed_instances(self) -> list[int]:
        """Return the numbers of the jobs that are not given up and had an instance fail."""
        rows = self._database.select(
            "select distinct w.name from workunit w join result r on r.workunitid=w.id "
            "where w.batch=%s and w.error_mask=0 and r.outcome in (3, 4, 6, 7)",
            self.batch,
        )
        jobs = [parse_workunit(str(name)) for (name,) in rows]
        return sorted({job.sequence for job in jobs if job is not None})

    def output_file(self, made: Made) -> str | None:
        """Return the name of the uploaded file of the canonical result, if there is one."""
        rows = self._database.select(
            "select r.xml_doc_in from workunit w join result r on r.id=w.canonical_resultid "
            "where w.id=%s",
            made.id,
        )
        text = _text(rows[0][0]) if rows else ""
        name = text.partition("<name>")[2].partition("</name>")[0].strip()
        return name or None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
