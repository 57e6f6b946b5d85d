"""Hostile pickles, each harmless: what they want to run is `codec_traps.fire`, or a no-op.

The techniques are those of public advisories and papers (picklescan's and fickling's bypass
collections, "Hide and Seek", PickleFuzzer, CPython's own issues).  A payload is written here
with a small assembler, so that one can read what it does.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator

import numpy as np

PROTO = b"\x80\x04"
MEMO, TUPLE1, TUPLE2, TUPLE3, EMPTY, REDUCE = b"\x94", b"\x85", b"\x86", b"\x87", b")", b"R"
BUILD, STOP, MARK, NEWOBJ, NONE, POP = b"b", b".", b"(", b"\x81", b"N", b"0"
SETITEM, SETITEMS, APPEND, APPENDS, ADDITEMS = b"s", b"u", b"a", b"e", b"\x90"
LIST, DICT, SET, FROZENSET, TUPLE = b"]", b"}", b"\x8f", b"\x91", b"t"
TRAPS, TYPES = "codec_traps", "codec_types"


def text(value: str) -> bytes:
    """SHORT_BINUNICODE, or BINUNICODE if it is long."""
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) < 256:
        return b"\x8c" + bytes([len(raw)]) + raw
    return b"X" + struct.pack("<I", len(raw)) + raw


def raw(value: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL of module.attribute."""
    return text(module) + text(attribute) + b"\x93"


def get(index: int) -> bytes:
    """LONG_BINGET."""
    return b"j" + struct.pack("<I", index)


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """REDUCE of module.attribute(*args)."""
    return name(module, attribute) + MARK + b"".join(args) + TUPLE + REDUCE


def new(module: str, attribute: str, *args: bytes) -> bytes:
    """NEWOBJ of module.attribute with *args*."""
    return name(module, attribute) + MARK + b"".join(args) + TUPLE + NEWOBJ


def table(*pairs: bytes) -> bytes:
    """A dict of alternating keys and values."""
    return DICT + MARK + b"".join(pairs) + SETITEMS


def row(*items: bytes) -> bytes:
    """A list."""
    return LIST + MARK + b"".join(items) + APPENDS


def pickled(*body: bytes) -> bytes:
    """The whole pickle, without frames."""
    return PROTO + b"".join(body) + STOP


def framed(body: bytes) -> bytes:
    """FRAME around *body*."""
    return b"\x95" + struct.pack("<Q", len(body)) + body


TRAP = new(TRAPS, "Trap")
KEYED = new(TRAPS, "Keyed")
FIRE = (TRAPS, "fire")


def _words(text: str) -> list[str]:
    return text.split()


_SPECS = _words("O O8 O4 V8 V0 S0 U0 f16 c32 g f8,O8 i4:i4 (2,)f8 ? f4f4 M8[s] |O8 b8 f1 i3")

CALLABLES = _words("""
builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__ builtins.getattr
builtins.setattr builtins.delattr builtins.vars builtins.globals builtins.map builtins.filter
builtins.type builtins.object builtins.super builtins.memoryview builtins.list builtins.dict
builtins.int builtins.str builtins.print builtins.input builtins.breakpoint builtins.bytes
builtins.property builtins.classmethod builtins.exit builtins.BaseException builtins.SystemExit
builtins.KeyboardInterrupt builtins.help __builtin__.eval __builtin__.apply __builtin__.execfile
__builtin__.file __builtin__.reduce exceptions.SystemExit copy_reg._reconstructor commands.getoutput
os.system posix.system nt.system os.popen os.execv os.spawnl os._exit os.remove os.putenv
os.environ os.kill subprocess.Popen subprocess.getoutput subprocess.run _posixsubprocess.fork_exec
pty.spawn popen2.popen3 runpy.run_path runpy._run_code importlib.import_module importlib.reload
imp.load_source pkgutil.resolve_name pydoc.locate pydoc.pipepager inspect.getattr_static
operator.attrgetter operator.itemgetter operator.methodcaller operator.call _operator.attrgetter
functools.partial functools.reduce functools.singledispatch copyreg._reconstructor
copyreg.add_extension copyreg.__newobj__ copyreg.__newobj_ex__ copyreg.pickle pickle.loads
_pickle.loads pickle.Unpickler pickle.load_build marshal.loads types.CodeType types.FunctionType
types.ModuleType types.SimpleNamespace types.MethodType code.interact code.InteractiveInterpreter
codeop.compile_command ctypes.CDLL _ctypes.dlopen ctypes.string_at threading.Thread _thread.exit
_thread.interrupt_main _thread.start_new_thread atexit.register atexit._run_exitfuncs
weakref.finalize weakref.ref gc.get_objects sys.exit sys.setrecursionlimit sys.settrace
sys.modules sys.addaudithook signal.raise_signal signal.alarm faulthandler._sigsegv
webbrowser.open socket.socket socket.create_connection ssl.get_server_certificate
urllib.request.urlopen http.client.HTTPSConnection ftplib.FTP smtplib.SMTP shutil.rmtree
shutil.copyfile tempfile.mkstemp pathlib.Path pathlib.PosixPath io.open io.FileIO _io.FileIO
codecs.open codecs.decode _codecs.decode _codecs.lookup linecache.getlines timeit.timeit
cProfile.runctx profile.run pdb.run bdb.Bdb doctest.debug_script unittest.mock.patch
logging.config.fileConfig multiprocessing.Process multiprocessing.util.spawnv_passfds
concurrent.futures.ThreadPoolExecutor asyncio.run sqlite3.connect shelve.open dbm.open
xmlrpc.server.SimpleXMLRPCServer idlelib.pyshell.ModifiedInterpreter distutils.spawn.spawn
lib2to3.pgen2.grammar.Grammar.loads torch.load torch.hub.load joblib.load cloudpickle.loads
dill.loads pandas.read_pickle numpy.load numpy.loads numpy.memmap numpy.fromfile
numpy.testing._private.utils.runstring numpy.f2py.diagnose.run_command numpy.f2py.compile
numpy.core._internal._ctypes numpy._core._ufunc_reconstruct numpy.core._ufunc_reconstruct
numpy.core.multiarray.fromfile numpy.core.multiarray.empty numpy._core.records.fromfile
numpy.ma.core._mareconstruct numpy.random._pickle.__generator_ctor numpy.ndarray numpy.dtype
numpy.poly1d numpy.vectorize numpy.frompyfunc numpy.lib.npyio.NpzFile numpy.matrix
collections.UserDict collections.ChainMap collections.namedtuple typing.get_type_hints
enum.Enum dataclasses.make_dataclass dataclasses._dataclass_setstate zoneinfo.ZoneInfo
zoneinfo.ZoneInfo.from_file decimal.setcontext decimal.Context fractions._as_integer_ratio
datetime.tzinfo uuid.uuid1 uuid._load_system_functions pyboinc.codec.decode
codec_traps.fire codec_traps.ran codec_traps.collections codec_traps.abc codec_types.sys
codec_types.dataclass codec_types.Plain.__init__ codec_types.Plain.__class__ codec_types.T
codec_types.Plain.__init__.__globals__ codec_types.Plain.__reduce_ex__ codec_types.Plain.__dict__
codec_types.Outer.Inner.__init__ codec_types.Colour.RED codec_types.Colour.__members__
codec_types.Named._make codec_types.Pair._replace codec_types.datetime codec_types.Counter
""")
"""Names that a hostile pickle might call; none may be looked up, imported or called."""


