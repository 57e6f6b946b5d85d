"""Signed archives: what the project's key has signed is opened, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyboinc import signing, slave_archive
from pyboinc.bundle import stored_zip
from pyboinc.errors import ConfigurationError, RejectedArchive
from pyboinc.slave_archive import open_archive

ZIPPED = stored_zip({"app_slave.py": b"print('ours')\n", "data/x.bin": bytes(range(256))})


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return signing.generate()


@pytest.fixture(scope="module")
def other() -> rsa.RSAPrivateKey:
    return signing.generate()


@pytest.fixture(scope="module")
def public(key: rsa.RSAPrivateKey) -> str:
    return signing.public_key(key)


@pytest.fixture(scope="module")
def archive(key: rsa.RSAPrivateKey) -> bytes:
    return signing.sign_archive(ZIPPED, "app_slave.py", key)


def parts(archive: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the three lines of the head, with their ends, and what is signed."""
    lines = archive.split(b"\n", 3)
    return lines[0] + b"\n", lines[1] + b"\n", lines[2] + b"\n", lines[3]


def with_block(archive: bytes, key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """Return *archive* with the signature that stands for the padded *block*."""
    numbers = key.private_numbers()
    number = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
    first, second, _, signed = parts(archive)
    return first + second + b"signature %0768x\n" % number + signed


# -- what is signed


def test_what_the_key_signed_is_opened(archive: bytes, public: str) -> None:
    """Signatures: an archive comes back as it was signed, with the name of its slave."""
    fields, zipped = open_archive(archive, public)
    assert fields["slave"] == "app_slave.py"
    assert zipped == ZIPPED


def test_the_same_archive_is_signed_with_the_same_bytes(
    archive: bytes, key: rsa.RSAPrivateKey
) -> None:
    """Signatures: there is nothing random in one, so an archive's name may be its digest."""
    assert signing.sign_archive(ZIPPED, "app_slave.py", key) == archive


def test_others_check_the_signature_alike(archive: bytes, key: rsa.RSAPrivateKey) -> None:
    """Signatures: cryptography's own check says yes to ours, over all that follows the head."""
    _, _, third, signed = parts(archive)
    signature = bytes.fromhex(third.decode().split()[1])
    key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, signed + b"\0", padding.PKCS1v15(), hashes.SHA256())


def test_openssl_checks_the_signature_alike(
    archive: bytes, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    """Signatures: ``openssl dgst -verify`` says yes to ours, where there is one."""
    if shutil.which("openssl") is None:
        return  # one implementation that is not ours has been asked already
    _, _, third, signed = parts(archive)
    (tmp_path / "signature").write_bytes(bytes.fromhex(third.decode().split()[1]))
    (tmp_path / "signed").write_bytes(signed)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, spki))
    command = "openssl dgst -sha256 -verify key -signature signature signed"
    subprocess.run(command.split(), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


# -- what is refused


def test_every_bit_counts(archive: bytes, public: str, seed: int) -> None:
    """Tampering: an archive with one bit changed, wherever it is, is refused."""
    head = len(archive) - len(parts(archive)[3])
    chance = random.Random(seed)
    places = [*range(head), *chance.sample(range(head, len(archive)), 200), len(archive) - 1]
    for place in places:
        changed = bytearray(archive)
        changed[place] ^= 1 << chance.randrange(8)
        with pytest.raises(RejectedArchive):
            open_archive(bytes(changed), public)


@pytest.mark.parametrize("more", [b"\0", b"\n", b"PK\5\6" + bytes(18)])
def test_what_is_longer_or_shorter_is_refused(archive: bytes, public: str, more: bytes) -> None:
    """Tampering: nothing may be put behind the zip, nor be cut off anywhere."""
    with pytest.raises(RejectedArchive):
        open_archive(archive + more, public)
    for length in [*range(0, 900, 7), len(archive) - 1]:
        with pytest.raises(RejectedArchive):
            open_archive(archive[:length], public)


def test_the_signature_of_another_archive_is_refused(
    archive: bytes, public: str, key: rsa.RSAPrivateKey
) -> None:
    """Tampering: a true signature of other bytes, or with another program's name, does not do."""
    zipped = stored_zip({"app_slave.py": b"theirs", "other.py": b"theirs"})
    for another in (
        signing.sign_archive(zipped, "app_slave.py", key),
        signing.sign_archive(zipped, "other.py", key),
    ):
        first, second, third, _ = parts(another)
        with pytest.raises(RejectedArchive, match="was changed or damaged"):
            open_archive(first + second + third + parts(archive)[3], public)


def test_another_key_is_refused(archive: bytes, public: str, other: rsa.RSAPrivateKey) -> None:
    """Tampering: what another key signed is refused, also when it says that ours did."""
    theirs = signing.sign_archive(ZIPPED, "app_slave.py", other)
    with pytest.raises(RejectedArchive, match=f"must be signed by {slave_archive.key_id(public)}"):
        open_archive(theirs, public)
    first, _, third, signed = parts(theirs)
    with pytest.raises(RejectedArchive, match="was changed or damaged"):
        open_archive(first + parts(archive)[1] + third + signed, public)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a, b, c, d: b"\n" + a + b + c + d,
        lambda a, b, c, d: b" " + a + b + c + d,
        lambda a, b, c, d: a.replace(b"\n", b"\r\n") + b + c + d,
        lambda a, b, c, d: a.replace(b" 1", b" 2") + b + c + d,
        lambda a, b, c, d: b + a + c + d,
        lambda a, b, c, d: a + b + b + c + d,
        lambda a, b, c, d: a + b + c + c + d,
        lambda a, b, c, d: a + b + b"\n" + c + d,
        lambda a, b, c, d: a + b + c + b"\n" + d,
        lambda a, b, c, d: a + b + c.upper() + d,
        lambda a, b, c, d: a + b + b"signature " + c[10:].upper() + d,
        lambda a, b, c, d: a + b + c.replace(b"signature ", b"signature 0x") + d,
        lambda a, b, c, d: a + b + c.replace(b"signature ", b"signature 00") + d,
        lambda a, b, c, d: a + b + c.replace(b"signature ", b"signature -") + d,
        lambda a, b, c, d: a + b + c.replace(b"signature ", b"signature  ") + d,
        lambda a, b, c, d: a + b + b"signature \n" + d,
        lambda a, b, c, d: a + b + b"signature " + b"0" * 768 + b"\n" + d,
        lambda a, b, c, d: a + b + b"signature " + b"0" * 767 + b"1\n" + d,
        lambda a, b, c, d: a + b + b"signature " + b"f" * 768 + b"\n" + d,
        lambda a, b, c, d: a + b + b"signature " + b"1" * 2048 + b"\n" + d,
        lambda a, b, c, d: a + b + b'{"slave": "app_slave.py"}\n' + c + d,
        lambda a, b, c, d: a + b + c + b'{"slave": "data/x.bin"}\n' + d,
        lambda a, b, c, d: a + b + c + d.partition(b"\n")[2],
        lambda a, b, c, d: d,
        lambda a, b, c, d: b"",
    ],
)
def test_no_other_head_is_accepted(archive: bytes, public: str, spoil: object) -> None:
    """Tampering: a head has one spelling, and nothing stands beside it that is not signed."""
    with pytest.raises(RejectedArchive):
        open_archive(spoil(*parts(archive)), public)  # type: ignore[operator]


