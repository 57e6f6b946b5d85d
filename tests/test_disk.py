"""The one module that touches the disk: whole or not at all, bounded, explained."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyfakefs.fake_filesystem import FakeFilesystem

from pyboinc import disk, locks
from pyboinc.disk import AppendLog, ReadLog
from pyboinc.errors import (
    ConfigurationError,
    DirectoryBusy,
    JobDirectoryError,
    RejectedResult,
)


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """What is tried here is tried on a disk."""
    return on_disk


def failing_at(monkeypatch: pytest.MonkeyPatch, step: str, error: int) -> None:
    """Let every such step fail."""

    def fail(reached: str, about: str) -> None:
        if reached == step:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(disk, "before_step", fail)


# ---------------------------------------------------------------- steps and errors


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The steps that are reached from now on: name, and the last part of the subject."""
    reached: list[tuple[str, str]] = []
    monkeypatch.setattr(
        disk, "before_step", lambda step, about: reached.append((step, Path(about).name))
    )
    return reached


def test_every_operation_is_a_step(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    """Steps: each operation says by its name what it is about to do, and to what, once."""
    disk.make_directory(tmp_path / "tree")
    disk.make_directory(tmp_path / "tree")
    disk.publish(tmp_path / "tree/file", b"content")
    disk.move("some move", tmp_path / "tree/file", tmp_path / "tree/moved")
    disk.remove(tmp_path / "tree/moved")
    disk.remove_empty(tmp_path / "tree")
    disk.remove_tree(tmp_path / "other")
    os.close(locks.take_lock(tmp_path / "lock"))
    log = AppendLog(tmp_path / "log")
    log.append(b"data")
    log.sync()
    log.truncate(2)
    log.close()
    disk.reach("alone")
    assert steps == [
        ("make directory", "tree"),
        ("write", "file"),
        ("fsync", "file"),
        ("publish", "file"),
        ("some move", "file"),
        ("remove", "moved"),
        ("remove", "tree"),
        ("remove", "other"),
        ("lock", "lock"),
        ("append", "log"),
        ("fsync", "log"),
        ("truncate", "log"),
        ("alone", ""),
    ]


def test_every_operation_explains_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors: the message says what could not be done to what, why, and what to do next."""
    log, path = AppendLog(tmp_path / "log"), tmp_path / "file"
    log.append(b"one")
    log.sync()
    steps = {
        "make the directory": ("make directory", lambda: disk.make_directory(path)),
        "write": ("write", lambda: disk.publish(path, b"")),
        "move": ("retire", lambda: disk.move("retire", path, tmp_path / "other")),
        "remove": ("remove", lambda: disk.remove(path)),
        "remove ": ("remove", lambda: disk.remove_tree(path)),
        "remove  ": ("remove", lambda: disk.remove_empty(path)),
        "lock": ("lock", lambda: locks.take_lock(path)),
        "append to": ("append", lambda: (log.append(b"two"), log.sync())),
        "truncate": ("truncate", lambda: log.truncate(1)),
    }
    why = "Input/output error; mend that and run the same command; it resumes"
    for action, (step, operation) in steps.items():
        failing_at(monkeypatch, step, errno.EIO)
        with pytest.raises(JobDirectoryError) as caught:
            operation()
        about = log.path if step in ("append", "truncate") else path
        assert str(caught.value) == f"cannot {action.strip()} {about}: {why}"
    monkeypatch.undo()
    log.close()
    gone = "No such file or directory; mend that and run the same command; it resumes"
    none = tmp_path / "none"
    operations = {
        f"sync the directory {none}": lambda: disk.sync_directory(none),
        f"list {none}": lambda: disk.listing(none),
        f"open {none}/log": lambda: AppendLog(none / "log"),
    }
    for action, failing in operations.items():
        with pytest.raises(JobDirectoryError) as caught:
            failing()
        assert str(caught.value) == f"cannot {action}: {gone}"
    with pytest.raises(JobDirectoryError, match=r"cannot read .*log: Bad file descriptor; mend"):
        log.read(0, 1)


def test_what_to_do_next() -> None:
    """Errors: what can be helped is told how; a cause that nobody foresaw is told as it is."""
    told = {
        errno.ENOSPC: "No space left on device; the disk is full; nothing is lost: free some space "
        "and run the same command",
        errno.EDQUOT: "Disk quota exceeded; your disk quota is used up; nothing is lost: free some "
        "space and run it again",
        errno.EROFS: "Read-only file system; the file system is read-only; copy the job directory "
        "to one you may write to",
        errno.EACCES: "Permission denied; you may not write there; change its owner or mode, or "
        "copy the job directory",
        errno.EMFILE: "Too many open files; too many open files; raise the limit (ulimit -n) and "
        "run the same command",
    }
    for number, text in told.items():
        assert str(disk.explain("write", "f", OSError(number, ""))) == f"cannot write f: {text}"


def test_files_are_for_whom_the_umask_says(tmp_path: Path) -> None:
    """Files: what PyBOINC makes may be read and written as the user's umask has it, not run."""
    before = os.umask(0o002)
    try:
        disk.publish(tmp_path / "file", b"")
        os.close(locks.take_lock(tmp_path / "lock"))
        AppendLog(tmp_path / "log").close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o664, "lock": 0o664, "log": 0o664}


