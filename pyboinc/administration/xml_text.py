"""XML files that people keep: read by a parser, changed as text, so that all else stays as it is.

`config.xml` and `project.xml` are written by hand: comments, blank lines and indentation are
somebody's.  A parser says where each element begins and ends; what is put in is put in there,
and nothing else of the file is touched.  Each change is known by what stands there now and
what stood there before, so that it can be taken back to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from pyboinc.errors import ConfigurationError

_UNIT = "    "


class Edit(NamedTuple):
    """One change of a text: *now* stands where *before* stood."""

    before: str
    now: str


@dataclass
class Element:
    """An element and where it is: its start tag, what is in it, its end tag, in bytes."""

    name: str
    start: int
    inner: int = 0
    inner_end: int = 0
    end: int = 0
    words: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What is written in it, without the blanks around; not what its children hold."""
        return self.words.strip()

    def all(self, name: str) -> list[Element]:
        """Return its children called *name*."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str:
        """Return what is written in its first child called *name*, or nothing."""
        return next((child.text for child in self.all(name)), "")


def parse(data: bytes, name: str) -> Element:
    """Return the root element of *data*; *name* is what an error calls it."""
    try:
        root = _Reader(data).read()
    except expat.ExpatError as error:
        raise ConfigurationError(
            f"{name} is no XML: {error}; mend that first, BOINC's own programs can not read it"
        ) from None
    if root is None:
        raise ConfigurationError(
            f"{name} is written in an encoding that is not known here: UTF-8 is"
        )
    return root


class _Reader:
    """Reads a text with expat, which says for each tag at which byte it is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._open: list[Element] = []
        self._root: Element | None = None
        self._plain = True

    def read(self) -> Element | None:
        """Return the root, or None if the bytes are not where the parser sees them."""
        self._parser.Parse(self._data, True)
        return self._root if self._plain else None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        self._plain &= self._data.startswith(f"<{name}".encode(), start)
        element = Element(name, start)
        element.inner = _end_of_tag(self._data, start)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if self._data[element.inner - 2 : element.inner] == b"/>":
            element.inner_end = element.end = element.inner
        else:
            element.inner_end = self._parser.CurrentByteIndex
            element.end = _end_of_tag(self._data, element.inner_end)

    def _text(self, text: str) -> None:
        self._open[-1].words += text


def _end_of_tag(data: bytes, start: int) -> int:
    """Return where the tag that begins at *start* ends: a `>` in quotes is none."""
    quote = b""
    for place in range(start, len(data)):
        letter = data[place : place + 1]
        if quote:
            quote = b"" if letter == quote else quote
        elif letter in (b'"', b"'"):
            quote = letter
        elif letter == b">":
            return place + 1
    return len(data)


def put_in(data: bytes, parent: Element, item: str) -> tuple[bytes, Edit]:
    """Return *data* with the element *item* as the last one in *parent*, and what was changed.

    *item* is indented by four blanks for each level, and is written as its neighbours are.
    """
    newline = "\r\n" if b"\r\n" in data else "\n"
    outer = _indentation(data, parent.start)
    first = next((_indentation(data, one.start) for one in parent.children), None)
    inner = outer + _UNIT if first is None or len(first) <= len(outer) else first
    unit = inner.removeprefix(outer) or _UNIT
    lines = [line.replace(_UNIT, unit) for line in item.splitlines()]
    text = newline + newline.join(inner + line for line in lines)
    if parent.inner == parent.inner_end == parent.end:
        tag = data[parent.start : parent.end].decode("utf-8", "surrogateescape")
        begin = tag[:-2].rstrip()
        edit = Edit(tag, f"{begin}>{text}{newline}{outer}</{parent.name}>")
        place, rest = parent.start, parent.end
    else:
        place = rest = parent.inner + len(data[parent.inner : parent.inner_end].rstrip())
        if b"\n" not in data[place : parent.inner_end]:
            text += newline + outer
        edit = Edit("", text)
    return data[:place] + edit.now.encode("utf-8", "surrogateescape") + data[rest:], edit


def _indentation(data: bytes, place: int) -> str:
    """Return the blanks that the line of *place* begins with."""
    line = data[data.rfind(b"\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(b" \t"))].decode("ascii")


def take_back(data: bytes, edit: Edit) -> bytes | None:
    """Return *data* as it was before *edit*, or None if others have changed what it wrote."""
    now = edit.now.encode("utf-8", "surrogateescape")
    if data.count(now) != 1:
        return None
    return data.replace(now, edit.before.encode("utf-8", "surrogateescape"))


def take_out(data: bytes, element: Element) -> bytes:
    """Return *data* without *element* and the blanks before it."""
    return data[: len(data[: element.start].rstrip())] + data[element.end :]


def undone(data: bytes, edits: list[Edit]) -> tuple[bytes, list[Edit]]:
    """Return *data* with these edits taken back, last ones first, and those that could be."""
    done: list[Edit] = []
    for edit in reversed(edits):
        if (back := take_back(data, edit)) is not None:
            data = back
            done.insert(0, edit)
    return data, done
