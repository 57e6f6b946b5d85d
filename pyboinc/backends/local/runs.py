"""Instances on their way through the emulated hosts: started, hit by faults, reported.

A host gets an instance, a worker runs it in a slot, and what comes back is reported:
at once, late, twice, never, or as something else than it was, as :class:`Plan` says.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from pyboinc import disk, removal
from pyboinc.backends.local import trickles
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.hosts import PLATFORM, PYTHON, Hosts, Plan
from pyboinc.backends.local.loads import Loads
from pyboinc.backends.local.slots import names, read_stderr
from pyboinc.backends.local.store import Rows, Turn
from pyboinc.backends.local.workers import Ended, Isolation, Run, Worker
from pyboinc.disk import AppendLog
from pyboinc.errors import BackendError, RejectedResult
from pyboinc.faults import FaultPlan, Kind
from pyboinc.faults.garbage import garbage
from pyboinc.jobdir import check_archive
from pyboinc.project import ClientState, Output, Report, Result
from pyboinc.records import input_of

_DEATHS = 3
"""An instance under which the worker dies so often is reported as failed."""

_DEATHS_AT_FIRST = 10
"""If workers die so often before any slave has ended, something else is wrong."""

_LOOK, _LOOKS = 0.02, 100
"""Seconds between two looks whether a slave has saved a checkpoint, and how many there are."""

_OUTAGE = 0.5
"""Seconds that an injected outage of the server takes."""

_EXIT_STATUS = {"memory limit": 198, "disk limit": 196, "killed": 203, "stderr flood": 196}
"""BOINC's exit statuses for what a client ends (lib/error_numbers.h)."""


@dataclass(slots=True)
class Turned:
    """An instance that a worker has."""

    workunit: int
    instance: int
    plan: Plan
    worker: int
    slot: int
    run: Run
    given_up: bool = False
    restarting: bool = False
    deaths: int = 0