def split(dotted: str) -> tuple[str, str]:
    """Module and attribute: the module is what can be one."""
    module, _, attribute = dotted.rpartition(".")
    for prefix in ("codec_types", "zoneinfo", "lib2to3.pgen2.grammar"):
        if dotted.startswith(prefix + "."):
            return prefix, dotted[len(prefix) + 1 :]
    return module, attribute


def calls() -> Iterator[tuple[str, bytes]]:
    """Every callable, by every opcode that calls."""
    argument = text("0")
    for dotted in CALLABLES:
        module, attribute = split(dotted)
        token = name(module, attribute)
        line = b"c%s\n%s\n" % (module.encode(), attribute.encode())
        yield "REDUCE " + dotted, pickled(token, argument, TUPLE1, REDUCE)
        yield "NEWOBJ " + dotted, pickled(token, argument, TUPLE1, NEWOBJ)
        yield "GLOBAL " + dotted, b"\x80\x02" + line + argument + TUPLE1 + REDUCE + STOP
        yield "bare " + dotted, pickled(token)
    for code, how in ((b"i", "INST"), (b"o", "OBJ"), (b"\x92", "NEWOBJ_EX")):
        line = b"codec_traps\nTrap\n"
        body = {
            "INST": MARK + code + line,
            "OBJ": MARK + b"c" + line + code,
            "NEWOBJ_EX": b"c" + line + EMPTY + DICT + code,
        }[how]
        yield how, pickled(body)
    yield "REDUCE of a value", pickled(text("x"), EMPTY, REDUCE)
    yield "REDUCE of an object", pickled(TRAP, EMPTY, REDUCE)
    yield "REDUCE with a list", pickled(name(TRAPS, "Trap"), LIST, REDUCE)
    yield "REDUCE with an object", pickled(name("builtins", "set"), TRAP, REDUCE)
    yield "NEWOBJ of a value", pickled(text("x"), EMPTY, NEWOBJ)
    yield "NEWOBJ of an object", pickled(TRAP, EMPTY, NEWOBJ)
    yield "NEWOBJ with a list", pickled(name(TRAPS, "Trap"), LIST, NEWOBJ)
    yield "call, then POP", pickled(call(*FIRE), POP, NONE)
    yield "call, then error", PROTO + call(*FIRE) + b"\xff"
    yield "nested pickle", pickled(call("pickle", "loads", raw(pickled(call(*FIRE)))))
    yield "class called", pickled(call(TRAPS, "Trap", number(1)))
    yield "class made with arguments", pickled(new(TRAPS, "Trap", number(1)))
    yield "module name not text", pickled(number(1), text("x"), b"\x93")
    yield "name not text", pickled(text("os"), TRAP, b"\x93")
    yield "name of a kilobyte", b"\x80\x02c" + b"a" * 5_000 + b"\nb\n" + STOP
    yield "name without end", b"\x80\x02cos\nsystem"
    yield "name not UTF-8", b"\x80\x02c\xff\nb\n" + STOP
    yield "PERSID", pickled(b"Pcodec_traps\n")
    yield "BINPERSID", pickled(text("x"), b"Q")
    for code, size in ((b"\x82", 1), (b"\x83", 2), (b"\x84", 4)):
        yield f"EXT{size}", pickled(code, (240).to_bytes(size, "little"), EMPTY, REDUCE)
    yield "NEXT_BUFFER", b"\x80\x05\x97."
    yield "READONLY_BUFFER", b"\x80\x05" + NONE + b"\x98."
    yield "mapped after a second PROTO", PROTO + b"\x80\x02c__builtin__\neval\n" + STOP


