"""The process of a served project, killed before each of its steps, every time that it comes to it.

python -m sweep served                    at each
python -m sweep served --only "own 17"    at its 17th step, as the master's own server
python -m sweep served --only "stands 17"    the same behind a server that stands, with that one
python -m sweep served --only "behind 17"    the same, and the server that stands lives on

Behind a server that stands there is a process at work before the master comes, and one from then
on: their steps are counted together.  Clients, made for the purpose, go on over HTTP all the
while; another server goes on with the batch.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import starter
from masters import Place, Run, crash
from served_masters import Crowd, listens, pause, place_of, stop

from sweep import Part
from sweep.shared import attempt, is_meant, memory, share

ALONE = (sys.executable, "app_master.py")
SERVE = (sys.executable, "-m", "pyboinc", "serve", ".")
JOBS, ANSWER = 3, "The answer is 5\n"
KINDS = {
    "own": "kills of a served project before a step",
    "stands": "kills of a standing server and its project before a step",
    "behind": "kills of the project behind a standing server before a step",
}
TRIES = 3
"""How often a step is tried that a run has not come to: how many there are depends on timing."""

REPEATED = "select count(*) from result where outcome = 1 group by workunit having count(*) > 1"


def sweep(seed: int, only: str) -> Part:
    """Kill at every step (or at those that *only* names)."""
    path = Path(tempfile.mkdtemp(prefix="pyboinc-sweep-", dir=memory()))

    def do(point: str, part: Part) -> None:
        attempt(part, point, lambda: _kill(path, point, part))

    try:
        points = [one for one in _points(path, only) if is_meant(one, only)]
        random.Random(seed).shuffle(points)
        part = share(points, do)
    finally:
        starter.close()
    if not part.failures:
        shutil.rmtree(path, ignore_errors=True)
    return part


def _points(path: Path, only: str) -> Iterator[str]:
    """Each step of the server in a run that nobody kills, for each kind of server."""
    for kind in (one for one in KINDS if is_meant(one, only.partition(" ")[0])):
        steps = path / f"steps-{kind}"
        place = place_of(path / f"reference-{kind}", JOBS)
        place.check(_run(place, kind, {"PYBOINC_TEST_STEPS": str(steps)}), ANSWER)
        number = sum(line.startswith("server\t") for line in steps.read_text().splitlines())
        yield from (f"{kind} {one}" for one in range(1, number + 1))


def _kill(path: Path, point: str, part: Part) -> None:
    kind, _, number = point.partition(" ")
    if any(_try(path / point, kind, int(number)) for _ in range(TRIES)):
        part.count(KINDS[kind])


def _try(path: Path, kind: str, number: int) -> bool:
    """Kill at one step, and see that nothing is lost or repeated; False if it was not reached.

    The directory is kept if something is.
    """
    place = place_of(path, JOBS)
    what = "kill all" if kind == "stands" else "kill"
    run = _run(place, kind, crash("*", "*", number, who="server", what=what, together=True))
    reached = place.crashed()
    place.check(run, ANSWER)
    assert place.select(REPEATED) == [], "a job was done twice"
    shutil.rmtree(path)
    return reached


def _run(place: Place, kind: str, environ: Mapping[str, str]) -> Run:
    if kind == "own":
        flag = "--serve=127.0.0.1:0"
        return Crowd(place, place.start(flag, environ=environ, command=ALONE)).run()
    with _standing(place, environ):
        return Crowd(place, place.start(command=ALONE)).run()


@contextmanager
def _standing(place: Place, environ: Mapping[str, str]) -> Iterator[None]:
    """Let a server stand here, and another one when it is killed."""
    servers = [place.start(environ=environ, command=SERVE)]
    over = threading.Event()

    def look_after() -> None:
        while not over.is_set():
            if not pause(servers[-1]):
                servers[-1].communicate()
                servers.append(place.start(command=SERVE))

    while not listens(place) and pause(servers[-1]):
        pass
    looks = threading.Thread(target=look_after)
    looks.start()
    try:
        yield
    finally:
        over.set()
        looks.join()
        ended = stop(servers[-1])
    # The last one may be killed, too, when all is done, or be stopped while it is just starting.
    assert ended.code in (0, -signal.SIGKILL, -signal.SIGTERM), ended
    if ended.code:
        (place / ".pyboinc/local/socket").unlink(missing_ok=True)  # nobody comes who would do it
