"""Hostile pickles that change something: files, processes, the network, the process itself.

They are harmless: what they make is in the current directory, what they start is ``true``.
Entries are as in `codec_gadgets`.
"""

from __future__ import annotations

from collections.abc import Iterator

from codec_gadgets import FIRE, Entry, of
from codec_hostile import (
    APPEND,
    BUILD,
    DICT,
    EMPTY,
    NONE,
    POP,
    REDUCE,
    SETITEM,
    TUPLE1,
    TUPLE2,
    call,
    name,
    number,
    pickled,
    raw,
    row,
    table,
    text,
)

WRITE = text("sentinel") + text("w")
MADE = text("sentinel")


def files() -> Iterator[Entry]:
    """Ways to make, read and remove files."""
    yield "builtins.open", "file", pickled(of("builtins.open", WRITE))
    yield "io.open", "file", pickled(of("io.open", WRITE))
    yield "io.FileIO", "file", pickled(of("io.FileIO", WRITE))
    yield "codecs.open", "file", pickled(of("codecs.open", WRITE))
    yield "os.mkdir", "file", pickled(of("os.mkdir", MADE))
    yield "posix.mkdir", "file", pickled(of("posix.mkdir", MADE))
    yield "os.makedirs", "file", pickled(of("os.makedirs", text("a/b")))
    yield "os.symlink", "file", pickled(of("os.symlink", text("target"), MADE))
    yield "os.mkfifo", "file", pickled(of("os.mkfifo", MADE))
    yield (
        "pathlib.Path.touch",
        "file",
        pickled(call("pathlib", "Path.touch", of("pathlib.Path", MADE))),
    )
    yield (
        "pathlib.Path.write_text",
        "file",
        pickled(call("pathlib", "Path.write_text", of("pathlib.Path", MADE), text("x"))),
    )
    yield "tempfile.mkdtemp", "file", pickled(of("tempfile.mkdtemp", NONE, NONE, text(".")))
    yield "tempfile.mkstemp", "file", pickled(of("tempfile.mkstemp", NONE, NONE, text(".")))
    yield "shutil.copyfile", "file", pickled(of("shutil.copyfile", text("/dev/null"), MADE))
    yield "shutil.rmtree", "shutil.rmtree", pickled(of("shutil.rmtree", text("nothing"), b"\x88"))
    yield (
        "shutil.make_archive",
        "file",
        pickled(
            of("shutil.make_archive", MADE, text("tar"), text("/proc/self/task"), text("nothing"))
        ),
    )
    yield "os.listdir", "os.listdir", pickled(of("os.listdir", text(".")))
    yield "os.remove", "os.remove", pickled(of("os.remove", text("nothing")))
    yield "os.chmod", "os.chmod", pickled(of("os.chmod", text("."), number(0o755)))
    yield "linecache.getlines", "open", pickled(of("linecache.getlines", text("/etc/hostname")))
    yield (
        "fileinput.input",
        "open",
        pickled(of("builtins.list", of("fileinput.input", text("/etc/hostname")))),
    )
    yield "zipfile.ZipFile", "file", pickled(of("zipfile.ZipFile", WRITE))
    yield "tarfile.open", "file", pickled(of("tarfile.open", WRITE))
    yield "gzip.open", "file", pickled(of("gzip.open", WRITE))
    yield "bz2.open", "file", pickled(of("bz2.open", WRITE))
    yield "lzma.open", "file", pickled(of("lzma.open", WRITE))
    yield "wave.open", "file", pickled(of("wave.open", WRITE))
    yield "logging.FileHandler", "file", pickled(of("logging.FileHandler", MADE))
    yield "sqlite3.connect", "file", pickled(of("sqlite3.connect", MADE))
    yield "dbm.dumb.open", "file", pickled(of("dbm.dumb.open", MADE, text("n")))
    yield "shelve.open", "file", pickled(of("shelve.open", MADE))
    yield (
        "numpy.memmap",
        "file",
        pickled(of("numpy.memmap", MADE, text("u1"), text("w+"), number(0), number(8))),
    )
    yield "numpy.load", "open", pickled(of("numpy.load", text("/dev/null")))
    yield "numpy.fromfile", "open", pickled(of("numpy.fromfile", text("/dev/null")))
    yield "numpy.savetxt", "file", pickled(of("numpy.savetxt", MADE, row(number(1))))
    yield "site.addsitedir", "os.listdir", pickled(of("site.addsitedir", text(".")))
    yield (
        "zoneinfo.ZoneInfo.from_file",
        "open",
        pickled(
            call(
                "zoneinfo", "ZoneInfo.from_file", of("builtins.open", text("/dev/null"), text("rb"))
            )
        ),
    )


