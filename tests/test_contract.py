"""What every backend promises, held against all of them: the same test functions.

Local, simulated and boinc; behind the last stands a stand-in for a BOINC project, with a real
database (``boinc_project``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boinc_project import mariadb
from boinc_project.place import StandIn
from contract import SIDES, Side

from pyboinc import disk
from pyboinc.backends import Counts, Failure
from pyboinc.backends.boinc import watch
from pyboinc.errors import CheckpointMismatch

Make = Callable[..., Side]


@pytest.fixture(params=SIDES)
def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Makes sides of one backend, each with some calls, and closes them."""
    if request.param == "boinc":
        mariadb.require()
        for name in ("PERIOD", "COUNT_PERIOD"):
            monkeypatch.setattr(watch, name, 0.05)
    made: list[Side] = []

    def make(*numbers: int, **how: Any) -> Side:
        made.append(SIDES[request.param](tmp_path / f"job{len(made)}", **how))
        made[-1].call(*numbers)
        return made[-1]

    yield make
    for side in made:
        side.close()
    StandIn.close_all()


def add_up(counts: Counts) -> bool:
    """Whether every job is counted once."""
    parts = counts.queued, counts.running, counts.done, counts.failed
    return sum(parts) == counts.total and min(*parts, counts.retries) >= 0


def test_a_batch_is_begun_once(make: Make) -> None:
    """Contract: a token stands for one batch, however often and by whomever it is begun."""
    side = make(1)
    first = side.open().begin_batch(side.token)
    assert side.backend.begin_batch(side.token) == first
    side.kill()
    assert side.open().begin_batch(side.token) == first
    assert first.isdecimal()


def test_jobs_are_made_once(make: Make) -> None:
    """Contract: a call that has its job gets no other, whoever asks and for whichever part."""
    side = make(1, 2, 3, 4)
    side.open().submit(0, 2)
    side.backend.submit(0, 3)
    assert side.jobs() == [0, 1, 2]
    side.kill()
    side.open().submit(0, 4)
    side.backend.submit(2, 4)
    assert side.jobs() == [0, 1, 2, 3]
    side.finish()
    assert side.outcomes() == {"0.out": 1, "1.out": 4, "2.out": 9, "3.out": 16}
    assert side.jobs() == [0, 1, 2, 3]


def test_outcomes_and_counts(make: Make) -> None:
    """Contract: every job ends in new/, good or failed; the counts add up at any time."""
    side = make(2, 13, 4)
    side.open()
    assert add_up(side.backend.counts())
    side.submit()
    counts = side.backend.counts()
    assert (counts.total, counts.done, counts.failed) == (3, 0, 0)
    side.finish()
    assert add_up(side.backend.counts())
    assert sorted(side.outcomes()) == ["0.out", "1.error", "2.out"]
    side.until_decided()
    counts = side.backend.counts()
    assert add_up(counts)
    assert (counts.total, counts.done, counts.failed) == (3, 2, 1)


def test_a_failure_says_what_happened(make: Make) -> None:
    """Contract: a job that can not be done is told of with its instances and their stderr."""
    side = make(2, 13)
    side.open()
    side.submit()
    side.finish()
    failure = side.failure("1")
    assert isinstance(failure, Failure)
    assert (failure.index, failure.name) == (1, side.job(1))
    assert (failure.reason, failure.error_mask) == ("too many errors", 2)
    assert failure.cause == "ValueError: unlucky"
    assert [one.outcome for one in failure.attempts] == ["client error"] * 2
    assert [one.instance for one in failure.attempts] == [0, 1]
    assert all(one.exit_status == 1 and not one.signal for one in failure.attempts)
    assert 'File "app_slave.py", line 5' in failure.attempts[0].stderr
    assert side.backend.describe(side.job(1)) == failure.attempts
    assert any("unlucky" in text for text in side.backend.first_errors)


def test_a_job_is_described(make: Make) -> None:
    """Contract: who did a job, when, and how it ended."""
    side = make(5)
    side.open()
    side.submit()
    side.finish()
    (good,) = side.backend.describe(side.job(0))
    assert (good.instance, good.outcome, good.exit_status) == (0, "success", 0)
    assert good.host
    assert good.sent <= good.received
    assert side.backend.describe(side.job(7)) == ()


def test_retries_are_told_of(make: Make, seed: int) -> None:
    """Contract: a job of which an instance failed and another one did it is among the retried."""
    side = make(*range(20, 28), error_rate=0.4, seed=seed, max_errors=8)
    side.open()
    side.submit()
    side.finish()
    side.until_decided()
    retried = dict(side.backend.retried())
    described = {side.job(one): side.backend.describe(side.job(one)) for one in range(8)}
    failed = [n for n in described if f"{n.partition('_')[2]}.error" in side.outcomes()]
    expected = {name: found for name, found in described.items() if len(found) > 1}
    assert retried == {name: found for name, found in expected.items() if name not in failed}
    assert all(found[-1].outcome == "success" for found in retried.values())
    assert side.backend.counts().retries == sum(len(found) - 1 for found in described.values())


