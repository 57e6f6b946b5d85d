"""Outputs that a host has compressed before it uploaded them, as a project may ask it to.

BOINC's ``<gzip_when_done/>`` leaves no trace in a file's name, so the first bytes tell.
"""

from __future__ import annotations

import zlib

from pyboinc.errors import RejectedResult

_GZIP = b"\x1f\x8b"
_WITH_HEADER = 31


def expanded(data: bytes, limit: int) -> bytes:
    """Return *data*, expanded if it is compressed.

    Raises :class:`~pyboinc.errors.RejectedResult` if that is more than *limit* bytes, or damaged.
    """
    if not data.startswith(_GZIP):
        return data
    expander = zlib.decompressobj(_WITH_HEADER)
    try:
        whole = expander.decompress(data, limit + 1)
    except zlib.error as error:
        raise RejectedResult(f"compressed, and can not be expanded: {error}") from None
    if len(whole) > limit:
        raise RejectedResult(f"more than {limit} bytes when it is expanded; that is the limit")
    if not expander.eof:
        raise RejectedResult("compressed, and cut short")
    return whole
