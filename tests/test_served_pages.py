"""The pages for people: what they tell, to whom, and how they look in a browser."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from served_bench import ServedBench, output

from pyboinc.backends.served.pages import Pages
from pyboinc.backends.served.survey import Survey

HOSTILE = "<script>document.title = 'taken over'</script>\x1b[31m"


class Site:
    """A project's pages on a port of their own, and the project behind them."""

    def __init__(self, bench: ServedBench) -> None:
        self.bench = bench
        self.path = bench.project.path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        self.url = f"http://127.0.0.1:{self.port}{self.path}"

    async def _start(self) -> int:
        app = web.Application()
        self.survey = Survey(self.bench.emulator.store.path, 1)
        Pages(self.survey, self.bench.project).add_to(app, self.path)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get(self, what: str = "", **headers: str) -> tuple[int, str]:
        """Status and text of what lies at *what*."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(self.url + what, headers=named)
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def json(self, what: str) -> Any:
        """What the project answers to a good question."""
        status, text = self.get(f"api/{what}")
        assert status == 200, text
        return json.loads(text)

    def now(self) -> Any:
        """How the batch is, looked at anew."""
        self.survey._fresh_until = 0.0
        return self.json("batch")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Five jobs: one is done, one has failed, one is running, two wait."""
    bench = ServedBench(tmp_path, clients=2)
    bench.create(2, max_errors=1)
    good, bad = bench.client(1), bench.client(2)
    good.ask()
    good.finish("1_0_0", output(42))
    for name in [one for one in good.tasks if one != "1_0_0"]:
        good.trickles[1] = name, f"said: {HOSTILE}"
        good.fail(name, stderr=f"Traceback\nValueError: {HOSTILE}")
    good.ask(seconds=0)
    bad.ask()
    for name in list(bad.tasks):
        bad.fail(name, stderr=f"Traceback\nValueError: {HOSTILE}")
    bad.ask(seconds=0)
    bench.create(3)
    made = Site(bench)
    yield made
    made.close()
    bench.emulator.store.close()


# ---------------------------------------------------------------- what they tell


def test_every_job_is_in_one_state_and_the_numbers_add_up(site: Site) -> None:
    """Pages: done, failed, running and queued are all the jobs there are."""
    jobs = site.now()["jobs"]

    assert jobs == {"total": 5, "done": 1, "failed": 1, "running": 0, "queued": 3}
    for state in ("done", "failed", "running", "queued"):
        listed = site.json(f"jobs?state={state}")["jobs"]
        assert len(listed) == jobs[state]
        assert {one["state"] for one in listed} <= {state}


def test_what_happens_is_seen_at_the_next_look(site: Site) -> None:
    """Pages: they are live: they read what the server has committed."""
    before = site.now()["jobs"]
    client = site.bench.client(1)
    client.ask()

    assert client.tasks
    assert site.now()["jobs"]["running"] == before["running"] + len(client.tasks)


def test_errors_are_gathered_by_cause(site: Site) -> None:
    """Pages: each distinct cause once, with its number of instances and a job to look at."""
    (error,) = site.now()["errors"]

    assert error == {"cause": f"ValueError: {HOSTILE}", "instances": 2, "job": 1}


def test_hosts_tell_what_they_did(site: Site) -> None:
    """Pages: each host with what it got right and wrong, a client with its computer."""
    hosts = {one["name"]: one for one in site.now()["hosts"]}

    assert [(one["successes"], one["errors"]) for one in hosts.values()] == [(1, 1), (0, 1)]
    assert {(one["kind"], one["system"]) for one in hosts.values()} == {("client", "Linux Debian")}


def test_a_job_is_told_with_its_attempts_and_their_stderr(site: Site) -> None:
    """Pages: what a slave wrote is there, of every instance, as it is."""
    job = site.json("jobs/1")

    assert job["state"] == "failed"
    assert [one["outcome"] for one in job["instances"]] == ["client error"] * 2
    assert all(HOSTILE in one["stderr"] for one in job["instances"])


