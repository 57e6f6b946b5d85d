"""The model of a BOINC project: pure rules, no clock, disk, process or network.

A workunit's life is a row and the rows of its results.  Somebody does something to them
(:func:`create_workunit`, :func:`send`, :func:`report`, :func:`detach`, :func:`cancel`), then the
daemons run (:func:`settle`), and the rows are where a real BOINC server would have them:

    workunit = create_workunit(1, "batch_0", now=0.0, max_error_results=2, max_total_results=5)
    workunit, results, _ = settle(workunit, (), now=0.0)
    workunit, results = send(workunit, results, 0, "host", now=1.0)
    workunit, results, _ = report(workunit, results, Report.success(0, b"42"), now=2.0)
    workunit, results, assimilations = settle(workunit, results, now=2.0)

Each module is one program of a BOINC server and states its rules with their source:
``states`` (the rows), ``transitioner``, ``validator``, ``assimilator``, ``file_deleter``,
``daemons`` (all four together), ``scheduler``, ``administrator``.  ``python -m
pyboinc.project.replay`` holds them against recorded histories of a real server.

The emulator, the simulator and the served project all live on these rules; only the clock
and the hosts differ.  ``now`` is any clock that does not run backwards, in seconds.
"""

from pyboinc.project.administrator import cancel, create_workunit, expire, reissue
from pyboinc.project.assimilator import Assimilation, assimilate
from pyboinc.project.daemons import DEFAULT_ORDER, Daemon, Settled, has_work, settle
from pyboinc.project.file_deleter import delete_files
from pyboinc.project.scheduler import (
    AbortRequest,
    Report,
    Reported,
    abort_request,
    detach,
    may_send,
    report,
    send,
)
from pyboinc.project.states import (
    NEVER,
    AssimilateState,
    ClientState,
    ErrorMask,
    FileDeleteState,
    Outcome,
    Output,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
    changed,
)
from pyboinc.project.transitioner import transition
from pyboinc.project.validator import Same, Valid, present, validate

__all__ = [
    "DEFAULT_ORDER",
    "NEVER",
    "AbortRequest",
    "AssimilateState",
    "Assimilation",
    "ClientState",
    "Daemon",
    "ErrorMask",
    "FileDeleteState",
    "Outcome",
    "Output",
    "Report",
    "Reported",
    "Result",
    "Results",
    "Same",
    "ServerState",
    "Settled",
    "Valid",
    "ValidateState",
    "Workunit",
    "abort_request",
    "assimilate",
    "cancel",
    "changed",
    "create_workunit",
    "delete_files",
    "detach",
    "expire",
    "has_work",
    "may_send",
    "present",
    "reissue",
    "report",
    "send",
    "settle",
    "transition",
    "validate",
]
