"""Stand-ins for ``bin/create_work`` and ``bin/cancel_jobs``, which fail as BOINC's do.

    python tools.py create_work|cancel_jobs PROJECT_DIR ARGUMENT...

* A missing output template is complained of, nothing is made, and the status is 0.
* ``--stdin`` makes rows in INSERTs of about a megabyte; each is made as a whole or not at all,
  and a name that is there already costs all of its INSERT: status 1.
* Nothing is escaped: a quote in a line breaks the INSERT.  What is said then is the whole SQL.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import md5
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pymysql

LARGEST_INSERT = 1_000_000
_COLUMNS = (
    "create_time, appid, name, xml_doc, batch, rsc_fpops_est, rsc_fpops_bound, rsc_memory_bound, "
    "rsc_disk_bound, need_validate, canonical_resultid, canonical_credit, transition_time, "
    "delay_bound, error_mask, file_delete_state, assimilate_state, min_quorum, target_nresults, "
    "max_error_results, max_total_results, max_success_results, result_template_file, priority"
)
_DEFAULTS = {
    "rsc_fpops_est": "3.6e12",
    "rsc_fpops_bound": "8.64e13",
    "rsc_memory_bound": "5e8",
    "rsc_disk_bound": "1e9",
    "delay_bound": "604800",
    "min_quorum": "1",
    "target_nresults": "1",
    "max_error_results": "1",
    "max_total_results": "1",
    "max_success_results": "1",
}


class Refused(Exception):
    """What the program says before it ends with status 1."""


def read_config(root: Path) -> dict[str, str]:
    """Return the values in a project's config.xml."""
    config = ElementTree.parse(root / "config.xml").find("config")
    assert config is not None
    return {each.tag: each.text or "" for each in config}


def connect(config: dict[str, str]) -> pymysql.Connection[Any]:
    """Return a connection to a project's database."""
    return pymysql.connect(
        unix_socket=config["db_host"],
        user=config["db_user"],
        password=config["db_passwd"],
        database=config["db_name"],
        autocommit=True,
        ssl_disabled=True,
    )


def hierarchy(root: str, fanout: int, name: str) -> str:
    """Return where a file lies in the download or upload hierarchy."""
    number = int(md5(name.encode()).hexdigest()[1:8], 16)
    return f"{root}/{number % fanout:x}/{name}"