def test_a_long_list_comes_in_pieces(site: Site) -> None:
    """Pages: any number of jobs can be looked through, a bounded number at a time."""
    first = site.json("jobs?most=2")
    second = site.json(f"jobs?most=2&first={first['next']}")

    assert [one["index"] for one in first["jobs"] + second["jobs"]] == [0, 1, 2, 3]
    assert site.json("jobs?first=4")["next"] is None


def test_a_look_is_shared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages: however many people look, the database is asked once in a while."""
    looks: list[int] = []
    whole = site.survey._overview
    monkeypatch.setattr(site.survey, "_overview", lambda store: looks.append(1) or whole(store))
    site.survey._fresh_until = 0.0
    first = site.json("batch")
    site.survey._fresh_until += 1e6

    assert [site.json("batch") for _ in range(5)] == [first] * 5
    assert len(looks) == 1


# ---------------------------------------------------------------- who may look


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("api/jobs?state=lost", 400),
        ("api/jobs?first=-1", 400),
        ("api/jobs?most=1e9", 400),
        ("api/jobs?first=9999999999999", 400),
        ("api/jobs/99", 404),
        ("api/jobs/../batch", 404),
        ("jobs/..%2f..%2fkeys", 404),
        ("people/index.html", 404),
    ],
)
def test_a_bad_question_is_refused(site: Site, what: str, status: int) -> None:
    """Strangers: what is no question gets a refusal and reaches no file."""
    assert site.get(what)[0] == status


def test_a_page_of_a_strangers_can_not_read_over_our_address(site: Site) -> None:
    """Strangers: on loopback the name asked for must be an address (DNS rebinding)."""
    assert site.get("api/batch", Host="evil.example:8080")[0] == 403
    assert site.get("api/batch", Host=f"localhost:{site.port}")[0] == 200


def test_where_others_can_reach_it_a_key_is_asked_for(site: Site) -> None:
    """Strangers: on another address than loopback nothing is told without an account key."""
    site.bench.project.is_private = False
    key = site.bench.keys[0]

    assert site.get("api/batch")[0] == 401
    assert site.get("api/jobs/1")[0] == 401
    assert site.get("api/batch", Authorization=f"Bearer {key[:-1]}")[0] == 401
    assert site.get("api/batch", Authorization="Bearer \u00e9")[0] == 401
    assert site.get("api/batch", Cookie=f"pyboinc_key={key}")[0] == 200
    assert site.get("api/batch", Authorization=f"Bearer {key}")[0] == 200
    page = site.get()[1]
    assert "ValueError" not in page and key not in page


def test_a_client_finds_the_scheduler_on_the_page(site: Site) -> None:
    """Protocol: the line that BOINC's client looks for, in fewer than 256 bytes."""
    status, page = site.get()
    scheduler = f"{site.bench.project.url}cgi"

    assert status == 200
    assert f'<link rel="boinc_scheduler" href="{scheduler}">' in page.splitlines()
    assert f"<scheduler>{scheduler}</scheduler>" in page
    assert max(map(len, page.splitlines())) < 256