def test_what_publish_begins_with_is_no_link(tmp_path: Path) -> None:
    """Files appear whole: somebody's link under the temporary name is not followed."""
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JobDirectoryError, match="cannot write .*/file: Too many levels of symb"):
        disk.publish(tmp_path / "file", b"content")
    assert not (tmp_path / "elsewhere").exists()


# ---------------------------------------------------------------- publish


def test_publish_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    """Files appear whole: the new content is there, and no temporary file."""
    path = tmp_path / "file"
    disk.publish(path, b"old")
    disk.publish(path, b"new" * 100_000)
    assert path.read_bytes() == b"new" * 100_000
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["write", "fsync", "publish"])
def test_publish_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Files appear whole: an error at any step leaves the file as it was."""
    path = tmp_path / "file"
    disk.publish(path, b"old")
    failing_at(monkeypatch, step, errno.ENOSPC)
    with pytest.raises(JobDirectoryError, match="cannot write .*/file: No space left on device"):
        disk.publish(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    disk.remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == ["file"]


def test_publish_follows_no_link(tmp_path: Path) -> None:
    """Files appear whole: a link in the place of the file is replaced, not followed."""
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "file"
    path.symlink_to(target)
    disk.publish(path, b"new")
    assert (path.is_symlink(), path.read_bytes(), target.read_text()) == (False, b"new", "precious")


def test_the_steps_of_publish_are_in_the_safe_order(
    fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files appear whole: written, fsynced, renamed, and the directory fsynced, in this order."""
    done: list[str] = []
    for name in ("write", "fsync", "rename"):
        real = getattr(os, name)

        def record(*arguments: object, name: str = name, real: object = real) -> object:
            done.append(name)
            return None if name == "fsync" else real(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(os, name, record)
    fs.create_dir("/job")
    disk.publish(Path("/job/file"), b"content")
    assert done == ["write", "fsync", "rename", "fsync"]
    assert Path("/job/file").read_bytes() == b"content"


def test_a_write_that_writes_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files appear whole: a short write goes on where it stopped."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    disk.publish(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_that_has_both_names_is_moved(tmp_path: Path) -> None:
    """Power cuts: of a file that half of a move has left with two names, the old one goes."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("content")
    os.link(old, new)
    disk.move("retire", old, new)
    assert (os.listdir(tmp_path), new.read_text()) == (["new"], "content")


def test_temporaries_of_others_stay(tmp_path: Path) -> None:
    """Files appear whole: what is removed after a crash is only what publish calls so."""
    names = [".file.12.tmp", ".file.tmp", "file.12.tmp", ".file.x.tmp", ".other.7.tmp"]
    for name in names:
        (tmp_path / name).touch()
    disk.remove_temporaries(tmp_path, "file")
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])
    disk.remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:4])
    disk.remove_temporaries(tmp_path / "nowhere")


# ---------------------------------------------------------------- reading what may be anything


def test_read_bounded(tmp_path: Path) -> None:
    """Bounded reading: a plain file of at most the limit is returned."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert disk.read_bounded(path, 5) == b"12345"
    with pytest.raises(RejectedResult, match="5 bytes; the limit is 4"):
        disk.read_bounded(path, 4)
    with pytest.raises(FileNotFoundError):
        disk.read_bounded(tmp_path / "none", 4)


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """Bounded reading: links, directories, pipes, devices and sockets are refused, at once."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("link", "loop", "device"):
        with pytest.raises(RejectedResult, match="a symbolic link"):
            disk.read_bounded(tmp_path / name, 10)
    for path in (tmp_path / "directory", tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(RejectedResult, match="^not a plain file$"):
            disk.read_bounded(path, 10)


def test_a_socket_is_refused(tmp_path: Path) -> None:
    """Bounded reading: a socket can not be opened, and is refused."""
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(RejectedResult, match="cannot be opened"):
            disk.read_bounded(tmp_path / "socket", 10)


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded reading: no permission is a refusal; any other error is the disk's."""
    (tmp_path / "file").touch()

    def deny(error: int) -> None:
        def fail(*arguments: object) -> int:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, "open", fail)

    deny(errno.EACCES)
    with pytest.raises(RejectedResult, match="cannot be opened: Permission denied"):
        disk.read_bounded(tmp_path / "file", 10)
    deny(errno.EIO)
    with pytest.raises(JobDirectoryError, match="cannot read .*: Input/output error; mend that"):
        disk.read_bounded(tmp_path / "file", 10)


