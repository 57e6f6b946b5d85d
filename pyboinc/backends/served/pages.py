"""The pages for people: how the batch is, its hosts, its errors, and a page for each job.

The page itself (``people/``) has nothing of the project in it but its address and comes from
here alone, so that it works without a network; all that it shows it asks for as JSON:

    GET api/batch                               how far it is, hosts, errors by cause
    GET api/jobs?state=failed&first=0&most=50   jobs, a line each
    GET api/jobs/17                             one job with its instances and their stderr

They change nothing.  Who only shares this computer with the server may read them; where other
computers can reach it, they ask for the key of an account, once, and keep it in a cookie.
A page of a stranger's that was sent to our address by a trick with names (DNS rebinding) is
told apart by the name that it asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hmac import compare_digest
from html import escape
from importlib.resources import files
from typing import Any

from aiohttp import web

from pyboinc.backends.served.survey import STATES, Survey

Ask = Callable[[Callable[[], Any]], Awaitable[Any]]

COOKIE = "pyboinc_key"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_TYPES = {"page.js": "text/javascript", "page.css": "text/css"}


class Pages:
    """The routes for people of one project."""

    def __init__(self, survey: Survey, project: Any) -> None:
        self._survey = survey
        self._project = project
        self._looking = asyncio.Lock()
        folder = files("pyboinc.backends.served") / "people"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}
        self._shell = (folder / "index.html").read_text("utf-8")

    def add_to(self, app: web.Application, path: str) -> None:
        """Answer at the addresses below *path*."""
        add = app.router.add_get
        add(path, self._page)
        add(f"{path}jobs/{{number:[0-9]{{1,12}}}}", self._page)
        for name in _TYPES:
            add(f"{path}{name}", self._file)
        add(f"{path}api/batch", self._batch)
        add(f"{path}api/jobs", self._jobs)
        add(f"{path}api/jobs/{{number:[0-9]{{1,12}}}}", self._job)
        app.router.add_post(f"{path}login", self._login)

    # The page, which holds nothing that is secret: a client reads it to find the scheduler.

    async def _page(self, request: web.Request) -> web.Response:
        values = {
            "name": self._project.name,
            "path": self._project.path,
            "scheduler": f"{self._project.url}cgi",
            "url": self._project.url,
        }
        text = self._shell
        for name, value in values.items():
            text = text.replace("{{" + name + "}}", escape(value))
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def _file(self, request: web.Request) -> web.Response:
        name = request.path.rpartition("/")[2]
        return web.Response(body=self._files[name], content_type=_TYPES[name], headers=_HEADERS)

    # Who may look.

    async def _login(self, request: web.Request) -> web.Response:
        key = str((await request.post()).get("key", ""))
        if not self._is_key(key):
            raise web.HTTPForbidden(text="this is no account key of the project\n")
        answer = web.Response(text="{}", content_type="application/json", headers=_HEADERS)
        answer.set_cookie(
            COOKIE, key, path=self._project.path, httponly=True, samesite="Strict", max_age=10**7
        )
        return answer

    def _is_key(self, key: str) -> bool:
        given = key.encode(errors="replace")  # a header may hold bytes that are no text
        accounts = list(self._project.registry.accounts.values())
        return any(compare_digest(given, one.key.encode()) for one in accounts)

    def _check(self, request: web.Request) -> None:
        """Raise unless whoever asks may see the project's data."""
        if self._project.is_private:
            if request.host.rpartition(":")[0] not in ("127.0.0.1", "[::1]", "localhost"):
                raise web.HTTPForbidden(text="ask for this server by its address\n")
            return
        key = str(request.cookies.get(COOKIE) or request.headers.get("Authorization", ""))
        if not self._is_key(key.removeprefix("Bearer ")):
            raise web.HTTPUnauthorized(text="the key of an account is wanted\n")

    # What they see.

    async def _answer(self, request: web.Request, question: Callable[[], Any]) -> web.Response:
        self._check(request)
        async with self._looking:  # one look at a time: the rest of the disk is the project's
            found = await asyncio.to_thread(question)
        if found is None:
            raise web.HTTPNotFound(text="there is no such job\n")
        return web.json_response(found, headers=_HEADERS)

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._survey.batch)

    async def _jobs(self, request: web.Request) -> web.Response:
        state = request.query.get("state") or None
        if state is not None and state not in STATES:
            raise web.HTTPBadRequest(text=f"state is one of {', '.join(STATES)}\n")
        first, most = (_number(request, *one) for one in (("first", 0), ("most", 50)))
        return await self._answer(request, lambda: self._survey.jobs(state, first, most))

    async def _job(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        return await self._answer(request, lambda: self._survey.job(number))


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        raise web.HTTPBadRequest(text=f"{name} is a whole number, not {text[:40]!r}\n")
    return int(text)
