"""pyboinc_call and pyboinc_master: the loop, told as a story.

A master is a program that may be killed at any moment and started again.  Its variables
live in its memory only, so a new run rebuilds them: it makes no new jobs, moves the
results handled before from old/ back to new/, handles them again in the recorded order,
and then waits for the rest.  :meth:`Master.run` is that story, one line for each step.

What makes it safe is the order of four things, told in :meth:`Master._commit`: the calls
that handlers made are durable before the journal counts them; the journal is durable
before jobs are made of them; and only then do handled results move to old/.  A kill
between any two of these leaves a directory that the next run understands
(docs/protocol.md has the table, tests/test_recovery.py kills it at every step).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

from pyboinc import config, endings, mishaps
from pyboinc.backends import Backend, Failure, Job
from pyboinc.calls import Calls
from pyboinc.compact import Handled, Jobs
from pyboinc.disk import reach
from pyboinc.endings import Interrupts, check_function, show_errors_briefly, wants_job
from pyboinc.errors import (
    ConfigurationError,
    Interrupted,
    JobsFailed,
    PyboincError,
    ReplayMismatch,
)
from pyboinc.jobdir import ERROR, OUTPUT, Arrival, JobDirectory
from pyboinc.opening import digests, open_directory
from pyboinc.outcomes import Outcomes
from pyboinc.progress import Display
from pyboinc.report import describe_failures
from pyboinc.run_record import RunRecord

GROUP = 64
"""Outcomes handled between two commits, at most."""

WAIT = 0.2
"""Seconds that the master waits before it looks around again, at most."""

Handler = Callable[..., object]

_masters: dict[Path, Master] = {}
_running: list[Master] = []


def pyboinc_call(slave: str, input: Any, **limits: Any) -> int:
    """Call the program *slave* with *input* on some volunteer's computer; return the job's index.

    *slave* is a file name in the job directory; *input* an object of a class that the slave
    can import (plain classes, dataclasses, numpy arrays inside).  Keywords set limits of this
    job: ``delay_bound`` (s), ``max_errors``, ``quorum``, ``priority``, ``memory`` (bytes),
    ``disk`` (bytes), ``fpops`` (floating-point operations, estimated).

    Only make_calls, handle_result and handle_error may call it.  Raises
    :class:`~pyboinc.errors.EncodeError` at once, naming the attribute, if the input can not
    travel, and :class:`~pyboinc.errors.ConfigurationError` for an unknown slave or limit.
    """
    if not _running:
        show_errors_briefly()
        raise ConfigurationError(
            "pyboinc_call was called outside make_calls and handle_result; "
            "call it in the functions that you give to pyboinc_master"
        )
    return _running[-1].calls.call(slave, input, limits)


def pyboinc_master(
    make_calls: Callable[[], object],
    handle_result: Handler,
    handle_error: Callable[[Failure], object] | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> None:
    """Have the jobs that *make_calls* calls for done, and give each output to *handle_result*.

    *make_calls()* is called once in the life of a job directory; *handle_result(output)*, or
    *handle_result(output, job)*, once for each job in every run of the master, on a restart in
    the recorded order.  *handle_error(failure)* is called for a job that can not be done;
    without it the others are finished first, and then :class:`~pyboinc.errors.JobsFailed` is
    raised.  *directory* is the job directory (default: where the master program lies); other
    keywords are settings and win over flags, environment and ``pyboinc.toml``.

    Called again in the same program it does a next phase, replayed in order like the first
    (also after a JobsFailed that the program has caught).
    """
    show_errors_briefly()
    if _running:
        raise ConfigurationError(
            "pyboinc_master was called inside make_calls or a handler of another one; call it "
            "when that has returned, as the next phase"
        )
    check_function("make_calls", make_calls, 0)
    check_function("handle_result", handle_result, 2 if wants_job(handle_result) else 1)
    if handle_error is not None:
        check_function("handle_error", handle_error, 1)
    path = _job_directory(directory)
    if path not in _masters:
        _masters[path] = Master(path, settings)
    elif settings:
        raise ConfigurationError(
            "only the first pyboinc_master of a program takes settings; "
            f"move {', '.join(sorted(settings))} there"
        )
    try:
        _masters[path].run(make_calls, handle_result, handle_error)
    except JobsFailed:
        raise  # all that can be handled is handled; a program that catches it may go on
    except BaseException as error:
        with closing(_masters.pop(path).directory) as place:
            endings.explain_our_own(error, place)
        raise


def _job_directory(given: str | os.PathLike[str] | None) -> Path:
    if given is not None:
        return Path(given).absolute()
    program = getattr(sys.modules["__main__"], "__file__", None)
    return Path(program).absolute().parent if program else Path.cwd()


class Master:
    """The run of one master program in one job directory."""

    def __init__(self, path: Path, arguments: Mapping[str, Any]) -> None:
        self.settings = config.load(path, arguments=arguments, argv=sys.argv[1:])
        self.directory = JobDirectory(path)
        self.calls = Calls(self.directory, self.settings.include)
        self.display = Display(self.settings)
        self.backend: Backend
        self.phase = 0
        self._handled = Jobs()
        self._with_jobs = 0

    def run(
        self,
        make_calls: Callable[[], object],
        handle_result: Handler,
        handle_error: Callable[[Failure], object] | None,
    ) -> None:
        """Do one phase, from wherever an earlier run left it."""
        self.phase += 1
        self._handle_result, self._handle_error = handle_result, handle_error
        self._gives_job = wants_job(handle_result)
        self._failures: list[Failure] = []
        with Interrupts() as self._interrupts:
            try:
                if self.phase == 1:
                    self._open()
                if self.phase not in self.directory.journal.phases:
                    self._make_calls(make_calls)
                self._make_jobs()
                self._replay()
                self._wait_for_the_rest()
            except KeyboardInterrupt:
                raise self._interrupted() from None
            finally:
                self._let_go()
        self._finish()

    def _open(self) -> None:
        """Lock the directory, and bring handled results back to new/ (M0 to M2)."""
        directory, settings = self.directory, self.settings
        self.backend = open_directory(directory, settings, self.calls)
        assert directory.record is not None
        mishaps.install(settings.fault_plan(directory.record.seed), directory.record.starts)
        directory.restore()
        self._outcomes = Outcomes(
            directory, self.calls, self.backend, self.display, settings.max_output
        )

    def _make_calls(self, make_calls: Callable[[], object]) -> None:
        """Have the calls of this phase made, and commit them all with one line (M3, M4)."""
        directory, record = self.directory, self.directory.record
        assert record is not None
        self.calls.begin(self.phase, directory.journal.calls)
        _running.append(self)
        try:
            with self._interrupts.at_once():
                reach("make calls")
                make_calls()
        except BaseException:
            self.calls.back_to(directory.journal.calls)
            raise
        finally:
            _running.pop()
        self._keep_program(record)
        directory.spool.sync()
        directory.journal.commit_calls(self.phase, self.calls.position)
        if not self.calls.position:
            self.display.note("make_calls made no calls: there is nothing to do")

    def _keep_program(self, record: RunRecord) -> None:
        """Record of which files the program consists that makes these calls."""
        record.slaves = sorted({*record.slaves, *self.calls.slaves})
        record.modules = sorted({*record.modules, *self.calls.modules})
        record.files = {**digests(self.directory.path, record), **record.files}
        self.directory.save(record)

    def _make_jobs(self) -> None:
        """See to it that every committed call has its job; write the checkpoint (M5 to M7)."""
        directory, record = self.directory, self.directory.record
        assert record is not None
        self.calls.begin(self.phase, directory.journal.phases[self.phase])
        if record.batch is not None and len(directory.journal.handled) == len(directory.spool):
            self._outcomes.jobs_are_made = False
            return
        self._outcomes.jobs_are_made = True
        self._begin_batch()
        reach("make jobs")
        self.backend.submit(0, len(directory.spool))
        directory.write_checkpoint()
        self.backend.start()

    def _begin_batch(self) -> None:
        record = self.directory.record
        assert record is not None
        reach("begin batch")
        batch = self.backend.begin_batch(record.token)
        if batch != record.batch:
            record.batch = batch
            self.directory.save(record)

    # Replaying what an earlier run handled, in the recorded order.

    def _replay(self) -> None:
        self._with_jobs = len(self.directory.spool)
        recorded = self._recorded()
        while group := list(islice(recorded, GROUP)):
            done: list[Arrival] = []
            try:
                for one in group:
                    done.append(self._handle_again(one))
            finally:
                # The journal has them: if a power cut undoes these moves, the next run knows.
                self.directory.retire(done, sync=False)
            self.display.replaying(len(self._handled), len(self.directory.journal.handled))
            self._stop_if_asked()
        if self._handled:
            self.directory.sync_retired()

    def _recorded(self) -> Iterator[Handled]:
        spool, handled = self.directory.spool, self.directory.journal.handled
        return (one for one in handled if spool.phase_of(one.sequence) == self.phase)

    def _handle_again(self, recorded: Handled) -> Arrival:
        """Handle one recorded outcome; it must make the calls that it made before."""
        arrival = self.directory.outcome(recorded.sequence, recorded.kind)
        # Not where the one before left off, if it was done again when a later phase had begun.
        self.calls.begin(self.phase, recorded.first)
        while (outcome := self._outcomes.load_recorded(arrival)) is None:
            self._wait()
        self._give(arrival, outcome[0])
        made = self.calls.position - recorded.first
        if made != recorded.made:
            raise ReplayMismatch(
                f"handling job {arrival.sequence} made {recorded.made} calls when it was "
                f"recorded, and {made} now (the first is call {recorded.first}). A restarted "
                "master must make the same calls again; mend that, or start anew with --fresh"
            )
        return arrival

    # Waiting for new outcomes, and handling them.

    def _wait_for_the_rest(self) -> None:
        self.calls.begin(self.phase, len(self.directory.spool))
        while self._outstanding():
            arrivals = self._due()
            for start in range(0, len(arrivals), GROUP):
                self._handle_group(arrivals[start : start + GROUP])
                self._show()
                self._stop_if_asked()
            if not arrivals:
                self._miss()
                self._wait()
        self._hear_the_last_news()

    def _miss(self) -> None:
        """Have jobs done again whose outcome was delivered, and taken away by somebody."""
        counts = self.backend.counts()
        if 0 < counts.total == counts.done + counts.failed:
            spool = self.directory.spool
            due = [one for one in range(len(spool)) if spool.phase_of(one) <= self.phase]
            self._outcomes.miss([one for one in due if one not in self._handled])

    def _hear_the_last_news(self) -> None:
        """Let the display end with true counts: outcomes can be quicker than the news of them."""
        counts = self.backend.counts()
        if counts.done + counts.failed < counts.total:
            self.backend.wait(WAIT)
            self._show()

    def _outstanding(self) -> int:
        spool = self.directory.spool
        return spool.calls_up_to(self.phase) - len(self._handled)

    def _due(self) -> list[Arrival]:
        """Return what this phase is to handle; second outcomes of a job are set aside."""
        arrivals = self.directory.arrivals()
        again = [one.file for one in arrivals if one.sequence in self._handled]
        if again:
            self.directory.quarantine("a second outcome of a job already handled", *again)
        phase_of = self.directory.spool.phase_of
        return [
            one
            for one in arrivals
            if one.sequence not in self._handled and phase_of(one.sequence) == self.phase
        ]

    def _handle_group(self, arrivals: Sequence[Arrival]) -> None:
        done: list[Arrival] = []
        try:
            for arrival in arrivals:
                if self._handle_new(arrival):
                    done.append(arrival)
                if self._interrupts.asked:
                    break
        finally:
            self._commit(done)

    def _handle_new(self, arrival: Arrival) -> bool:
        """Handle one outcome and record it (M9 to M11); False if there was none to handle."""
        if arrival.sequence in self._handled:
            return False
        try:
            outcome = self._outcomes.load(arrival)
        except FileNotFoundError:
            return False
        if outcome is None:
            return False
        before = self.calls.position
        try:
            self._give(arrival, outcome[0])
        except BaseException as error:
            self.calls.back_to(before)
            self._add_note(error, arrival)
            raise
        self.directory.journal.add_handled(arrival.sequence, arrival.kind, self.calls.position)
        return True

    def _commit(self, done: list[Arrival]) -> None:
        """Make what a group of handlers did durable, in the one safe order."""
        directory, record = self.directory, self.directory.record
        assert record is not None
        if not set(self.calls.slaves) <= set(record.slaves):
            self._keep_program(record)
        directory.spool.sync()
        directory.journal.sync()
        if len(directory.spool) > self._with_jobs:
            reach("make jobs")
            self.backend.submit(self._with_jobs, len(directory.spool))
            self._with_jobs = len(directory.spool)
        directory.retire(done)

    def _give(self, arrival: Arrival, outcome: Any) -> None:
        """Give one outcome to its handler (M11): the only place where handlers are called."""
        reach("handle", arrival.file)
        _running.append(self)
        try:
            if arrival.kind != OUTPUT:
                (self._handle_error or self._failures.append)(outcome)
            elif self._gives_job:
                name = arrival.file.rpartition(".")[0]
                job = Job(arrival.sequence, name, self.backend.describe, self.calls.input)
                self._handle_result(outcome, job)
            else:
                self._handle_result(outcome)
        finally:
            _running.pop()
        self._handled.add(arrival.sequence)
        reach("handled", arrival.file)

    # Waiting, stopping, ending.

    def _wait(self) -> None:
        self._stop_if_asked()
        self.backend.wait(WAIT)
        self._show()

    def _show(self) -> None:
        self.display.first_errors(self.backend.first_errors)
        self.display.show(self.backend.counts(), len(self._handled))

    def _stop_if_asked(self) -> None:
        if self._interrupts.asked:
            raise KeyboardInterrupt

    def _interrupted(self) -> Interrupted:
        record = self.directory.record
        if record is None:  # it may be another master's, who has the lock
            return Interrupted("stopped before any job was made; run the same command to start")
        handled, total = len(self._handled), len(self.directory.spool)
        again = f"python {quote(record.program)}" if record.program else "the same command"
        if not total:
            return Interrupted(f"stopped before any job was made; run {again} to start")
        return Interrupted(f"stopped with {handled} of {total} handled; to go on: {again}")

    def _add_note(self, error: BaseException, arrival: Arrival) -> None:
        if isinstance(error, (PyboincError, KeyboardInterrupt)):
            return
        what = "failure" if arrival.kind == ERROR else "output"
        error.add_note(
            f"pyboinc: this happened while handling the {what} of job {arrival.sequence}, which "
            f"stays in new/{arrival.file}. Mend the handler and run the same command with "
            f"--accept-changes; nothing is lost"
        )

    def _let_go(self) -> None:
        self.display.close()
        if hasattr(self, "backend"):
            self.backend.close()

    def _finish(self) -> None:
        """End the phase: a true checkpoint, and the failures nobody handled (M13)."""
        self.directory.write_checkpoint()
        if self._failures:
            total = self.directory.spool.calls_up_to(self.phase)
            raise JobsFailed(describe_failures(self._failures, total), tuple(self._failures))
