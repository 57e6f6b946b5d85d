"""The served project: the emulated one, with real BOINC clients that come over HTTP.

This is the master's end.  The project's process (:mod:`~pyboinc.backends.served.server`) is that
of the emulator with a web server in it (:mod:`~pyboinc.backends.served.web`), and a
scheduler that speaks BOINC's protocol (:mod:`~pyboinc.backends.served.scheduler`).  The
clients, if PyBOINC is to start some, have a keeper of their own
(:mod:`~pyboinc.backends.served.clients`), so that they outlive a project that is killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pyboinc.backends.local import LocalBackend, processes
from pyboinc.config import Settings
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.jobdir import JobDirectory

if TYPE_CHECKING:
    from pyboinc.backends.served.options import ServedOptions

_NEEDED = ("aiohttp", "cryptography")


class ServedBackend(LocalBackend):
    """The emulated project of one job directory, for real BOINC clients."""

    _program = "pyboinc.backends.served.server"

    def __init__(self, directory: JobDirectory, settings: Settings) -> None:
        super().__init__(directory, settings)
        check_installed()
        self._boinc = _client_program() if settings.boinc_clients else ""
        self._keeper: subprocess.Popen[bytes] | None = None
        self._serving: dict[str, Any] = {}
        self._told = False

    def options(self) -> ServedOptions:
        """Return what the server is started with."""
        from pyboinc.backends.served.options import ServedOptions

        settings = self._settings
        host, _, port = (settings.serve or "127.0.0.1:0").rpartition(":")
        usual = self._usual_options()
        if settings.origin("workers") == "default":
            usual["workers"] = 0  # the clients do the work, unless it is asked for otherwise
        return ServedOptions(
            **usual,
            host=host.strip("[]"),
            port=int(port),
            clients=settings.boinc_clients,
            app=settings.app,
            signing_key=str(settings.signing_key or ""),
        )

    def start(self) -> None:
        """Let the hosts begin, and start the clients."""
        super().start()
        if self._settings.serve is not None:
            self.tell_where()
        if self._server is not None and not self._server.stands:
            self.start_clients()

    def tell_where(self, serving: dict[str, Any] | None = None) -> None:
        """Say once where the project is; *serving* is the news of it, if it is not heard here."""
        self._serving = serving or self._serving
        if self._settings.quiet or self._told:
            return
        self._told = True
        url, key = self._serving["url"], self._serving["keys"][0]
        sys.stderr.write(
            f"pyboinc: BOINC clients find the project at {url}\n"
            f"pyboinc: to attach one: boinccmd --project_attach {url} {key}\n"
        )

    def _hear(self, news: dict[str, Any]) -> None:
        if "serving" in news:
            moved = bool(self._serving) and self._serving != news["serving"]
            self._serving = news["serving"]
            if moved and self._keeper is not None:
                self.stop_clients()
                self.start_clients()
        super()._hear(news)

    def start_clients(self) -> None:
        """Start the clients that are asked for, if they do not run."""
        if not self._settings.boinc_clients or self._keeper is not None:
            return
        what = {
            "directory": str(self._directory.state / "local" / "clients"),
            "program": self._boinc,
            "url": self._serving["url"],
            "keys": self._serving["keys"][1:],
        }
        command = [sys.executable, "-P", "-m", "pyboinc.backends.served.clients"]
        try:
            self._keeper = subprocess.Popen(
                [*command, json.dumps(what)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=processes.environment(),
            )
        except OSError as error:
            raise BackendError(
                f"the BOINC clients can not be started: {error.strerror}; mend that and run the "
                "same command"
            ) from error

    def stop_clients(self) -> None:
        """Stop the clients and wait until they have ended: their keeper sees the pipe close."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper.stdin is not None:
            with suppress(OSError):
                keeper.stdin.close()
            keeper.wait()

    def close(self) -> None:
        """Stop the clients and the project; the batch can be continued later."""
        self.stop_clients()
        super().close()


def check_installed() -> None:
    """Raise :class:`ConfigurationError` unless there is all that serving needs."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"serving needs {' and '.join(missing)}: pip install 'pyboinc[serve]'"
        )


def _client_program() -> str:
    """Return the path of BOINC's client; raises :class:`ConfigurationError` if there is none."""
    from shutil import which

    found = which("boinc") or which("boinc_client")
    if found is None:
        raise ConfigurationError(
            "--boinc-clients needs BOINC's client, and there is no program boinc on PATH; "
            "on Debian or Ubuntu: apt-get install boinc-client"
        )
    return found
