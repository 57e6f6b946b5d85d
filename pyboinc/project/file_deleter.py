"""The file deleter: the daemon that removes files when the transitioner has released them.

Source of the rules: BOINC ``sched/file_deleter.cpp``, ``do_pass()``.  Removing a result's file
means here that its ``output`` becomes None; a caller that keeps real files looks for rows
whose ``file_delete_state`` has become DONE.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyboinc.project.states import FileDeleteState, Result, Results, Workunit

_RELEASED = FileDeleteState.READY


def has_released_files(workunit: Workunit, results: Sequence[Result]) -> bool:
    """Whether there is anything to delete."""
    if workunit.file_delete_state == _RELEASED:
        return True
    return any(row.file_delete_state == _RELEASED for row in results)


def delete_files(workunit: Workunit, results: Sequence[Result]) -> tuple[Workunit, Results]:
    """Return the rows after the released outputs and inputs have been deleted."""
    rows = list(results)
    for index, row in enumerate(rows):
        if row.file_delete_state == _RELEASED:
            rows[index] = row = row.copy()
            row.file_delete_state = FileDeleteState.DONE
            row.output = None
    if workunit.file_delete_state == _RELEASED:
        workunit = workunit.copy()
        workunit.file_delete_state = FileDeleteState.DONE
    return workunit, tuple(rows)
