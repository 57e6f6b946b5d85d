"""The gate between the web server's thread and the project: asked there, done here, answered."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from pyboinc.backends.served import gate as module
from pyboinc.backends.served.gate import Gate, TooMany
from pyboinc.errors import BackendError


class Asking:
    """A gate, and a thread whose event loop asks through it, as the web server's does."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def ask(self, action: Any) -> Any:
        """Ask for *action*; return what its answer will be in."""
        future = asyncio.run_coroutine_threadsafe(self.gate.ask(action), self.loop)
        self.settle()
        return future

    def settle(self) -> None:
        """Wait until the thread has done what it was told so far."""
        asyncio.run_coroutine_threadsafe(_nothing(), self.loop).result()

    def asked(self) -> bool:
        """Whether the project is told that there are questions."""
        return bool(select.select([self.gate], [], [], 0)[0])

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()


async def _nothing() -> None:
    """A turn of the loop."""


@pytest.fixture
def asking() -> Iterator[Asking]:
    asking = Asking()
    yield asking
    asking.close()


def test_an_answer_comes_when_it_is_durable(asking: Asking) -> None:
    """Durability: what was done is told at the release, which follows the commit; not before."""
    assert not asking.asked()
    done: list[str] = []
    answer = asking.ask(lambda: done.append("it") or "answer")
    assert asking.asked() and done == []
    asking.gate.take()
    asking.settle()
    assert done == ["it"] and asking.gate.answers_wait and not answer.done()
    asking.gate.release()
    assert answer.result(60) == "answer" and not asking.gate.answers_wait
    assert not asking.asked()


def test_one_question_that_fails_stops_no_other(
    asking: Asking, capsys: pytest.CaptureFixture[str]
) -> None:
    """Strangers: its asker gets the error, the rest their answers; the traceback is shown."""
    bad, good = asking.ask(lambda: 1 // 0), asking.ask(lambda: 2)
    asking.gate.take()
    asking.gate.release()
    with pytest.raises(ZeroDivisionError):
        bad.result(60)
    assert good.result(60) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_project_that_can_not_go_on_answers_nobody(asking: Asking) -> None:
    """Durability: when its disk fails, no client is told anything, and the server ends."""

    def fail() -> None:
        raise BackendError("the disk is full")

    before, failing = asking.ask(lambda: 1), asking.ask(fail)
    with pytest.raises(BackendError, match="the disk is full"):
        asking.gate.take()
    asking.settle()
    assert not before.done() and not failing.done()


def test_so_many_questions_wait_and_no_more(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers: who comes to a full queue is sent away; those in it are answered in turn."""
    monkeypatch.setattr(module, "MOST", 5)
    monkeypatch.setattr(module, "_AT_A_TIME", 2)
    answers = [asking.ask(lambda n=n: n) for n in range(5)]
    with pytest.raises(TooMany):
        asking.ask(lambda: 5).result(60)
    turns = 0
    while asking.asked():
        asking.gate.take()
        asking.gate.release()
        turns += 1
    assert [answer.result(60) for answer in answers] == list(range(5))
    assert turns == 3, "the rest of the project is looked after in between"


def test_a_full_pipe_wakes_the_project_all_the_same(asking: Asking) -> None:
    """Durability: a question is not lost when so many have come that no more can be written."""
    with suppress(BlockingIOError):
        while os.write(asking.gate._writer, b"!" * 4096):
            pass
    answer = asking.ask(lambda: "heard")
    asking.gate.take()
    asking.gate.release()
    assert answer.result(60) == "heard"
    while asking.asked():
        asking.gate.take()  # there is nothing, and nothing happens


def test_who_has_gone_is_not_told(asking: Asking) -> None:
    """Strangers: a client that broke off, and a web server that has ended, are no error."""
    gone, there = asking.ask(lambda: 1), asking.ask(lambda: 2)
    gone.cancel()
    asking.settle()
    asking.gate.take()
    asking.gate.release()
    assert there.result(60) == 2
    asking.ask(lambda: 3)
    asking.gate.take()
    asking.close()
    asking.gate.release()
    assert not asking.gate.answers_wait