def attributes() -> Iterator[tuple[str, bytes]]:
    """BUILD where it does not belong, and with what it may not set."""
    empty = table(text("a"), number(1))
    for what, target in {
        "class": name(TRAPS, "Trap"),
        "enum class": name(TRAPS, "Kind"),
        "constructor": name("builtins", "set"),
        "enum member": call(TRAPS, "Kind", number(1)),
        "list": LIST,
        "dict": DICT,
        "number": number(1),
        "text": text("x"),
        "tuple": EMPTY,
        "ordered": call("collections", "OrderedDict"),
        "own setstate": new(TRAPS, "OwnSetstate"),
        "own del": new(TRAPS, "OwnDel"),
        "metaclass": new(TRAPS, "WithMeta"),
        "ellipsis": name("builtins", "Ellipsis"),
    }.items():
        yield "BUILD on " + what, pickled(target, empty, BUILD)
    for key in ("__class__", "__dict__", "__setstate__", "__reduce__", "__del__", "__eq__", "a b"):
        yield "BUILD " + key, pickled(TRAP, table(text(key), number(1)), BUILD)
        state = NONE + table(text(key), name(TRAPS, "Trap")) + TUPLE2
        yield "slot " + key, pickled(new(TRAPS, "Slotted"), state, BUILD)
    yield "BUILD empty name", pickled(TRAP, table(text(""), number(1)), BUILD)
    yield "BUILD name of bytes", pickled(TRAP, table(raw(b"a"), number(1)), BUILD)
    yield "BUILD name an object", pickled(TRAP, table(new(TYPES, "Node"), NONE), BUILD)
    for what, state in {
        "a list": row(number(1)),
        "a number": number(1),
        "an object": TRAP,
        "keyed": KEYED,
        "a pair": DICT + DICT + TUPLE2,
        "a pair of objects": TRAP + TRAP + TUPLE2,
        "a triple": DICT + DICT + DICT + TUPLE3,
        "a token": name(TRAPS, "Trap"),
        "ordered": call("collections", "OrderedDict"),
    }.items():
        yield "BUILD with " + what, pickled(TRAP, state, BUILD)
        yield "BUILD slots with " + what, pickled(new(TRAPS, "Slotted"), state, BUILD)
    yield "BUILD twice", pickled(TRAP, empty, BUILD, empty, BUILD)
    slots = NONE + table(text("a"), number(1)) + TUPLE2
    yield "BUILD slots twice", pickled(new(TRAPS, "Slotted"), slots, BUILD, slots, BUILD)
    hidden = NONE + table(text("b"), number(1)) + TUPLE2
    yield "slot behind a property", pickled(new(TRAPS, "Hidden"), hidden, BUILD)
    yield "property", pickled(TRAP, table(text("value"), number(1)), BUILD)
    yield "descriptor", pickled(new(TRAPS, "Described"), table(text("value"), NONE), BUILD)
    both = table(text("a"), NONE) + table(text("a"), name(TRAPS, "Trap")) + TUPLE2
    yield "slot behind an attribute", pickled(new(TYPES, "SlotsAndDict"), both, BUILD)
    yield "post init", pickled(new(TRAPS, "PostInit"), table(text("a"), NONE), BUILD)
    planted = table(text("append"), call(*FIRE))
    yield "planted method", pickled(TRAP, planted, BUILD, number(1), APPEND)
    later = DICT + MEMO + BUILD + get(0) + text("__class__") + number(1) + SETITEM + POP
    yield "state changed later", pickled(TRAP, later)
    yield "fields of another length", pickled(new(TYPES, "DataSlots"), row(number(1)), BUILD)
    yield "fields not a list", pickled(new(TYPES, "DataSlots"), number(1), TUPLE1, BUILD)
    for cls in ("OwnNew", "OwnDel", "OwnPair", "Abstract", "Failure", "Trap.value", "WithMeta"):
        yield "NEWOBJ " + cls, pickled(new(TRAPS, cls))
        yield "NEWOBJ with arguments " + cls, pickled(new(TRAPS, cls, number(1), number(2)))
    yield "named tuple too short", pickled(new(TYPES, "Pair", number(1)))
    yield "float of text", pickled(new(TYPES, "Metres", text("1")))
    yield "float of an object", pickled(new(TYPES, "Metres", TRAP))
    yield "int of too much", pickled(new(TYPES, "Count", number(1), number(2), number(3)))
    yield "tuple of a list", pickled(new(TYPES, "Vector", LIST))
    yield "tuple of an object", pickled(new(TYPES, "Vector", TRAP))
    yield "list of something", pickled(new(TYPES, "Rows", TRAP))
    yield "generic base", pickled(new("typing", "Generic"))


