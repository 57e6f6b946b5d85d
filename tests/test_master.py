"""The master's loop, step by step, against a project that is a function."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import scripted
from scripted import Project, names, run

from pyboinc import (
    Failure,
    JobsFailed,
    codec,
    disk,
    endings,
    master,
    pyboinc_call,
    pyboinc_master,
)
from pyboinc.backends import Counts, Job
from pyboinc.errors import (
    ConfigurationError,
    DirectoryBusy,
    DirectoryDamaged,
    EncodeError,
    Interrupted,
    ReplayMismatch,
)
from pyboinc.jobdir import Arrival, JobDirectory
from pyboinc.progress import Display


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project that all masters of the test talk to."""
    return scripted.install(Project(), monkeypatch)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A job directory with two slave programs."""
    return scripted.place(tmp_path / "job", ["app_slave.py", "other_slave.py"])


def calls(number: int) -> Callable[[], None]:
    """A make_calls that makes calls with the inputs 0, 1, 2 and so on."""

    def make_calls() -> None:
        for value in range(number):
            pyboinc_call("app_slave.py", value)

    return make_calls


def no_calls() -> None:
    raise AssertionError("make_calls was called again")


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The steps that will be reached from now on: name, and the last part of the subject."""
    reached: list[tuple[str, str]] = []
    monkeypatch.setattr(
        disk, "before_step", lambda step, about: reached.append((step, Path(about).name))
    )
    return reached


# ---------------------------------------------------------------- one run


def test_every_result_is_handled_once(project: Project, directory: Path) -> None:
    """Handling: every output reaches handle_result once, and then lies in old/."""
    handled: list[int] = []
    run(directory, calls(200), handled.append)
    assert sorted(handled) == list(range(200))
    assert names(directory / "new") == []
    assert names(directory / "old") == sorted(f"1_{number}.out" for number in range(200))


def test_make_calls_is_called_once_in_the_life_of_a_directory(
    project: Project, directory: Path
) -> None:
    """Creation: a second run makes no calls and no jobs, and handles all results again."""
    run(directory, calls(3), lambda output: None)
    project.log.clear()
    handled: list[int] = []
    run(directory, no_calls, handled.append)
    assert sorted(handled) == [0, 1, 2]
    assert project.log == [("use program", "app_slave.py")]


def test_results_are_replayed_in_the_recorded_order(project: Project, directory: Path) -> None:
    """Replay: the order of handling is that of the first run, not that of names or times."""
    project.at_once = 1
    project.order = lambda jobs: sorted(jobs, key=lambda number: number * 7 % 10)
    first: list[int] = []
    run(directory, calls(10), first.append)
    assert first != sorted(first)
    again: list[int] = []
    run(directory, no_calls, again.append)
    assert again == first


