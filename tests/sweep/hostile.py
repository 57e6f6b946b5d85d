"""Hostile results: every technique bites under `pickle`, and does nothing in the loader.

Each technique runs under plain `pickle` in a process of its own, so that one sees that it
is one.  Then the loader reads it, and the same in six disguises, and every payload of
`codec_hostile`, under an audit hook and with its time and memory measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from codec_bites import bites, toothless
from codec_hostile import NONE, POP, PROTO, STOP, framed, new, table, text
from codec_techniques import TECHNIQUES
from codec_watch import complaint

from pyboinc.codec import RejectedResult
from sweep import Part


def disguises(data: bytes) -> Iterator[tuple[str, bytes]]:
    """*data* as it is, and the same inside of something honest."""
    yield "plain", data
    if data[:1] != b"\x80" or data[-1:] != STOP:
        return
    body = data[2:-1]
    plain = new("codec_types", "Plain")
    yield "protocol 5", b"\x80\x05" + body + STOP
    yield "framed", PROTO + framed(body + STOP)
    yield "in a list", PROTO + b"](" + NONE + body + b"e" + STOP
    yield "as an attribute", PROTO + plain + table(text("value"), body) + b"b" + STOP
    yield "dropped", PROTO + body + POP + NONE + STOP
    yield "twice", PROTO + b"(" + body + body + b"t" + STOP


def sweep(seed: int, only: str) -> Part:
    """All techniques and payloads (or those with *only* in their names)."""
    from codec_hostile import PAYLOADS

    part = Part()
    chosen = {name: each for name, each in TECHNIQUES.items() if only in name}
    part.count("techniques", len(chosen))
    seen = bites(list(chosen)) if chosen else {}
    part.failures += toothless(seen)
    part.count(
        "techniques that do harm under plain pickle",
        sum("nothing" not in each.sees.split("|") for each in chosen.values()),
    )
    for name, technique in chosen.items():
        for disguise, data in disguises(technique.data):
            part.count("hostile files")
            wrong, result = complaint(data)
            loaded = type(result) is not RejectedResult
            if not wrong and disguise == "plain" and loaded != bool(technique.inert):
                wrong = f"is {result!a}, and should be {technique.inert or 'refused'}"
            if wrong:
                part.failures.append(f"{name}, {disguise}: {wrong}")
    for label, data in PAYLOADS.items():
        for disguise, each in disguises(data) if only in label else ():
            part.count("hostile files")
            wrong, _ = complaint(each)
            if wrong:
                part.failures.append(f"{label}, {disguise}: {wrong}")
    return part