def containers() -> Iterator[tuple[str, bytes]]:
    """Items for what is no container, and containers with methods of their own."""
    for what, target in {
        "object": TRAP,
        "class": name(TRAPS, "Trap"),
        "environment": name("os", "environ"),
        "tuple": EMPTY,
        "text": text("x"),
        "own list": new(TRAPS, "TrapList"),
        "own dict": new(TRAPS, "TrapDict"),
        "bytearray": call("builtins", "bytearray"),
        "frozenset": MARK + FROZENSET,
        "set": SET,
        "list": LIST,
        "dict": DICT,
        "deque": call("collections", "deque"),
        "named tuple": new(TYPES, "Pair", number(1), number(2)),
        "token": name("builtins", "list"),
    }.items():
        yield "APPEND to " + what, pickled(target, number(1), APPEND)
        yield "APPENDS to " + what, pickled(target, MARK, number(1), number(2), APPENDS)
        yield "SETITEM of " + what, pickled(target, text("PATH"), text("x"), SETITEM)
        yield "SETITEMS of " + what, pickled(target, MARK, text("a"), text("b"), SETITEMS)
        yield "ADDITEMS to " + what, pickled(target, MARK, number(1), ADDITEMS)
    yield "odd SETITEMS", pickled(DICT, MARK, text("a"), SETITEMS)
    many = b"".join(number(n) for n in range(41))
    yield "odd long SETITEMS", pickled(DICT, MARK, many, SETITEMS)
    for what, factory in {
        "class": name(TRAPS, "Trap"),
        "function": name(*FIRE),
        "getattr": name("builtins", "getattr"),
        "object": TRAP,
        "keyed": KEYED,
        "text": text("x"),
        "range": name("builtins", "range"),
        "datetime": name("datetime", "datetime"),
    }.items():
        yield "defaultdict of " + what, pickled(call("collections", "defaultdict", factory))
    yield "defaultdict of two", pickled(call("collections", "defaultdict", NONE, NONE))
    yield "OrderedDict of a list", pickled(call("collections", "OrderedDict", LIST))
    yield "Counter of an object", pickled(call("collections", "Counter", TRAP))
    yield "Counter of text", pickled(call("collections", "Counter", text("x")))
    yield "deque of an object", pickled(call("collections", "deque", TRAP))
    yield "deque of a list", pickled(call("collections", "deque", LIST, number(1)))
    yield "deque shorter than nothing", pickled(call("collections", "deque", EMPTY, number(-1)))


def arguments() -> Iterator[tuple[str, bytes]]:
    """The allowed constructors, with arguments that they may not have."""
    odd = {
        "nothing": (),
        "an object": (TRAP,),
        "keyed": (KEYED,),
        "two objects": (KEYED, KEYED),
        "three objects": (KEYED, KEYED, KEYED),
        "a token": (name(TRAPS, "Trap"),),
        "a large number": (number(2**31 - 1),),
        "text": (text("\u00b2" * 3),),
        "bytes": (raw(b"\xff" * 3),),
        "a list of objects": (row(KEYED),),
        "a dict": (table(text("x"), KEYED),),
        "none": (NONE,),
    }
    for constructor in _words("""
        builtins.set builtins.frozenset builtins.bytes builtins.bytearray builtins.complex
        builtins.range builtins.slice builtins.getattr _codecs.encode _operator.or_ operator.or_
        collections.OrderedDict collections.Counter collections.deque collections.defaultdict
        datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
        decimal.Decimal fractions.Fraction uuid.UUID numpy.dtype numpy.ndarray
        numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar
        numpy._core.numeric._frombuffer codec_traps.Kind codec_traps.Bits
    """):
        for what, args in odd.items():
            module, _, attribute = constructor.rpartition(".")
            yield f"{constructor} of {what}", pickled(call(module, attribute, *args))
    yield "bytearray of a length", pickled(call("builtins", "bytearray", number(2**31 - 1)))
    yield "bytes of a length", pickled(call("builtins", "bytes", number(2**31 - 1)))
    yield "bytearray in rot13", pickled(call("builtins", "bytearray", text("x"), text("rot13")))
    yield "encode in idna", pickled(call("_codecs", "encode", text("x"), text("idna")))
    yield "month 13", pickled(call("datetime", "date", raw(b"\x07\xe8\x0d\x01")))
    yield "day 99", pickled(call("datetime", "datetime", raw(b"\x07\xe8\x01\x63" + bytes(6))))
    yield "hour 99", pickled(call("datetime", "time", raw(b"\x63" + bytes(5))))
    yield "zone an object", pickled(call("datetime", "time", raw(bytes(6)), KEYED))
    delta = call("datetime", "timedelta", number(9), number(0), number(0))
    yield "zone of days", pickled(call("datetime", "timezone", delta))
    half = call("datetime", "timedelta", number(0), number(60), number(0))
    yield "zone of a long name", pickled(call("datetime", "timezone", half, text("x" * 9_999)))
    yield (
        "endless delta",
        pickled(call("datetime", "timedelta", number(2**31 - 1), number(0), number(0))),
    )
    yield "decimal of a million digits", pickled(call("decimal", "Decimal", text("9" * 10**6)))
    yield "decimal of nonsense", pickled(call("decimal", "Decimal", text("1" + "e" * 9)))
    yield (
        "signalling decimal as key",
        pickled(table(call("decimal", "Decimal", text("sNaN")), number(1))),
    )
    yield "fraction by zero", pickled(call("fractions", "Fraction", number(1), number(0)))
    yield "fraction of nonsense", pickled(call("fractions", "Fraction", text("1/x")))
    yield "fraction of a million", pickled(call("fractions", "Fraction", text("9" * 10**6)))
    uuid = new("uuid", "UUID")
    for what, state in {
        "no number": DICT,
        "too much": table(text("int"), number(1), text("x"), KEYED),
        "negative": table(text("int"), number(-1)),
        "an object": table(text("int"), KEYED),
        "a list": LIST,
    }.items():
        yield "UUID of " + what, pickled(uuid, state, BUILD)
    yield "UUID never filled", pickled(row(uuid))
    yield (
        "UUID filled twice",
        pickled(uuid, MEMO, table(text("int"), number(1)), BUILD, POP, get(0), DICT, BUILD),
    )
    for what, value in {
        "an unknown number": number(9),
        "text": text("x"),
        "a float": b"G" + struct.pack(">d", 1.0),
        "true": b"\x88",
        "an object": KEYED,
        "a tuple of objects": KEYED + TUPLE1,
        "a list": LIST,
    }.items():
        yield "enum of " + what, pickled(call(TRAPS, "Kind", value))
        yield "flags of " + what, pickled(call(TRAPS, "Bits", value))
        yield "more flags of " + what, pickled(call(TYPES, "Flags", value))
    for attribute in ("__init__", "mro", "__class__", "_missing_", "__members__", "NONE", "x.y"):
        args = (name(TRAPS, "Kind"), text(attribute))
        yield "getattr of enum " + attribute, pickled(call("builtins", "getattr", *args))
        args = (name(TRAPS, "Trap"), text(attribute))
        yield "getattr of class " + attribute, pickled(call("builtins", "getattr", *args))
    yield "getattr of module", pickled(call("builtins", "getattr", text("os"), text("system")))
    yield "getattr of object", pickled(call("builtins", "getattr", TRAP, text("value")))
    flag = call(TYPES, "Flags", number(1))
    yield "or of object", pickled(call("_operator", "or_", flag, TRAP))
    yield "or of too large", pickled(call("_operator", "or_", flag, number(64)))
    word = call(TYPES, "Word", text("yes"))
    yield "or of words", pickled(call("_operator", "or_", word, word))


