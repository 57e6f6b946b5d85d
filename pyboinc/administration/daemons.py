"""The daemons of an app in config.xml: one that judges results, and one that delivers them."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from pyboinc.administration import scripts
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

_ASSIMILATOR = (
    f"script_assimilator -d 3 --app {{app}} --sleep_interval 1 --script {scripts.ASSIMILATE}"
)

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


def command(kind: str, app: str, validator: str = "trivial") -> str:
    """Return the command of the daemon of this *kind* for *app*."""
    text = _ASSIMILATOR if kind == ASSIMILATOR else VALIDATORS[validator]
    return text.format(app=app)


def item(kind: str, app: str, validator: str = "trivial") -> str:
    """Return its element of config.xml, with files of its own: two may be of one program."""
    return _ITEM.format(command=command(kind, app, validator), name=f"{app}_{kind}")


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
        return daemon.program == "script_assimilator" and scripts.ASSIMILATE in daemon.words
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