def test_a_lost_outcome_is_had_again(make: Make) -> None:
    """Contract: a job whose outcome is gone is done again, one whose outcome is there is not."""
    side = make(3, 4)
    side.open()
    side.submit()
    side.finish()
    side.until_decided()
    (side.directory.new / f"{side.job(0)}.out").unlink()
    side.backend.reissue([0, 1], unless_there=True)
    side.until(2)
    assert side.outcomes() == {"0.out": 9, "1.out": 16}
    assert len(side.backend.describe(side.job(1))) == 1


# There is one program to a simulation, and it failed.
@pytest.mark.parametrize("make", ["local", "boinc"], indirect=True)
def test_a_failed_job_is_done_again(make: Make) -> None:
    """Contract: ``rerun --failed`` gives a job all its attempts again, with the slave of now."""
    side = make(13)
    side.open()
    side.submit()
    side.finish()
    side.until_decided()
    (side.path / "app_slave.py").write_text(SLAVE_WITHOUT_LUCK)
    side.backend.use_program("app_slave.py", side.pack())
    (side.directory.new / f"{side.job(0)}.error").unlink()
    side.backend.reissue([0])
    side.until(1)
    assert side.outcomes() == {"0.out": 169}
    outcomes = [one.outcome for one in side.backend.describe(side.job(0))]
    assert outcomes == ["client error", "client error", "success"]
    side.until_decided()
    assert side.backend.counts().failed == 0


SLAVE_WITHOUT_LUCK = """
from pyboinc import pyboinc_get_input, pyboinc_return_output
pyboinc_return_output(pyboinc_get_input() ** 2)
"""


def test_jobs_that_are_done_again_twice(make: Make) -> None:
    """Contract: an outcome may be lost again and again; a job at work is left at work."""
    side = make(3)
    side.open()
    side.submit()
    side.backend.reissue([0])
    side.finish()
    for _ in range(2):
        side.until_decided()
        (side.directory.new / f"{side.job(0)}.out").unlink()
        side.backend.reissue([0], unless_there=True)
        side.backend.reissue([0], unless_there=True)
        side.until(1)
        assert side.outcomes() == {"0.out": 9}


def test_jobs_are_cancelled(make: Make) -> None:
    """Contract: cancelled jobs fail as such, those that are done stay done, nothing else is."""
    side = make(3, 4, 5)
    side.open()
    side.backend.submit(0, 1)
    side.backend.start()
    side.until(1)
    side.submit()
    number = side.backend.cancel()
    # The emulator's hosts are at work already, and may have done one more.
    assert 1 <= number <= 2 if side.name == "local" else number == 2
    side.until(3)
    failures = [one for one in side.outcomes().values() if isinstance(one, Failure)]
    assert len(failures) == number
    assert {(one.reason, one.cancelled) for one in failures} == {("cancelled", True)}
    assert side.outcomes()["0.out"] == 9
    assert side.backend.cancel() == 0


def test_a_batch_goes_on_after_close(make: Make) -> None:
    """Contract: what is closed is gone on with by whoever opens it, with nothing lost."""
    side = make(2, 13, 4)
    side.open()
    side.submit()
    side.backend.close()
    side.open()
    side.submit()
    side.backend.start()
    side.until(1)
    side.backend.close()
    side.open()
    side.submit()
    side.finish()
    assert sorted(side.outcomes()) == ["0.out", "1.error", "2.out"]
    assert side.jobs() == [0, 1, 2]


# Nobody restores a directory in the midst of a simulation.
@pytest.mark.parametrize("make", ["local", "boinc"], indirect=True)
def test_a_restored_directory_with_another_call(make: Make) -> None:
    """Contract: a job that was made for another input is refused, not taken for the one called."""
    side = make(2, 3)
    side.open()
    side.submit()
    side.backend.close()
    side.directory.spool.forget_after(1)
    side.call(77)
    side.open()
    with pytest.raises(CheckpointMismatch, match="was made before, with another input"):
        side.submit()


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


def test_killed_between_each_two_steps(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contract: a master killed at any step of beginning and submitting leaves no second job."""
    number = 0
    while True:
        number += 1
        side = make(2, 3)
        left = number

        def step(name: str, subject: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed(f"{name} {subject}")

        monkeypatch.setattr(disk, "before_step", step)
        try:
            side.open()
            side.submit()
        except Killed:
            pass
        monkeypatch.setattr(disk, "before_step", disk._nothing)
        if left > 0:
            break
        side.kill()
        side.open()
        side.submit()
        assert side.jobs() == [0, 1]
        side.finish()
        assert side.outcomes() == {"0.out": 4, "1.out": 9}
    assert number > 3
