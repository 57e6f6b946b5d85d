"""The directory of a stand-in project: config.xml, programs, templates, and what is PyBOINC's."""

from __future__ import annotations

import itertools
import marshal
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pymysql
from source import ROOT

from boinc_project import mariadb, schema, tools
from pyboinc import signing

FANOUT = 16
PASSWORD = "open sesame"
"""The database's password, which must be seen nowhere."""

_ASSIMILATE = ROOT / "pyboinc/administration/bin/pyboinc_assimilate"
_PROGRAM = """\
#!{python} -IS
import marshal, os, socket, sys
root = {root!r}
try:
    server = socket.socket(socket.AF_UNIX)
    server.connect({socket!r})
except OSError:
    os.execv({python!r}, [{python!r}, {tools!r}, {name!r}, root, *sys.argv[1:]])
told = marshal.dumps([{name!r}, sys.argv[1:]])
server.sendall(b"%10d" % len(told) + told)
while "--stdin" in sys.argv and (data := os.read(0, 1 << 16)):
    server.sendall(data)
server.shutdown(socket.SHUT_WR)
said = server.makefile("rb").read()
sys.stderr.write(said[3:].decode())
sys.exit(int(said[:3]))
"""
_CONFIG = """\
<?xml version="1.0" ?>
<boinc>
  <!-- a project for tests -->
  <config>
    <db_name>{name}</db_name>
    <db_host>{host}</db_host>
    <db_user>{name}</db_user>
    <db_passwd>{password}</db_passwd>
    <download_dir>{root}/download</download_dir>
    <download_url>http://127.0.0.1/test/download</download_url>
    <upload_dir>{root}/upload</upload_dir>
    <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url>
    <uldl_dir_fanout>{fanout}</uldl_dir_fanout>
    <cache_md5_info>1</cache_md5_info>
  </config>
  <daemons>
  </daemons>
</boinc>
"""
_OUTPUT_TEMPLATE = """\
<output_template>
    <file_info>
        <name><OUTFILE_0/></name>
        <generated_locally/>
        <upload_when_present/>
        <max_nbytes>64000000</max_nbytes>
        <url><UPLOAD_URL/></url>
    </file_info>
    <result>
        <file_ref>
            <file_name><OUTFILE_0/></file_name>
            <open_name>out</open_name>
        </file_ref>
    </result>
</output_template>
"""

_numbers = itertools.count(1)
_open: dict[Path, StandIn] = {}


@cache
def private_key() -> Any:
    """The project's key, made once in a process: that takes a moment."""
    return signing.generate()


