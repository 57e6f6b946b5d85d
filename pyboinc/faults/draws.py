"""Numbers that look random and depend on nothing but a seed and what they are about.

Nothing in PyBOINC is drawn from a stream of random numbers, where one draw more would
shift all that follow, and where two processes would have to share the stream.  Every
draw is a hash::

    words(seed, key...) = blake2b(message, digest_size=64, person=b"pyboinc.faults.1")
                          read as eight unsigned 64-bit big-endian integers
    message             = the bencoding of the list [seed, key...]: b"l" + items + b"e",
                          where the integer 7 is b"i7e" and the text "host" is b"4:host"
                          (the length in bytes of its UTF-8, a colon, the bytes)
    uniforms            = the upper 53 bits of each word, divided by 2**53: in [0, 1)

It is the same on every machine and in every version of Python.  ``tests/test_draws.py``
holds frozen values: the layout never changes, or recorded seeds would mean something else.
"""

from __future__ import annotations

import os
import struct
from _blake2 import blake2b  # what hashlib.blake2b is; hashlib itself would load OpenSSL

_PERSON = b"pyboinc.faults.1"
_EIGHT_WORDS = struct.Struct(">8Q").unpack
_TO_UNIT = 2.0**-53
_SEEDS = 1_000_000


def _bencode(part: int | str) -> bytes:
    if isinstance(part, str):
        text = str.encode(part)  # not part.encode: an Enum of str may say something else
        return b"%d:%s" % (len(text), text)
    return b"i%de" % part


def words(seed: int, *key: int | str) -> tuple[int, ...]:
    """Eight unsigned 64-bit integers that depend on *seed* and *key* alone."""
    message = b"l" + _bencode(seed) + b"".join(map(_bencode, key)) + b"e"
    return _EIGHT_WORDS(blake2b(message, digest_size=64, person=_PERSON).digest())


def uniforms(seed: int, *key: int | str) -> tuple[float, ...]:
    """Eight independent numbers in [0, 1) that depend on *seed* and *key* alone."""
    return tuple([(word >> 11) * _TO_UNIT for word in words(seed, *key)])


def uniform(seed: int, *key: int | str) -> float:
    """One number in [0, 1) that depends on *seed* and *key* alone: the first of uniforms()."""
    return (words(seed, *key)[0] >> 11) * _TO_UNIT


def new_seed() -> int:
    """A seed for a run that was given none: at most six digits, short enough to retype."""
    return int.from_bytes(os.urandom(8), "big") % _SEEDS
