"""What a backend is, and how one is found by name.

A backend is a place where jobs are done.  It is small: it begins a batch, makes jobs of
spooled calls (again and again if need be: a job's name is its identity), says how far the
batch is, puts outcomes into ``new/``, and cancels.  It knows nothing of handlers, and the
master knows nothing of any particular backend.

Third parties add a backend through the entry-point group ``pyboinc.backends``: the entry
names a callable that takes (:class:`~pyboinc.jobdir.JobDirectory`,
:class:`~pyboinc.config.Settings`) and returns a :class:`Backend`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pyboinc.errors import ConfigurationError, RejectedResult

if TYPE_CHECKING:
    from pyboinc.config import Settings
    from pyboinc.jobdir import JobDirectory


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a batch is: numbers of jobs, and of instances that had to be replaced.

    ``queued`` + ``running`` + ``done`` + ``failed`` == ``total``; ``retries`` counts
    instances made beyond the first ones.
    """

    total: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One instance of a job on one host.

    Times are seconds since the epoch; ``elapsed`` is in seconds; ``exit_status`` is the
    signal's number if ``signal``.
    """

    instance: int
    host: str
    outcome: str
    exit_status: int = 0
    signal: bool = False
    stderr: str = ""
    python: str = ""
    platform: str = ""
    elapsed: float = 0.0
    sent: float = 0.0
    received: float = 0.0


class Job:
    """A job as its handler sees it: ``index``, ``name``, ``input``, ``attempts``, ``host``.

    ``index`` counts the calls from 0.  The rest is looked up when it is asked for:
    ``attempts`` is a tuple of :class:`Attempt`, ``host`` the name of the host whose output
    was taken, ``sent`` and ``received`` when it got the job and answered (seconds since
    the epoch), ``input`` the input given to ``pyboinc_call``.
    """

    __slots__ = ("_attempts", "_describe", "_load_input", "index", "name")

    def __init__(
        self,
        index: int,
        name: str,
        describe: Callable[[str], tuple[Attempt, ...]],
        load_input: Callable[[int], Any],
    ) -> None:
        self.index = index
        self.name = name
        self._describe = describe
        self._load_input = load_input
        self._attempts: tuple[Attempt, ...] | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every instance of the job, in the order they were made."""
        if self._attempts is None:
            self._attempts = self._describe(self.name)
        return self._attempts

    @property
    def input(self) -> Any:
        """The input that this job was called with."""
        return self._load_input(self.index)

    @property
    def _taken(self) -> Attempt | None:
        good = [one for one in self.attempts if one.outcome == "success"]
        return good[0] if good else None

    @property
    def host(self) -> str:
        """The host whose output was taken; empty if the backend does not know."""
        return self._taken.host if self._taken else ""

    @property
    def sent(self) -> float:
        """When that host got the job, in seconds since the epoch."""
        return self._taken.sent if self._taken else 0.0

    @property
    def received(self) -> float:
        """When that host's output came back, in seconds since the epoch."""
        return self._taken.received if self._taken else 0.0

    def __repr__(self) -> str:
        return f"<Job {self.index} ({self.name})>"


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that can not be done: which one, why, and what its instances said.

    ``reason`` is the project's word for it (such as "too many error results"),
    ``error_mask`` BOINC's bits for the same (sched/transitioner.cpp).
    """

    index: int
    name: str
    reason: str
    error_mask: int = 0
    attempts: tuple[Attempt, ...] = field(default=())

    @property
    def stderr(self) -> str:
        """What the slave wrote to stderr, of the last instance that wrote anything."""
        return next((one.stderr for one in reversed(self.attempts) if one.stderr), "")

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the job: then its slave has nothing to do with it."""
        return bool(self.error_mask & 16)  # WU_ERROR_CANCELLED, db/boinc_db_types.h

    @property
    def cause(self) -> str:
        """One line: the last line of the slave's stderr, or the reason if that says more."""
        said = "" if self.cancelled else self.stderr
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return lines[-1] if lines else self.reason

    @property
    def host(self) -> str:
        """The host of the last instance."""
        return self.attempts[-1].host if self.attempts else ""

    @property
    def replay(self) -> str:
        """The command that runs this job in the foreground with its exact input."""
        return f"pyboinc replay {self.index}"


def failure_to_bytes(failure: Failure) -> bytes:
    """Return *failure* as the JSON text of an ``.error`` file."""
    fields = {name: getattr(failure, name) for name in ("index", "name", "reason", "error_mask")}
    fields["attempts"] = [
        {name: getattr(one, name) for name in Attempt.__slots__} for one in failure.attempts
    ]
    return json.dumps(fields, indent=1).encode()


