"""What a broken or hostile host uploads instead of an output.

Four variants, drawn for each instance: the output cut short, nothing at all, far too
much, and bytes that are no output, most of them made to hurt whoever loads them as a
pickle.  The safe loader refuses every one of them; a test holds it to that.
"""

from __future__ import annotations

from pyboinc.faults.draws import words

#: The file that the hostile bytes leave in the current directory if ever they are run.
EVIDENCE = "pyboinc_hostile_bytes_were_run"

_ORDER = b"touch " + EVIDENCE.encode()

#: How the bytes of a garbage output are wrong, in the order of the draw.
VARIANTS = ("truncated", "empty", "oversized", "hostile")


def hostile_samples() -> tuple[bytes, ...]:
    """What a host sends in the place of an output: none of it is one."""
    return (
        b"cos\nsystem\n(S'" + _ORDER + b"'\ntR.",  # the classic: GLOBAL and REDUCE
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c" + bytes([len(_ORDER)]) + _ORDER + b"\x85R.",
        b"(S'" + _ORDER + b"'\nios\nsystem\n.",  # the same by INST
        b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b".",  # an exabyte is to follow
        b"\x80\x04" + b"(" * 300_000 + b"0" * 300_000 + b"N.",  # marks without end
        b"<html><body>Please log in to the network of this hotel.</body></html>\n",
        b"\xff" * 64,
    )


def variant(seed: int, sequence: int, attempt: int) -> str:
    """Which of :data:`VARIANTS` the output of this instance is, if it is garbage."""
    return VARIANTS[words(seed, "garbage", sequence, attempt)[0] % len(VARIANTS)]


def garbage(
    seed: int, sequence: int, attempt: int, output: bytes, max_output: int = 64_000_000
) -> bytes:
    """The bytes that arrive instead of *output*: never *output* itself, never loadable.

    An oversized output is one byte larger than *max_output* (bytes); who writes it to a
    file need not build it in memory: extending the file to that length is the same.
    An output too short to be cut (under 2 bytes) is replaced by nothing at all.
    """
    where = words(seed, "garbage", sequence, attempt)[1]
    match variant(seed, sequence, attempt):
        case "truncated" if len(output) > 1:
            return output[: 1 + where % (len(output) - 1)]
        case "oversized":
            return output + bytes(max(1, max_output + 1 - len(output)))
        case "hostile":
            samples = hostile_samples()
            return samples[where % len(samples)]
    return b""
