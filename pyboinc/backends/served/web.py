"""The web server of the served project: addresses, bodies, time limits; nothing is decided here.

``aiohttp`` speaks HTTP, in a thread with an event loop of its own; what concerns the project
is asked through the :mod:`gate <pyboinc.backends.served.gate>`.  A stranger who sends nothing,
too slowly or too much loses his connection, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from pyboinc.backends.served import accounts
from pyboinc.backends.served.catalogue import INPUT_NAME
from pyboinc.backends.served.gate import Gate, TooMany
from pyboinc.backends.served.messages import LARGEST, parse_request
from pyboinc.backends.served.pages import Pages
from pyboinc.backends.served.project import Project
from pyboinc.backends.served.receiving import Receiver
from pyboinc.backends.served.replies import Reply, write_reply
from pyboinc.backends.served.survey import Survey
from pyboinc.errors import RejectedRequest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SILENCE = 30.0
"""Seconds that a connection may be silent in the middle of a request, or before its first."""

_LONGEST = 600.0
"""Seconds that one request may take in all."""

_FAREWELL = 5.0
"""Seconds in which all connections are closed at the end, at most."""

_SWEEP = 5.0
_BACKLOG = 1024


class Web:
    """The web server: started once, in a thread, on an address of its own."""

    def __init__(self, project: Project, gate: Gate) -> None:
        self._project = project
        self._gate = gate
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._receiver = Receiver(
            project.incoming, project.catalogue.certificates, lambda name: self._wanted(name)
        )
        self._runner: web.AppRunner | None = None
        self._since: dict[RequestHandler, float] = {}
        self._busy: set[object] = set()

    def start(self, sock: Any) -> None:
        """Answer on the bound socket *sock* from now on."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(sock), self._loop).result()

    def stop(self) -> Future[None]:
        """Answer nobody any more but those who have asked; done when they are, or too slow."""
        return asyncio.run_coroutine_threadsafe(self._stop(), self._loop)

    def join(self) -> None:
        """End the thread, when all is stopped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    async def _start(self, sock: Any) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST)
        self._add_routes(app, self._project.path)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.SockSite(self._runner, sock, backlog=_BACKLOG).start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def _stop(self) -> None:
        self._sweeper.cancel()
        if self._runner is not None:
            self._runner._shutdown_timeout = 1.0
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self._runner.cleanup()

    def _add_routes(self, app: web.Application, path: str) -> None:
        async def home(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(path)

        add = app.router.add_route
        add("GET", "/", home)
        add("POST", f"{path}cgi", self._scheduler)
        add("POST", f"{path}file_upload_handler", self._upload)
        add("GET", f"{path}download/{{name}}", self._download)
        add("GET", f"{path}get_project_config.php", self._configuration)
        add("GET", f"{path}lookup_account.php", self._lookup)
        add("GET", f"{path}create_account.php", self._create)
        survey = Survey(self._project.emulator.store.path, self._project.emulator.batch)
        Pages(survey, self._project).add_to(app, path)

    # Who stays, and how long.

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        protocol = request.protocol
        self._busy.add(protocol)
        try:
            async with asyncio.timeout(_LONGEST):
                return await handler(request)
        except TooMany:
            return web.Response(status=503, headers={"Retry-After": "10"})
        except TimeoutError:
            if request.content.is_eof():  # the rest of an answer can not be another one
                protocol.force_close()
            too_late = web.Response(status=408)
            too_late.force_close()
            return too_late
        finally:
            self._busy.discard(protocol)
            self._since[protocol] = self._loop.time()

    async def _sweep(self) -> None:
        """Close the connections on which nothing was asked for a while."""
        while True:
            await asyncio.sleep(_SWEEP)
            assert self._runner is not None and self._runner.server is not None
            now, there = self._loop.time(), self._runner.server.connections
            self._since = {one: self._since.get(one, now) for one in there}
            for one, since in self._since.items():
                if one not in self._busy and now - since > SILENCE and one.transport is not None:
                    one.transport.abort()

    async def _chunks(self, request: web.Request) -> AsyncIterator[bytes]:
        """Yield the body as it comes; a client that falls silent is not waited for."""
        while True:
            async with asyncio.timeout(SILENCE):
                chunk = await request.content.readany()
            if not chunk:
                return
            yield chunk

    async def _body(self, request: web.Request, most: int) -> bytes:
        parts, size = [], 0
        async for chunk in self._chunks(request):
            size += len(chunk)
            if size > most:
                raise web.HTTPRequestEntityTooLarge(most, size)
            parts.append(chunk)
        return b"".join(parts)

    # What clients ask for.

    async def _scheduler(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request, LARGEST)
        try:
            asked = parse_request(body)
        except RejectedRequest as refusal:
            answer = Reply(self._project.url, self._project.name, request_delay=60.0)
            answer.messages = [("low", str(refusal))]
        else:
            answer = await self._gate.ask(lambda: self._project.scheduler.answer(asked))
        return web.Response(body=write_reply(answer), content_type="text/xml")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        answer = await self._receiver.receive(self._chunks(request))
        return web.Response(body=answer, content_type="text/plain")

    async def _wanted(self, name: str) -> Any:
        return await self._gate.ask(lambda: self._project.wanted(name))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if INPUT_NAME.fullmatch(name):
            data = await self._gate.ask(lambda: self._project.input(name))
            return _ranged(request, data)
        path = self._project.catalogue.path(name)
        if path is None:
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    async def _configuration(self, request: web.Request) -> web.StreamResponse:
        project = self._project
        platforms = project.catalogue.platforms
        return _xml(accounts.configuration(project.url, project.name, platforms))

    async def _lookup(self, request: web.Request) -> web.StreamResponse:
        asked = dict(request.query)
        registry = self._project.registry
        return _xml(await self._gate.ask(lambda: accounts.look_up(registry, asked)))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked, anybody = dict(request.query), self._project.is_private
        registry = self._project.registry
        return _xml(await self._gate.ask(lambda: accounts.create(registry, asked, anybody)))


def _xml(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/xml")


def _ranged(request: web.Request, data: bytes | None) -> web.Response:
    """Answer with *data*, or the part of it that was asked for."""
    if data is None:
        raise web.HTTPNotFound
    try:
        wanted = request.http_range
    except ValueError:
        wanted = slice(None)
    start, stop, _ = wanted.indices(len(data))
    if wanted.start is None and wanted.stop is None:
        return web.Response(body=data, content_type="application/octet-stream")
    if start >= stop:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{len(data)}"})
    headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
    body = data[start:stop]
    return web.Response(
        status=206, body=body, headers=headers, content_type="application/octet-stream"
    )
