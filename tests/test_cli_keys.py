"""``pyboinc keygen``, ``sign`` and ``build``: the commands around the key that volunteers trust."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from source import ROOT

from pyboinc import build, cli, signing
from pyboinc.build import self_contained
from pyboinc.bundle import stored_zip
from pyboinc.cli import keys, sign
from pyboinc.slave_archive import open_archive

ZIPPED = stored_zip({"app_slave.py": b"pass\n", "data/": b"", "data/x.txt": b"seven"})


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.main, [str(word) for word in words])


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a key pair without a passphrase."""
    place = tmp_path_factory.mktemp("keys")
    made = run("keygen", place, "--no-passphrase")
    assert made.exit_code == 0, made.output
    return place


def test_a_key_pair_is_made_once(pair: Path) -> None:
    """keygen: a private key for its owner alone, the public key as text, never over others."""
    private, public = pair / keys.PRIVATE, pair / keys.PUBLIC
    assert signing.public_key(signing.load(private)) == public.read_text()
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    again = run("keygen", pair, "--no-passphrase")
    assert again.exit_code == 2
    assert "stays as it is" in again.output
    assert private.read_bytes() == before


def test_a_passphrase_is_taken_from_a_file(tmp_path: Path) -> None:
    """keygen and sign: where nobody can be asked, the first line of a file is the passphrase."""
    words = tmp_path / "words"
    words.write_text("ein langer Satz\nmore\n")
    assert run("keygen", tmp_path, "--passphrase-file", words).exit_code == 0
    archive = tmp_path / "a.zip"
    archive.write_bytes(ZIPPED)
    key = tmp_path / keys.PRIVATE
    signed = run("sign", archive, "--key", key, "--yes", "--passphrase-file", words)
    assert signed.exit_code == 0, signed.output
    words.write_text("wrong")
    wrong = run("sign", archive, "--key", key, "--yes", "--passphrase-file", words)
    assert (wrong.exit_code, "passphrase is wrong" in wrong.output) == (2, True)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ([], "nobody can be asked here for the passphrase"),
        (["--no-passphrase", "--passphrase-file", __file__], "contradict"),
        (["--passphrase-file", "/dev/null"], "the passphrase is empty"),
    ],
)
def test_keygen_asks_for_what_it_needs(tmp_path: Path, flags: list[str], why: str) -> None:
    """keygen: without a passphrase only if that is wanted."""
    if flags[-1:] == ["/dev/null"]:
        (tmp_path / "empty").touch()
        flags = ["--passphrase-file", str(tmp_path / "empty")]
    refused = run("keygen", tmp_path, *flags)
    assert refused.exit_code == 2
    assert why in refused.output
    assert not (tmp_path / keys.PRIVATE).exists()


def test_a_passphrase_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keygen: who sits at a terminal is asked."""
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("click.prompt", lambda *words, **how: "ein langer Satz")
    assert keys.passphrase(None, "key", new=True) == "ein langer Satz"


# -- sign


def test_what_is_signed_is_shown_first(pair: Path, tmp_path: Path) -> None:
    """sign: each file with its size and digest, the program and the key; then the archive."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(ZIPPED)
    signed = run("sign", archive, "--key", pair / keys.PRIVATE, "--yes")
    assert signed.exit_code == 0, signed.output
    assert hashlib.sha256(ZIPPED).hexdigest() in signed.output
    assert f"{5:>10,} {hashlib.sha256(b'seven').hexdigest()[:16]} data/x.txt" in signed.output
    public = (pair / keys.PUBLIC).read_text()
    fields, zipped = open_archive((tmp_path / "a.signed").read_bytes(), public)
    assert (fields["slave"], zipped) == ("app_slave.py", ZIPPED)
    again = run("sign", archive, "--key", pair / keys.PRIVATE)
    assert (again.exit_code, "is signed already" in again.output) == (0, True)