class Runs:
    """The workers, the slots, and the instances in them."""

    def __init__(
        self,
        emulator: Emulator,
        hosts: Hosts,
        faults: FaultPlan,
        state: Path,
        spool: AppendLog,
        workers: int,
        isolation: Isolation,
        preload: Sequence[str],
        max_output: int,
    ) -> None:
        self._emulator = emulator
        self._hosts = hosts
        self._faults = faults
        self._slots = os.fspath(state / "local" / "slots")
        self._bundles = os.fspath(state / "bundles")
        self._spool = spool
        self._max_output = max_output
        self._checked: set[str] = set()
        self._new_worker = partial(Worker, isolation, preload, f"{state}/local/scratch")
        self.workers = [self._new_worker() for _ in range(workers)]
        self._loads = Loads(workers)
        self._turns: dict[str, Turned] = {}
        self._free: list[int] = []
        self._resumed: list[tuple[Rows, Result]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._used = self._reports = self._deaths = 0
        self._outage_until = 0.0
        self._ended_once = False
        self.first_errors: list[str] = []
        self._errors_seen: set[str] = set()

    @property
    def running(self) -> int:
        """How many instances workers have."""
        return len(self._turns)

    def resume(self, left: Sequence[tuple[Rows, Result]]) -> None:
        """Take over the instances that a killed emulator left running, in their slots."""
        self._resumed = list(left)
        taken = {slot for slot in _slots_of(left) if slot is not None}
        self._used = max(taken, default=-1) + 1
        self._free = [slot for slot in range(self._used) if slot not in taken]

    # Time.

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do *action* when so many seconds have passed."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), action))

    def timeout(self, most: float) -> float:
        """Return how long nothing is due, *most* at most (s)."""
        if self._timers:
            most = max(0.0, min(most, self._timers[0][0] - time.monotonic()))
        return self._loads.timeout(most)

    def pass_time(self) -> None:
        """Do what is due."""
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    # Starting.

    def fill(self) -> None:
        """Give the workers instances while they have room, and idle ones what waits elsewhere."""
        there = time.monotonic() >= self._outage_until
        while there and (worker := self._loads.with_room()) is not None:
            if self._resumed:
                self._go_on(worker, *self._resumed.pop())
            elif (unsent := self._emulator.take_unsent()) is not None:
                self._begin(worker, *unsent)
            else:
                break
        for worker in self._loads.held_up():
            self.workers[worker].take_back()

    def _begin(self, worker: int, rows: Rows, result: Result) -> None:
        taken = [one.host for one in rows.results]
        plan = self._hosts.plan(rows.details.sequence, result.instance, taken)
        slot = self._free.pop() if self._free else self._new_slot()
        turn = Turn(slot, python=PYTHON, platform=PLATFORM)
        self._emulator.send(rows, result.instance, plan.host, turn)
        self._start(worker, rows, result.instance, plan, slot, resume=False)

    def _go_on(self, worker: int, rows: Rows, result: Result) -> None:
        """Start an instance again whose host restarted together with the emulator."""
        if result not in rows.results:
            return  # it has been cancelled since
        taken = [one.host for one in rows.results if one is not result]
        plan = self._hosts.plan(rows.details.sequence, result.instance, taken)
        turn = rows.turns.get(result.instance) or Turn()
        has_files = turn.slot is not None
        if turn.slot is None:
            turn.slot = self._free.pop() if self._free else self._new_slot()
        self._emulator.begin_turn_again(rows, result)
        self._emulator.note_turn(rows, result.instance, turn)
        self._start(worker, rows, result.instance, plan, turn.slot, resume=has_files)

    def _new_slot(self) -> int:
        self._used += 1
        return self._used - 1

    def _start(
        self, worker: int, rows: Rows, instance: int, plan: Plan, slot: int, resume: bool
    ) -> None:
        details = rows.details
        run = Run(
            name=f"{rows.workunit.name}_{instance}",
            slot=f"{self._slots}/{slot}",
            archive=self._archive(details.bundle),
            slave=details.slave,
            input=input_of(
                self._spool, details.sequence, details.offset, details.size, details.crc32
            ),
            time_limit=rows.workunit.delay_bound,
            memory=details.memory,
            disk=details.disk,
            max_output=self._max_output,
            resume=resume,
            fault=plan.slave_fault,
            salt=(details.sequence << 8) + instance,
        )
        turn = self._turns[run.name] = Turned(rows.workunit.id, instance, plan, worker, slot, run)
        self._loads.give(worker)
        self.workers[worker].start(run)
        self._plan_faults(turn)

    def _archive(self, digest: str) -> str:
        """Return the path of a slave's archive, which is looked at before it is used at all."""
        path = f"{self._bundles}/{digest}.zip"
        if digest not in self._checked:
            check_archive(Path(path), digest)
            self._checked.add(digest)
        return path

    def _plan_faults(self, turn: Turned) -> None:
        if turn.plan.ending is Kind.HANG:
            self.after(turn.plan.fault_delay, lambda: self._give_up(turn))
        if turn.plan.restart:
            self.after(_LOOK, lambda: self._restart_host(turn, _LOOKS))
        if turn.plan.suspend:
            self.after(0.01, lambda: self._suspend(turn))

    def _restart_host(self, turn: Turned, looks: int) -> None:
        """Restart the host when the slave has saved a checkpoint, or after some looks."""
        if self._turns.get(turn.run.name) is not turn:
            return
        if looks and not os.path.exists(f"{turn.run.slot}/checkpoint"):
            self.after(_LOOK, lambda: self._restart_host(turn, looks - 1))
            return
        turn.restarting = True
        self.workers[turn.worker].kill(turn.run.name)

    def _suspend(self, turn: Turned) -> None:
        if self._turns.get(turn.run.name) is turn:
            self.workers[turn.worker].suspend(turn.run.name)
            self.after(0.1, lambda: self.workers[turn.worker].resume(turn.run.name))

    def _give_up(self, turn: Turned) -> None:
        """Let the deadline of an instance pass that will not be heard of in time."""
        turn.given_up = True
        self._emulator.expire(turn.workunit, turn.instance)
        if turn.run.name in self._turns:
            self.workers[turn.worker].kill(turn.run.name)

    # Ending.

    def collect(self, worker: int) -> None:
        """Take what a worker reports."""
        for ended in self.workers[worker].reports():
            turn = self._turns.get(ended.name)
            if turn is not None:
                self._ended(turn, ended)
        if not self.workers[worker].alive():
            self.workers[worker].close()
            self.workers[worker] = self._new_worker()

    def _ended(self, turn: Turned, ended: Ended) -> None:
        if ended.reason == "taken back":
            self._move(turn)
            return
        if self._runs_again(turn, ended):
            return
        del self._turns[ended.name]
        self._loads.end(turn.worker, ended.elapsed)
        if not turn.given_up:
            self._host_says(turn, ended)
        self._free.append(turn.slot)

    def _move(self, turn: Turned) -> None:
        """Start an instance elsewhere that has waited behind a long one."""
        turn.worker = self._loads.move(turn.worker)
        self.workers[turn.worker].start(turn.run)
        if turn.given_up or turn.restarting:  # which it may have missed on its way
            self.workers[turn.worker].kill(turn.run.name)

    def _check_that_workers_work(self, turn: Turned) -> None:
        """Raise :class:`BackendError` if no slave ever ran, or the system fails their processes."""
        self._deaths += 1
        if turn.deaths >= _DEATHS:
            said = read_stderr(turn.run.slot)
            self.workers[turn.worker].check_system(said)
        if not self._ended_once and self._deaths > _DEATHS_AT_FIRST:
            raise BackendError(
                "slaves can not be started here: the worker processes end at once, saying:\n"
                f"{read_stderr(turn.run.slot)}pyboinc doctor looks for the cause; "
                "--isolation spawn may help"
            )

    def _runs_again(self, turn: Turned, ended: Ended) -> bool:
        """Whether the host goes on with the instance after a restart of its own."""
        if ended.reason == "worker died":
            turn.deaths += 1
            self._check_that_workers_work(turn)
            again = turn.deaths < _DEATHS
        else:
            self._ended_once = True
            again = turn.restarting and ended.reason == "killed" and not turn.given_up
        turn.restarting = False
        if again:
            turn.run.resume = True
            if turn.plan.restart and not ended.elapsed:  # it was still waiting for its turn
                self.after(_LOOK, lambda: self._restart_host(turn, _LOOKS))
            if not self.workers[turn.worker].alive():
                self.workers[turn.worker].close()
                self.workers[turn.worker] = self._new_worker()
            self._loads.go_on(turn.worker)
            self.workers[turn.worker].start(turn.run)
        return again

    def _host_says(self, turn: Turned, ended: Ended) -> None:
        """Let the host report, or whatever it does instead."""
        plan = turn.plan
        if ended.exit_status or ended.reason:
            self._blame_the_disk(ended)
        self._note(turn, ended)
        if plan.ending in (Kind.VANISH, Kind.HANG) or ended.reason == "time limit":
            delay = plan.fault_delay if plan.ending is Kind.VANISH else 0.0
            self.after(delay, lambda: self._emulator.expire(turn.workunit, turn.instance))
            return
        said = self._report_of(turn, ended)
        if plan.ending is Kind.LATE:
            self.after(
                plan.fault_delay, lambda: self._emulator.expire(turn.workunit, turn.instance)
            )
            self.after(2 * plan.fault_delay, lambda: self._report(turn, said))
        elif plan.latency:
            self.after(plan.latency, lambda: self._report(turn, said))
        else:
            self._report(turn, said)

    def _blame_the_disk(self, ended: Ended) -> None:
        """Raise if an instance failed for want of room to work in: no job is to fail for that."""
        disk.check_space(self._slots)
        if ended.reason is not None and ended.reason.startswith("no slot"):
            raise BackendError(
                f"slaves have no place to work in: {ended.reason.removeprefix('no slot: ')}; mend "
                "that and run the same command"
            )

    def _report(self, turn: Turned, said: Report) -> None:
        self._emulator.report(turn.workunit, said)
        if turn.plan.duplicate:
            self._emulator.report(turn.workunit, said)
        self._reports += 1
        if self._faults.strikes(Kind.SERVER_OUTAGE, "report", self._reports):
            self._outage_until = time.monotonic() + _OUTAGE

    def _report_of(self, turn: Turned, ended: Ended) -> Report:
        instance, kind = turn.instance, turn.plan.ending
        if ended.reason == "output too big":
            return Report.error(instance, 0, ClientState.UPLOAD_FAILED)
        if ended.reason is not None:
            return Report.error(instance, _EXIT_STATUS.get(ended.reason, 1))
        if ended.exit_status:
            return Report.error(instance, ended.exit_status)
        if kind is Kind.GARBAGE:
            return self._garbage(turn)
        if kind is Kind.LOST_UPLOAD:
            return Report.success(instance, None)
        return self._uploaded(turn, self._emulator.upload(turn.run.slot, turn.run.name))

    def _uploaded(self, turn: Turned, output: Output) -> Report:
        """Report an output, and say with the instance's stderr why the validator will refuse it."""
        refusal = self._emulator.refusal(output)
        if refusal:
            rows = self._emulator.rows(turn.workunit)
            known = rows.turns[turn.instance]
            known.stderr += f"its output is not valid: {refusal}\n"
            self._emulator.note_turn(rows, turn.instance, known)
            if turn.plan.ending is not Kind.GARBAGE:
                self._notice(known.stderr, turn)
        return Report.success(turn.instance, output)

    def _garbage(self, turn: Turned) -> Report:
        """Upload garbage in the place of the output; too much of it is refused at once."""
        name, sequence = turn.run.name, self._emulator.rows(turn.workunit).details.sequence
        try:
            output = disk.read_bounded(f"{turn.run.slot}/out", self._max_output)
        except (FileNotFoundError, RejectedResult):
            output = b""
        data = garbage(self._faults.seed, sequence, turn.instance, output, self._max_output)
        if len(data) > self._max_output:
            return Report.error(turn.instance, 0, ClientState.UPLOAD_FAILED)
        self._emulator.uploads.put(name, data)
        return self._uploaded(turn, self._emulator.look_at(name))

    def _note(self, turn: Turned, ended: Ended) -> None:
        """Keep how the instance ran, and what it wrote to stderr."""
        rows = self._emulator.rows(turn.workunit)
        known = rows.turns[turn.instance]
        known.elapsed, known.signal = ended.elapsed, int(ended.signal and ended.reason is None)
        known.stderr = self._stderr(turn, ended)
        # Its slot goes to another from now on, also if its report is still on its way when
        # the emulator is killed: then it is computed anew, and not in that other's files.
        known.slot = None
        self._emulator.note_turn(rows, turn.instance, known)
        if said := trickles.read(turn.run.slot, turn.instance):
            trickles.keep(self._emulator, turn.workunit, said)

    def _stderr(self, turn: Turned, ended: Ended) -> str:
        text = read_stderr(turn.run.slot)
        if text and not text.endswith("\n"):
            text += "\n"
        if ended.reason:
            text += f"ended by the emulated client: {ended.reason}\n"
        elif ended.signal:
            text += f"ended by signal {ended.exit_status}\n"
        if ended.exit_status or ended.reason:
            self._notice(text, turn)
        return text

    def _notice(self, text: str, turn: Turned) -> None:
        """Remember the first error of each kind that was not injected, for the display."""
        if turn.plan.slave_fault is not None:
            return
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        cause = lines[-1] if lines else "failed without a word"
        if cause not in self._errors_seen and len(self._errors_seen) < 20:
            self._errors_seen.add(cause)
            self.first_errors.append(f"{turn.run.name}: {cause}")

    def kill_all(self) -> None:
        """End every instance: the batch was cancelled."""
        for name, turn in self._turns.items():
            turn.given_up = True
            self.workers[turn.worker].kill(name)

    def close(self) -> None:
        """Stop the workers; what they ran goes on when the emulator is started again."""
        for worker in self.workers:
            worker.close()
        kept = _slots_of(self._resumed) | {turn.slot for turn in self._turns.values()}
        for slot in set(names(self._slots)).difference(map(str, kept)):
            with suppress(OSError):
                removal.remove(f"{self._slots}/{slot}")


def _slots_of(left: Sequence[tuple[Rows, Result]]) -> set[int | None]:
    return {rows.turns[one.instance].slot for rows, one in left if one.instance in rows.turns}
