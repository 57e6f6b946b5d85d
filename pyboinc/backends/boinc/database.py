"""The project's database: one connection, made when it is needed, and again when it is lost.

Every statement commits by itself.  A long-lived connection that did not would see the rows
as they were when it looked first (InnoDB's REPEATABLE READ).  A server that goes away, is
restarted or drops an idle connection is waited for; whatever is changed is said in such a
way that saying it twice does no harm.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from pyboinc.backends.boinc.project import Login, unreachable
from pyboinc.errors import BackendError, ConfigurationError

PATIENCE = 120.0
"""Seconds that a database which does not answer is waited for."""

_PAUSE = 0.25
_CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 600

_GONE = frozenset({0, 1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031})
"""Numbers of the errors that pass: no connection, too many, shut down, a deadlock."""

_NO_ACCESS = frozenset({1044, 1045, 1049, 1698})

_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")

Value = TypeVar("Value")
Row = tuple[Any, ...]


class Database:
    """The database that *login* leads to; it is waited for *patience* seconds at most."""

    def __init__(self, login: Login, patience: float = PATIENCE) -> None:
        self._login = login
        self._patience = patience
        self._connection: Any = None
        self._lost: float | None = None

    def select(self, query: str, *values: object) -> list[Row]:
        """Return the rows that *query* finds."""
        return self._insist(lambda: self._fetch(query, values))

    def change(self, query: str, *values: object) -> int:
        """Change rows; return how many.  The same change must do no harm a second time."""
        return self._insist(lambda: int(self._execute(query, values).rowcount))

    def try_to_change(self, query: str, *values: object) -> bool:
        """Change rows, if the server answers just now; return whether it did."""
        try:
            self._execute(query, values)
        except Gone:
            return False
        return True

    def insert(self, query: str, *values: object) -> int:
        """Insert a row, once: an error passes through, and the caller looks what is there."""
        return int(self._execute(query, values).lastrowid)

    def look(self, query: str, *values: object) -> list[Row] | None:
        """Return the rows that *query* finds, or None if the server does not answer just now."""
        try:
            rows = self._fetch(query, values)
        except Gone as gone:
            self._wait_no_longer_than_allowed(gone)
            return None
        self._lost = None
        return rows

    def _insist(self, action: Callable[[], Value]) -> Value:
        while True:
            try:
                found = action()
            except Gone as gone:
                self._wait_no_longer_than_allowed(gone)
                time.sleep(_PAUSE)
            else:
                self._lost = None
                return found

    def _wait_no_longer_than_allowed(self, gone: Gone) -> None:
        now = time.monotonic()
        if self._lost is None:
            self._lost = now
        if now - self._lost > self._patience:
            raise unreachable("the project's database does not answer", gone) from None

    def _fetch(self, query: str, values: tuple[object, ...]) -> list[Row]:
        return list(self._execute(query, values).fetchall())

    def _execute(self, query: str, values: tuple[object, ...]) -> Any:
        err = _driver().err
        try:
            if self._connection is None:
                self._connection = _connect(self._login)
            cursor = self._connection.cursor()
            cursor.execute(query, values or None)
            return cursor
        except (err.MySQLError, OSError) as error:
            problem = self._problem(error)
        # Raised here, for the driver's errors hold on to the connection that they came from.
        self.close()
        raise problem

    def _problem(self, error: Exception) -> Exception:
        number = error.args[0] if error.args else 0
        if isinstance(error, OSError) or number in _GONE:
            return Gone(_words(error))
        return _refusal(self._login, error)

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:  # noqa: BLE001  # it is broken, which is why it is closed
                pass


class Gone(Exception):
    """The server does not answer just now."""


def _driver() -> Any:
    try:
        import pymysql
    except ImportError:
        raise ConfigurationError(
            "the backend boinc needs the package PyMySQL: pip install 'pyboinc[boinc]'"
        ) from None
    return pymysql


def _connect(login: Login) -> Any:
    address = _address(login.host)
    connection = _driver().connect(
        **address,
        user=login.user,
        password=login.password,
        database=login.database,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        write_timeout=_READ_TIMEOUT,
        defer_connect=True,
    )
    path = address.get("unix_socket")
    connection.connect(_connected(path) if path else None)
    return connection


def _connected(path: str) -> socket.socket:
    """Return a socket that is connected; the driver leaves one open if it can not be."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(_CONNECT_TIMEOUT)
        made.connect(path)
        made.settimeout(None)
    except OSError:
        made.close()
        raise
    return made


def _address(host: str) -> dict[str, Any]:
    """Return where the server listens: on this computer it is its socket, if there is one.

    No TLS is set up for a socket: that takes a tenth of a second.
    """
    if host.startswith("/"):
        return {"unix_socket": host, "ssl_disabled": True}
    if host in ("", "localhost"):
        for path in (os.environ.get("MYSQL_UNIX_PORT", ""), *_SOCKETS):
            if path and os.path.exists(path):
                return {"unix_socket": path, "ssl_disabled": True}
        return {"host": "localhost"}
    name, _, port = host.rpartition(":")
    if name and port.isdecimal():
        return {"host": name, "port": int(port)}
    return {"host": host}


def _words(error: BaseException) -> str:
    """Return what *error* says: no driver's error has the password in it."""
    return str(error.args[-1]) if error.args else type(error).__name__


def _refusal(login: Login, error: BaseException) -> BackendError:
    """Return the error for what the server refuses: waiting would not help."""
    words = _words(error)[:300]
    if error.args and error.args[0] in _NO_ACCESS:
        return BackendError(
            f"the project's database {login.database} does not let {login.user} in: {words}; "
            "mend db_host, db_name, db_user or db_passwd in the project's config.xml"
        )
    return BackendError(
        f"the project's database {login.database} refuses what it is asked: {words}; is it one of "
        "BOINC's, of 2014 or later?"
    )