def processes() -> Iterator[Entry]:
    """Processes, threads, signals, the network, and what runs later."""
    true = row(text("true"))
    yield "os.system", "os.system", pickled(of("os.system", text("true")))
    yield "posix.system", "os.system", pickled(of("posix.system", text("true")))
    yield "os.popen", "subprocess.Popen", pickled(of("os.popen", text("true")))
    yield "subprocess.run", "subprocess.Popen", pickled(of("subprocess.run", true))
    yield "subprocess.Popen", "subprocess.Popen", pickled(of("subprocess.Popen", true))
    yield (
        "subprocess.getoutput",
        "subprocess.Popen",
        pickled(of("subprocess.getoutput", text("true"))),
    )
    yield (
        "os.posix_spawn",
        "os.posix_spawn",
        pickled(of("os.posix_spawn", text("/bin/true"), true, DICT)),
    )
    yield "os.spawnv", "os.fork", pickled(of("os.spawnv", number(0), text("/bin/true"), true))
    yield "os.execv", "os.exec", pickled(of("os.execv", text("/nothing"), true))
    yield "os.fork", "os.fork", pickled(of("os.fork"))
    yield (
        "multiprocessing.util.spawnv_passfds",
        "other",
        pickled(of("multiprocessing.util.spawnv_passfds", raw(b"/bin/true"), true, EMPTY)),
    )
    yield (
        "multiprocessing.Process",
        "os.fork",
        pickled(call("multiprocessing", "Process.start", of("multiprocessing.Process"))),
    )
    yield (
        "pydoc.pipepager",
        "subprocess.Popen",
        pickled(of("pydoc.pipepager", text(""), text("true"))),
    )
    yield (
        "webbrowser.GenericBrowser",
        "subprocess.Popen",
        pickled(
            call(
                "webbrowser",
                "GenericBrowser.open",
                of("webbrowser.GenericBrowser", row(text("true"), text("%s"))),
                text("x"),
            )
        ),
    )
    yield "ctypes.CDLL", "ctypes.dlopen", pickled(of("ctypes.CDLL", NONE))
    yield "ctypes.string_at", "killed", pickled(of("ctypes.string_at", number(8)))
    yield "ctypes.memset", "killed", pickled(of("ctypes.memset", number(8), number(0), number(8)))
    yield "faulthandler._sigsegv", "killed", pickled(of("faulthandler._sigsegv"))
    yield "os.abort", "killed", pickled(of("os.abort"))
    yield "os._exit", "exit", pickled(of("os._exit", number(3)))
    yield "signal.raise_signal", "killed", pickled(of("signal.raise_signal", number(9)))
    yield "signal.alarm", "state", pickled(of("signal.alarm", number(1_000)))
    yield "signal.signal", "state", pickled(of("signal.signal", number(15), number(1)))
    yield (
        "resource.setrlimit",
        "resource.setrlimit",
        pickled(of("resource.setrlimit", number(7), number(64) + number(64) + TUPLE2)),
    )
    yield "socket.socket", "socket.__new__", pickled(of("socket.socket"))
    yield (
        "socketserver.TCPServer",
        "socket.bind",
        pickled(of("socketserver.TCPServer", text("127.0.0.1") + number(0) + TUPLE2, NONE)),
    )
    yield (
        "socket.create_connection",
        "socket.connect",
        pickled(of("socket.create_connection", text("127.0.0.1") + number(1) + TUPLE2)),
    )
    yield (
        "urllib.request.urlopen",
        "urllib.Request",
        pickled(of("urllib.request.urlopen", text("file:///dev/null"))),
    )
    yield (
        "ftplib, smtplib and the like",
        "socket.connect",
        pickled(of("smtplib.SMTP", text("127.0.0.1"), number(1))),
    )
    yield "asyncio.new_event_loop", "socket.__new__", pickled(of("asyncio.new_event_loop"))
    yield (
        "_thread.start_new_thread",
        "trap",
        pickled(
            of("_thread.start_new_thread", FIRE, EMPTY),
            POP,
            of("time.sleep", b"G?\xa9\x99\x99\x99\x99\x99\x9a"),
        ),
    )
    yield (
        "threading.Timer",
        "trap",
        pickled(call("threading", "Timer.run", of("threading.Timer", number(0), FIRE))),
    )
    yield (
        "atexit.register",
        "trap",
        pickled(of("atexit.register", FIRE), POP, of("atexit._run_exitfuncs")),
    )
    yield (
        "weakref.finalize",
        "trap",
        pickled(of("weakref.finalize", name("codec_traps", "Trap"), FIRE) + EMPTY + REDUCE),
    )
    yield "sys.settrace", "sys.settrace", pickled(of("sys.settrace", FIRE))
    yield "sys.setprofile", "sys.setprofile", pickled(of("sys.setprofile", FIRE))
    yield "sys.addaudithook", "sys.addaudithook", pickled(of("sys.addaudithook", FIRE))
    yield (
        "sys.unraisablehook set by setattr",
        "state",
        pickled(of("builtins.setattr", name("codec_traps", "Trap"), text("planted"), number(1))),
    )
    yield (
        "builtins.delattr",
        "state",
        pickled(of("builtins.delattr", name("codec_traps", "Trap"), text("append"))),
    )
    yield "sys.setrecursionlimit", "state", pickled(of("sys.setrecursionlimit", number(12_345)))
    yield "sys.setswitchinterval", "state", pickled(of("sys.setswitchinterval", number(9)))
    yield (
        "sys.set_int_max_str_digits",
        "state",
        pickled(of("sys.set_int_max_str_digits", number(0))),
    )
    yield "gc.disable", "state", pickled(of("gc.disable"))
    yield "os.chdir", "os.chdir", pickled(of("os.chdir", text("/")))
    yield "os.umask", "state", pickled(of("os.umask", number(0)))
    yield "os.putenv", "os.putenv", pickled(of("os.putenv", raw(b"CODEC_PLANTED"), raw(b"1")))
    yield "random.seed", "state", pickled(of("random.seed", number(1)))
    yield "numpy.random.seed", "state", pickled(of("numpy.random.seed", number(1)))
    yield (
        "decimal.setcontext",
        "state",
        pickled(of("decimal.setcontext", of("decimal.Context", number(2)))),
    )
    yield "locale.setlocale", "state", pickled(of("locale.setlocale", number(0), text("C")))
    yield "warnings.simplefilter", "state", pickled(of("warnings.simplefilter", text("ignore")))
    yield (
        "copyreg.pickle",
        "state",
        pickled(of("copyreg.pickle", name("codec_traps", "Trap"), FIRE)),
    )
    yield (
        "copyreg.add_extension",
        "state",
        pickled(of("copyreg.add_extension", text("codec_traps"), text("Key"), number(77))),
    )
    yield "tracemalloc.start", "state", pickled(of("tracemalloc.start"))
    yield "sys.exit", "SystemExit", pickled(of("sys.exit", number(3)))
    yield (
        "KeyboardInterrupt by _thread.interrupt_main",
        "KeyboardInterrupt",
        pickled(of("_thread.interrupt_main"), POP, of("time.sleep", number(1))),
    )


