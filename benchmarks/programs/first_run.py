"""A first run without slaves: ``python first_run.py SEED JOBS``, for benchmarks/replay.py.

It is ``replay_master.py`` with the emulated project's own code for everything but the work:
rows, uploads, deliveries and the whole of the master are what they always are, so what it
leaves is what a real run leaves.  Only the outputs are written right here, by the function
that slaves use, and come back in an order drawn from SEED.
Nothing waits for the disk but once, at the end.
"""

import os
import random
import runpy
import sys
from array import array

from pyboinc import backends
from pyboinc.backends.local import LocalBackend, uploads
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.store import Store, Turn, workunit_id
from pyboinc.codec import encode
from pyboinc.config.limits import Limits
from pyboinc.disk import AppendLog
from pyboinc.project import Report
from pyboinc.records import calls_from
from pyboinc.validation import Rules

AT_A_TIME = 1000
"""Workunits between two commits."""


class WithoutSlaves(LocalBackend):
    """The emulated project, and volunteers who take no time."""

    def submit(self, first, last):
        state = self._directory.state
        new, old = self._directory.new, self._directory.old
        place = uploads.Uploads(state / "local/upload", new, old)
        rules = Rules.load(self._directory.path, self._directory.record.modules, 10**8)
        store = Store(self._database)
        self._project = Emulator(self._number(), store, place, rules, 10**8)
        limits = Limits(**self._directory.record.limits)
        spool = AppendLog(state / "spool")
        for call in calls_from(spool, 0, first, last):
            self._project.create([call], limits)
            if call.sequence % AT_A_TIME == 0:
                self._project.commit()
        self._project.commit()
        spool.close()
        self._project._queue.clear()  # nobody takes them in its order here
        self._left = array("Q", range(first, last))
        random.Random(int(seed)).shuffle(self._left)

    def start(self):
        self._slot = self._directory.make(self._directory.state / "local/slots/0")

    def counts(self):
        tally = self._project.tally
        queued = tally.total - tally.done
        return backends.Counts(tally.total, queued, done=tally.done)

    def wait(self, timeout):
        now, self._left = self._left[:AT_A_TIME], self._left[AT_A_TIME:]
        batch, project = self._number(), self._project
        for rows in project.store.load([workunit_id(batch, one) for one in now]):
            project._rows[rows.workunit.id] = rows  # all at once, which is quicker
        for sequence in now:
            self._do(sequence)
        self._project.commit()

    def _do(self, sequence):
        from app_types import Output

        project = self._project
        identifier = workunit_id(self._number(), sequence)
        rows = project.rows(identifier)
        project.send(rows, 0, "host-1", Turn(elapsed=0.001))
        (self._slot / "out").write_bytes(encode(Output(sequence)))
        output = project.upload(os.fspath(self._slot), f"{rows.workunit.name}_0")
        project.report(identifier, Report.success(0, output))


_, seed, *sys.argv[1:] = sys.argv
sys.argv[0] = "replay_master.py"
backends._BUILT_IN["local"] = WithoutSlaves
os.fsync = uploads._sync_file_system = lambda descriptor: True
runpy.run_path("replay_master.py", run_name="__main__")
os.sync()
