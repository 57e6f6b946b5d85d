"""Hold the model against recorded lives of workunits on a real BOINC server.

    python -m pyboinc.project.replay FILE [FILE...]

Each line of a FILE (``.jsonl``, or ``.jsonl.gz``) is one history: what happened to a
workunit, step by step, and the database rows when the server's daemons had come to rest
after it.  The same events are given to the model, and its rows are compared in every field
after every step.  The format is described in ``docs/project_model.md``.

Exit status: 0 all agree, 1 some differ, 2 a file that can not be read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.project.administrator import cancel, create_workunit, expire
from pyboinc.project.daemons import Daemon, settle
from pyboinc.project.scheduler import Report, detach, report, send
from pyboinc.project.states import (
    NEVER,
    ClientState,
    Result,
    Results,
    ServerState,
    Workunit,
)
from pyboinc.project.transitioner import safety_net

#: A line of a file, an event or a row in it: JSON objects, checked as far as they are used.
Record: TypeAlias = dict[str, Any]
Rows: TypeAlias = tuple[Workunit, Results]

#: Seconds between two steps: so short that no deadline passes unless the history says so,
#: and a power of two, so that times can be added and subtracted without rounding.
STEP = 2.0**-10


class Difference(NamedTuple):
    """Where the model first left a history: ``step`` 0 is the creation."""

    history: str
    step: int
    event: Record
    field: str
    expected: object
    got: object

    def __str__(self) -> str:
        return (
            f"{self.history}: step {self.step}, {json.dumps(self.event)}: {self.field} is "
            f"{json.dumps(self.got)}, on the server {json.dumps(self.expected)}"
        )


def replay(history: Record) -> Difference | None:
    """Return the first difference between the model and a recorded *history*, or None.

    Raises :class:`ConfigurationError` if the history is not of the format.
    """
    try:
        return _replay(history)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, PyboincError) as error:
        raise ConfigurationError(
            f"history {history.get('id')} is not of the format: {type(error).__name__}: {error}"
        ) from error


def _replay(history: Record) -> Difference | None:
    order = [Daemon(name) for name in history["daemon_order"]]
    workunit = create_workunit(1, str(history["id"]), 0.0, **history["params"])
    results: Results = ()
    times_assimilated = 0
    for number, step in enumerate(history["steps"]):
        now = number * STEP
        event = step["event"]
        if (event["kind"] == "create") != (number == 0):
            raise ValueError("the first step, and no other, is the creation")
        if number > 0:
            workunit, results = _apply(event, workunit, results, now)
        workunit, results, assimilations = settle(workunit, results, now, order=order)
        times_assimilated += len(assimilations)
        differs = _first_difference(
            step["after"],
            _workunit_record(workunit, results, now, times_assimilated),
            [_result_record(result) for result in results],
        )
        if differs:
            return Difference(workunit.name, number, event, *differs)
    return None


def _apply(event: Record, workunit: Workunit, results: Results, now: float) -> Rows:
    """Do to the rows what the event says was done to them on the server."""
    kind = event["kind"]
    if kind == "send":
        host = f"host_{event['instance']}"
        return send(workunit, results, event["instance"], host, now)
    if kind == "timeout":
        return expire(workunit, results, event["instances"], now)
    if kind == "cancel":
        return cancel(workunit, results, now)
    if kind == "detach":
        for instance in event["instances"]:
            workunit, results = detach(workunit, results, f"host_{instance}", now)
        return workunit, results
    events = event["events"] if kind == "together" else [event]
    reports = [_REPORTS[each["kind"]](each) for each in events]
    return report(workunit, results, reports, now)[:2]


def _as_recorded(event: Record) -> Report:
    state = ClientState[event["client_state"]]
    return Report(event["instance"], event.get("value"), state, event["exit_status"])


def _repeated(event: Record) -> Report:
    if event["as"] == "success":
        return Report.success(event["instance"], "repeated")
    return Report.error(event["instance"])


def _unsent(event: Record) -> Report:
    return Report.success(event["instance"], "unsent")


def _strange(event: Record) -> Report:
    return Report.success(event["instance"], "stranger", host="stranger")


_REPORTS: dict[str, Callable[[Record], Report]] = {
    "success": _as_recorded,
    "error": _as_recorded,
    "abort": _as_recorded,
    "aborted_by_project": _as_recorded,
    "late_success": _as_recorded,
    "late_error": _as_recorded,
    "late_abort": _as_recorded,
    "repeat_report": _repeated,
    "report_unsent": _unsent,
    "report_by_stranger": _strange,
}


def _workunit_record(
    workunit: Workunit, results: Results, now: float, times_assimilated: int
) -> Record:
    return {
        "error_mask": int(workunit.error_mask),
        "canonical_instance": workunit.canonical_instance,
        "need_validate": workunit.need_validate,
        "assimilate_state": workunit.assimilate_state.name,
        "file_delete_state": workunit.file_delete_state.name,
        "target_nresults": workunit.target_nresults,
        "min_quorum": workunit.min_quorum,
        "next_transition": next_transition(workunit, results, now),
        "times_assimilated": times_assimilated,
    }


def next_transition(workunit: Workunit, results: Results, now: float) -> str | float:
    """Return the transition time as histories say it, or as it is if they have no word."""
    at = workunit.transition_time
    if at == NEVER:
        return "NEVER"
    running = [row for row in results if row.server_state == ServerState.IN_PROGRESS]
    if running and at == min(row.report_deadline for row in running):
        return "AT_DEADLINE"
    if 0.0 <= at - safety_net(workunit) <= now:
        return "SAFETY_NET"
    return at


def _result_record(result: Result) -> Record:
    names = ("server_state", "outcome", "client_state", "validate_state", "file_delete_state")
    states: dict[str, Enum] = {name: getattr(result, name) for name in names}
    return {
        "instance": result.instance,
        "exit_status": result.exit_status,
        "credited": result.credited,
        "reported": result.reported,
        **{name: state.name for name, state in states.items()},
    }


def _first_difference(
    expected: Record, workunit: Record, results: list[Record]
) -> tuple[str, object, object] | None:
    """Return the first field that differs, what it should be, and what it is."""
    numbers = [row["instance"] for row in expected["results"]]
    found = [row["instance"] for row in results]
    if numbers != found:
        return "the list of instances", numbers, found
    compared = [("workunit", expected["workunit"], workunit)]
    for theirs, ours in zip(expected["results"], results, strict=True):
        compared.append((f"result {ours['instance']}", theirs, ours))
    for row, theirs, ours in compared:
        for field in (*ours, *theirs.keys() - ours.keys()):
            if ours.get(field) != theirs[field]:
                return f"{row}: {field}", theirs[field], ours.get(field)
    return None


def read_histories(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the line number and the content of each history of a file.

    Raises :class:`ConfigurationError` naming the file and the line.
    """
    number = 0
    try:
        opener = gzip.open if path.name.endswith(".gz") else open
        with opener(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _record(line)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        where = f"{path}, line {number}" if number else str(path)
        raise ConfigurationError(f"{where}: can not be read: {error}") from error


def _record(line: bytes) -> Record:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError(f"a history is a JSON object, this is {type(record).__name__}")
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay the files named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pyboinc.project.replay",
        description="Hold the project model against recorded histories of a real BOINC server.",
        epilog="Exit status: 0 all agree, 1 some differ, 2 a file that can not be read.",
    )
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help=".jsonl or .jsonl.gz")
    try:
        differing = [_replay_file(path) for path in parser.parse_args(arguments).files]
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 1 if any(differing) else 0


def _replay_file(path: Path) -> int:
    """Replay one file, write what came of it, and return how many histories differ."""
    total = differing = 0
    for number, history in read_histories(path):
        try:
            difference = replay(history)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}, line {number}: {error}") from error
        total += 1
        if difference:
            differing += 1
            sys.stdout.write(f"{difference}\n")
    sys.stdout.write(f"{path}: {total - differing} of {total} histories agree\n")
    return differing


if __name__ == "__main__":
    sys.exit(main())
