"""A real BOINC client at a server that stands: it does the jobs, also when the master is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from boinc_lab import BOINC, Lab
from served_masters import place_of, serve, stop

pytestmark = BOINC

ALONE = (sys.executable, "app_master.py")


def test_a_real_client_outlives_its_master(tmp_path: Path) -> None:
    """Standing: attached before there was a master, it works on when that is killed."""
    place = place_of(tmp_path / "job", 4)
    begun = time.monotonic()
    server, _ = serve(place, "--boinc-clients=1")
    lab = Lab(place, server)
    done = "select count(*) from result where outcome = 1"
    first = place.start(command=ALONE)
    sent = "select count(*) from result where host is not null"
    lab.until("the client has a job", lambda: place.select(sent) != [(0,)])
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    name = f"--dir\0{place.path}/.pyboinc/local/clients/1"
    client = lab.find(name)
    lab.until("all are done without a master", lambda: place.select(done) == [(4,)])
    run = place.run(command=ALONE)
    assert lab.find(name) == client, "it is the same process all the while"
    ended = stop(server)
    print(f"4 jobs, one client, two masters in {time.monotonic() - begun:.0f} s")

    assert ended.code == 0, ended
    place.check(run, "The answer is 14\n")
    assert place.select("select count(*) from result") == [(4,)], "each was done once"
