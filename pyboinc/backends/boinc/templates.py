"""Input templates: what create_work is told of a job beside its name and its files.

What stands in the template wins over create_work's command line, and its own defaults have
changed over the years: so every number stands there.  A template is named after its content
and never changes; jobs with the same limits share it.
"""

from __future__ import annotations

import math
from hashlib import sha256

from pyboinc.config.limits import Limits

ARCHIVE_NAME, INPUT_NAME = "slave.zip", "in"
"""What the slave's archive and its input are called in a slot."""

_SLOWEST = 1000
"""The factor between the operations that a job is said to need and those it may take.

BOINC ends an instance that takes longer.  A guess of the one is easily wrong by two orders of
magnitude; what hangs is found by its deadline.
"""

_RUNTIME = 250_000_000
"""Bytes of a slot that are not the job's own: the interpreter, and packages like numpy."""

_TEMPLATE = """\
<input_template>
    <file_info>
        <number>0</number>
        <no_delete/>
        <sticky/>
    </file_info>
    <file_info>
        <number>1</number>
    </file_info>
    <workunit>
        <file_ref>
            <file_number>0</file_number>
            <open_name>{archive}</open_name>
        </file_ref>
        <file_ref>
            <file_number>1</file_number>
            <open_name>{input}</open_name>
        </file_ref>
{columns}
    </workunit>
</input_template>
"""


def input_template(limits: Limits) -> str:
    """Return the text of the input template for jobs with these *limits*."""
    columns = limits.workunit()
    del columns["priority"]  # no element of a template; create_work takes it as an option
    columns["rsc_fpops_bound"] = _SLOWEST * limits.fpops
    columns["rsc_disk_bound"] = _RUNTIME + limits.disk
    # In whole seconds; an instance that gets none is late before it is sent.
    columns["delay_bound"] = math.ceil(limits.delay_bound)
    lines = [f"        <{name}>{_text(number)}</{name}>" for name, number in columns.items()]
    return _TEMPLATE.format(archive=ARCHIVE_NAME, input=INPUT_NAME, columns="\n".join(lines))


def _text(number: float) -> str:
    return repr(number) if isinstance(number, int) else f"{number:.10g}"


def template_name(app: str, text: str) -> str:
    """Return the name of the file of an input template, relative to the project."""
    return f"templates/{app}_{sha256(text.encode()).hexdigest()[:16]}_in"