def test_a_disk_that_fails_while_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded reading: an error of the disk is told with the file's name."""
    (tmp_path / "file").write_bytes(b"12345")

    def fail(descriptor: int, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(JobDirectoryError, match="cannot read .*/file: Input/output error; mend"):
        disk.read_bounded(tmp_path / "file", 10)


def test_a_file_that_grows_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded reading: the limit holds also for what is appended meanwhile."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        with open(path, "ab") as file:
            file.write(b"more!")
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    with pytest.raises(RejectedResult, match="grew past the limit of 12 bytes"):
        disk.read_bounded(path, 12)


def test_a_file_that_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded reading: a short read is no end of file."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real(descriptor, min(size, 3)))
    assert disk.read_bounded(path, 12) == b"0123456789"


# ---------------------------------------------------------------- moving, removing, making


def test_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving: what is missing is the caller's affair, any other error is explained."""
    (tmp_path / "a").write_text("a")
    disk.move("retire", tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        disk.move("retire", tmp_path / "a", tmp_path / "b")
    failing_at(monkeypatch, "retire", errno.EROFS)
    with pytest.raises(JobDirectoryError, match="cannot move .*read-only; copy the job directory"):
        disk.move("retire", tmp_path / "b", tmp_path / "c")


def test_names(tmp_path: Path) -> None:
    """Moving: the names in a directory, one by one; one that can not be listed is explained."""
    for name in ("a", ".b", "c d"):
        (tmp_path / name).touch()
    assert sorted(disk.names(tmp_path)) == [".b", "a", "c d"]
    with pytest.raises(JobDirectoryError, match="cannot list .*/none"):
        list(disk.names(tmp_path / "none"))


def test_make_directory(tmp_path: Path) -> None:
    """Making: parents too, again without harm; a file in its place is named."""
    disk.make_directory(tmp_path / "a/b")
    disk.make_directory(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(JobDirectoryError, match="cannot make the directory .*/file: File exists"):
        disk.make_directory(tmp_path / "file")


def test_a_directory_that_somebody_else_makes_in_this_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making: who comes second finds it made, and that is as good."""
    path = tmp_path / "directory"
    monkeypatch.setattr(disk, "before_step", lambda step, about: path.mkdir())
    disk.make_directory(path)
    assert path.is_dir()


def test_remove(tmp_path: Path) -> None:
    """Removing: files, trees, empty directories; what is not there is no error."""
    (tmp_path / "file").touch()
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        disk.remove(tmp_path / "file")
        disk.remove_tree(tmp_path / "tree/below")
        assert disk.remove_empty(tmp_path / "empty")
    (tmp_path / "tree/file").touch()
    assert not disk.remove_empty(tmp_path / "tree")
    assert os.listdir(tmp_path) == ["tree"]
    with pytest.raises(JobDirectoryError, match="cannot remove"):
        disk.remove(tmp_path / "tree")
    with pytest.raises(JobDirectoryError, match="cannot list .*/none: No such file"):
        disk.listing(tmp_path / "none")


def test_an_error_without_a_number_is_explained() -> None:
    """Messages: an error that has only a text is told with it."""
    error = disk.explain("write", "file", OSError("strange"))
    assert (
        str(error) == "cannot write file: strange; mend that and run the same command; it resumes"
    )


def test_check_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is noticed; a file system that tells nothing of its size is not full."""
    disk.check_space(tmp_path)
    real = os.statvfs(tmp_path)

    def full(blocks: int, free: int = 0) -> None:
        values = list(real)
        values[0:5] = [4096, 1 << 20, blocks, free, free]
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))

    full(1000)
    with pytest.raises(
        JobDirectoryError, match=r"cannot write to .*: No space .*; nothing is lost"
    ):
        disk.check_space(tmp_path)
    full(1000, free=1)
    disk.check_space(tmp_path)
    full(0)
    disk.check_space(tmp_path)


# ---------------------------------------------------------------- the lock


def test_the_lock_is_one_process_s(tmp_path: Path) -> None:
    """Lock: a second holder is refused and told who has it; it is free when that is closed."""
    path = tmp_path / "job/.pyboinc/lock"
    path.parent.mkdir(parents=True)
    assert locks.lock_holder(path) is None
    held = locks.take_lock(path)
    assert locks.lock_holder(path) == os.getpid()
    with pytest.raises(DirectoryBusy) as caught:
        locks.take_lock(path)
    assert str(caught.value) == (
        f"another master (process {os.getpid()}) is running in {tmp_path / 'job'}; wait for it, or "
        "stop it with ^C: this one would wait for the same jobs"
    )
    os.close(held)
    assert locks.lock_holder(path) is None
    os.close(locks.take_lock(path))


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """Lock: it can not be stale: kill -9 frees it, and its children do not hold it."""
    path = tmp_path / "lock"
    code = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from pyboinc import disk, locks\n"
        "locks.take_lock(Path(sys.argv[1]))\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    assert locks.lock_holder(path) == holder.pid
    descriptor = os.pidfd_open(child)
    holder.kill()
    holder.communicate()
    os.close(locks.take_lock(path))
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.close(descriptor)


def test_who_looks_for_a_moment_does_not_stop_a_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lock: `pyboinc status` takes it for an instant; a master that starts then tries again."""
    path = tmp_path / "lock"
    looking = locks.take_lock(path)
    monkeypatch.setattr(disk.time, "sleep", lambda pause: os.close(looking) if pause else None)
    os.close(locks.take_lock(path))


def test_a_lock_without_a_number(tmp_path: Path) -> None:
    """Lock: whoever holds it without having said who it is, is somebody unknown."""
    import fcntl

    path = tmp_path / "lock"
    with open(path, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert locks.lock_holder(path) == 0
        with pytest.raises(DirectoryBusy, match=r"\(process unknown\)"):
            locks.take_lock(path)
        file.write(b"\xff\n")
        file.flush()
        assert locks.lock_holder(path) == 0
        with pytest.raises(DirectoryBusy, match="\\(process \N{REPLACEMENT CHARACTER}\\)"):
            locks.take_lock(path)


def test_windows_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows: one clear message until it is done."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError) as caught:
        locks.take_lock(tmp_path / "lock")
    assert str(caught.value) == (
        "PyBOINC does not run a master on Windows yet: it needs flock and fork; "
        "use Linux, macOS or the Windows Subsystem for Linux"
    )


# ---------------------------------------------------------------- logs


def test_what_is_appended_can_be_read_at_once(tmp_path: Path) -> None:
    """Logs: a reader of the same log sees what is in its buffer; others after a sync."""
    log = AppendLog(tmp_path / "log")
    log.append(b"one")
    assert (log.size, log.read(0, 10)) == (3, b"one")
    log.append(b"two")
    assert (tmp_path / "log").read_bytes() == b"one"
    log.sync()
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    log.close()
    log.close()


def test_a_large_buffer_is_written(tmp_path: Path) -> None:
    """Logs: no more than a megabyte waits in memory."""
    log = AppendLog(tmp_path / "log")
    log.append(bytes(1 << 20))
    assert (tmp_path / "log").stat().st_size == 0
    log.append(b"x")
    assert (tmp_path / "log").stat().st_size == (1 << 20) + 1
    log.close()


def test_sync_syncs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs: one fsync makes all durable, and none is made for nothing."""
    steps: list[str] = []
    log = AppendLog(tmp_path / "log")
    monkeypatch.setattr(disk, "before_step", lambda step, about: steps.append(step))
    log.sync()
    log.append(b"one")
    log.append(b"two")
    log.sync()
    log.sync()
    assert steps == ["append", "fsync"]
    log.close()


def test_what_an_earlier_process_left_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs: a killed process may have left its lines in memory only: they are synced first."""
    (tmp_path / "log").write_bytes(b"left")
    log = AppendLog(tmp_path / "log")
    steps: list[str] = []
    monkeypatch.setattr(disk, "before_step", lambda step, about: steps.append(step))
    log.sync()
    log.sync()
    assert steps == ["fsync"]
    log.close()


def test_a_write_that_failed_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs: after an error the buffer is kept; written later it lies where it belongs."""
    log = AppendLog(tmp_path / "log")
    log.append(b"one")
    failing_at(monkeypatch, "append", errno.ENOSPC)
    with pytest.raises(JobDirectoryError, match="cannot append to .*: No space left"):
        log.sync()
    monkeypatch.undo()
    log.append(b"two")
    log.sync()
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    log.close()


@given(st.binary(max_size=30), st.binary(max_size=30), st.integers(0, 60))
def test_truncate(tmp_path_factory: pytest.TempPathFactory, a: bytes, b: bytes, at: int) -> None:
    """Logs: what is cut off is gone, wherever it is: in the file, in the buffer, in both."""
    path = tmp_path_factory.mktemp("log") / "log"
    log = AppendLog(path)
    log.append(a)
    log.sync()
    log.append(b)
    size = min(at, len(a + b))
    log.truncate(size)
    assert log.size == size
    log.append(b"end")
    log.sync()
    assert path.read_bytes() == (a + b)[:size] + b"end"
    log.close()


def test_a_log_that_is_only_read(tmp_path: Path) -> None:
    """Logs: who looks on changes nothing, and a log that is not there yet is empty."""
    none = ReadLog(tmp_path / "log")
    assert (none.size, none.read(0, 10)) == (0, b"")
    none.close()
    assert not (tmp_path / "log").exists()
    (tmp_path / "log").write_bytes(b"content")
    log = ReadLog(tmp_path / "log")
    log.truncate(2)
    log.sync()
    assert log.read(0, 10) == b"content"
    with pytest.raises(JobDirectoryError, match="read only"):
        log.append(b"more")
    log.close()


def test_a_log_is_no_link(tmp_path: Path) -> None:
    """Logs: a link in the place of a log is refused, with what to do."""
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    for kind in (AppendLog, ReadLog):
        with pytest.raises(JobDirectoryError, match="cannot open .*/log"):
            kind(tmp_path / "log")
    assert not (tmp_path / "elsewhere").exists()


def test_a_descriptor_is_not_inherited(tmp_path: Path) -> None:
    """Logs: what a master opens is closed in every program that it starts."""
    held = [locks.take_lock(tmp_path / "lock")]
    log = AppendLog(tmp_path / "log")
    assert not any(os.get_inheritable(one) for one in [*held, log._descriptor])
    os.close(held[0])
    log.close()


# ---------------------------------------------------------------- what the system answers


def failing_call(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    """Do what ``os.NAME`` does, and say that it failed: so the kernel does with ``close``."""
    real = getattr(os, name)

    def fail(*arguments: object) -> None:
        real(*arguments)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize("error", [errno.EIO, errno.EINTR, errno.ENOSPC])
def test_a_close_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Errors: what is written was synced before it is closed, so an error of close is no news."""
    failing_call(monkeypatch, "close", error)
    disk.make_directory(tmp_path / "tree")
    disk.publish(tmp_path / "tree/file", b"content")
    assert disk.read_bounded(tmp_path / "tree/file", 100) == b"content"
    log = AppendLog(tmp_path / "log")
    log.append(b"line")
    log.sync()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"line"
    lock = locks.take_lock(tmp_path / "lock")
    assert locks.lock_holder(tmp_path / "lock") == os.getpid()
    disk.close(lock)
    assert locks.lock_holder(tmp_path / "lock") is None


def test_a_look_that_fails_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors: it is named which directory can not be looked at, and what to do."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(JobDirectoryError, match=r"cannot make the directory .*/tree: Input/output"):
        disk.make_directory(tmp_path / "tree")
    monkeypatch.undo()
    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(JobDirectoryError, match=r"cannot look at the disk of .*: Input/output"):
        disk.check_space(tmp_path)
