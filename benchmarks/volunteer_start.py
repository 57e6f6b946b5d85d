"""What a job on a volunteer's computer costs before it begins: the forms of an app version.

    python benchmarks/volunteer_start.py [--rounds 11] [--python3-only]

Each runs a signed slave that returns its input, in a directory that has it, and unpacks
nothing that was there before.  ``python -I -c pass`` takes its turn in the same rounds: what an
interpreter takes on this computer, now.  Needs ``pip install 'pyboinc[boinc,build]'``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from measuring import in_turns, median

from pyboinc import build, codec, signing
from pyboinc.build import python_form, self_contained
from pyboinc.bundle import stored_zip

NOTHING = "python -I -c pass"
_SLAVE = b"from pyboinc import *\npyboinc_return_output(pyboinc_get_input())\n"
_TIME_LIMIT = 60.0


class Contestant:
    """A command that is started in a slot with *files*; it remembers the CPU time it took."""

    def __init__(self, command: Sequence[str | Path], files: Mapping[str, bytes]) -> None:
        self.command = command
        self.files = files
        self.cpu: list[float] = []

    def __call__(self) -> float:
        """Return the seconds from the start of the command to its end."""
        with tempfile.TemporaryDirectory() as slot:
            for name, data in self.files.items():
                Path(slot, name).write_bytes(data)
            environment = {"PATH": f"{Path(sys.executable).resolve().parent}:{os.defpath}"}
            before, began = os.times(), time.perf_counter()
            subprocess.run(self.command, check=True, cwd=slot, env=environment, timeout=_TIME_LIMIT)
            elapsed, after = time.perf_counter() - began, os.times()
            self.cpu.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
            if self.files and Path(slot, "out").read_bytes() != self.files["in"]:
                raise ValueError("this is not what the slave was to return")
            return elapsed


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def contestants(scratch: Path, python_only: bool) -> tuple[dict[str, Contestant], dict[str, int]]:
    """Return who is measured, and the bytes that a volunteer downloads for each."""
    key = signing.generate()
    public_key = signing.public_key(key)
    signed = signing.sign_archive(stored_zip({"app_slave.py": _SLAVE}), "app_slave.py", key)
    files = {"slave.zip": signed, "in": codec.encode(7)}
    version = build.app_version("pyboinc", "1.0", build.PLATFORMS[0], public_key)
    build.place(version, scratch, python_form.build(version))
    (script,) = version.directory(scratch).glob("*_python3")
    found = {NOTHING: Contestant([sys.executable, "-I", "-c", "pass"], {})}
    found["python3 form"] = Contestant([script], files)
    sizes = {"python3 form": size(script)}
    if not python_only:
        make: Callable[..., Path] = partial(
            self_contained.freeze, name="runtime", public_key=public_key
        )
        one = make(scratch / "one")
        found["one file"] = Contestant([one], files)
        sizes["one file"] = size(one)
        directory = make(scratch / "directory", one_file=False)
        found["one directory"] = Contestant([directory], files)
        sizes["one directory"] = size(directory.parent)
    return found, sizes


def main() -> int:
    """Measure in turns; print medians, ratios and sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11, help="turns for each (11)")
    parser.add_argument(
        "--python3-only", action="store_true", help="build nothing with PyInstaller"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        who, sizes = contestants(Path(scratch), arguments.python3_only)
        found, gone = in_turns(who, arguments.rounds)
    if gone:
        print("\n".join(gone.values()))
        return 1
    print(f"medians of {arguments.rounds} interleaved rounds, Python {sys.version.split()[0]}")
    middle = {name: median(seconds) for name, seconds in found.items()}
    for name, seconds in middle.items():
        cpu = median(who[name].cpu)
        bytes_ = f"{sizes[name]:>12,} bytes" if name in sizes else ""
        print(
            f"{name:18} {seconds * 1000:7.1f} ms, {cpu * 1000:6.0f} ms of a processor  "
            f"{seconds / middle[NOTHING]:6.2f} x {NOTHING}{bytes_}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