def test_the_one_safe_order(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol: calls of handlers, then the journal, then their jobs, then old/."""

    def handle(output: int) -> None:
        if output == 0:
            pyboinc_call("app_slave.py", 10)

    reached = steps_of(monkeypatch)
    run(directory, calls(2), handle)
    begin = reached.index(("handled", "1_1.out"))
    assert [step for step in reached[:begin] if step[1] == "1_0.out"] == [
        ("load", "1_0.out"),
        ("handle", "1_0.out"),
        ("handled", "1_0.out"),
    ]
    assert reached[begin + 1 : begin + 8] == [
        ("append", "spool"),
        ("fsync", "spool"),
        ("append", "journal"),
        ("fsync", "journal"),
        ("make jobs", ""),
        ("retire", "1_0.out"),
        ("retire", "1_1.out"),
    ]
    assert project.log == [("begin batch",), ("submit", 0, 2), ("submit", 2, 3)]


def test_calls_are_committed_before_any_job_is_made(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol: the spool is durable before the journal counts it, and that before the jobs."""
    reached = steps_of(monkeypatch)
    run(directory, calls(2), lambda output: None)
    wanted = [("fsync", "spool"), ("fsync", "journal"), ("begin batch", ""), ("make jobs", "")]
    assert [step for step in reached if step in wanted][:4] == wanted


def test_the_directory_is_listed_once_for_many(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handling: what has arrived is handled in groups, and looked for again when it is done."""
    looked = count()
    real = JobDirectory.arrivals

    def arrivals(opened: JobDirectory) -> list[Arrival]:
        next(looked)
        return real(opened)

    monkeypatch.setattr(JobDirectory, "arrivals", arrivals)
    retired: list[int] = []
    retire = JobDirectory.retire
    monkeypatch.setattr(
        JobDirectory,
        "retire",
        lambda opened, done: (retired.append(len(done)), retire(opened, done)),
    )
    run(directory, calls(2 * master.GROUP + 1), lambda output: None)
    assert next(looked) == 2, "once in vain, once when all have come"
    assert retired == [master.GROUP, master.GROUP, 1]


def test_how_far_it_is_told(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress: the display is told how much is replayed and handled, group by group."""
    told: list[tuple[object, ...]] = []
    for name in ("replaying", "show", "first_errors", "note"):
        monkeypatch.setattr(
            Display, name, lambda display, *said, name=name: told.append((name, *said))
        )
    total = master.GROUP + 6
    monkeypatch.setattr(scripted.Backend, "first_errors", ["the first error"], raising=False)
    run(directory, calls(total), lambda output: None)
    assert ("first_errors", []) in told or ("first_errors", ["the first error"]) in told
    shown = [said[1:] for said in told if said[0] == "show"]
    assert [handled for _, handled in shown] == [0, master.GROUP, total]
    assert shown[-1][0] == Counts(total, done=total)
    del told[:]
    run(directory, no_calls, lambda output: None)
    assert [said for said in told if said[0] == "replaying"] == [
        ("replaying", master.GROUP, total),
        ("replaying", total, total),
    ]


def test_no_calls_are_no_batch(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zero calls: it says so, and the next run asks make_calls again."""
    run(directory, calls(0), print)
    told = capsys.readouterr().err
    assert "make_calls made no calls: there is nothing to do\n" in told
    handled: list[int] = []
    run(directory, calls(2), handled.append)
    assert handled == [0, 1]


def test_a_slave_that_only_a_handler_calls(project: Project, directory: Path) -> None:
    """Calls in handlers: a further slave program belongs to the program from then on."""

    def handle(output: int) -> None:
        if output == 0:
            pyboinc_call("other_slave.py", 5)

    run(directory, calls(1), handle)
    record = _opened(directory).record
    assert record is not None
    assert record.slaves == ["app_slave.py", "other_slave.py"]
    assert "other_slave.py" in record.files
    run(directory, no_calls, handle)


def _opened(directory: Path) -> JobDirectory:
    opened = JobDirectory(directory, read_only=True)
    opened.load()
    return opened


# ---------------------------------------------------------------- phases


def test_phases_follow_each_other_and_replay(project: Project, directory: Path) -> None:
    """Phases: a second pyboinc_master does a next phase; on a restart both are replayed."""
    runs: list[list[tuple[str, int]]] = []
    for makes in (calls(2), no_calls):
        log: list[tuple[str, int]] = []
        settings = {"backend": "scripted", "directory": directory}
        pyboinc_master(makes, lambda output, log=log: log.append(("first", output)), **settings)
        pyboinc_master(
            makes, lambda output, log=log: log.append(("second", output)), directory=directory
        )
        scripted.forget()
        runs.append(log)
    assert runs[0] == [("first", 0), ("first", 1), ("second", 0), ("second", 1)]
    assert runs[1] == runs[0]


def test_a_phase_is_begun_by_a_later_run(project: Project, directory: Path) -> None:
    """Phases: one that was not begun makes its calls when the phases before are replayed."""
    run(directory, calls(2), lambda output: None)
    log: list[int] = []
    settings = {"backend": "scripted", "directory": directory}
    pyboinc_master(no_calls, log.append, **settings)
    pyboinc_master(calls(3), log.append, directory=directory)
    scripted.forget()
    assert log == [0, 1, 0, 1, 2]


def test_results_of_a_later_phase_wait(project: Project, directory: Path) -> None:
    """Phases: a result of a later phase that is there already is not handled before its time."""
    settings = {"backend": "scripted", "directory": directory}

    def stop(output: object) -> None:
        raise ValueError("stop")

    pyboinc_master(calls(2), lambda output: None, **settings)
    with pytest.raises(ValueError, match="stop"):
        pyboinc_master(calls(2), stop, directory=directory)
    scripted.forget()
    assert names(directory / "new") == ["1_2.out", "1_3.out"]
    log: list[tuple[int, int]] = []
    pyboinc_master(no_calls, lambda output: log.append((1, output)), **settings)
    pyboinc_master(no_calls, lambda output: log.append((2, output)), directory=directory)
    scripted.forget()
    assert log == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_phase_after_failures(project: Project, directory: Path) -> None:
    """Phases: a program that catches JobsFailed goes on with its next phase."""
    project.answer = lambda sequence, value: (
        Failure(sequence, f"1_{sequence}", "too many errors") if sequence == 1 else value
    )
    for makes in (calls(3), no_calls):
        first: list[int] = []
        second: list[int] = []
        with pytest.raises(JobsFailed, match="1 of 3 jobs can not be done"):
            pyboinc_master(makes, first.append, backend="scripted", directory=directory)
        pyboinc_master(makes, second.append, directory=directory)
        scripted.forget()
        assert (first, second) == ([0, 2], [0, 1, 2])


def test_a_job_of_an_earlier_phase_is_done_again(project: Project, directory: Path) -> None:
    """Phases: a job done again when a later phase has begun makes its calls behind all others."""
    failed = Failure(1, "1_1", "too many errors")
    project.answer = lambda sequence, value: failed if sequence == 1 else value
    log: list[tuple[int, int]] = []

    def handle_result(output: int) -> None:
        log.append((1, output))
        if output == 1:
            pyboinc_call("app_slave.py", 7)

    def phases(makes: Callable[[], None]) -> list[tuple[int, int]]:
        log.clear()
        settings = {"backend": "scripted", "directory": directory}
        pyboinc_master(makes, handle_result, lambda failure: None, **settings)
        pyboinc_master(makes, lambda output: log.append((2, output)), directory=directory)
        scripted.forget()
        return list(log)

    assert phases(calls(3)) == [(1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]
    project.answer = lambda sequence, value: value
    opened = JobDirectory(directory)
    opened.lock()
    opened.load()
    opened.journal.forget([1])
    opened.put_by({opened.outcome(1, "error"): opened.old})
    opened.close()
    project.undone["1"].add(1)
    again = [(1, 0), (1, 2), (1, 1), (1, 7), (2, 0), (2, 1), (2, 2)]
    for _ in range(3):
        assert phases(no_calls) == again
    assert names(directory / "old") == [f"1_{number}.out" for number in range(7)]


def test_only_the_first_phase_takes_settings(project: Project, directory: Path) -> None:
    """Phases: settings belong to the program, so they are given once."""
    pyboinc_master(calls(1), lambda output: None, backend="scripted", directory=directory)
    with pytest.raises(ConfigurationError) as caught:
        pyboinc_master(calls(1), lambda output: None, directory=directory, seed=1, quiet=True)
    assert str(caught.value) == (
        "only the first pyboinc_master of a program takes settings; move quiet, seed there"
    )
    scripted.forget()


def test_two_directories_at_once(project: Project, directory: Path, tmp_path: Path) -> None:
    """Phases: masters of two job directories in one program know nothing of each other."""
    other = scripted.place(tmp_path / "other")
    log: list[int] = []
    pyboinc_master(calls(2), log.append, backend="scripted", directory=directory)
    pyboinc_master(calls(3), log.append, backend="scripted", directory=other)
    scripted.forget()
    assert log == [0, 1, 0, 1, 2]
    assert names(other / "old") == ["2_0.out", "2_1.out", "2_2.out"]


def test_a_master_in_a_handler(project: Project, directory: Path) -> None:
    """Phases: pyboinc_master inside a handler is refused."""

    def handle(output: int) -> None:
        pyboinc_master(calls(1), lambda output: None, directory=directory)

    with pytest.raises(ConfigurationError) as caught:
        run(directory, calls(1), handle)
    assert str(caught.value) == (
        "pyboinc_master was called inside make_calls or a handler of another one; "
        "call it when that has returned, as the next phase"
    )


# ---------------------------------------------------------------- handlers


def test_a_handler_of_two_arguments_gets_the_job(project: Project, directory: Path) -> None:
    """Handlers: handle_result(output, job) is told what there is to know of the job."""
    seen: list[tuple[Any, ...]] = []

    def handle(output: int, job: Job) -> None:
        assert output == job.input + 1
        seen.append((job.index, job.name, job.input, job.host, job.sent, job.received, repr(job)))
        assert [one.instance for one in job.attempts] == [0, 1]

    project.answer = lambda sequence, value: value + 1
    run(directory, calls(2), handle)
    assert seen[1] == (1, "1_1", 1, "host-2", 3.0, 4.0, "<Job 1 (1_1)>")


def test_a_job_of_which_nothing_is_known() -> None:
    """Handlers: of a job whose host the backend does not know, the rest is empty."""
    job = Job(3, "1_3", lambda name: (), lambda index: None)
    assert (job.host, job.sent, job.received, job.attempts) == ("", 0.0, 0.0, ())


def _with_default(output: int, job: Job | None = None) -> Job | None:
    return job


@pytest.mark.parametrize(
    ("handler", "wants"),
    [
        (lambda output, job: None, True),
        (_with_default, True),
        (lambda output, whatever: None, True),
        (lambda output, total=[]: None, False),
        (lambda *everything: None, False),
        (lambda output, *, quick=True: None, False),
        (print, False),
        ([].append, False),
        (dict, False),
    ],
)
def test_who_gets_the_job(handler: Callable[..., object], wants: bool) -> None:
    """Handlers: a second parameter is given the job if it must be given, or is called so."""
    assert endings.wants_job(handler) == wants


def test_a_handler_of_c(project: Project, directory: Path) -> None:
    """Handlers: any callable will do, also one that does not tell its parameters."""
    handled: list[int] = []
    run(directory, calls(2), handled.append)
    assert handled == [0, 1]


def test_handle_error_gets_failures(project: Project, directory: Path) -> None:
    """Handlers: with handle_error a failure is handled like a result, on replay too."""
    project.answer = lambda sequence, value: (
        Failure(sequence, f"1_{sequence}", "too many errors", 2) if value % 2 else value
    )
    for makes in (calls(4), no_calls):
        good: list[int] = []
        bad: list[Failure] = []
        run(directory, makes, good.append, bad.append)
        assert good == [0, 2]
        assert [(one.index, one.reason, one.error_mask) for one in bad] == [
            (1, "too many errors", 2),
            (3, "too many errors", 2),
        ]


def test_failures_without_handle_error(project: Project, directory: Path) -> None:
    """Handlers: without handle_error the others are handled first; then JobsFailed has them all."""
    project.answer = lambda sequence, value: (
        Failure(sequence, f"1_{sequence}", "too many errors") if value == 0 else value
    )
    good: list[int] = []
    with pytest.raises(JobsFailed) as caught:
        run(directory, calls(3), good.append)
    assert good == [1, 2]
    assert [one.index for one in caught.value.failures] == [0]
    assert "pyboinc replay 0" in str(caught.value)


def test_a_handler_that_raises_unmakes_its_calls(project: Project, directory: Path) -> None:
    """Handlers: what a handler called for before it raised is no job, and its result stays."""
    fail = True

    def handle(output: int) -> None:
        pyboinc_call("app_slave.py", 100 + output) if output < 2 else None
        if output == 1 and fail:
            raise FileNotFoundError("a file of the user's own")

    with pytest.raises(FileNotFoundError, match="of the user's own") as caught:
        run(directory, calls(3), handle)
    (note,) = caught.value.__notes__
    assert note == (
        "pyboinc: this happened while handling the output of job 1, which stays in new/1_1.out. "
        "Mend the handler and run the same command with --accept-changes; nothing is lost"
    )
    assert names(directory / "old") == ["1_0.out"]
    assert len(_opened(directory).spool) == 4
    fail = False
    run(directory, no_calls, handle)
    spool = _opened(directory).spool
    assert [spool.data(spool.call(n)) for n in (3, 4)] == [codec.encode(n) for n in (100, 101)]


def test_handle_error_that_raises(project: Project, directory: Path) -> None:
    """Handlers: an error in handle_error is told like one in handle_result."""
    project.answer = lambda sequence, value: Failure(sequence, "1_0", "too many errors")

    def fail(failure: Failure) -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good") as caught:
        run(directory, calls(1), print, fail)
    assert "while handling the failure of job 0, which stays in new/1_0.error" in str(
        caught.value.__notes__
    )


def test_a_handler_that_exits(project: Project, directory: Path) -> None:
    """Handlers: sys.exit in a handler ends the program, and the next run goes on."""
    with pytest.raises(SystemExit):
        run(directory, calls(2), lambda output: sys.exit(5))
    handled: list[int] = []
    run(directory, no_calls, handled.append)
    assert handled == [0, 1]


def test_calls_belong_into_functions(project: Project) -> None:
    """Calls: outside of make_calls and handlers there is nobody to call."""
    with pytest.raises(ConfigurationError) as caught:
        pyboinc_call("app_slave.py", 1)
    assert str(caught.value) == (
        "pyboinc_call was called outside make_calls and handle_result; "
        "call it in the functions that you give to pyboinc_master"
    )


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((1, print), "make_calls is 1; give pyboinc_master a function"),
        ((lambda needed: None, print), "make_calls(needed) can not be called with 0 arguments"),
        ((calls(1), 2), "handle_result is 2; give pyboinc_master a function"),
        ((calls(1), lambda: None), "handle_result() can not be called with 1 argument:"),
        ((calls(1), lambda a, b, c: None), "handle_result(a, b, c) can not be called with 2 arg"),
        ((calls(1), print, 3), "handle_error is 3; give pyboinc_master a function"),
        ((calls(1), print, lambda: None), "handle_error() can not be called with 1 argument:"),
    ],
)
def test_functions_that_can_not_be_called(
    project: Project, directory: Path, functions: tuple[Any, ...], message: str
) -> None:
    """Handlers: what can not be called as it will be is refused before anything is made."""
    with pytest.raises(ConfigurationError) as caught:
        run(directory, *functions)
    assert str(caught.value).startswith(message)
    assert not (directory / ".pyboinc").exists()


def test_a_call_tells_its_number(project: Project, directory: Path) -> None:
    """Calls: pyboinc_call returns the job's index; a call that can not be made is none."""
    numbers: list[int] = []

    def make_calls() -> None:
        numbers.extend(pyboinc_call("app_slave.py", value, priority=value) for value in (5, 6))
        with pytest.raises(ConfigurationError, match="quorums"):
            pyboinc_call("app_slave.py", 7, quorums=2)
        with pytest.raises(EncodeError, match="the input of call 2"):
            pyboinc_call("app_slave.py", object())

    run(directory, make_calls, lambda output: numbers.append(output))
    assert numbers == [0, 1, 5, 6]
    spool = _opened(directory).spool
    assert [spool.call(number).limits for number in (0, 1)] == [{"priority": 5}, {"priority": 6}]


# ---------------------------------------------------------------- replay that differs


def test_a_replay_that_makes_fewer_calls(project: Project, directory: Path) -> None:
    """Replay: the job whose handler made other calls than recorded is named."""
    run(directory, calls(1), lambda output: output == 0 and pyboinc_call("app_slave.py", 7))
    with pytest.raises(ReplayMismatch) as caught:
        run(directory, no_calls, lambda output: None)
    assert str(caught.value) == (
        "handling job 0 made 1 calls when it was recorded, and 0 now (the first is call 1). "
        "A restarted master must make the same calls again; mend that, or start anew with --fresh"
    )


def test_a_replay_that_makes_another_call(project: Project, directory: Path) -> None:
    """Replay: a call with another input than recorded is named."""
    run(directory, calls(1), lambda output: output == 0 and pyboinc_call("app_slave.py", 7))
    advice = (
        "A restarted master must make the same calls again: seed random numbers, do not read the "
        "clock or the order of a set in handle_result. Mend that, or start anew with --fresh"
    )

    def others(slave: str, value: int, **limits: int) -> str:
        with pytest.raises(ReplayMismatch) as caught:
            run(
                directory,
                no_calls,
                lambda output: output == 0 and pyboinc_call(slave, value, **limits),
            )
        begins, _, ends = str(caught.value).partition(". ")
        assert ends == advice
        return begins

    begins = "call 1 differs from the recorded one: "
    assert others("app_slave.py", 8) == (
        f"{begins}its input has another value now: input was 7 then, and is 8 now"
    )
    assert others("other_slave.py", 7) == (
        f"{begins}it called app_slave.py then, and other_slave.py now"
    )
    assert others("app_slave.py", 7, quorum=2) == (
        f"{begins}its limits were {{}} then, and are {{'quorum': 2}} now"
    )


def test_a_replay_with_equal_values_in_other_bytes(project: Project, directory: Path) -> None:
    """Replay: what counts is the value of an input: a set may come in another order."""
    run(
        directory,
        lambda: pyboinc_call("app_slave.py", 0),
        lambda output: output == 0 and pyboinc_call("app_slave.py", {8, 0}),
    )
    spool = _opened(directory).spool
    assert spool.data(spool.call(1)) == codec.encode({8, 0})
    other = {0, 8}
    other.discard(8)
    other.add(8)
    run(
        directory,
        no_calls,
        lambda output: output == 0 and pyboinc_call("app_slave.py", other),
    )


# ---------------------------------------------------------------- outcomes refused, lost, twice


def test_a_refused_outcome_is_done_again(project: Project, directory: Path) -> None:
    """Refusals: a file that does not load is set aside, and the job is done again."""
    answers = iter([b"nonsense", b"", 5])
    project.answer = lambda sequence, value: next(answers)
    handled: list[int] = []
    run(directory, calls(1), handled.append)
    assert handled == [5]
    assert project.log.count(("reissue", 0)) == 2
    aside = directory / ".pyboinc/quarantine"
    assert names(aside) == ["1_0.out", "1_0.out.2", "1_0.out.2.reason", "1_0.out.reason"]
    assert (aside / "1_0.out").read_bytes() == b"nonsense"
    assert "None" not in (aside / "1_0.out.reason").read_text()


def test_an_outcome_that_is_refused_three_times_is_a_failure(
    project: Project, directory: Path
) -> None:
    """Refusals: after three of them the job counts as failed, now and on replay."""
    project.answer = lambda sequence, value: b"nonsense"
    for makes in (calls(1), no_calls):
        failures: list[Failure] = []
        run(directory, makes, print, failures.append)
        (failure,) = failures
        assert (failure.index, failure.name) == (0, "1_0")
        assert failure.reason.startswith("its output was refused 3 times, the last time because: ")
    assert names(directory / "old") == ["1_0.error"]


RULE = """
def validate(output):
    if output == 7: raise ValueError("seven")
    return output >= 0
"""


def test_a_project_that_does_not_ask_the_app(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation: where the project has another validator, the master asks the app's own word."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    # Set, and at once removed: what the test imports under this name is gone after it.
    monkeypatch.setitem(sys.modules, "app_types", sys)
    del sys.modules["app_types"]
    (directory / "app_types.py").write_text(RULE)
    answers = iter([-1, 7, 5])
    project.answer = lambda sequence, value: next(answers)
    handled: list[int] = []
    run(directory, calls(1), handled.append)
    assert handled == [5]
    reasons = sorted(one.read_text() for one in directory.glob(".pyboinc/quarantine/*.reason"))
    assert "raised ValueError: seven" in reasons[0]
    assert "says that it is not valid" in reasons[1]


def test_an_outcome_that_grows_too_big(project: Project, directory: Path) -> None:
    """Refusals: more than max_output is not read."""
    project.answer = lambda sequence, value: b"x" * 1001
    failures: list[Failure] = []
    run(directory, calls(1), print, failures.append, max_output=1000)
    assert "1001 bytes; the limit is 1000" in failures[0].reason


def test_an_output_larger_than_usual(project: Project, directory: Path) -> None:
    """Refusals: max_output allows outputs of more than the codec takes without being asked."""
    project.answer = lambda sequence, value: (
        b"\x80\x04\x8e%s%s."
        % (
            (68_000_000).to_bytes(8, "little"),
            bytes(68_000_000),
        )
    )
    sizes: list[int] = []
    run(directory, calls(1), lambda output: sizes.append(len(output)), max_output=69_000_000)
    assert sizes == [68_000_000]


def test_a_lost_outcome_is_done_again(project: Project, directory: Path) -> None:
    """Losses: an outcome that was handled before and is gone is had again, in its place."""
    first: list[int] = []
    run(directory, calls(4), first.append)
    (directory / "old/1_2.out").unlink()
    (directory / "old/1_3.out").write_bytes(b"nonsense")
    again: list[int] = []
    run(directory, no_calls, again.append)
    assert again == first
    assert [one for one in project.log if one[0] == "reissue"] == [("reissue", 2), ("reissue", 3)]


def test_a_lost_outcome_whose_job_fails_now(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses: if it can not be had again, the file that is missing is named."""
    run(directory, calls(1), print)
    (directory / "old/1_0.out").unlink()
    project.answer = lambda sequence, value: Failure(0, "1_0", "too many errors")
    with pytest.raises(DirectoryDamaged) as caught:
        run(directory, no_calls, print)
    assert str(caught.value) == (
        "1_0.out was handled before and is lost, and doing its job again failed; "
        "restore old/ from a backup, or start anew with --fresh"
    )
    told = capsys.readouterr().err
    assert "1_0.out was handled before and is gone; doing it again\n" in told


def test_the_only_outcome_disappears(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses: also a batch of one job is done again when its outcome has gone, and it says so."""
    deliver = scripted.Backend._deliver
    lost = []

    def lose_one(backend: scripted.Backend, sequence: int) -> None:
        deliver(backend, sequence)
        if not lost:
            lost.append(sequence)
            (directory / "new/1_0.out").unlink()

    project.answer = lambda sequence, value: value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripted.Backend, "_deliver", lose_one)
        handled: list[int] = []
        run(directory, calls(1), handled.append)
    assert handled == [0]
    assert project.log[-1] == ("reissue", 0)
    assert "the outcomes of 1 jobs are gone; doing them again\n" in capsys.readouterr().err


def test_an_outcome_that_disappears_before_it_is_handled(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses: a file that is gone when it is opened, or when the master looks, is done again."""
    lost = iter(["1_1.out", "1_2.out"])

    def remove(step: str, about: str) -> None:
        if step == "load":
            name = next(lost, None)
            if name:
                (directory / "new" / name).unlink()

    monkeypatch.setattr(disk, "before_step", remove)
    handled: list[int] = []
    run(directory, calls(3), handled.append)
    assert sorted(handled) == [0, 1, 2]
    assert [one for one in project.log if one[0] == "reissue"] == [("reissue", 1, 2)]


def test_a_second_outcome_of_a_job(project: Project, directory: Path) -> None:
    """Losses: of two outcomes of one job one is handled, and the other is set aside."""

    def answer(sequence: int, value: int) -> int:
        if sequence == 1:
            (directory / "new/1_0.out").write_bytes(codec.encode(99))
            (directory / "new/1_1.error").write_bytes(b"{}")
        return value

    project.answer = answer
    project.at_once = 1
    handled: list[int] = []
    run(directory, calls(3), handled.append)
    assert sorted(handled) == [0, 1, 2]
    reasons = [path.read_text() for path in (directory / ".pyboinc/quarantine").glob("*.reason")]
    assert "'a second outcome of a job already handled'\n" in reasons
    assert names(directory / "old") == ["1_0.out", "1_1.out", "1_2.out"]


# ---------------------------------------------------------------- ^C


def test_one_interrupt_finishes_what_is_at_hand(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """^C: the handler that runs is finished, committed, and nothing more is begun."""
    handled: list[int] = []

    def handle(output: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        handled.append(output)

    with pytest.raises(Interrupted, match=r"stopped with 1 of 3 handled; to go on: "):
        run(directory, calls(3), handle)
    assert handled == [0]
    assert "press ^C again" in capsys.readouterr().err
    assert names(directory / "old") == ["1_0.out"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run(directory, no_calls, handled.append)
    assert handled == [0, 0, 1, 2]


def test_two_interrupts_stop_now(project: Project, directory: Path) -> None:
    """^C: the second one stops inside the handler, whose result will be handled again."""

    def handle(output: int) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    with pytest.raises(Interrupted) as caught:
        run(directory, calls(3), handle)
    assert str(caught.value) == "stopped with 0 of 3 handled; to go on: the same command"
    assert names(directory / "new") == ["1_0.out", "1_1.out", "1_2.out"]


def test_an_interrupt_in_a_replay(project: Project, directory: Path) -> None:
    """^C: a replay is stopped, too, between two groups."""
    run(directory, calls(master.GROUP + 1), lambda output: None)
    handled: list[int] = []

    def handle(output: int) -> None:
        os.kill(os.getpid(), signal.SIGINT) if not handled else None
        handled.append(output)

    with pytest.raises(Interrupted, match=f"stopped with {master.GROUP} of {master.GROUP + 1}"):
        run(directory, no_calls, handle)
    assert len(handled) == master.GROUP


def test_an_interrupt_in_make_calls(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """^C: in make_calls one is enough, and there is nothing to go on with."""

    def make_calls() -> None:
        pyboinc_call("app_slave.py", 1)
        os.kill(os.getpid(), signal.SIGINT)

    (directory / "my master.py").touch()
    main = sys.modules["__main__"]  # of pytest-xdist's workers it has no file
    monkeypatch.setattr(main, "__file__", f"{directory}/my master.py", raising=False)
    with pytest.raises(Interrupted) as caught:
        run(directory, make_calls, print)
    assert (
        str(caught.value) == "stopped before any job was made; run python 'my master.py' to start"
    )
    assert project.log == []


def test_an_interrupt_before_the_lock_is_had(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """^C: who does not have the lock yet says so, and touches nothing of the master who has it."""
    run(directory, calls(2), lambda output: None)
    journal = directory / ".pyboinc/journal"
    written = journal.read_bytes() + b"handled 2 out 3 what another master is writ"
    journal.write_bytes(written)

    def stop(opened: JobDirectory) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(JobDirectory, "lock", stop)
    for place in (directory, directory.parent / "new"):
        with pytest.raises(Interrupted) as caught:
            run(place, calls(1), print)
        assert str(caught.value) == (
            "stopped before any job was made; run the same command to start"
        )
    assert journal.read_bytes() == written


def test_a_master_in_another_thread(project: Project, directory: Path) -> None:
    """^C: a master that does not run in the main thread leaves ^C alone and works."""
    handled: list[int] = []
    thread = threading.Thread(target=run, args=(directory, calls(2), handled.append))
    thread.start()
    thread.join()
    assert handled == [0, 1]


# ---------------------------------------------------------------- where and how


def test_where_a_program_lies_is_its_job_directory(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Job directory: that of the master program; the current one where there is no program."""
    (directory / "app_master.py").touch()
    main = sys.modules["__main__"]  # of pytest-xdist's workers it has no file
    monkeypatch.setattr(main, "__file__", str(directory / "app_master.py"), raising=False)
    pyboinc_master(calls(1), lambda output: None, backend="scripted")
    scripted.forget()
    assert names(directory / "old") == ["1_0.out"]
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    monkeypatch.chdir(scripted.place(directory.parent / "other"))
    pyboinc_master(calls(1), lambda output: None, backend="scripted")
    scripted.forget()
    assert names(directory.parent / "other/old") == ["2_0.out"]


def test_the_lock_is_given_back_when_a_master_fails(project: Project, directory: Path) -> None:
    """Lock: a program that catches an error may start again; two at once are refused."""

    def fail() -> None:
        raise ValueError("no calls today")

    with pytest.raises(ValueError, match="no calls today"):
        pyboinc_master(fail, print, backend="scripted", directory=directory)
    holder = JobDirectory(directory)
    holder.lock()
    with pytest.raises(DirectoryBusy, match=f"process {os.getpid()}"):
        run(directory, calls(1), print)
    holder.close()
    run(directory, calls(1), print)


def test_quiet_says_nothing(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quiet: a run that goes well writes nothing."""
    run(directory, calls(3), lambda output: None, quiet=True)
    assert capsys.readouterr() == ("", "")
