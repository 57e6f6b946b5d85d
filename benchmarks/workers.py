"""What an instance costs: runs that do nothing, on two workers, and where the time goes.

    python benchmarks/workers.py [RUNS] [fork|spawn] [WORKERS]

Prints instances a second and CPU milliseconds for each, split into this process, and
fork servers with their slaves.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from pyboinc import codec
from pyboinc.backends.local.workers import Run, Worker

PREFETCH = 8
"""Runs that a worker has waiting, so that it never waits for this process."""

FILES = {
    "app_types.py": """
class Input:
    def __init__(self, value):
        self.value = value

class Output:
    def __init__(self, value):
        self.value = value
""",
    "app_slave.py": """
from pyboinc import pyboinc_get_input, pyboinc_return_output
from app_types import Output

job = pyboinc_get_input()
pyboinc_return_output(Output(job.value ** 2))
""",
}


def cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def cpu_of(worker: Worker) -> float:
    """Return the CPU seconds of the worker's keeper itself."""
    fields = Path(f"/proc/{worker._keeper.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare(directory: Path) -> tuple[Path, bytes]:
    archive = directory / "archive.zip"
    with zipfile.ZipFile(archive, "w") as members:
        for name, text in FILES.items():
            (directory / name).write_text(text)
            members.write(directory / name, name)
    sys.path.insert(0, str(directory))
    import app_types  # type: ignore[import-not-found]  # made above

    return archive, codec.encode(app_types.Input(7))


def measure(directory: Path, runs: int, isolation: str, count: int, preload: list[str]) -> None:
    archive, data = prepare(directory)
    own, theirs = cpu(resource.RUSAGE_SELF), cpu(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    workers = [Worker(isolation, preload) for _ in range(count)]  # type: ignore[arg-type]
    poller = select.poll()
    for worker in workers:
        poller.register(worker.fileno(), select.POLLIN)
    by_descriptor = {worker.fileno(): worker for worker in workers}
    names = iter(range(runs))

    def start(worker: Worker) -> None:
        number = next(names, None)
        if number is not None:
            slot = str(directory / "slots" / str(workers.index(worker)))
            worker.start(
                Run(str(number), slot, str(archive), "app_slave.py", data, 60, 1e9, 1e9, 10**6)
            )

    for _ in range(PREFETCH):
        for worker in workers:
            start(worker)
    done = inside = 0.0
    while done < runs:
        for descriptor, _ in poller.poll():
            worker = by_descriptor[descriptor]
            for ended in worker.reports():
                assert (ended.exit_status, ended.reason) == (0, None), ended
                done += 1
                inside += ended.cpu
                start(worker)
    elapsed = time.perf_counter() - began
    keepers = sum(cpu_of(worker) for worker in workers)
    for worker in workers:
        worker.close()
    own, theirs = cpu(resource.RUSAGE_SELF) - own, cpu(resource.RUSAGE_CHILDREN) - theirs
    each = 1000 / runs
    print(
        f"{isolation} {','.join(preload) or '-'}: {runs / elapsed:.0f} runs/s; "
        f"CPU ms a run: {(own + theirs) * each:.3f} "
        f"= master {own * each:.3f} + keepers {keepers * each:.3f} "
        f"+ fork servers {(theirs - inside - keepers) * each:.3f} + slaves {inside * each:.3f}"
    )


def main() -> None:
    arguments = dict(enumerate(sys.argv[1:]))
    with tempfile.TemporaryDirectory() as directory:
        measure(
            Path(directory),
            int(arguments.get(0, 5000)),
            arguments.get(1, "fork"),
            int(arguments.get(2, 2)),
            list(filter(None, arguments.get(3, "").split(","))),
        )


if __name__ == "__main__":
    main()