def failure_from_bytes(data: bytes) -> Failure:
    """Read an ``.error`` file; raises :class:`RejectedResult` if it is not one."""
    try:
        fields = json.loads(data)
        attempts = tuple(Attempt(**one) for one in fields.pop("attempts"))
        failure = Failure(**fields, attempts=attempts)
        _check_types(failure, _FAILURE_TYPES)
        for attempt in attempts:
            _check_types(attempt, _ATTEMPT_TYPES)
        return failure
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RejectedResult(f"not a failure report: {error}") from error


_FAILURE_TYPES = {"index": int, "name": str, "reason": str, "error_mask": int}
_ATTEMPT_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("instance", "exit_status"), int),
    **dict.fromkeys(("host", "outcome", "stderr", "python", "platform"), str),
    **dict.fromkeys(("elapsed", "sent", "received"), (int, float)),
    "signal": bool,
}


def _check_types(value: object, types: Mapping[str, type | tuple[type, ...]]) -> None:
    for name, kind in types.items():
        if not isinstance(getattr(value, name), kind):
            raise TypeError(f"{name} is {getattr(value, name)!r:.40}")


class Backend(Protocol):
    """Where jobs are done.  Every method may raise :class:`BackendError`.

    ``first_errors`` gathers what slaves said when they failed ("<result>: <last line>"),
    the first of each kind, for the display, which empties it.

    An attribute ``judged`` that is true says that the app's ``validate`` was asked of every output
    in new/ (:mod:`pyboinc.validation`); without it the master asks.  A method ``last_trickle()``
    tells people what a slave said last while it ran: the result's name, when (s), and its text.
    """

    first_errors: list[str]

    def begin_batch(self, token: str) -> str:
        """Return the ID of the batch begun under *token*; begin it if there is none."""

    def submit(self, first: int, last: int) -> None:
        """Make jobs of the spooled calls first <= sequence < last that have none yet.

        Durable when it returns.  Jobs are named ``<batch>_<sequence>``.  Raises
        :class:`CheckpointMismatch` if a job of that name was made for another input: the logs
        here may have been restored from a backup that is older than the project's state.
        """

    def start(self) -> None:
        """Let the work begin, if it has not."""

    def wait(self, timeout: float) -> None:
        """Return when something may have come into new/, or after *timeout* seconds."""

    def counts(self) -> Counts:
        """Say how far the batch is."""

    def describe(self, name: str) -> tuple[Attempt, ...]:
        """Return the instances of job *name*, in order."""

    def retried(self) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        """Yield name and instances of each job that is not given up and had an instance fail."""

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        """Do these jobs again: their outcome was lost, refused, or is to be had anew.

        With *unless_there* a job is left alone whose outcome is in new/ or old/ by now: the
        project may have noticed that it was lost before the master did.
        """

    def use_program(self, slave: str, digest: str) -> None:
        """Let jobs of *slave* that are not done run the archive *digest* from now on.

        Told of each slave when a batch is gone on with, before anything else.
        """

    def cancel(self) -> int:
        """Cancel every unfinished job; return how many that were."""

    def close(self) -> None:
        """Stop working and give everything back; the batch can be continued later."""


def _local(directory: JobDirectory, settings: Settings) -> Backend:
    if settings.boinc_clients or settings.serve is not None:
        from pyboinc.backends.served import ServedBackend

        return ServedBackend(directory, settings)
    from pyboinc.backends.local import LocalBackend

    return LocalBackend(directory, settings)


def _simulated(directory: JobDirectory, settings: Settings) -> Backend:
    from pyboinc.backends.simulated import SimulatedBackend

    return SimulatedBackend(directory, settings)


def _boinc(directory: JobDirectory, settings: Settings) -> Backend:
    from pyboinc.backends.boinc import BoincBackend

    return BoincBackend(directory, settings)


_BUILT_IN: dict[str, Callable[[JobDirectory, Settings], Backend]] = {
    "boinc": _boinc,
    "local": _local,
    "simulated": _simulated,
}


def find_backend(name: str) -> Callable[[JobDirectory, Settings], Backend]:
    """Return what opens the backend *name*; raises :class:`ConfigurationError`."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    from difflib import get_close_matches  # slow to import, as is metadata
    from importlib.metadata import entry_points

    for entry in entry_points(group="pyboinc.backends", name=name):
        opener: Callable[[JobDirectory, Settings], Backend] = entry.load()
        return opener
    names = sorted({*_BUILT_IN, *(e.name for e in entry_points(group="pyboinc.backends"))})
    near = get_close_matches(name, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigurationError(f"there is no backend {name!r}{hint} (there is: {', '.join(names)})")
