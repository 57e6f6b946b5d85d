"""BOINC's 1,024-bit keys: their text forms, their signatures, and the files they are kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyboinc.backends.served.keys import (
    Certificates,
    Key,
    from_text,
    generate,
    kept,
    kept_certificates,
    to_text,
)
from pyboinc.errors import DirectoryDamaged

KEY = generate()


def test_the_public_key_is_in_boincs_form() -> None:
    """Protocol: 1024, then eight lines of 64 digits, modulus and exponent, and a dot."""
    first, *lines, dot = KEY.public.splitlines()

    assert (first, dot, [len(one) for one in lines]) == ("1024", ".", [64] * 8)
    assert lines[-1].endswith("010001")
    assert int("".join(lines[:4]), 16) == KEY.modulus


@given(st.binary(max_size=200))
def test_a_text_form_can_be_read_again(data: bytes) -> None:
    """Protocol: bytes come back from their text form, also with its last line break gone."""
    assert from_text(to_text(data).strip()) == data


@settings(max_examples=25)  # each takes as long as a signature
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_signature_is_of_these_bytes_alone(data: bytes, other: bytes) -> None:
    """Signatures: what was signed is recognised, and nothing else."""
    signature = KEY.sign(data)

    assert KEY.has_signed(data, signature)
    assert KEY.has_signed(other, signature) == (other == data)


@pytest.mark.parametrize("text", ["", ".", "zz", "00" * 128, "ff" * 128, "0" * 5000, "\0"])
def test_what_is_no_signature_is_none(text: str) -> None:
    """Strangers: no text that a client may send breaks the check, or passes it."""
    assert not KEY.has_signed(b"a", text)
    assert not Certificates(b"secret").is_one("a", 1, text)


def test_a_certificate_is_for_one_name_and_size(tmp_path: Path) -> None:
    """Strangers: who has a certificate may upload that file, no other and no larger one."""
    made = kept_certificates(tmp_path / "keys/upload")
    text = made.of("1_0_0_r0", 100)

    assert made.is_one("1_0_0_r0", 100, text.strip())
    assert not made.is_one("1_0_1_r0", 100, text) and not made.is_one("1_0_0_r0", 101, text)
    again = kept_certificates(tmp_path / "keys/upload")
    assert again.is_one("1_0_0_r0", 100, text)
    assert not Certificates(b"another").is_one("1_0_0_r0", 100, text)


def test_another_key_signs_otherwise() -> None:
    """Signatures: a key of another project is not taken."""
    assert not KEY.has_signed(b"data", Key(KEY.modulus - 2, KEY.secret).sign(b"data"))


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    """Durability: the key is the same in every run, and nobody else may read it."""
    path = tmp_path / "keys/code_sign"
    first = kept(path)

    assert kept(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.write_text("1024\n00\n.\n")
    with pytest.raises(DirectoryDamaged, match="is no key of this project"):
        kept(path)