def keys() -> Iterator[tuple[str, bytes]]:
    """Dictionary keys and set items that cost too much to hash, or run code when hashed."""
    doubled = EMPTY + MEMO
    for index in range(40):
        doubled += get(index) + TUPLE2 + MEMO
    deep = NONE + TUPLE1 * 150_000
    frozen = NONE + b"".join(MEMO + POP + MARK + get(i) + FROZENSET for i in range(70))
    wide = MARK + number(1) * 100 + TUPLE
    array = pickle.dumps(np.zeros(1), 4)[11:-1]
    unfilled = new(TRAPS, "Key")
    short = unfilled + table(text("a"), number(1)) + BUILD
    holding = new(TRAPS, "Key") + table(text("a"), LIST, text("b"), NONE) + BUILD
    trapped = new(TRAPS, "Key") + table(text("a"), KEYED, text("b"), NONE) + BUILD
    for what, key in {
        "2**40 parts": doubled,
        "2**40 parts by DUP": EMPTY + (b"2" + TUPLE2) * 40,
        "150,000 deep": deep,
        "deep frozensets": frozen,
        "100 parts": wide,
        "an object": KEYED,
        "an object in a tuple": KEYED + TUPLE1,
        "an own float": new(TRAPS, "TrapFloat", b"G" + struct.pack(">d", 1.0)),
        "an own tuple": new(TRAPS, "TrapTuple", EMPTY),
        "a list": LIST,
        "a dict": DICT,
        "a set": SET,
        "a list in a tuple": LIST + TUPLE1,
        "a token": name(TRAPS, "Trap"),
        "a constructor": name("builtins", "set"),
        "an unfilled dataclass": unfilled,
        "a half filled dataclass": short,
        "a dataclass with a list": holding,
        "a dataclass with an object": trapped,
        "a dataclass with a property": new(TRAPS, "PropertyKey"),
        "an array": array,
        "a trapped member": call(TRAPS, "Kind", number(1)) + KEYED + TUPLE2,
        "a bytearray": call("builtins", "bytearray"),
    }.items():
        yield f"{what} as key", pickled(DICT, key, number(1), SETITEM)
        yield f"{what} as a key of many", pickled(DICT, MARK, key, NONE, SETITEMS)
        yield f"{what} in a set", pickled(SET, MARK, key, ADDITEMS)
        yield f"{what} in a frozenset", pickled(MARK, key, FROZENSET)
        yield f"{what} in set()", pickled(call("builtins", "set", row(key)))
        ordered = call("collections", "OrderedDict")
        yield f"{what} in an OrderedDict", pickled(ordered, key, number(1), SETITEM)
    yield "3 million deep as key", pickled(DICT, NONE + TUPLE1 * 3_000_000, NONE, SETITEM)
    prime = 2**61 - 1
    same = [pickle.dumps(prime * n, 4)[11:-1] for n in range(1, 400)]
    yield "integers of one hash", pickled(SET, MARK, *same, ADDITEMS)
    yield (
        "tuples of one hash",
        pickled(SET, MARK, *[number(1) + x + TUPLE2 for x in same], ADDITEMS),
    )


