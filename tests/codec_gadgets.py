"""Hostile pickles that name something of Python's own and have it called, one for each way.

Ways to code, and from an innocent name to another.  Each entry is ``(technique, what shows
that it worked, the pickle)``; `codec_techniques` has the whole table.  The payloads are
harmless: they note that they ran in `codec_traps`, or change the process they run in.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterator

from codec_hostile import (
    DICT,
    EMPTY,
    MARK,
    NONE,
    POP,
    PROTO,
    REDUCE,
    STOP,
    TUPLE,
    TUPLE1,
    call,
    name,
    number,
    pickled,
    raw,
    row,
    table,
    text,
)

Entry = tuple[str, str, bytes]

FIRE = name("codec_traps", "fire")
NOTE = "import codec_traps; codec_traps.fire()"
CODE = marshal.dumps(compile(NOTE, "payload", "exec"))


def then(function: bytes, *args: bytes) -> bytes:
    """REDUCE of what *function* has left on the stack."""
    return function + MARK + b"".join(args) + TUPLE + REDUCE


def of(dotted: str, *args: bytes) -> bytes:
    """REDUCE of a function of a module."""
    module, _, attribute = dotted.rpartition(".")
    return call(module, attribute, *args)


def code() -> Iterator[Entry]:
    """Text or bytes that become code."""
    yield "builtins.exec", "trap", pickled(of("builtins.exec", text(NOTE)))
    yield "builtins.eval", "trap", pickled(of("builtins.eval", text(f"exec({NOTE!r})")))
    made = of("builtins.compile", text(NOTE), text("x"), text("exec"))
    yield "builtins.compile and exec", "trap", pickled(of("builtins.exec", made))
    yield (
        "Python 2's execfile mapped to exec",
        "trap",
        PROTO
        + b"\x80\x02c__builtin__\neval\n"
        + (text(f"exec({NOTE!r})") + TUPLE1 + REDUCE + STOP),
    )
    yield (
        "marshal.loads and exec",
        "trap",
        pickled(of("builtins.exec", of("marshal.loads", raw(CODE)))),
    )
    function = of("types.FunctionType", of("marshal.loads", raw(CODE)), DICT)
    yield "types.FunctionType of marshalled code", "trap", pickled(then(function))
    yield (
        "runpy._run_code",
        "trap",
        pickled(of("runpy._run_code", of("marshal.loads", raw(CODE)), DICT)),
    )
    yield (
        "timeit.timeit",
        "trap",
        pickled(
            of("timeit.timeit", text(NOTE), text("pass"), name("time", "perf_counter"), number(1))
        ),
    )
    yield "cProfile.run", "trap", pickled(of("cProfile.run", text(NOTE)))
    yield "profile.run", "trap", pickled(of("profile.run", text(NOTE)))
    yield (
        "trace.Trace.run",
        "trap",
        pickled(call("trace", "Trace.run", of("trace.Trace", number(0), number(0)), text(NOTE))),
    )
    yield "bdb.Bdb.run", "trap", pickled(call("bdb", "Bdb.run", of("bdb.Bdb"), text(NOTE)))
    source = of("code.InteractiveInterpreter")
    yield (
        "code.InteractiveInterpreter",
        "trap",
        pickled(call("code", "InteractiveInterpreter.runsource", source, text(NOTE))),
    )
    expression = f"exec({NOTE!r})"
    yield (
        "typing.ForwardRef evaluated",
        "trap",
        pickled(of("typing._eval_type", of("typing.ForwardRef", text(expression)), DICT, DICT)),
    )
    yield (
        "annotations evaluated",
        "trap",
        pickled(
            of(
                "typing.get_type_hints",
                then(
                    name("builtins", "type"),
                    text("X"),
                    EMPTY,
                    table(text("__annotations__"), table(text("a"), text(expression))),
                ),
            )
        ),
    )
    yield (
        "collections.namedtuple compiles",
        "compile",
        pickled(of("collections.namedtuple", text("X"), text("a b"))),
    )
    yield (
        "dataclasses.make_dataclass compiles",
        "compile",
        pickled(of("dataclasses.make_dataclass", text("X"), row(text("a")))),
    )
    yield (
        "numpy's runstring",
        "trap",
        pickled(of("numpy.testing._private.utils.runstring", text(NOTE), DICT)),
    )
    yield "doctest.testsource", "open", pickled(of("linecache.getlines", text("/dev/null")))
    yield "a nested pickle", "trap", pickled(of("pickle.loads", raw(pickled(then(FIRE)))))
    yield "a nested pickle, in C", "trap", pickled(of("_pickle.loads", raw(pickled(then(FIRE)))))
    stream = of("io.BytesIO", raw(pickled(then(FIRE))))
    yield (
        "a nested Unpickler",
        "trap",
        pickled(call("pickle", "_Unpickler.load", of("pickle._Unpickler", stream))),
    )
    nested = raw(zlib.compress(pickled(then(FIRE))))
    yield (
        "a nested pickle, compressed",
        "trap",
        pickled(of("pickle.loads", of("zlib.decompress", nested))),
    )
    yield (
        "a nested pickle, encoded",
        "trap",
        pickled(
            of("pickle.loads", of("codecs.decode", text(pickled(then(FIRE)).hex()), text("hex")))
        ),
    )


def lookups() -> Iterator[Entry]:
    """Ways from an innocent name to another one."""
    fire = text("codec_traps"), text("fire")
    yield (
        "getattr of a module",
        "trap",
        pickled(then(of("builtins.getattr", of("builtins.__import__", fire[0]), fire[1]))),
    )
    yield "importlib.import_module", "exec", pickled(of("importlib.import_module", text("this")))
    yield (
        "importlib.reload",
        "exec",
        pickled(of("importlib.reload", of("importlib.import_module", text("keyword")))),
    )
    yield (
        "a name alone imports its module",
        "import",
        pickled(name("antigravity.x", "y") + POP + NONE),
    )
    yield (
        "pkgutil.resolve_name",
        "trap",
        pickled(then(of("pkgutil.resolve_name", text("codec_traps:fire")))),
    )
    yield "pydoc.locate", "trap", pickled(then(of("pydoc.locate", text("codec_traps.fire"))))
    yield (
        "logging.config's resolver",
        "trap",
        pickled(then(of("logging.config._resolve", text("codec_traps.fire")))),
    )
    module = of("importlib.import_module", fire[0])
    yield (
        "xmlrpc's resolver",
        "trap",
        pickled(then(of("xmlrpc.server.resolve_dotted_attribute", module, fire[1]))),
    )
    yield (
        "inspect.getattr_static",
        "trap",
        pickled(then(of("inspect.getattr_static", module, fire[1]))),
    )
    yield (
        "operator.attrgetter",
        "trap",
        pickled(then(then(of("operator.attrgetter", fire[1]), module))),
    )
    yield (
        "operator.methodcaller",
        "trap",
        pickled(then(of("operator.methodcaller", fire[1]), module)),
    )
    names = then(of("operator.attrgetter", text("__dict__")), module)
    yield (
        "operator.itemgetter",
        "trap",
        pickled(then(then(of("operator.itemgetter", fire[1]), names))),
    )
    yield (
        "builtins.vars",
        "trap",
        pickled(then(then(of("operator.itemgetter", fire[1]), of("builtins.vars", module)))),
    )
    yield "operator.getitem", "trap", pickled(then(of("operator.getitem", names, fire[1])))
    yield (
        "a dotted name through a module",
        "trap",
        pickled(
            call("codec_traps", "Trap.__init__.__globals__.get", text("fire")),
            POP,
            then(name("codec_traps", "fire")),
        ),
    )
    yield (
        "a dotted name through imports",
        "trap",
        pickled(then(name("codec_techniques", "codec_traps.fire"))),
    )
    yield (
        "a name that a module imported",
        "os.mkdir",
        pickled(
            then(name("codec_types", "sys.modules.copy")),
            POP,
            then(name("shutil", "os.mkdir"), text("sentinel")),
        ),
    )
    yield (
        "numpy.ctypeslib.load_library",
        "import|ctypes.dlopen",
        pickled(of("numpy.ctypeslib.load_library", text("libc.so.6"), text("/lib"))),
    )
    yield "functools.partial", "trap", pickled(then(of("functools.partial", FIRE)))
    yield (
        "functools.reduce",
        "trap",
        pickled(of("functools.reduce", FIRE, row(number(1), number(2)))),
    )
    yield (
        "builtins.map, listed",
        "trap",
        pickled(of("builtins.list", of("builtins.map", FIRE, row(number(1))))),
    )
    yield (
        "builtins.filter, listed",
        "trap",
        pickled(of("builtins.list", of("builtins.filter", FIRE, row(number(1))))),
    )
    yield (
        "itertools.starmap, listed",
        "trap",
        pickled(of("builtins.list", of("itertools.starmap", FIRE, row(EMPTY)))),
    )
    yield (
        "builtins.iter with a sentinel",
        "trap",
        pickled(of("builtins.list", of("builtins.iter", FIRE, NONE))),
    )
    yield (
        "heapq.nlargest by a key",
        "trap",
        pickled(of("heapq.nlargest", number(1), row(number(1), number(2)), FIRE)),
    )
    yield "operator.call", "trap", pickled(of("operator.call", FIRE))
    yield (
        "functools.singledispatch",
        "trap",
        pickled(then(of("functools.singledispatch", FIRE), number(1))),
    )
    yield "functools.lru_cache", "trap", pickled(then(of("functools.lru_cache", FIRE)))
    yield "types.MethodType", "trap", pickled(then(of("types.MethodType", FIRE, number(1))))
    yield "numpy.vectorize", "trap", pickled(then(of("numpy.vectorize", FIRE), number(1)))
    yield (
        "numpy.frompyfunc",
        "trap",
        pickled(then(of("numpy.frompyfunc", FIRE, number(1), number(1)), number(1))),
    )
    yield (
        "numpy.apply_along_axis",
        "trap",
        pickled(of("numpy.apply_along_axis", FIRE, number(0), row(number(1)))),
    )
    yield "re.sub with a function", "trap", pickled(of("re.sub", text("x"), FIRE, text("x")))
    yield (
        "contextlib.ExitStack",
        "trap",
        pickled(
            name("contextlib", "ExitStack.close")
            + then(name("codec_gadgets", "stack_of"), FIRE)
            + TUPLE1
            + REDUCE
        ),
    )
    yield (
        "concurrent.futures",
        "trap",
        pickled(
            call(
                "concurrent.futures",
                "ThreadPoolExecutor.submit",
                of("concurrent.futures.ThreadPoolExecutor"),
                FIRE,
            )
        ),
    )
    yield (
        "copyreg.__newobj__",
        "trap",
        pickled(of("copyreg.__newobj__", name("codec_traps", "OwnNew"))),
    )
    yield (
        "copyreg.__newobj_ex__",
        "trap",
        pickled(of("copyreg.__newobj_ex__", name("codec_traps", "OwnNew"), EMPTY, DICT)),
    )
    yield (
        "copyreg._reconstructor",
        "trap",
        pickled(
            of(
                "copyreg._reconstructor",
                name("codec_traps", "OwnNew"),
                name("codec_traps", "OwnNew"),
                NONE,
            )
        ),
    )
    yield (
        "builtins.type makes a class",
        "compile",
        pickled(
            of("builtins.type", text("X"), EMPTY, DICT),
            POP,
            of("enum.Enum", text("X"), text("a b")),
            POP,
            of("collections.namedtuple", text("Y"), text("c")),
        ),
    )
    yield (
        "str.format reads attributes",
        "trap",
        pickled(
            call(
                "builtins",
                "str.format",
                text("{0.value}"),
                b"\x8c\x0bcodec_traps\x8c\x04Trap\x93)\x81",
            )
        ),
    )


def stack_of(callback):
    """An ExitStack that has something to do when it is closed."""
    import contextlib

    stack = contextlib.ExitStack()
    stack.callback(callback)
    return stack


WAYS = (code, lookups)
