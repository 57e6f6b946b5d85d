"""What ``pyboinc build`` made is served: to each platform its own version, signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from fake_client import one
from served_bench import ServedBench, output

from pyboinc import build, signing
from pyboinc.backends.served import accounts, versions
from pyboinc.backends.served.scheduler import Policy
from pyboinc.build import python_form
from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import key_id, open_archive

LINUX, ARM, MAC = "x86_64-pc-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin"
WINDOWS = "windows_x86_64"


@cache
def key() -> RSAPrivateKey:
    """A key of the project's people, made when it is first needed: it takes a while."""
    return signing.generate()


def public_key() -> str:
    """The text of its public half."""
    return signing.public_key(key())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServedBench]:
    """A served project in whose job directory nothing was built yet."""
    bench = ServedBench(tmp_path, Policy(per_cpu=1))
    yield bench
    bench.check()
    bench.emulator.store.close()


def own_key(bench: ServedBench) -> str:
    """The public key of the project itself, as ``pyboinc build`` can be given it."""
    return (bench.path / ".pyboinc/local/keys/archive.public").read_text()


def built(path: Path, platform: str, version: str = "1.0", trusts: str = "") -> Path:
    """Build the python3 form below *path*; return its main program."""
    made = build.app_version("pyboinc", version, platform, trusts or public_key())
    files = python_form.build(made)
    build.place(made, path, files)
    return made.directory(path) / next(iter(files))


def of_windows(path: Path, version: str, trusts: str) -> Path:
    """A version of somebody's own for a platform that is not built for: two files."""
    place = path / "apps/pyboinc" / version / WINDOWS
    place.mkdir(parents=True)
    main = place / f"pyboinc_{version}_{WINDOWS}.exe"
    main.write_bytes(f"MZ\n# It runs what the key {key_id(trusts)} has signed\n".encode())
    (place / f"python_{version}.dll").write_bytes(b"\0\1\2")
    (place / "version.xml").write_text(
        f"<version><file><physical_name>python_{version}.dll</physical_name><logical_name>python.dll"
        f"</logical_name></file><file><physical_name>{main.name}</physical_name><main_program/>"
        "</file><api_version>7.16.0</api_version></version>"
    )
    return main


def served(bench: ServedBench, *platforms: str) -> tuple[int, str, str]:
    """Number, platform and main program of the version that a host of these platforms gets."""
    bench.create()
    client = bench.client(0, cpid=f"{bench.emulator.tally.total:032x}", platforms=platforms)
    answer = client.ask()
    (text,) = re.findall("<app_version>.*?</app_version>", answer, re.DOTALL)
    (task,) = client.tasks
    assert f"<name>{task}</name>" in answer
    (result,) = re.findall("<result>.*?</result>", answer, re.DOTALL)
    assert one(result, "platform") == one(text, "platform")
    assert one(result, "version_num") == one(text, "version_num")
    return int(one(text, "version_num")), one(text, "platform"), one(text, "file_name")


def test_each_platform_gets_its_version_of_the_highest_number(bench: ServedBench) -> None:
    """Versions: as BOINC's feeder, only the newest for a platform; 1.10 is newer than 1.9."""
    for platform, version in [(LINUX, "1.9"), (LINUX, "1.10"), (ARM, "1.9")]:
        built(bench.path, platform, version, own_key(bench))
    of_windows(bench.path, "2.1", own_key(bench))
    bench.reopen()

    assert served(bench, LINUX) == (110, LINUX, f"pyboinc_1.10_{LINUX}_python3")
    assert served(bench, ARM) == (109, ARM, f"pyboinc_1.9_{ARM}_python3")
    assert served(bench, WINDOWS) == (201, WINDOWS, f"pyboinc_2.1_{WINDOWS}.exe")
    configuration = accounts.configuration("http://a.b/", "p", bench.project.catalogue.platforms)
    assert re.findall("<platform_name>(.*)</platform_name>", configuration) == [ARM, WINDOWS, LINUX]