def test_the_same_signature_as_a_larger_number_is_refused(
    archive: bytes, key: rsa.RSAPrivateKey, public: str
) -> None:
    """Tampering: signature + modulus is the same number to RSA, and another archive to a name."""
    first, second, third, signed = parts(archive)
    number = int(third.split()[1], 16) + key.public_key().public_numbers().n
    with pytest.raises(RejectedArchive):
        open_archive(first + second + b"signature %0768x\n" % number + signed, public)


def blocks(signed: bytes) -> dict[str, bytes]:
    """Return padded blocks as careless checks accept them, and the true one, by name."""
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    bare = bytes.fromhex("302f300b0609608648016503040201" + "0420")  # without the NULL
    digest = sha256(signed).digest()

    def padded(content: bytes, kind: int = 1, fill: bytes = b"\xff", rest: bytes = b"") -> bytes:
        room = 384 - 3 - len(content) - len(rest)
        return b"\x00" + bytes([kind]) + fill * room + b"\x00" + content + rest

    return {
        "true": padded(prefix + digest),
        "garbage after the digest": b"\x00\x01"
        + b"\xff" * 8
        + b"\x00"
        + prefix
        + digest
        + bytes(384 - 11 - 51),
        "garbage in the padding": padded(prefix + digest, fill=b"\xfe"),
        "zeros in the padding": b"\x00\x01" + bytes(330) + b"\x00" + prefix + digest,
        "encryption's padding": padded(prefix + digest, kind=2),
        "no padding": bytes(333) + prefix + digest,
        "no name of the hash": padded(digest),
        "a name without its NULL": padded(bare + digest),
        "a byte at the end": padded(prefix + digest, rest=b"\0"),
        "SHA-1's name": padded(bytes.fromhex("3021300906052b0e03021a05000414") + digest[:20]),
        "half a digest": padded(prefix + digest[:16]),
        "another digest": padded(prefix + sha256(signed + b"x").digest()),
    }


@pytest.mark.parametrize("name", sorted(blocks(b"")))
def test_padding_is_compared_whole(
    archive: bytes, key: rsa.RSAPrivateKey, public: str, name: str
) -> None:
    """Forgeries: only the one true block is accepted, whatever garbage leaves the digest as is.

    (Bleichenbacher's forgery of 2006 and its descendants put it after or into the padding.)
    """
    block = blocks(parts(archive)[3])[name]
    assert len(block) == 384 or name == "zeros in the padding"
    forged = with_block(archive, key, block.rjust(384, b"\0"))
    if name == "true":
        assert forged == archive
        open_archive(forged, public)
    else:
        with pytest.raises(RejectedArchive, match="was changed or damaged"):
            open_archive(forged, public)