class CreateWork:
    """One run of create_work."""

    def __init__(self, root: Path, arguments: Sequence[str]) -> None:
        self.root = root
        self.config = read_config(root)
        self.fanout = int(self.config["uldl_dir_fanout"])
        self.options, self.files = _options(arguments)
        self._shared: dict[str, str] = {}
        self._templates: dict[str, tuple[str, int, str, dict[str, str]]] = {}

    def run(self, lines: Iterable[str]) -> tuple[int, str]:
        """Make the jobs; return the status, and what goes to stderr."""
        output = self.options.get("result_template", f"templates/{self.options['appname']}_out")
        try:
            with connect(self.config) as database:
                self.app = self._app(database)
                if not (self.root / output).is_file():
                    return 0, f"create_work: can't read result template {output}\n"
                self.output = output
                for part in self._parts(lines):
                    _insert(database, part)
        except Refused as refusal:
            return 1, f"{refusal}\n"
        return 0, ""

    def _app(self, database: pymysql.Connection[Any]) -> int:
        with database.cursor() as cursor:
            cursor.execute("select id from app where name=%s", (self.options["appname"],))
            found = cursor.fetchone()
        if found is None:
            raise Refused("create_work: app not found")
        return int(found[0])

    def _parts(self, lines: Iterable[str]) -> Iterator[list[str]]:
        if "stdin" not in self.options:
            lines = [f"--wu_name {self.options['wu_name']} {' '.join(self.files)}"]
        part: list[str] = []
        size = 0
        for line in lines:
            words = line.split() if '"' not in line else _words(line)
            options, files = _options(words)
            part.append(self._values({**self.options, **options}, files))
            size += len(part[-1])
            if size > LARGEST_INSERT:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _values(self, options: dict[str, str], files: list[str]) -> str:
        name = options.get("wu_name", "")
        _text, number, infos, columns = self._template(
            options.get("wu_template", f"templates/{options['appname']}_in")
        )
        if len(files) != number:
            raise Refused(
                f"create_work: {len(files)} infiles for {name}, the template has {number}"
            )
        for index, file in enumerate(files):
            info = self._shared.get(file) or self._info(file)
            if not index:
                self._shared[file] = info  # the slave's archive, the same for most jobs
            infos = infos.replace(f"@INFO{index}@", info).replace(f"@NAME{index}@", file)
        xml = infos.replace("@COMMAND@", options.get("command_line", ""))
        given = {**columns, "priority": options.get("priority", "0")}
        now = int(time.time())
        return (
            f"({now}, {self.app}, '{name}', '{xml}', {options.get('batch', 0)}, "
            f"{given['rsc_fpops_est']}, {given['rsc_fpops_bound']}, {given['rsc_memory_bound']}, "
            f"{given['rsc_disk_bound']}, 0, 0, 0, {now}, {given['delay_bound']}, 0, 0, 0, "
            f"{given['min_quorum']}, {given['target_nresults']}, {given['max_error_results']}, "
            f"{given['max_total_results']}, {given['max_success_results']}, '{self.output}', "
            f"{given['priority']})"
        )

    def _template(self, name: str) -> tuple[str, int, str, dict[str, str]]:
        """Read an input template: its text, its number of files, the XML of a job, its numbers."""
        found = self._templates.get(name)
        if found is None:
            try:
                text = (self.root / name).read_text()
            except OSError:
                raise Refused(f"create_work: can't open input template {name}") from None
            infos = re.findall(r"<file_info>(.*?)</file_info>", text, re.DOTALL)
            body = re.search(r"<workunit>(.*)</workunit>", text, re.DOTALL)
            assert body is not None
            refs = re.findall(r"<open_name>(.*?)</open_name>", body[1])
            columns = {
                each: (match[1] if (match := re.search(f"<{each}>(.*?)</{each}>", body[1])) else no)
                for each, no in _DEFAULTS.items()
            }
            xml = "".join(
                f"<file_info>\n{_flags(info)}@INFO{index}@</file_info>\n"
                for index, info in enumerate(infos)
            )
            xml += "<workunit>\n<command_line>\n@COMMAND@\n</command_line>\n" + "".join(
                f"<file_ref>\n    <file_name>@NAME{index}@</file_name>\n"
                f"    <open_name>{ref}</open_name>\n</file_ref>\n"
                for index, ref in enumerate(refs)
            )
            found = self._templates[name] = text, len(infos), f"{xml}</workunit>", columns
        return found

    def _info(self, file: str) -> str:
        path = hierarchy(self.config["download_dir"], self.fanout, file)
        try:
            descriptor = os.open(f"{path}.md5", os.O_RDONLY)
            cksum, size = os.read(descriptor, 100).decode().split()
            os.close(descriptor)
            if os.stat(f"{path}.md5").st_mtime < os.stat(path).st_mtime:
                raise ValueError(file)
        except (OSError, ValueError):
            try:
                data = Path(path).read_bytes()
            except OSError:
                raise Refused(f"process_input_template: md5_file {file}: open() failed") from None
            cksum, size = md5(data).hexdigest(), str(len(data))
        url = hierarchy(self.config["download_url"], self.fanout, file)
        return (
            f"    <name>{file}</name>\n    <url>{url}</url>\n"
            f"    <md5_cksum>{cksum}</md5_cksum>\n    <nbytes>{size}</nbytes>\n"
        )


def _words(line: str) -> list[str]:
    """Split a line in which double quotes group words."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', line)]


def _flags(info: str) -> str:
    return "".join(f"    {flag}\n" for flag in ("<no_delete/>", "<sticky/>") if flag in info)


def _options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    files: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("--stdin", "--verbose", "--continue_on_error"):
            options[word[2:]] = ""
        elif word.startswith("--"):
            value = next(rest, None)
            if value is None:
                raise Refused(f"create_work: bad argument {word!r}")
            options[word[2:]] = value
        else:
            files.append(word)
    return options, files


def _insert(database: pymysql.Connection[Any], part: list[str]) -> None:
    query = f"insert into workunit ({_COLUMNS}) values {', '.join(part)}"
    said = ""
    try:
        database.query(query)
    except pymysql.MySQLError as error:
        said = str(error.args[-1])
    if said:  # not above: an error holds on to the connection that it came from
        raise Refused(f"Database error: {said}\nquery={query}")


def cancel_jobs(root: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Cancel the workunits from one number to another, whosever they are."""
    first, last = map(int, arguments)
    with connect(read_config(root)) as database, database.cursor() as cursor:
        cursor.execute(
            "update result set server_state=5, outcome=5 where server_state<=2 "
            "and workunitid between %s and %s",
            (first, last),
        )
        cursor.execute(
            "update workunit set error_mask=error_mask|16, transition_time=%s "
            "where id between %s and %s",
            (int(time.time()), first, last),
        )
    return 0, ""


def run(name: str, root: Path, arguments: Sequence[str], lines: Iterable[str]) -> tuple[int, str]:
    """Run one of the programs; return its status, and what goes to stderr."""
    if name == "cancel_jobs":
        return cancel_jobs(root, arguments)
    try:
        return CreateWork(root, arguments).run(lines)
    except Refused as refusal:
        return 1, f"{refusal}\n"


if __name__ == "__main__":
    status, said = run(sys.argv[1], Path(sys.argv[2]), sys.argv[3:], sys.stdin)
    sys.stderr.write(said)
    sys.exit(status)