def test_the_first_platform_that_fits_is_taken(bench: ServedBench) -> None:
    """Versions: a host's own platform first, then the others that it can run, in its order."""
    built(bench.path, LINUX, "1.0", own_key(bench))
    built(bench.path, "i686-pc-linux-gnu", "2.0", own_key(bench))
    bench.reopen()

    assert served(bench, LINUX, "i686-pc-linux-gnu")[:2] == (100, LINUX)
    assert served(bench, "riscv64-unknown-linux-gnu", "i686-pc-linux-gnu", LINUX)[0] == 200


def test_a_platform_without_a_version_is_told_so(bench: ServedBench) -> None:
    """Versions: the words of a real server, and a day until the client asks again."""
    built(bench.path, LINUX, trusts=own_key(bench))
    bench.reopen()
    bench.create()
    client = bench.client(platforms=(WINDOWS, "windows_intelx86"))
    answer = client.ask()

    assert (
        f'<message priority="notice">This project doesn\'t support computers of type {WINDOWS}'
        in (answer.replace("&apos;", "'"))
    )
    assert one(answer, "request_delay") == "86400"
    assert client.tasks == {} and "<app_version>" not in answer
    assert bench.states() == [("UNSENT", "INIT")]


def test_all_files_are_signed_and_can_be_fetched(bench: ServedBench) -> None:
    """Versions: each file by its own name, signed with the project's key; one is the program."""
    main = of_windows(bench.path, "1.0", own_key(bench))
    bench.reopen()
    bench.create()
    client = bench.client(platforms=(WINDOWS,))
    answer = client.ask()

    catalogue = bench.project.catalogue
    for path in (main, main.with_name("python_1.0.dll")):
        (info,) = re.findall(
            f"<file_info>\n    <name>{path.name}</name>.*?</file_info>", answer, re.S
        )
        assert one(info, "url") == f"{bench.project.url}download/{path.name}"
        assert one(info, "nbytes") == str(path.stat().st_size)
        assert catalogue.code_sign.has_signed(path.read_bytes(), one(info, "file_signature"))
        assert ("<executable/>" in info) == (path == main)
        kept = catalogue.path(path.name)
        assert kept is not None and kept.read_bytes() == path.read_bytes()
    (version,) = re.findall("<app_version>.*?</app_version>", answer, re.DOTALL)
    assert "<api_version>7.16.0</api_version>" in version
    assert version.count("<main_program/>") == 1
    assert "<open_name>python.dll</open_name>" in version
    assert catalogue.path("version.xml") is None


def test_a_program_that_was_built_does_the_jobs(bench: ServedBench) -> None:
    """Versions: it is another application than the one that is made here: their numbers meet."""
    bench.create(2)
    client = bench.client(0, cpus=1)
    assert "<app_name>pyboinc_script</app_name>" in client.ask()
    (first,) = client.tasks
    built(bench.path, LINUX, trusts=own_key(bench))
    bench.reopen()
    client.finish(first, output(1))
    answer = client.ask()

    assert "<app_name>pyboinc</app_name>" in answer
    assert "<version_num>100</version_num>" in answer
    assert list(client.tasks) == ["1_1_0"]
    assert bench.states(0) == [("OVER", "SUCCESS")]


def archive_for(answer: str, bench: ServedBench) -> bytes:
    """The slave's archive that a client was told of."""
    (name,) = set(re.findall("<name>(pyb_slave_.*)</name>", answer))
    path = bench.project.catalogue.path(name)
    assert path is not None
    return path.read_bytes()


def test_archives_are_signed_by_the_key_that_a_version_trusts(bench: ServedBench) -> None:
    """Signatures: by --signing-key, by pyboinc sign before, or by the project's own key."""
    built(bench.path, LINUX)
    built(bench.path, ARM, trusts=own_key(bench))
    bench.reopen()
    bench.create(3)
    client, other = bench.client(0), bench.client(0, cpid="e" * 32, platforms=(ARM,))
    assert client.ask() and client.tasks == {}
    (news,) = bench.project.scheduler.news
    assert "has signed, and the archive of app_slave.py is not: pyboinc sign" in news
    assert key_id(public_key()) in news
    open_archive(archive_for(other.ask(), bench), own_key(bench))

    zipped = (bench.path / f".pyboinc/bundles/{bench.bundle}.zip").read_bytes()
    signed = bench.path / f".pyboinc/bundles/{bench.bundle}.signed"
    signed.write_bytes(signing.sign_archive(zipped, "app_slave.py", key()))
    open_archive(archive_for(client.ask(), bench), public_key())
    signed.write_bytes(b"no archive")
    signing.save(key(), bench.path / "key.pem")
    bench.signing_key = bench.path / "key.pem"
    bench.reopen()
    third = bench.client(0, cpid="f" * 32)
    open_archive(archive_for(third.ask(), bench), public_key())
    assert [len(one.tasks) for one in (client, other, third)] == [1, 1, 1]


