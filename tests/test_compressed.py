"""Outputs that hosts have compressed are read as if they had not; bombs and stumps are refused."""

from __future__ import annotations

import gzip

import pytest

from pyboinc.compressed import expanded
from pyboinc.errors import RejectedResult

TEXT = b"\x80\x04 some output " * 100


def test_what_is_compressed_is_expanded() -> None:
    """Outputs: the first bytes tell; what is not compressed is left as it is."""
    assert expanded(gzip.compress(TEXT), 10_000) == TEXT
    assert expanded(TEXT, 1) is TEXT
    assert expanded(b"", 10) == b""


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """Outputs: much in little is refused, and no more than the limit is ever made of it."""
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(RejectedResult, match="more than 1000 bytes when it is expanded"):
        expanded(bomb, 1000)
    assert expanded(gzip.compress(bytes(1000)), 1000) == bytes(1000)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_what_is_damaged_is_refused(cut: int) -> None:
    """Outputs: a compressed file that was cut short or changed is refused, with the reason."""
    whole = gzip.compress(TEXT)
    with pytest.raises(RejectedResult, match="cut short"):
        expanded(whole[:-cut], 10_000)
    with pytest.raises(RejectedResult, match="can not be expanded"):
        expanded(whole[:12] + b"\xff" * 8 + whole[20:], 10_000)
