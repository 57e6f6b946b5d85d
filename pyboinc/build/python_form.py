"""The python3 form of an app version: one file that a volunteer's own Python runs.

It is a zip file, which Python runs, behind a few lines for the shell, which starts Python.
These lines do what a first line ``#!/usr/bin/env python3`` can not:

* Python is started isolated (``-I``): the volunteer's PYTHONPATH, PYTHONHOME, user's packages
  and start-up files do not change how a job comes out;
* a client has put the project's directory into the search path of shared libraries, where the
  project's server may put files that nobody has signed; it is taken out again;
* a job's command line, which comes from the server, is left out;
* a computer without Python is told so in words, in the task's stderr.

The zip is not compressed, so that its bytes are the same on every computer that builds it.
"""

from __future__ import annotations

from pyboinc.build import AppVersion, version_xml
from pyboinc.build.slave_half import files, main_program
from pyboinc.bundle import stored_zip

CLEANED = """\
# A BOINC client puts the project's directory, the slot and its own before the volunteer's.
for name in LD_LIBRARY_PATH DYLD_LIBRARY_PATH; do
    eval "path=\\$$name"
    case "$path" in
        ../../projects/*:.:../..:?*) export "$name=${path#*:.:../..:}" ;;
        ../../projects/*) unset "$name" ;;
    esac
done
"""
"""Lines for the shell that take the client's directories out of the search path of libraries."""

_HEAD = """\
#!/bin/sh
# {name}: the volunteer's side of PyBOINC, a zip file that python3 (3.8 or newer) runs.
# {trusts}
{cleaned}PATH="${{PATH:+$PATH:}}/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin"
export PATH
if ! command -v python3 > /dev/null; then
    echo "pyboinc: there is no python3 on this computer; it needs Python 3.8 or newer" >&2
    exit 1
fi
exec python3 -I "$0"
exit 1
"""


def build(built: AppVersion) -> dict[str, bytes]:
    """Return the files of the app version *built*: name -> content."""
    name = f"{built.name}_python3"
    head = _HEAD.format(name=name, trusts=built.trusts, cleaned=CLEANED)
    zipped = stored_zip({"__main__.py": main_program(built.public_key), **files()})
    return {name: head.encode() + zipped, "version.xml": version_xml(name)}