def changes() -> Iterator[Entry]:
    """What changes the process without any call."""
    yield (
        "SETITEM of os.environ",
        "state",
        pickled(name("os", "environ"), text("CODEC"), text("x"), SETITEM),
    )
    yield (
        "SETITEM of sys.modules",
        "state",
        pickled(name("sys", "modules"), text("planted"), NONE, SETITEM),
    )
    yield (
        "SETITEM of a module's names",
        "state",
        pickled(name("codec_traps", "__dict__"), text("x"), NONE, SETITEM),
    )
    yield "APPEND to sys.path", "state", pickled(name("sys", "path"), text("planted"), APPEND)
    yield "APPEND to the meta path", "state", pickled(name("sys", "meta_path"), NONE, APPEND)
    planted = table(text("planted"), number(1))
    yield (
        "BUILD on a class",
        "state",
        pickled(name("codec_traps", "Trap"), NONE + planted + TUPLE2, BUILD),
    )
    yield (
        "BUILD on a module",
        "state",
        pickled(name("codec_techniques", "codec_traps"), planted, BUILD),
    )
    yield "BUILD on a function", "state", pickled(FIRE, planted, BUILD)
    defaults = table(text("__defaults__"), number(1) + TUPLE1)
    yield "BUILD of a function's defaults", "state", pickled(FIRE, NONE + defaults + TUPLE2, BUILD)
    other = table(text("__code__"), name("codec_traps", "Trap.__len__.__code__"))
    yield "BUILD of a function's code", "state", pickled(FIRE, NONE + other + TUPLE2, BUILD)
    yield (
        "BUILD on an enumeration's member",
        "state",
        pickled(call("codec_traps", "Kind", number(1)), planted, BUILD),
    )
    yield (
        "BUILD on a descriptor's owner",
        "state",
        pickled(
            name("codec_traps", "Described"), NONE + table(text("value"), number(1)) + TUPLE2, BUILD
        ),
    )
    yield (
        "a list of the program's grows",
        "trap",
        pickled(name("codec_traps", "ran"), text("fire"), APPEND),
    )


WAYS = (files, processes, changes)
