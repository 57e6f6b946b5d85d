"""The daemons of an app in config.xml: one that judges results, and one that delivers them."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from pyboinc.administration import compiling, scripts
from pyboinc.administration.xml_text import Element

VALIDATOR, ASSIMILATOR = "validator", "assimilator"

KINDS = (VALIDATOR, ASSIMILATOR)

VALIDATORS = {
    "trivial": "sample_trivial_validator -d 3 --app {app}",
    "bitwise": "sample_bitwise_validator -d 3 --app {app}",
    "script": (
        f"script_validator -d 3 --app {{app}} --init_script {scripts.VALIDATE}"
        f" --compare_script {scripts.COMPARE}"
    ),
}
"""What judges results, by the name that `pyboinc setup --validator` takes."""

ASSIMILATORS = (scripts.ASSIMILATE, compiling.NAME)
"""What may deliver results: the script, or its compiled half, which calls it."""

_ASSIMILATOR = "script_assimilator -d 3 --app {app} --sleep_interval 1 --script {choice}"

_ITEM = """\
<daemon>
    <cmd>{command}</cmd>
    <output>{name}.log</output>
    <pid_file>{name}.pid</pid_file>
</daemon>"""


class Daemon(NamedTuple):
    """A daemon of config.xml, as `bin/start` understands it."""

    element: Element
    command: str
    output: str
    pid_file: str
    host: str
    disabled: bool

    @property
    def words(self) -> list[str]:
        """The words of its command."""
        try:
            return shlex.split(self.command)
        except ValueError:
            return self.command.split()

    @property
    def program(self) -> str:
        """The name of its program."""
        return self.words[0].rpartition("/")[2] if self.words else ""

    @property
    def app(self) -> str:
        """The app that it is for, or nothing."""
        words = self.words
        at = next((n for n, word in enumerate(words) if word in ("--app", "-app")), len(words))
        return words[at + 1] if at + 1 < len(words) else ""


def item(kind: str, app: str, choice: str) -> str:
    """Return its element of config.xml, with files of its own: two may be of one program.

    *choice* is one of :data:`VALIDATORS` or of :data:`ASSIMILATORS`.
    """
    text = _ASSIMILATOR if kind == ASSIMILATOR else VALIDATORS[choice]
    return _ITEM.format(command=text.format(app=app, choice=choice), name=f"{app}_{kind}")


def of_project(root: Element) -> list[Daemon]:
    """Return the daemons of the config.xml whose root is *root*."""
    found = [one for daemons in root.all("daemons") for one in daemons.all("daemon")]
    return [_read(one) for one in found]


def of_app(root: Element, app: str, kind: str) -> list[Daemon]:
    """Return the daemons of this *kind* for *app*."""
    return [one for one in of_project(root) if one.app == app and kind in one.program]


def fits(daemon: Daemon, kind: str, validator: str) -> bool:
    """Whether *daemon* does what that of this *kind* is for; flags of its own it may have."""
    if kind == ASSIMILATOR:
        calls = {*ASSIMILATORS} & {*daemon.words}
        return daemon.program == "script_assimilator" and bool(calls)
    wanted = VALIDATORS.get(validator, "?").split()
    ours = {word for word in wanted if word.startswith("pyboinc_")}
    return daemon.program == wanted[0] and ours <= {*daemon.words}


def _read(element: Element) -> Daemon:
    words = element.value("cmd")
    program = (words.split() or [""])[0].rpartition("/")[2]
    return Daemon(
        element=element,
        command=words,
        output=element.value("output") or f"{program}.log",
        pid_file=element.value("pid_file") or f"{program}.pid",
        host=element.value("host"),
        disabled=element.value("disabled") not in ("", "0"),
    )


def validator_of(root: Element, app: str) -> str:
    """Return which validator *app* has, by its short name, or nothing."""
    there = of_app(root, app, VALIDATOR)
    return next(
        (name for name in VALIDATORS for one in there if fits(one, VALIDATOR, name)),
        "",
    )