def test_a_page_may_load_nothing_from_elsewhere(site: Site) -> None:
    """Pages: they work without a network, and whatever is in them can send nothing away."""
    with urllib.request.urlopen(site.url, timeout=20) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = answer.read().decode()

    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert re.findall(r'(?:src|href)="(?!/|data:,|http://127\.0\.0\.1:8080)([^"]*)"', page) == []


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven through its driver."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver (apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking",
                 "disable-component-update", "disable-sync", "no-first-run", "disable-quic",
                 "disable-dev-shm-usage"):  # fmt: skip
        options.add_argument(f"--{flag}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def until(browser: Any, condition: Callable[[Any], Any]) -> Any:
    """Wait for what the page is to become; what it is now is shown if it does not."""
    from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    ignored = [StaleElementReferenceException]
    try:
        return WebDriverWait(browser, 60, 0.05, ignored_exceptions=ignored).until(condition)
    except TimeoutException:
        raise AssertionError(browser.find_element("tag name", "body").text) from None


def text(browser: Any, selector: str) -> str:
    """What people read in the first element of that kind; empty if there is none."""
    found = browser.find_elements("css selector", selector)
    return str(found[0].text) if found else ""


def test_the_page_tells_how_far_it_is_and_goes_on_telling(site: Site, browser: Any) -> None:
    """Pages: in a browser the numbers are there, and change without anybody's doing."""
    browser.get(site.url)
    until(browser, lambda page: "2 of 5 jobs finished (40 %)" in text(page, "#summary"))
    assert text(browser, "#jobs-queued b") == "3"
    client = site.bench.client(1)
    client.ask()
    for name in list(client.tasks):
        client.finish(name, output(7))
    client.ask(seconds=0)

    until(browser, lambda page: text(page, "#jobs-queued b") == "0")
    until(browser, lambda page: "5 of 5 jobs finished (100 %)" in text(page, "#summary"))


def test_what_strangers_wrote_is_text_on_the_page(site: Site, browser: Any) -> None:
    """Strangers: markup in a slave's stderr and in a trickle is shown, and does nothing."""
    browser.get(f"{site.url}jobs/1")
    until(browser, lambda page: "Job 1" in text(page, "#summary"))

    shown = HOSTILE.split("\x1b", maxsplit=1)[0]
    assert shown in text(browser, "pre")
    assert f"said: {shown}" in text(browser, ".said")
    assert browser.title.startswith("Job 1")
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0


def test_nothing_comes_from_elsewhere(site: Site, browser: Any) -> None:
    """Pages: all that the browser loaded came from the project."""
    browser.get(site.url)
    until(browser, lambda page: "jobs finished" in text(page, "#summary"))
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map((one) => one.name)"
    )

    assert loaded and all(one.startswith(site.url) for one in loaded)


def test_jobs_are_looked_through_by_state(site: Site, browser: Any) -> None:
    """Pages: a click shows the failed ones, and another leads to one of them."""
    browser.get(site.url)
    until(browser, lambda page: "jobs finished" in text(page, "#summary"))
    browser.find_element("link text", "failed").click()
    until(browser, lambda page: "?state=failed" in page.current_url)
    until(
        browser,
        lambda page: len(page.find_elements("css selector", "h2 + nav + div tbody tr")) == 1,
    )
    browser.find_element("css selector", "h2 + nav + div tbody a").click()

    until(browser, lambda page: text(page, "#summary") == "Job 1 (1_1): failed")


def test_a_key_opens_the_page_once_and_for_later(site: Site, browser: Any) -> None:
    """Strangers: the page asks for the key, refuses a wrong one, and remembers the right one."""
    site.bench.project.is_private = False
    browser.get(site.url)
    until(browser, lambda page: page.find_element("id", "login").is_displayed())
    field = browser.find_element("name", "key")
    field.send_keys("wrong\n")
    until(browser, lambda page: "no account key" in text(page, "#refused"))
    assert text(browser, "main") == ""
    field.clear()
    field.send_keys(site.bench.keys[0] + "\n")
    until(browser, lambda page: "jobs finished" in text(page, "#summary"))

    browser.get(f"{site.url}jobs/1")
    until(browser, lambda page: "Job 1" in text(page, "#summary"))
    assert "pyboinc_key" not in browser.execute_script("return document.cookie")


def test_a_server_that_is_gone_is_said_and_found_again(site: Site, browser: Any) -> None:
    """Pages: while the project is restarted the page says so, and goes on by itself."""
    browser.get(site.url)
    until(browser, lambda page: "jobs finished" in text(page, "#summary"))
    asyncio.run_coroutine_threadsafe(site._runner.cleanup(), site._loop).result(20)
    until(browser, lambda page: "does not answer" in text(page, "#summary"))

    async def again() -> None:
        app = web.Application()
        Pages(site.survey, site.bench.project).add_to(app, site.path)
        site._runner = web.AppRunner(app, access_log=None)
        await site._runner.setup()
        await web.TCPSite(site._runner, "127.0.0.1", site.port, reuse_address=True).start()

    asyncio.run_coroutine_threadsafe(again(), site._loop).result(20)
    until(browser, lambda page: "jobs finished" in text(page, "#summary"))