@pytest.mark.parametrize(
    "signed", [b"", b"no archive", b"a\nkey b\nc\n[]\n", b"a\nkey b\nc\n{}\n", b"\n\n\n\n"]
)
def test_an_archive_that_is_none_is_not_sent(bench: ServedBench, signed: bytes) -> None:
    """Signatures: a .signed file of another slave, or of anything, is none."""
    built(bench.path, LINUX)
    zipped = (bench.path / f".pyboinc/bundles/{bench.bundle}.zip").read_bytes()
    (bench.path / f".pyboinc/bundles/{bench.bundle}.signed").write_bytes(signed + zipped)
    bench.reopen()
    bench.create()
    client = bench.client()
    client.ask()
    assert client.tasks == {}
    assert bench.states() == [("UNSENT", "INIT")]


def test_a_lost_result_waits_for_a_signature_too(bench: ServedBench) -> None:
    """Signatures: what can not be run is not sent again either."""
    bench.create()
    client = bench.client()
    client.ask()
    client.tasks.clear()
    built(bench.path, LINUX)
    bench.reopen()
    client.ask(seconds=0)
    assert client.tasks == {}
    assert bench.states() == [("IN_PROGRESS", "INIT")]


def test_what_clients_may_have_does_not_change(bench: ServedBench) -> None:
    """Names are for ever: another file of the same name is refused, as by update_versions."""
    main = built(bench.path, LINUX, trusts=own_key(bench))
    bench.reopen()
    main.write_bytes(main.read_bytes() + b"\n")
    with pytest.raises(ConfigurationError, match="has changed: .* with the next --version"):
        bench.reopen()
    main.write_bytes(main.read_bytes()[:-1])
    bench.reopen()


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (None, "can not be read"),
        ("<version><file>", "can not be read"),
        ("<version/>", "must name one main_program"),
        ("<version><file><physical_name>../main</physical_name></file></version>", "is no file"),
        ("<version><file><physical_name>gone</physical_name></file></version>", "is no file"),
        (
            "<version><file><physical_name>main</physical_name><main_program/></file></version>",
            "does not say which key it trusts",
        ),
    ],
)
def test_what_is_no_app_version_is_refused(tmp_path: Path, xml: str | None, why: str) -> None:
    """Versions: a damaged one, or one from elsewhere, is said before anything is served."""
    place = tmp_path / "apps/pyboinc/1.0" / LINUX
    place.mkdir(parents=True)
    (place / "main").write_text("#!/bin/sh\n")
    if xml is not None:
        (place / "version.xml").write_text(xml)
    with pytest.raises(ConfigurationError, match=why):
        versions.find(tmp_path, "pyboinc")


def test_what_is_no_version_is_passed_over(tmp_path: Path) -> None:
    """Versions: other files and directories in apps/ are nobody's business; a plan class is."""
    built(tmp_path, LINUX)
    for name in ("notes", "1.x", "1.0/.x.tmp"):
        (tmp_path / "apps/pyboinc" / name).mkdir()
    (tmp_path / "apps/pyboinc/1.1").write_text("a file")
    (tmp_path / "apps/pyboinc/1.0/README").write_text("a file")
    (found,) = versions.find(tmp_path, "pyboinc")
    assert (found.number, found.platform, found.key) == (100, LINUX, key_id(public_key()))
    assert versions.find(tmp_path, "another") == []
    (tmp_path / f"apps/pyboinc/1.0/{LINUX}__mt").mkdir()
    with pytest.raises(ConfigurationError, match="plan classes are not served"):
        versions.find(tmp_path, "pyboinc")
