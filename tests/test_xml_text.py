"""XML that people keep: what is put in is there, all else stays, and it can be taken back."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.administration.xml_text import Element, parse, put_in, take_back, take_out
from pyboinc.errors import ConfigurationError

ITEM = "<daemon>\n    <cmd>feeder -d 3</cmd>\n</daemon>"


def tree(data: bytes) -> object:
    """What another parser reads: names, attributes, texts, and the comments too."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    return _plain(ElementTree.fromstring(data, parser))


def _plain(node: ElementTree.Element) -> object:
    name = node.tag if isinstance(node.tag, str) else "comment"
    children = [_plain(child) for child in node]
    tails = [(child.tail or "").strip() for child in node]
    return (name, dict(node.attrib), (node.text or "").strip(), children, tails)


def with_item(old: object, path: list[str]) -> object:
    """The tree *old* with the item at the end of the first element of *path*."""
    name, attributes, text, children, tails = old  # type: ignore[misc]  # as _plain makes it
    if not path:
        added = _plain(ElementTree.fromstring(ITEM))
        return (name, attributes, text, [*children, added], [*tails, ""])
    at = [child[0] for child in children].index(path[0])
    changed = [*children[:at], with_item(children[at], path[1:]), *children[at + 1 :]]
    return (name, attributes, text, changed, tails)


BLANKS = st.sampled_from(["", " ", "\n", "\n\n", "\n    ", "\n\t", "  \n  ", "\n        "])
COMMENT = st.sampled_from(
    ["", "<!-- a daemon -->", "<!-- </daemons> <daemon> -->", "<!--\n two lines\n-->", "<?ours x?>"]
)
ATTRIBUTE = st.sampled_from(["", ' a="1"', " a='>'", ' a = "&lt;/daemons>"', '\n   a="1"'])
CHILD = st.sampled_from(
    [
        "<daemon><cmd>feeder</cmd></daemon>",
        "<daemon>\n            <cmd>x &amp; y</cmd>\n        </daemon>",
        "<daemon/>",
        "<![CDATA[</daemons>]]>",
        "text ü",
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A config.xml as odd as somebody may have it, with one <daemons>."""
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        parts += [draw(BLANKS), draw(COMMENT), draw(BLANKS), draw(CHILD)]
    inside = "".join([*parts, draw(BLANKS), draw(COMMENT), draw(BLANKS)])
    attribute = draw(ATTRIBUTE)
    daemons = f"<daemons{attribute}>{inside}</daemons{draw(st.sampled_from(['', ' ']))}>"
    if not inside and draw(st.booleans()):
        daemons = f"<daemons{attribute}{draw(st.sampled_from(['', ' ', chr(10)]))}/>"
    head = draw(st.sampled_from(["", '<?xml version="1.0" ?>\n', "<!-- ours -->\n"]))
    config = "<config>\n  <host>here</host></config>"
    pieces = [head, "<boinc>", draw(BLANKS), config, draw(BLANKS), daemons, draw(BLANKS)]
    text = "".join([*pieces, draw(COMMENT), "</boinc>\n"])
    return draw(st.sampled_from([text, text.replace("\n", "\r\n")])).encode()


def daemons_of(data: bytes) -> Element:
    (daemons,) = parse(data, "config.xml").all("daemons")
    return daemons


@given(data=documents())
def test_what_is_put_in_is_all_that_changes(data: bytes) -> None:
    """config.xml: the old tree plus ours, and all old bytes around what was put in."""
    daemons = daemons_of(data)
    after, edit = put_in(data, daemons, ITEM)
    assert tree(after) == with_item(tree(data), ["daemons"])
    if not edit.before:
        begin = after.index(edit.now.encode())
        assert after[:begin] + after[begin + len(edit.now.encode()) :] == data
    else:
        assert edit.before == data[daemons.start : daemons.end].decode()
    assert take_back(after, edit) == data


@given(data=documents(), others=st.booleans())
def test_several_are_taken_back_in_turn(data: bytes, others: bool) -> None:
    """--remove: what was put in goes, to the byte, and what others put in since stays."""
    first, one = put_in(data, daemons_of(data), ITEM)
    second, two = put_in(first, daemons_of(first), ITEM.replace("feeder", "validator"))
    if others:
        second = second.replace(b"</boinc>", b"<!-- since -->\n</boinc>")
        data = data.replace(b"</boinc>", b"<!-- since -->\n</boinc>")
    back = take_back(second, two)
    assert back is not None
    assert take_back(back, one) == data


def test_what_others_have_changed_is_not_taken_back_as_text() -> None:
    """--remove: an element that somebody has edited is found by a parser instead."""
    data = b"<boinc>\n  <daemons>\n  </daemons>\n</boinc>\n"
    after, edit = put_in(data, daemons_of(data), ITEM)
    edited = after.replace(b"-d 3", b"-d 4")
    assert take_back(edited, edit) is None
    assert take_out(edited, daemons_of(edited).children[0]) == data


def test_it_is_written_as_its_neighbours_are() -> None:
    """config.xml: tabs where there are tabs, two blanks where there are two."""
    tabs = b"<boinc>\n\t<daemons>\n\t\t<daemon/>\n\t</daemons>\n</boinc>\n"
    after, _ = put_in(tabs, daemons_of(tabs), ITEM)
    assert b"\n\t\t<daemon>\n\t\t\t<cmd>feeder -d 3</cmd>\n\t\t</daemon>\n\t</daemons>" in after
    two = b"<boinc>\n  <daemons>\n    <daemon/>\n  </daemons>\n</boinc>\n"
    after, _ = put_in(two, daemons_of(two), ITEM)
    assert b"\n    <daemon>\n      <cmd>feeder -d 3</cmd>\n    </daemon>\n  </daemons>" in after
    empty = b"<boinc>\n    <daemons/>\n</boinc>\n"
    after, _ = put_in(empty, daemons_of(empty), ITEM)
    assert b"\n    <daemons>\n        <daemon>\n            <cmd>" in after
    assert after.endswith(b"\n        </daemon>\n    </daemons>\n</boinc>\n")


def test_what_is_read() -> None:
    """config.xml: values of children, without the blanks around them."""
    root = parse(b"<boinc><daemon><cmd> feeder\n</cmd><cmd>x</cmd></daemon></boinc>", "x")
    assert root.children[0].value("cmd") == "feeder"
    assert root.children[0].value("none") == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<boinc><daemons></boinc>", "config.xml is no XML: mismatched tag: line 1"),
        (b"", "no element found"),
        ("<boinc></boinc>".encode("utf-16"), "encoding"),
    ],
)
def test_what_can_not_be_read_is_not_changed(data: bytes, words: str) -> None:
    """config.xml: a file that is no XML is an error which names it and the line."""
    with pytest.raises(ConfigurationError, match=words):
        parse(data, "config.xml")