def test_a_cube_root_forges_nothing(archive: bytes, public: str) -> None:
    """Forgeries: with the exponent 1 or 3 anybody can sign; such a key is not used at all."""
    first, _, _, signed = parts(archive)
    lines = public.splitlines()
    target = int.from_bytes(blocks(signed)["garbage after the digest"], "big")
    root = round_up_root(target)
    for exponent, signature in ((1, int.from_bytes(blocks(signed)["true"], "big")), (3, root)):
        weak = f"{lines[0]}\n{lines[1]}\n{exponent:x}\n"
        second = f"key {slave_archive.key_id(weak)}\n".encode()
        forged = first + second + b"signature %0768x\n" % signature + signed
        with pytest.raises(RejectedArchive, match=f"exponent {exponent} "):
            open_archive(forged, weak)


def round_up_root(number: int) -> int:
    """Return the smallest integer whose cube is not below *number*."""
    low, high = 0, 1 << (number.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < number else (low, middle)
    return low


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pyboinc-public-key 1\n",
        "pyboinc-public-key 1\n{n:x}\n",
        "pyboinc-public-key 2\n{n:x}\n10001\n",
        "pyboinc-public-key 1\n{n:x}\n10001",
        "pyboinc-public-key 1\n{n:x}\n10001\n\n",
        "pyboinc-public-key 1\n0{n:x}\n10001\n",
        "pyboinc-public-key 1\n{n:X}\n10001\n",
        "pyboinc-public-key 1\n{n:x}\n0\n",
        "pyboinc-public-key 1\n{small:x}\n10001\n",
        "pyboinc-public-key 1\n{even:x}\n10001\n",
        "pyboinc-public-key 1\n{huge:x}\n10001\n",
        "pyboinc-public-key 1\n1\n10001\n",
        "-----BEGIN PUBLIC KEY-----\n",
    ],
)
def test_what_is_no_public_key_opens_nothing(
    archive: bytes, key: rsa.RSAPrivateKey, text: str
) -> None:
    """Keys: a public key has one spelling; short and even moduli are none."""
    n = key.public_key().public_numbers().n
    text = text.format(n=n, small=(1 << 2047) + 1, even=n - 1, huge=(1 << 9000) + 1)
    with pytest.raises(RejectedArchive):
        open_archive(archive, text)


@pytest.mark.parametrize("line", [b"[]", b"{}", b"not JSON", b"\xff", b"null", b""])
def test_what_was_signed_for_something_else_is_refused(
    key: rsa.RSAPrivateKey, public: str, line: bytes
) -> None:
    """Signatures: what the same key signed, but not as a slave's archive, does not run."""
    for fields in (line, json.dumps({"format": slave_archive.FORMAT}).encode()):
        signed = fields + b"\n" + ZIPPED
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        with pytest.raises(RejectedArchive, match="what was signed"):
            open_archive(slave_archive.seal(signed, signature, public), public)


# -- keys


def test_a_key_is_kept_for_its_owner_alone(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """Keys: a private key is readable by its owner only, and no file is written over."""
    path = tmp_path / "private.pem"
    before = os.umask(0)
    try:
        signing.save(key, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="stays as it is"):
        signing.save(key, path)
    assert signing.public_key(signing.load(path)) == signing.public_key(key)
    assert not signing.is_encrypted(path)


def test_a_passphrase_keeps_others_out(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    """Keys: one with a passphrase is loaded with it only, and each refusal says why."""
    path = tmp_path / "private.pem"
    signing.save(key, path, "ein langer Satz")
    assert signing.is_encrypted(path)
    assert signing.public_key(signing.load(path, "ein langer Satz")) == signing.public_key(key)
    with pytest.raises(ConfigurationError, match="the passphrase is wrong"):
        signing.load(path, "a wrong one")
    with pytest.raises(ConfigurationError, match="has a passphrase, and none was given"):
        signing.load(path)
    plain = tmp_path / "plain.pem"
    signing.save(key, plain)
    with pytest.raises(ConfigurationError, match="has no passphrase"):
        signing.load(plain, "needless")


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_what_is_no_key_is_said(tmp_path: Path) -> None:
    """Keys: a missing file, other text, another kind of key and a short one are told apart."""
    path = tmp_path / "private.pem"
    for check in (signing.load, signing.is_encrypted):
        with pytest.raises(ConfigurationError, match="can not be read"):
            check(path)
    path.write_text("no key")
    with pytest.raises(ConfigurationError, match="no private key that can be used"):
        signing.load(path)
    path.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ConfigurationError, match="no RSA key"):
        signing.load(path)
    path.write_bytes(pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    with pytest.raises(RejectedArchive, match="2048 bits"):
        signing.load(path)


def test_only_a_slaves_archive_is_signed(key: rsa.RSAPrivateKey) -> None:
    """Signing: what is no zip, or has no such program in it, is not signed."""
    with pytest.raises(ConfigurationError, match="no zip file"):
        signing.sign_archive(b"PK", "app_slave.py", key)
    with pytest.raises(ConfigurationError, match=r"no program 'other\.py'"):
        signing.sign_archive(ZIPPED, "other.py", key)
