"""The upload handler: what a client that uploads a file says, and what becomes of the bytes.

Source: BOINC ``sched/file_upload_handler.cpp``.  A request is a few lines and then, for an
upload, the bytes of the file from some offset on.  Only a name that carries the project's own
certificate is written to, which only the host that was given the result has; never more than
was certified; and a file counts as uploaded only when its MD5 is what was said.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from pyboinc.backends.served.catalogue import OUTPUT_NAME
from pyboinc.backends.served.incoming import Incoming
from pyboinc.backends.served.keys import Certificates
from pyboinc.backends.served.messages import first_of, line, whole

HEADER = 16_384
"""Bytes in which the lines before a file's bytes must be."""

_DATA = b"<data>\n"
_FIELDS = "get_file_size|file_upload"
_UPLOAD = "name|xml_signature|max_nbytes|nbytes|md5_cksum|offset"

TRANSIENT, PERMANENT = 1, -1
"""Come again later; never come again with this."""


class Wanted(Enum):
    """What the project says of the output of some name."""

    YES = "yes"
    OVER = "over"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client wants to upload: *size* bytes in all, those from *offset* on now."""

    name: str
    signature: str
    most: int
    size: int
    md5: str
    offset: int


def parse_header(text: str) -> str | Upload | None:
    """Read the lines of a request: a name whose size is asked for, an upload, or neither."""
    fields = first_of(text, "get_file_size")
    if "get_file_size" in fields:
        return line(fields["get_file_size"])
    if "<file_upload>" not in text:
        return None
    one = first_of(text, _UPLOAD)
    return Upload(
        line(one.get("name")),
        one.get("xml_signature", ""),
        whole(one.get("max_nbytes"), -1),
        whole(one.get("nbytes"), -1),
        line(one.get("md5_cksum"), 32),
        whole(one.get("offset"), -1),
    )


def reply(status: int, message: str = "", size: int | None = None) -> bytes:
    """Return the text of an answer."""
    lines = [f"    <status>{status}</status>"]
    if message:
        lines.append(f"    <message>{message}</message>")
    if size is not None:
        lines.append(f"    <file_size>{size}</file_size>")
    return "\n".join(["<data_server_reply>", *lines, "</data_server_reply>", ""]).encode()


class Receiver:
    """Takes uploads into *incoming*; *wanted* asks the project about a result's name."""

    def __init__(
        self,
        incoming: Incoming,
        certificates: Certificates,
        wanted: Callable[[str], Awaitable[Wanted]],
    ) -> None:
        self._incoming = incoming
        self._certificates = certificates
        self._wanted = wanted
        self._writing: set[str] = set()

    async def receive(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Take one request, chunk by chunk, and return the answer."""
        head = b""
        async for chunk in chunks:
            head += chunk
            if _DATA in head or len(head) > HEADER:
                break
        text, found, rest = head.partition(_DATA)
        if len(text) > HEADER:
            return reply(PERMANENT, "no request: too much before the data")
        asked = parse_header(text.decode("utf-8", "replace"))
        if isinstance(asked, str):
            known = OUTPUT_NAME.fullmatch(asked) is not None
            return reply(0, size=self._incoming.size(asked) if known else 0)
        if asked is None or not found:
            return reply(PERMANENT, "no request to upload a file")
        return await self._upload(asked, rest, chunks)

    async def _upload(self, upload: Upload, rest: bytes, chunks: AsyncIterator[bytes]) -> bytes:
        refusal = self._refusal(upload)
        if refusal:
            return reply(PERMANENT, refusal)
        wanted = await self._wanted(upload.name.removesuffix("_r0"))
        if wanted is Wanted.NO:
            return reply(PERMANENT, "nobody waits for this file")
        if wanted is Wanted.OVER:
            # Reported before: a connection that broke had the client send it once more.
            return reply(0)
        if upload.name in self._writing:
            return reply(TRANSIENT, "it is being uploaded already")
        self._writing.add(upload.name)
        try:
            return await self._write(upload, rest, chunks)
        except TimeoutError:
            raise  # it is no fault of the disk's that the client fell silent
        except OSError as error:
            return reply(TRANSIENT, f"can not be written: {error.strerror}")
        finally:
            self._writing.discard(upload.name)

    def _refusal(self, upload: Upload) -> str:
        """Return why *upload* is not even looked at; nothing if it is."""
        if OUTPUT_NAME.fullmatch(upload.name) is None:
            return "no name of an output"
        if not self._certificates.is_one(upload.name, upload.most, upload.signature):
            return "invalid signature"
        if not 0 <= upload.offset <= upload.size:
            return "no such offset"
        if upload.size > upload.most:
            return f"file too big: {upload.size} bytes, {upload.most} at most"
        return ""

    async def _write(self, upload: Upload, rest: bytes, chunks: AsyncIterator[bytes]) -> bytes:
        descriptor = self._incoming.open_at(upload.name, upload.offset)
        if descriptor is None:
            return reply(TRANSIENT, "so much of it is not here")
        left = upload.size - upload.offset
        try:
            left -= _write_all(descriptor, rest[:left])
            too_much = len(rest) > upload.size - upload.offset
            while left and not too_much:
                chunk = await anext(chunks, b"")
                if not chunk:
                    return reply(TRANSIENT, "the file ended too soon")
                too_much = len(chunk) > left
                left -= _write_all(descriptor, chunk[:left])
        finally:
            os.close(descriptor)
        if too_much:
            self._incoming.remove(upload.name)
            return reply(PERMANENT, "more bytes than were said")
        if upload.md5 and not self._incoming.holds(upload.name, upload.md5):
            self._incoming.remove(upload.name)
            return reply(TRANSIENT, "other bytes than were said (MD5)")
        return reply(0)


def _write_all(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)