class StandIn:
    """A project in the directory *root*, with a database of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ours = root / "pyboinc"
        self.name = f"test_{os.getpid()}_{next(_numbers)}_{secrets.token_hex(3)}"
        for name in ("bin", "templates", "download", "upload", "tmp_host"):
            (root / name).mkdir(parents=True)
        for name in ("batches", "failed", "kept", "archives"):
            (self.ours / name).mkdir(parents=True)
        self.key = root / "key.pem"
        signing.save(private_key(), self.key)
        (self.ours / "public_key").write_text(signing.public_key(private_key()))
        (root / "templates/pyboinc_out").write_text(_OUTPUT_TEMPLATE)
        self.write_config(mariadb.socket())
        self._make_database()
        self._programs = _Programs(self.root)
        for name in ("create_work", "cancel_jobs"):
            self.put_program(name)
        script = self.root / "bin/pyboinc_assimilate"
        script.write_text(_ASSIMILATE.read_text())
        script.chmod(0o755)

    @classmethod
    def at(cls, root: Path) -> StandIn:
        """The project in *root*, made when it is first asked for."""
        if root not in _open:
            _open[root] = cls(root)
        return _open[root]

    @staticmethod
    def close_all() -> None:
        """Close all that were made by :meth:`at`."""
        while _open:
            _open.popitem()[1].close()

    def write_config(self, host: str) -> None:
        """Write config.xml; *host* is where the database is said to be."""
        text = _CONFIG.format(
            name=self.name, host=host, root=self.root, fanout=FANOUT, password=PASSWORD
        )
        (self.root / "config.xml").write_text(text)

    def put_program(self, name: str, alone: bool = False) -> None:
        """Put one of the project's programs into bin/: it asks this process to do the work.

        With *alone* it does it itself, in an interpreter of its own.
        """
        path = self.root / "bin" / name
        path.write_text(
            _PROGRAM.format(
                python=sys.executable,
                root=str(self.root),
                socket="" if alone else self._programs.address,
                tools=str(Path(tools.__file__)),
                name=name,
            )
        )
        path.chmod(0o755)

    def _make_database(self) -> None:
        with closing(mariadb.connect()) as server, server.cursor() as cursor:
            cursor.execute(f"create database {self.name}")
            cursor.execute(f"create user {self.name}@localhost identified by '{PASSWORD}'")
            cursor.execute(f"grant all on {self.name}.* to {self.name}@localhost")
        with closing(self.connect()) as database, database.cursor() as cursor:
            for statement in schema.statements():
                cursor.execute(statement)
            cursor.execute("insert into app values (1, 0, 'pyboinc')")
            cursor.execute("insert into user values (3, 0, 'ada@example.org', 'ada')")
            cursor.execute("insert into user values (4, 0, 'bob@example.org', 'bob')")

    def connect(self) -> pymysql.Connection[Any]:
        """Return a connection to the project's database."""
        return mariadb.connect(self.name)

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the project's database."""
        with closing(self.connect()) as database, database.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def execute(self, query: str, *values: object) -> None:
        """Change the project's database, as an administrator might."""
        with closing(self.connect()) as database, database.cursor() as cursor:
            cursor.execute(query, values or None)

    def workunits(self) -> list[str]:
        """The names of all workunits, in the order in which they were made."""
        return [str(name) for (name,) in self.select("select name from workunit order by id")]

    def batch(self) -> dict[str, Any]:
        """The row of the newest batch."""
        database = mariadb.connect(self.name, cursorclass=pymysql.cursors.DictCursor)
        with closing(database), database.cursor() as cursor:
            cursor.execute("select * from batch order by id desc limit 1")
            found: Any = cursor.fetchone()
            return dict(found)

    def downloads(self) -> set[str]:
        """The names of all files in the download hierarchy."""
        return {path.name for path in (self.root / "download").rglob("*") if path.is_file()}

    def close(self) -> None:
        """Remove the database; the directory is the test's."""
        self._programs.close()
        with suppress(OSError), closing(mariadb.connect()) as server, server.cursor() as cursor:
            cursor.execute(f"drop database if exists {self.name}")
            cursor.execute(f"drop user if exists {self.name}@localhost")


class _Programs:
    """Runs the project's programs in this process, each in a thread: Python is warm here."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.address = f"/tmp/pyboinc-tools-{os.getpid()}-{secrets.token_hex(4)}"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.address)
        self._server.listen(32)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=[connection], daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as file:
            name, arguments = marshal.loads(file.read(int(file.read(10))))
            try:
                status, said = tools.run(name, self._root, arguments, _lines(file))
            except Exception as error:  # noqa: BLE001  # whatever it is, the program has failed
                status, said = 1, f"{error!r}\n"
            connection.sendall(b"%3d" % status + said.encode())

    def close(self) -> None:
        """Serve no more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        os.unlink(self.address)


def _lines(file: Any) -> Iterator[str]:
    for line in file:
        yield line.decode()


def files_named(xml: str) -> list[tuple[str, bool]]:
    """The files that a workunit's XML tells of, and whether each is to be kept."""
    infos = re.findall(r"<file_info>(.*?)</file_info>", xml, re.DOTALL)
    return [(re.findall(r"<name>(.*?)</name>", info)[0], "<no_delete/>" in info) for info in infos]
