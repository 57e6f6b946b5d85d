"""The directory of a BOINC project as `make_project` leaves it, for tests without a server.

What is not looked at by anybody is left out: daemons, web pages, the scheduler.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path

import pytest

from pyboinc.administration import compiling

SCRIPTS = Path(__file__).parents[1] / "pyboinc" / "administration" / "bin"


COMPILED = "compiled"


@cache
def compiled_program() -> bytes:
    """The compiled half of the assimilator, with every warning an error."""
    compiler = compiling.compiler()
    if compiler is None:
        pytest.skip("a C compiler is missing: apt-get install gcc libc6-dev")
    made = compiling.compiled(compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", "-std=c99")
    assert made is not None
    return made


class Assimilator:
    """A project with the assimilator's script, called as the daemon does: by a shell."""

    def __init__(self, project: Path, job_directory: Path, way: str = "sh") -> None:
        self.project = project
        self.ours = project / "pyboinc"
        self.new = job_directory / "new"
        self.upload = project / "upload" / "1a"
        self.daemon = project / "tmp_host"
        for path in (project / "bin", self.upload, self.daemon, self.new, job_directory / "old"):
            path.mkdir(parents=True)
        for name in ("batches", "failed", "kept"):
            (self.ours / name).mkdir(parents=True)
        shutil.copy(SCRIPTS / "pyboinc_assimilate", project / "bin")
        self.program, self.command = "pyboinc_assimilate", [way, "../bin/pyboinc_assimilate"]
        if way == COMPILED:
            self.program, self.command = compiling.NAME, [f"../bin/{compiling.NAME}"]
            (project / "bin" / compiling.NAME).write_bytes(compiled_program())
            (project / "bin" / compiling.NAME).chmod(0o755)
        self.register(7)

    def register(self, batch: int) -> None:
        """Do what a master does before it makes the jobs of a batch."""
        (self.ours / "batches" / str(batch)).write_text(f"{self.new}\n")

    def uploaded(self, name: str = "pyb_7_3_0_r123456_0", data: bytes = b"output") -> str:
        """Let a volunteer upload an output; return its path as the daemon gives it."""
        (self.upload / name).write_bytes(data)
        return f"../upload/1a/{name}"

    def call(self, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run it as the daemon does."""
        return subprocess.run(
            [*self.command, *map(str, words)],
            cwd=self.daemon,
            env={"PATH": "/usr/bin:/bin", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def delivered(self) -> dict[str, bytes]:
        """What is in new/."""
        return {path.name: path.read_bytes() for path in self.new.iterdir()}

    def kept(self) -> dict[str, bytes]:
        """What is in kept/."""
        place = self.ours / "kept"
        files = [path for path in place.rglob("*") if path.is_file()]
        return {str(path.relative_to(place)): path.read_bytes() for path in files}

    def failed(self) -> dict[str, str]:
        """What is in failed/."""
        return {path.name: path.read_text() for path in (self.ours / "failed").iterdir()}


CONFIG = """\
<?xml version="1.0" ?>
<boinc>
    <!-- this project is dear to somebody -->
    <config>
        <long_name>A project</long_name>
        <db_user>nobody</db_user>
        <db_name>none</db_name>
        <db_passwd>open sesame</db_passwd>
        <db_host>127.0.0.1:1</db_host>
        <host>{host}</host>
        <uldl_dir_fanout>1024</uldl_dir_fanout>
        <download_dir>{root}/download</download_dir>
        <upload_dir>{root}/upload</upload_dir>
        <key_dir>{root}/keys/</key_dir>
        <log_dir>{root}/log_{host}</log_dir>
    </config>
    <tasks>
        <task>
            <cmd>db_dump -d 2</cmd>
        </task>
    </tasks>
    <daemons>
        <daemon>
            <cmd>feeder -d 3 </cmd>
        </daemon>
        <!-- <daemon><cmd>not_this_one -app pyboinc</cmd></daemon> -->
    </daemons>
</boinc>
"""

PROJECT = """\
<boinc>
    <platform>
        <name>x86_64-pc-linux-gnu</name>
        <user_friendly_name>Linux</user_friendly_name>
    </platform>
</boinc>
"""

# As BOINC's: told of what is in project.xml and in apps/, and an exit code of 0 whatever happens.
XADD = """\
#!/bin/sh
echo xadd >> calls
grep -q "<app>" project.xml && echo "added app: (create_time, name) values (1, '{app}')"
exit 0
"""
UPDATE_VERSIONS = """\
#!/bin/sh
echo "update_versions $*" >> calls
confirm=true
[ "$1" = --noconfirm ] && confirm=false
touch database
for folder in apps/*/*/*; do
    grep -qx "$folder" database && continue
    $confirm && { read -r answer; [ "$answer" = y ] || exit 0; }
    echo "$folder" >> database
    echo "    App version added successfully; ID=1"
done
exit 0
"""
OLD_UPDATE_VERSIONS = UPDATE_VERSIONS.replace('[ "$1" = --noconfirm ] && confirm=false\n', "")

PROGRAMS = (
    "script_assimilator",
    "script_validator",
    "sample_trivial_validator",
    "sample_bitwise_validator",
    "create_work",
    "cancel_jobs",
)


def host() -> str:
    """This computer's name, as BOINC has it in config.xml."""
    return socket.gethostname().partition(".")[0]


def make_project(root: Path, config: str = CONFIG) -> Path:
    """Make the directory of a project in *root*, whose database does not answer."""
    for name in ("apps", "bin", "cgi-bin", "download", "keys", "templates", "upload", "html/ops"):
        (root / name).mkdir(parents=True)
    for name in ("log", "pid", "tmp"):
        (root / f"{name}_{host()}").mkdir()
    (root / "config.xml").write_text(config.format(root=root, host=host()))
    (root / "config.xml").chmod(0o664)
    (root / "project.xml").write_text(PROJECT)
    for name in ("code_sign_private", "code_sign_public"):
        (root / "keys" / name).write_text("a key\n")
    programs = dict.fromkeys(PROGRAMS, "#!/bin/sh\n")
    programs |= {"xadd": XADD.format(app="pyboinc"), "update_versions": UPDATE_VERSIONS}
    for name, text in programs.items():
        put_program(root / "bin" / name, text)
    return root


def put_program(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)


def make_versions(place: Path, *versions: str, app: str = "pyboinc") -> Path:
    """Lay out app versions as `pyboinc build` does; each is VERSION/PLATFORM."""
    for version in versions or ("1.0/x86_64-pc-linux-gnu",):
        folder = place / "apps" / app / version
        folder.mkdir(parents=True)
        put_program(folder / f"pyboinc_{version.replace('/', '_')}", f"\x00\x7f{version}")
        (folder / "version.xml").write_text("<version/>\n")
    return place


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and directory under *root*, with its mode."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }
