"""Every error that PyBOINC raises, and the exit code each one ends a program with.

    PyboincError
    |-- ConfigurationError          a setting that can not be, an unknown backend or fault     2
    |-- EncodeError                 an input or output that can not travel                    2
    |-- RejectedResult              bytes that the safe loader refused                        1
    |-- RejectedArchive             a slave's code that the project's key has not signed      2
    |-- RejectedRequest             what a client sent is no request                        1
    |-- SlaveError                  a slave used the library in a way that can not work       1
    |-- JobDirectoryError           the job directory can not be used                         2
    |   |-- DirectoryBusy           another master holds it                                   3
    |   `-- DirectoryDamaged        what is on disk is not what was written                   2
    |-- CheckpointMismatch          of another program, another input, or another directory   4
    |   `-- ReplayMismatch          handle_result made other calls on replay                  4
    |-- JobsFailed                  some jobs can not be done                                 1
    |-- BackendError                the project behind the backend can not be reached         3
    `-- Interrupted                 ^C; also a KeyboardInterrupt                            130

A message names the object, the cause and the next step.  Each class also has the
built-in base that old handlers expect (``ValueError``, ``TypeError``, ``OSError``).

This file travels to volunteers with the slave half: standard library, Python 3.8.
"""

from __future__ import annotations


class PyboincError(Exception):
    """The base of everything that PyBOINC raises.

    ``exit_code`` is what a program that does not catch it ends with.
    """

    exit_code = 1


class ConfigurationError(PyboincError, ValueError):
    """A setting, flag, backend or fault that can not be."""

    exit_code = 2


class EncodeError(PyboincError, TypeError):
    """A value that can not travel to a slave or back, with the path of the attribute at fault."""

    exit_code = 2

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RejectedResult(PyboincError, ValueError):
    """Bytes that the safe loader refused: why (``reason``) and where (``offset``, bytes)."""

    def __init__(self, reason: str, offset: int | None = None) -> None:
        where = "" if offset is None else " (at byte %d)" % offset
        super().__init__(reason + where)
        self.reason = reason
        self.offset = offset


class RejectedArchive(PyboincError, ValueError):
    """A slave's archive that was not signed by the project's key, or a key that is none."""

    exit_code = 2


class RejectedRequest(PyboincError, ValueError):
    """What a BOINC client, or somebody in its place, sent that is no request."""


class SlaveError(PyboincError, RuntimeError):
    """A slave program used the library in a way that can not work."""


class JobDirectoryError(PyboincError, OSError):
    """The job directory can not be used: read-only, full, moved, not a directory."""

    exit_code = 2


class DirectoryBusy(JobDirectoryError):
    """Another master is running in this job directory."""

    exit_code = 3


class DirectoryDamaged(JobDirectoryError):
    """A file of the job directory is not what PyBOINC wrote."""


class CheckpointMismatch(PyboincError, ValueError):
    """The checkpoint on disk was made by another program, or by a newer PyBOINC."""

    exit_code = 4


class ReplayMismatch(CheckpointMismatch):
    """On replay the program made a call that differs from the recorded one."""


class JobsFailed(PyboincError):
    """Some jobs can not be done; the message shows each distinct cause once.

    ``failures`` is the tuple of :class:`pyboinc.Failure` objects, one for each job.
    """

    def __init__(self, message: str, failures: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures


class BackendError(PyboincError, RuntimeError):
    """The project behind the backend can not be reached or does not answer."""

    exit_code = 3


class Interrupted(PyboincError, KeyboardInterrupt):
    """The user pressed ^C; everything is saved, and the same command resumes."""

    exit_code = 130