@pytest.mark.parametrize("answer", [True, False, "^C"])
def test_nothing_is_signed_without_a_yes(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    """sign: who does not say yes has signed nothing; where nobody can be asked, --yes says it."""
    import click

    def confirm(*words: object) -> bool:
        if answer == "^C":
            raise click.Abort
        return bool(answer)

    archive = tmp_path / "a.zip"
    archive.write_bytes(ZIPPED)
    refused = run("sign", archive, "--key", pair / keys.PRIVATE)
    assert (refused.exit_code, "pyboinc sign --yes" in refused.output) == (2, True)
    assert not (tmp_path / "a.signed").exists()
    monkeypatch.setattr(sign, "_asks_nobody", lambda: False)
    monkeypatch.setattr(click, "confirm", confirm)
    asked = run("sign", archive, "--key", pair / keys.PRIVATE)
    assert asked.exit_code == (0 if answer is True else 130)
    assert (tmp_path / "a.signed").exists() is (answer is True)


def test_what_can_not_be_signed(pair: Path, tmp_path: Path) -> None:
    """sign: no key, no zip file, no such program and no batch are each told."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(ZIPPED)
    key = pair / keys.PRIVATE
    for words, why in (
        ([archive], "which key is to sign?"),
        ([archive, "--key", key, "--yes", "--slave", "other.py"], "no program 'other.py'"),
        ([key, "--key", key, "--yes"], "no archive of a slave"),
        ([tmp_path, "--key", key], "no calls are made"),
        ([archive, "--key", tmp_path / "missing"], "can not be read"),
    ):
        refused = run("sign", *words)
        assert refused.exit_code == 2, refused.output
        assert why in refused.output
    assert not (tmp_path / "a.signed").exists()


def test_a_job_directory_knows_what_waits(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sign: in a job directory, the archives that its calls need, each with its program.

    One that is not what was called is refused.
    """
    job = tmp_path / "job"
    shutil.copytree(ROOT / "examples" / "sum_of_squares", job)
    subprocess.run(
        [sys.executable, "app_master.py"], cwd=job, check=True, stdout=subprocess.DEVNULL
    )
    monkeypatch.chdir(job)
    signed = run("sign", "--key", pair / keys.PRIVATE, "--yes")
    assert signed.exit_code == 0, signed.output
    (archive,) = (job / ".pyboinc" / "bundles").glob("*.zip")
    public = (pair / keys.PUBLIC).read_text()
    fields, zipped = open_archive(archive.with_suffix(".signed").read_bytes(), public)
    assert (fields["slave"], zipped) == ("app_slave.py", archive.read_bytes())
    archive.chmod(0o644)
    archive.write_bytes(b"another")
    refused = run("sign", job, "--key", pair / keys.PRIVATE, "--yes")
    assert "is not the archive of the slave that was called" in refused.output


# -- build


def test_a_version_is_built_for_every_platform(pair: Path, tmp_path: Path) -> None:
    """build: one small file each, and what to do with it; again, nothing changes."""
    words = ["build", "--public-key", pair / keys.PUBLIC, "--output", tmp_path, "--version", "2.1"]
    made = run(*words)
    assert made.exit_code == 0, made.output
    found = sorted(path.name for path in (tmp_path / "apps" / "pyboinc" / "2.1").iterdir())
    assert found == sorted(build.PLATFORMS)
    assert "bin/update_versions --noconfirm" in made.output
    assert run(*words).output.count("(as it was)") == len(build.PLATFORMS)


def test_a_version_with_packages_is_for_this_platform(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """build: --with means a version that brings its own Python; others are built elsewhere."""
    asked: list[object] = []

    def form(version: build.AppVersion, packages: object) -> dict[str, bytes]:
        asked.append(packages)
        return {version.name: b"#!", "version.xml": build.version_xml(version.name)}

    monkeypatch.setattr(self_contained, "build", form)
    words = ["build", "--public-key", pair / keys.PUBLIC, "--output", tmp_path]
    made = run(*words, "--with", "numpy")
    assert made.exit_code == 0, made.output
    assert asked == [("numpy",)]
    assert "It carries Python 3." in made.output
    here = build.platform_here()
    assert [path.name for path in (tmp_path / "apps" / "pyboinc" / "1.0").iterdir()] == [here]
    (other, *_) = [one for one in build.PLATFORMS if one != here]
    refused = run(*words, "--self-contained", "--platform", other)
    assert (refused.exit_code, f"for {here} only" in refused.output) == (2, True)
    monkeypatch.setattr(build, "platform_here", lambda: None)
    refused = run(*words, "--self-contained")
    assert (refused.exit_code, "no name" in refused.output) == (2, True)


def test_a_key_that_is_none_is_not_built_in(pair: Path, tmp_path: Path) -> None:
    """build: the private key, or any other file, is not taken for the public one."""
    refused = run("build", "--public-key", pair / keys.PRIVATE, "--output", tmp_path)
    assert (refused.exit_code, "no public key" in refused.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