def costs() -> Iterator[tuple[str, bytes]]:
    """Few bytes that ask for much memory, time or depth."""
    huge = struct.pack("<Q", 2**62)
    yield "LONG_BINPUT", pickled(LIST, b"r\xff\xff\xff\xff")
    yield "LONG_BINPUT, 1 GB", pickled(LIST, b"rreplace")
    yield "BINPUT out of order", pickled(LIST, b"q\x05")
    yield "BINPUT again", pickled(LIST, b"q\x00", b"q\x00")
    for code, what in ((0x8E, "BINBYTES8"), (0x8D, "BINUNICODE8"), (0x96, "BYTEARRAY8")):
        yield what, PROTO + bytes([code]) + huge + b"x."
    yield "FRAME", PROTO + b"\x95" + huge + b"N."
    for code, what in ((b"B", "BINBYTES"), (b"X", "BINUNICODE"), (b"\x8b", "LONG4")):
        yield what, PROTO + code + b"\xff\xff\xff\x7f" + b"x."
    digits = (10**200_000).to_bytes(90_000, "little")
    yield "200,000 digits", pickled(b"\x8b", struct.pack("<I", len(digits)), digits)
    yield "LONG1 is enough", pickled(b"\x8a\xff", b"\x7f" * 255)
    big = raw(bytes(10**6)) + MEMO + POP
    copy = name("builtins", "bytearray") + MEMO + POP
    again = (get(1) + get(0) + TUPLE1 + REDUCE + POP) * 5_000
    yield "copies of bytes", pickled(big, copy, again, NONE)
    state = table(*[text(f"a{n}") + NONE for n in range(20_000)]) + MEMO + POP
    maker = name(TYPES, "Plain") + MEMO + POP
    made = (get(1) + EMPTY + NEWOBJ + get(0) + BUILD + POP) * 5_000
    yield "copies of attributes", pickled(state, maker, made, NONE)
    maker = name(TYPES, "Rows") + MEMO + POP
    yield "copies of attributes of a list", pickled(state, maker, made, NONE)
    long = b"\x8b" + struct.pack("<I", 1_700) + b"\x55" * 1_699 + b"\x01" + MEMO + POP
    maker = name("fractions", "Fraction") + MEMO + POP
    parts = (get(1) + get(0) + get(0) + TUPLE2 + REDUCE + POP) * 30_000
    yield "copies of a Fraction", pickled(long, maker, parts, NONE)
    items = row(*[number(n) for n in range(20_000)]) + MEMO + POP
    for what in ("set", "frozenset"):
        token = name("builtins", what) + MEMO + POP
        yield "copies of a " + what, pickled(items, token, again, NONE)
    counts = table(*[number(n) + NONE for n in range(20_000)]) + MEMO + POP
    yield (
        "copies of a Counter",
        pickled(counts, name("collections", "Counter"), MEMO, POP, again, NONE),
    )
    yield "opcodes", pickled((NONE + POP) * 100_001, NONE)
    yield "marks", PROTO + MARK * 300_000
    for what, inner in {
        "lists": LIST + MEMO + POP,
        "dicts": DICT + MEMO + POP,
    }.items():
        body = inner
        for n in range(300):
            body += (
                (LIST + MEMO + get(n) + APPEND)
                if what == "lists"
                else (DICT + MEMO + NONE + get(n) + SETITEM)
            )
            body += POP
        yield "deep " + what, pickled(body, get(300))
    yield "deep tuples", pickled(NONE, TUPLE1 * 150_000)
    yield (
        "deep objects",
        pickled(NONE, MEMO, *[_wrap(new(TYPES, "Plain"), "value", n) for n in range(0, 600, 2)]),
    )
    chained = name("collections", "defaultdict") + MEMO
    step = get(0) + EMPTY + REDUCE + NONE
    yield "chained defaultdicts", pickled(chained, POP, step * 39_000, NONE, SETITEM * 39_000)
    laughs = row(text("ha")) + MEMO
    for n in range(60):
        laughs += LIST + MEMO + MARK + get(n) + get(n) + APPENDS
    yield "a thousand million laughs", pickled(laughs, TUPLE2 * 60)
    tuples = text("ha") + MEMO
    for n in range(60):
        tuples += get(n) + TUPLE2 + MEMO
    yield "laughing tuples", pickled(tuples)
    dicts = DICT + MEMO
    for n in range(60):
        dicts += DICT + MEMO + MARK + text("a") + get(n) + text("b") + get(n) + SETITEMS
    yield "laughing dicts", pickled(dicts, TUPLE2 * 60)
    flags = name(TYPES, "IntFlags") + MEMO + POP
    every = b"".join(get(0) + number(8 * n) + TUPLE1 + REDUCE + POP for n in range(1, 2_000))
    yield "flags for ever", pickled(flags, every, NONE)


def _wrap(maker: bytes, attribute: str, index: int) -> bytes:
    state = table(text(attribute), get(index))
    return maker + MEMO + state + MEMO.replace(MEMO, b"") + BUILD + POP + get(index + 1) + MEMO


