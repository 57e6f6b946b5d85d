"""How quickly calls become jobs of a BOINC project, in how much memory, and what waiting costs.

    python benchmarks/boinc_submit.py [--jobs 20000] [--rounds 3]

From the spool of a job directory to rows of the project's database: inputs staged with their
checksums, made durable, and one create_work for all of them.  It is a stand-in for BOINC's
(tests/boinc_project/tools.py), which does nothing but its INSERTs into a real MariaDB (Debian's
packages mariadb-server-core and mariadb-client-core).  In the same rounds: staging alone, and
create_work alone.

Then what a waiting master asks of the database: queries a second, and how long each takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import environment, in_turns, median, verdict

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
_BAR = 5_000
_MEMORY_BAR = 200
_SLAVE = "from pyboinc import pyboinc_get_input, pyboinc_return_output\n"
_INPUT = 200


def job_directory(path: Path, jobs: int) -> None:
    """Make a job directory in which so many calls are committed, with inputs of 200 bytes."""
    from pyboinc import bundle, codec
    from pyboinc.config.limits import Limits
    from pyboinc.jobdir import JobDirectory, RunRecord

    path.mkdir()
    (path / "app_slave.py").write_text(_SLAVE)
    directory = JobDirectory(path)
    directory.lock()
    directory.begin(RunRecord(path.name, "boinc", 1, "m.py", limits=Limits().asdict()))
    packed = bundle.pack(path, "app_slave.py")
    directory.keep_bundle(packed.digest, packed.data)
    for number in range(jobs):
        data = codec.encode((number, "x" * (_INPUT - 20)))
        directory.spool.append("app_slave.py", packed.digest, 1, {}, data)
    directory.spool.sync()
    directory.journal.commit_calls(1, jobs)
    directory.close()


def submit(path: Path, project: Path, only_stage: bool, seconds_to_wait: float) -> None:
    """Be a master that makes jobs of the calls in *path*; print how long that took."""
    from pyboinc import config
    from pyboinc.backends.boinc import BoincBackend
    from pyboinc.jobdir import JobDirectory

    settings = config.load(
        path, arguments={"project_dir": project, "signing_key": project / "key.pem"}, environ={}
    )
    directory = JobDirectory(path)
    directory.lock()
    directory.load()
    backend = BoincBackend(directory, settings)
    assert directory.record is not None
    calls = len(directory.spool)
    began = time.perf_counter()
    directory.record.batch = backend.begin_batch(directory.record.token)
    if only_stage:
        _stage(backend, calls)
    else:
        backend.submit(0, calls)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    waiting = {} if only_stage else _waiting(backend, seconds_to_wait)
    answer = {"seconds": seconds, "peak": peak, "waiting": waiting}
    print(json.dumps({**answer, "restart": 0.0 if only_stage else _restart(directory, settings)}))


def _stage(backend: Any, calls: int) -> None:
    """Stage the inputs of all calls, and do nothing more."""
    making = backend._open()[2]
    for number, _ in enumerate(making._staged(range(calls), lambda _: 0, {}), 1):
        if number % 4000 == 0 or number == calls:
            making._staging.sync()


def _waiting(backend: Any, seconds: float) -> dict[str, float]:
    """Let a master wait for a while (s); return what it has asked, and for how long."""
    from pyboinc.backends.boinc.database import Database

    spans: dict[str, list[float]] = {}
    ask = Database._execute

    def timed(self: Database, query: str, values: tuple[object, ...]) -> Any:
        began = time.perf_counter()
        try:
            return ask(self, query, values)
        finally:
            kind = "cheap" if query.startswith("select state") else "count"
            spans.setdefault(kind, []).append(time.perf_counter() - began)

    Database._execute = timed  # type: ignore[method-assign]  # counted here, and nowhere else
    backend._open()[1].count()
    counted = sum(spans.pop("count", [0.0]))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        backend.wait(0.2)
    Database._execute = ask  # type: ignore[method-assign]
    cheap, counts = spans.get("cheap", []), spans.get("count", [])
    return {
        "cheap_per_second": len(cheap) / seconds,
        "cheap_ms": 1e3 * sum(cheap) / max(1, len(cheap)),
        "count_ms": 1e3 * counted,
        "counts_per_second": len(counts) / seconds,
        "counting_share": sum(counts) / seconds,
    }


def _restart(directory: Any, settings: Any) -> float:
    """Return how long a restarted master takes to see that it has all its jobs (s)."""
    from pyboinc.backends.boinc import BoincBackend

    backend = BoincBackend(directory, settings)
    began = time.perf_counter()
    backend.begin_batch(directory.record.token)
    backend.submit(0, len(directory.spool))
    return time.perf_counter() - began


class Bench:
    """A stand-in project, and job directories one after the other."""

    def __init__(self, root: Path, jobs: int, waiting: float) -> None:
        from boinc_project.place import StandIn

        self.root, self.jobs, self.waiting = root, jobs, waiting
        self.project = StandIn(root / "project")
        for program in ("create_work", "cancel_jobs"):
            self.project.put_program(program, alone=True)
        self.number = 0
        self.answers: list[dict[str, Any]] = []

    def master(self, *flags: str) -> dict[str, Any]:
        """Run :func:`submit` in a process of its own, on a new job directory."""
        self.number += 1
        path = self.root / f"job{self.number}"
        job_directory(path, self.jobs)
        command = [sys.executable, __file__, *flags, "--submit", str(path)]
        done = subprocess.run(
            [*command, "--project", str(self.project.root), "--waiting", str(self.waiting)],
            env=environment(),
            stdout=subprocess.PIPE,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def whole(self) -> float:
        """Jobs a second from spool to rows."""
        self.answers.append(self.master())
        assert len(self.project.workunits()) >= self.jobs
        return float(self.jobs / self.answers[-1]["seconds"])

    def staging(self) -> float:
        """Inputs staged a second, and nothing more."""
        return float(self.jobs / self.master("--only-stage")["seconds"])

    def creation(self) -> float:
        """Rows a second that create_work makes of files that are there."""
        files = self.project.root / "download"
        names = [f"pyb_77_{number}.in" for number in range(self.jobs)]
        from pyboinc.backends.boinc.project import Project
        from pyboinc.backends.boinc.staging import Staging
        from pyboinc.backends.boinc.templates import input_template
        from pyboinc.config.limits import Limits

        staging = Staging(Project(self.project.root, "pyboinc"))
        for name in ("pyb_slave_x.zip", *names):
            if not staging.holds(name, _INPUT):
                staging.stage(name, b"x" * _INPUT)
        (self.project.root / "templates/bench_in").write_text(input_template(Limits()))
        self.number += 1
        lines = "".join(
            f"--wu_name bench_{self.number}_{n} pyb_slave_x.zip {name}\n"
            for n, name in enumerate(names)
        )
        assert files.is_dir()
        began = time.perf_counter()
        subprocess.run(
            [
                *(str(self.project.root / "bin/create_work"), "--appname", "pyboinc", "--stdin"),
                *("--wu_template", "templates/bench_in"),
            ],
            input=lines.encode(),
            cwd=self.project.root,
            check=True,
        )
        return self.jobs / (time.perf_counter() - began)


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20_000, help="in a batch (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each (3)")
    parser.add_argument("--waiting", type=float, default=5.0, help="seconds of polling (5)")
    parser.add_argument("--directory", help="where all of it is made (default: TMPDIR)")
    parser.add_argument("--submit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--project", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-stage", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.submit:
        submit(options.submit, options.project, options.only_stage, options.waiting)
        return 0
    sys.path.insert(0, str(TESTS))
    with tempfile.TemporaryDirectory(dir=options.directory, ignore_cleanup_errors=True) as place:
        bench = Bench(Path(place), options.jobs, options.waiting)
        try:
            return measure(bench, options.rounds)
        finally:
            bench.project.close()


def measure(bench: Bench, rounds: int) -> int:
    """Let all take turns, and print the table."""
    contestants = {
        "spool to rows": bench.whole,
        "staging alone": bench.staging,
        "create_work alone": bench.creation,
    }
    rates, gone = in_turns(contestants, rounds)
    print("\n".join(gone.values()))
    print(f"{bench.jobs} jobs with inputs of {_INPUT} bytes; medians of {rounds} rounds")
    for name, found in rates.items():
        print(f"{name:18} {median(found):8.0f} jobs/s ({min(found):.0f}..{max(found):.0f})")
    last = bench.answers[-1]
    peak = median([answer["peak"] for answer in bench.answers]) / 1e6
    waiting = last["waiting"]
    print(f"a restarted master that has all its jobs: {last['restart']:.1f} s until it knows")
    print(
        f"waiting: {waiting['cheap_per_second']:.1f} cheap queries a second, each "
        f"{waiting['cheap_ms']:.2f} ms; a count of all rows {waiting['count_ms']:.0f} ms, "
        f"{waiting['counts_per_second']:.2f} a second, {100 * waiting['counting_share']:.1f} % "
        "of the time"
    )
    print(verdict("staging and creation", median(rates["spool to rows"]), "jobs/s", _BAR, True))
    print(verdict("peak memory of the master", peak, "MB", _MEMORY_BAR, False))
    return 0


if __name__ == "__main__":
    os.environ.pop("BOINC_PROJECT_DIR", None)
    sys.exit(main())
