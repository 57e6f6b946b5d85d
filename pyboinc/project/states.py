"""The rows of a BOINC project's database: what a workunit and its results can be.

A *workunit* is a job.  A *result* is one instance of it: one host's turn at doing it.
Everything that a project decides, it decides from these rows and the time, and
everything it does is a change to them.  The numbers of the enumerations are BOINC's own
(``db/boinc_db_types.h``, ``lib/common_defs.h``), so a row read from a real project's
database means the same here; the rules compare with ``==``, so plain integers will do.

The rows are plain records.  No rule ever changes the one it is given: it makes a copy,
and so a caller sees by identity (``old is new``) which rows have to be written back.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from math import inf
from typing import TypeAlias

from pyboinc.errors import PyboincError

#: The transition time of a workunit that nothing waits for.  BOINC writes INT_MAX, which is
#: also a moment in January 2038; a model that outlives it can not.
NEVER = inf

#: What stands for the content of a result's output: its bytes, or a digest of them.
Output: TypeAlias = Hashable


class ServerState(IntEnum):
    """How far the server is with a result."""

    INACTIVE = 1
    UNSENT = 2
    IN_PROGRESS = 4
    OVER = 5


class Outcome(IntEnum):
    """How a result ended; INIT until it has."""

    INIT = 0
    SUCCESS = 1
    COULDNT_SEND = 2
    CLIENT_ERROR = 3
    NO_REPLY = 4
    DIDNT_NEED = 5
    VALIDATE_ERROR = 6
    CLIENT_DETACHED = 7


class ClientState(IntEnum):
    """How far the client said it was when it reported."""

    NEW = 0
    FILES_DOWNLOADING = 1
    FILES_DOWNLOADED = 2
    COMPUTE_ERROR = 3
    FILES_UPLOADING = 4
    FILES_UPLOADED = 5
    ABORTED = 6
    UPLOAD_FAILED = 7


class ValidateState(IntEnum):
    """What the validator, or the transitioner in its place, made of an output."""

    INIT = 0
    VALID = 1
    INVALID = 2
    NO_CHECK = 3
    INCONCLUSIVE = 4
    TOO_LATE = 5


class AssimilateState(IntEnum):
    """Whether the workunit has been handed to its owner."""

    INIT = 0
    READY = 1
    DONE = 2


class FileDeleteState(IntEnum):
    """Whether the files of a workunit (inputs) or a result (outputs) are still there."""

    INIT = 0
    READY = 1
    DONE = 2
    ERROR = 3


class ErrorMask(IntFlag):
    """Why a workunit was given up; several reasons may hold at once."""

    NONE = 0
    COULDNT_SEND_RESULT = 1
    TOO_MANY_ERROR_RESULTS = 2
    TOO_MANY_SUCCESS_RESULTS = 4
    TOO_MANY_TOTAL_RESULTS = 8
    CANCELLED = 16
    NO_CANONICAL_RESULT = 32


#: Exit statuses that BOINC treats specially (``lib/error_numbers.h``).
EXIT_ABORTED_BY_PROJECT = 202
EXIT_ABORTED_VIA_GUI = 203


@dataclass(slots=True)
class Workunit:
    """One job: its limits as given by the scientist, and how far the project is with it.

    ``delay_bound`` is in seconds, ``transition_time`` in the seconds of the caller's clock
    (the transitioner is due from then on; :data:`NEVER` if nothing is awaited), and
    ``canonical_instance`` is the number of the result that was chosen as the right one.
    """

    id: int
    name: str
    batch: int = 0
    priority: int = 0
    delay_bound: float = 604800.0
    min_quorum: int = 1
    target_nresults: int = 1
    max_error_results: int = 1
    max_total_results: int = 1
    max_success_results: int = 1
    need_validate: bool = False
    canonical_instance: int | None = None
    transition_time: float = NEVER
    error_mask: ErrorMask = ErrorMask.NONE
    assimilate_state: AssimilateState = AssimilateState.INIT
    file_delete_state: FileDeleteState = FileDeleteState.INIT

    @property
    def succeeded(self) -> bool:
        """Whether there is a canonical result; test this first, a mask may stand beside it."""
        return self.canonical_instance is not None

    @property
    def finished(self) -> bool:
        """Whether the job has been decided, for good or ill (running instances may go on)."""
        return self.canonical_instance is not None or self.error_mask != 0

    @property
    def delivered(self) -> bool:
        """Whether the assimilator has handed over what was decided."""
        return self.assimilate_state == AssimilateState.DONE

    def copy(self) -> Workunit:
        """Return an equal row that may be changed (several times faster than ``replace``)."""
        return Workunit(
            self.id,
            self.name,
            self.batch,
            self.priority,
            self.delay_bound,
            self.min_quorum,
            self.target_nresults,
            self.max_error_results,
            self.max_total_results,
            self.max_success_results,
            self.need_validate,
            self.canonical_instance,
            self.transition_time,
            self.error_mask,
            self.assimilate_state,
            self.file_delete_state,
        )


@dataclass(slots=True)
class Result:
    """One instance of a workunit: where it went, what came back, what was made of it.

    Times are in seconds, None if it has not happened.  ``output`` is None when the host
    uploaded nothing, and again when the file deleter has removed the file.
    """

    workunit: int
    workunit_name: str
    instance: int
    server_state: ServerState = ServerState.UNSENT
    outcome: Outcome = Outcome.INIT
    client_state: ClientState = ClientState.NEW
    validate_state: ValidateState = ValidateState.INIT
    exit_status: int = 0
    host: str | None = None
    sent_time: float | None = None
    report_deadline: float = NEVER
    received_time: float | None = None
    file_delete_state: FileDeleteState = FileDeleteState.INIT
    output: Output = None
    credited: bool = False

    @property
    def name(self) -> str:
        """The name of the result on the wire and in file names: ``<workunit>_<instance>``."""
        return f"{self.workunit_name}_{self.instance}"

    @property
    def reported(self) -> bool:
        """Whether the server has closed it at a host's word (a report, or a detach)."""
        return self.received_time is not None

    def copy(self) -> Result:
        """Return an equal row that may be changed (several times faster than ``replace``)."""
        return Result(
            self.workunit,
            self.workunit_name,
            self.instance,
            self.server_state,
            self.outcome,
            self.client_state,
            self.validate_state,
            self.exit_status,
            self.host,
            self.sent_time,
            self.report_deadline,
            self.received_time,
            self.file_delete_state,
            self.output,
            self.credited,
        )


#: The results of one workunit, in the order of their numbers.
Results: TypeAlias = tuple[Result, ...]


def position(workunit: Workunit, results: Sequence[Result], instance: int) -> int:
    """Return the index of *instance* among *results*.

    Raises :class:`PyboincError` if there is no such row.
    """
    for index, result in enumerate(results):
        if result.instance == instance:
            return index
    raise PyboincError(
        f"workunit {workunit.name}: there is no result {workunit.name}_{instance} among its "
        f"{len(results)} rows; the project's database has lost rows or mixed up workunits"
    )


def changed(before: Sequence[Result], after: Sequence[Result]) -> list[Result]:
    """Return the rows of *after* that are new or other than before: those to be written."""
    return [row for row in after if not any(row is old for old in before)]