def streams() -> Iterator[tuple[str, bytes]]:
    """Streams that end, begin or go on where they should not."""
    benign = pickle.dumps({"a": [1.5, "x", (2, 3)]}, 4)
    yield "nothing", b""
    yield "PROTO alone", PROTO
    yield "half a PROTO", b"\x80"
    yield "STOP alone", pickled()
    yield "no STOP", PROTO + NONE
    yield "second pickle", benign + benign
    yield "second pickle, hostile", benign + pickled(call(*FIRE))
    yield "a byte more", benign + b"\n"
    yield "two values", pickled(NONE, NONE)
    yield "a mark left", pickled(MARK, NONE)
    yield "PROTO in the middle", PROTO + PROTO + NONE + STOP
    yield "text before it", b"\n" + benign
    for version in (0, 1, 6, 255):
        yield f"protocol {version}", b"\x80" + bytes([version]) + NONE + STOP
    hidden = call(*FIRE) + STOP
    payload = raw(hidden + b"\0" * 20)
    straddling = b"\x95" + struct.pack("<Q", 5) + payload
    yield "FRAME straddled by bytes", PROTO + straddling + STOP
    for code, length in ((b"\x8c\x14", 20), (b"G", 8), (b"J", 4), (b"h", 1), (b"K", 1)):
        body = b"\x95" + struct.pack("<Q", 1) + code + b"\0" * length
        yield f"FRAME straddled by {code!r}", PROTO + body + STOP
    yield "FRAME in FRAME", PROTO + framed(framed(NONE + STOP))
    yield "FRAME too long", PROTO + b"\x95" + struct.pack("<Q", 100) + NONE + STOP
    yield "FRAME of nothing", PROTO + framed(b"") + NONE + STOP
    yield "half a FRAME", PROTO + b"\x95\x01\0\0"
    yield "FRAME straddled by a name", PROTO + b"\x95" + struct.pack("<Q", 4) + b"cos\nsystem\n."
    for what, body in {
        "MEMOIZE": MEMO,
        "BINPUT": b"q\0",
        "BINGET": b"h\0",
        "LONG_BINGET": get(7),
        "POP": POP,
        "POP_MARK": b"1",
        "TUPLE": TUPLE,
        "TUPLE1": TUPLE1,
        "TUPLE2": NONE + TUPLE2,
        "TUPLE3": NONE + NONE + TUPLE3,
        "APPEND": LIST + APPEND,
        "APPENDS": LIST + APPENDS,
        "SETITEM": DICT + NONE + SETITEM,
        "BUILD": DICT + BUILD,
        "REDUCE": EMPTY + REDUCE,
        "NEWOBJ": EMPTY + NEWOBJ,
        "STACK_GLOBAL": text("os") + b"\x93",
        "under the mark": NONE + MARK + TUPLE1,
        "FROZENSET": FROZENSET,
    }.items():
        yield what + " of nothing", pickled(body)
    for code in (b"I1\n", b"L1L\n", b"F1.5\n", b"S'x'\n", b"Vx\n", b"T\x01\0\0\0x", b"U\x01x"):
        yield f"text opcode {code!r}", pickled(code)
    for code in (b"g0\n", b"p0\n", b"l", b"d", b"2"):
        yield f"old opcode {code!r}", pickled(NONE, MEMO, MARK, code)
    yield "lone surrogate", pickled(text("\ud800"))
    yield "text not UTF-8", pickled(b"\x8c\x01\xff")
    yield "overlong UTF-8", pickled(b"\x8c\x02\xc0\x80")


def tokens() -> Iterator[tuple[str, bytes]]:
    """Names, and things half made, that try to come out as values."""
    reconstruct = name("numpy._core.multiarray", "_reconstruct")
    array = (
        reconstruct + name("numpy", "ndarray") + number(0) + TUPLE1 + raw(b"b") + TUPLE3 + REDUCE
    )
    dtype = call("numpy", "dtype", text("f8"), b"\x89", b"\x88")
    for what, token in {
        "class": name(TRAPS, "Trap"),
        "enum": name(TRAPS, "Kind"),
        "refused class": name(TRAPS, "OwnNew"),
        "constructor": name("builtins", "set"),
        "type": name("builtins", "int"),
        "uuid": new("uuid", "UUID"),
        "array": array,
        "dtype": dtype,
    }.items():
        yield f"{what} as value", pickled(token)
        yield f"{what} in a list", pickled(row(token))
        yield f"{what} in a tuple", pickled(token, TUPLE1)
        yield f"{what} in a dict", pickled(table(text("a"), token))
        yield f"{what} in an object", pickled(TRAP, table(text("a"), token), BUILD)
        yield f"{what} in a deque", pickled(call("collections", "deque"), token, APPEND)
        yield (
            f"{what} in a slot",
            pickled(new(TRAPS, "Slotted"), NONE, table(text("a"), token), TUPLE2, BUILD),
        )
        yield f"{what} shared", pickled(token, MEMO, POP, row(get(0), get(0)))


def arrays() -> Iterator[tuple[str, bytes]]:
    """Arrays that describe memory that is not theirs."""
    start = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    empty = start + number(0) + TUPLE1 + raw(b"b") + TUPLE3 + REDUCE + MEMO

    def dtype(spec: str = "f8", *state: bytes) -> bytes:
        ordinary = (number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
        made = call("numpy", "dtype", text(spec), b"\x89", b"\x88")
        return made + MARK + b"".join(state or ordinary) + TUPLE + BUILD

    def array(shape: bytes, kind: bytes, data: bytes, fortran: bytes = b"\x89") -> bytes:
        return empty + MARK + number(1) + shape + kind + fortran + data + TUPLE + BUILD

    one = number(1) + TUPLE1
    eight = raw(bytes(8))
    for spec in _SPECS:
        yield "dtype " + spec, pickled(array(one, dtype(spec), eight))
    for spec in ("", "f", "f\u0668", "f-8", "f 8", "f8 ", "S99999999999", "S" + "9" * 500, "\0f8"):
        yield f"dtype {spec!a}", pickled(array(one, dtype(spec), eight))
    fields = table(text("x"), dtype() + number(2**20) + TUPLE2)
    names = text("x") + TUPLE1
    three, less = number(3), text("<")
    size = number(8)
    for what, state in {
        "fields out of range": (three, text("|"), NONE, names, fields, size, size, number(0)),
        "names": (three, less, NONE, names, NONE, size, size, number(0)),
        "subarray": (three, less, dtype() + one + TUPLE2, NONE, NONE, size, size, number(0)),
        "itemsize": (three, less, NONE, NONE, NONE, number(10**6), number(1), number(0)),
        "object flags": (three, less, NONE, NONE, NONE, size, size, number(63)),
        "byte order": (three, text("x"), NONE, NONE, NONE, size, size, number(0)),
        "byte order of an object": (three, KEYED, NONE, NONE, NONE, size, size, number(0)),
        "short state": (three, less),
        "metadata": (three, less, NONE, NONE, NONE, size, size, number(0), KEYED),
    }.items():
        yield "dtype state " + what, pickled(array(one, dtype("f8", *state), eight))
    for what, unit in {
        "nonsense": raw(b"x") + one * 3,
        "an object": KEYED,
        "pair of objects": NONE + KEYED + TUPLE2,
        "unit of text": NONE + MARK + text("s") + number(1) * 3 + TUPLE + TUPLE2,
        "unit injected": NONE + MARK + raw(b"s]x") + number(1) * 3 + TUPLE + TUPLE2,
        "unit negative": NONE + MARK + raw(b"s") + number(-1) + number(1) * 2 + TUPLE + TUPLE2,
        "unit divided": NONE + MARK + raw(b"s") + number(1) + number(7) * 2 + TUPLE + TUPLE2,
        "unit not ASCII": NONE + MARK + raw(b"\xff") + number(1) * 3 + TUPLE + TUPLE2,
    }.items():
        state = (number(4), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0), unit)
        yield "datetime " + what, pickled(array(one, dtype("M8", *state), eight))
    wide = MARK + number(1) * 40 + TUPLE
    for what, shape in {
        "longer": number(2) + TUPLE1,
        "negative": number(-1) + TUPLE1,
        "two negatives": number(-1) + number(-1) + TUPLE2,
        "overflowing": (b"\x8a\x08" + b"\0" * 7 + b"\x40") + number(4) + TUPLE2,
        "a list": row(number(1)),
        "a number": number(1),
        "of objects": TRAP + TUPLE1,
        "of truths": b"\x88" + TUPLE1,
        "of 40 dimensions": wide,
    }.items():
        yield "shape " + what, pickled(array(shape, dtype(), eight))
        frombuffer = MARK + eight + dtype() + shape + text("C") + TUPLE + REDUCE
        yield (
            "buffer of shape " + what,
            pickled(name("numpy.core.numeric", "_frombuffer"), frombuffer),
        )
    absurd = number(0) + number(2**31 - 1) + TUPLE2
    yield "shape empty and absurd", pickled(array(absurd, dtype(), raw(b"")))
    for what, data in {
        "a list": row(number(1)),
        "text": text("x" * 8),
        "an object": KEYED,
        "none": NONE,
        "short": raw(bytes(7)),
    }.items():
        yield "data " + what, pickled(array(one, dtype(), data))
        yield "scalar of " + what, pickled(call("numpy.core.multiarray", "scalar", dtype(), data))
    yield "truth 7", pickled(array(one, dtype("b1"), raw(b"\x07")))
    yield (
        "scalar truth 7",
        pickled(call("numpy.core.multiarray", "scalar", dtype("b1"), raw(b"\x07"))),
    )
    yield "character 2**31", pickled(array(one, dtype("U1"), raw(b"\0\0\0\x80")))
    yield "character that is a surrogate", pickled(array(one, dtype("U1"), raw(b"\0\xd8\0\0")))
    yield "dtype of an object", pickled(array(one, KEYED, eight))
    yield "dtype of text", pickled(array(one, text("f8"), eight))
    yield "state not a tuple", pickled(empty, DICT, BUILD)
    yield "state of 4", pickled(empty, MARK, one, dtype(), b"\x89", eight, TUPLE, BUILD)
    yield (
        "array filled twice",
        pickled(
            array(one, dtype(), eight), MARK, number(1), one, dtype(), b"\x89", eight, TUPLE, BUILD
        ),
    )
    yield (
        "subclass",
        pickled(
            name("numpy._core.multiarray", "_reconstruct"),
            name(TRAPS, "Trap"),
            number(0),
            TUPLE1,
            raw(b"b"),
            TUPLE3,
            REDUCE,
        ),
    )
    for order in (text("K"), text("A"), text("x"), KEYED, NONE):
        args = (eight, dtype(), one, order)
        yield f"order {order!r}", pickled(call("numpy.core.numeric", "_frombuffer", *args))
    axes = (eight, dtype(), one, text("K"), row(number(0)))
    yield "axes a list", pickled(call("numpy.core.numeric", "_frombuffer", *axes))
    axes = (eight, dtype(), one, text("K"), TRAP + TUPLE1)
    yield "axes of objects", pickled(call("numpy.core.numeric", "_frombuffer", *axes))
    axes = (eight, dtype(), one, text("K"), number(5) + TUPLE1)
    yield "axes out of range", pickled(call("numpy.core.numeric", "_frombuffer", *axes))
    # The bytes of an array are a view of the input: it must not be had as a value.
    view = MARK + number(1) + one + dtype() + b"\x89" + eight + MEMO + TUPLE + BUILD
    taken = pickled(empty, view, POP, get(1))
    yield "the view of the bytes", taken
    yield "the view of the bytes as key", pickled(empty, view, POP, DICT, get(1), NONE, SETITEM)


def payloads() -> dict[str, bytes]:
    """Every payload, by a name of its own."""
    made: dict[str, bytes] = {}
    for group in (
        calls,
        attributes,
        containers,
        arguments,
        keys,
        costs,
        streams,
        tokens,
        arrays,
    ):
        for label, data in group():
            label = f"{group.__name__}: {label}"
            assert label not in made, label
            made[label] = data
    return made


def opcode_names(data: bytes) -> str:
    """The payload as pickletools shows it, for the report of a failure."""
    import pickletools

    out = io.StringIO()
    try:
        pickletools.dis(data[:2_000], out)
    except ValueError as error:
        out.write(str(error))
    return out.getvalue()


PAYLOADS = payloads()
