"""Progress: live on a terminal, lines elsewhere, silent when asked, never in the way."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from pyboinc import config, progress
from pyboinc.backends import Counts
from pyboinc.pace import Rate, State, counts_text, rate_text, span_text, time_left
from pyboinc.progress import LINE_PERIOD, LONGEST_SILENCE, SHOWN_CAUSES, Display

TEST = Path(__file__)


class Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def settings(*flags: str, **environ: str) -> config.Settings:
    return config.load(Path("/nonexistent"), argv=flags, environ={"TERM": "xterm", **environ})


def display(stream: io.StringIO, clock: Clock, *flags: str, **environ: str) -> Display:
    return Display(settings(*flags, **environ), stream, clock)


def counts(done: int, total: int = 100, **more: int) -> Counts:
    failed = more.pop("failed", 0)
    return Counts(total=total, done=done, failed=failed, queued=total - done - failed, **more)


def run(shown: Display, clock: Clock, seconds: float, rate: float, total: int = 100) -> None:
    """Let *rate* jobs be handled in each of so many *seconds*, and show it ten times a second."""
    begun = clock.now
    while clock.now < begun + seconds:
        clock.now += 0.1
        handled = min(total, int((clock.now - begun) * rate))
        shown.show(counts(handled, total), handled)


# Lines, where stderr is no terminal.


def test_without_a_terminal_there_is_a_line_each_five_percent_or_seconds_whichever_is_later() -> (
    None
):
    """Lines: quick jobs are told of each few seconds, slow ones each five percent."""
    stream, clock = io.StringIO(), Clock()
    run(display(stream, clock), clock, 50, rate=2)
    quick = stream.getvalue().splitlines()
    assert len(quick) == pytest.approx(50 / LINE_PERIOD, abs=1)
    stream, clock = io.StringIO(), Clock()
    run(display(stream, clock), clock, 500, rate=0.2)
    slow = stream.getvalue().splitlines()
    assert len(slow) == pytest.approx(20, abs=1)


def test_a_line_says_how_far_how_fast_and_how_long_still() -> None:
    """Lines: handled, done, failed, running, queued, retries, rate and time left in each."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    run(shown, clock, 5.1, rate=10)
    line = stream.getvalue().splitlines()[0]
    assert re.fullmatch(
        r"pyboinc: 5. of 100 handled: 5. done, 0 failed, 0 running, .. queued, 0 retries, "
        r"10\.\d jobs/s, [45]\.\d s left",
        line,
    )


def test_a_batch_that_stands_still_is_told_of_at_times() -> None:
    """Lines: a log shows that the master lives also while an hour's job runs."""
    stream, clock = io.StringIO(), Clock()
    run(display(stream, clock), clock, 3 * LONGEST_SILENCE + 2, rate=0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all("0 of 100 handled" in line and line.endswith("- jobs/s, - left") for line in lines)


def test_the_last_line_comes_always() -> None:
    """Lines: a batch of a fifth of a second ends with a line, too, and with the time it took."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    clock.now += 0.2
    shown.show(counts(98, failed=2, retries=7), 100)
    shown.close()
    expected = "pyboinc: 100 of 100 handled: 98 done, 2 failed, 7 retries, in 0.2 s\n"
    assert stream.getvalue() == expected


def test_an_interrupted_batch_has_no_last_line() -> None:
    """Lines: what the master says when it is stopped is not said twice."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    shown.show(counts(40), 40)
    shown.close()
    assert stream.getvalue() == ""


def test_each_phase_is_measured_anew() -> None:
    """Lines: a second pyboinc_master has a last line of its own, and its own time."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    clock.now += 2
    shown.show(counts(10, 10), 10)
    shown.close()
    clock.now += 3
    shown.show(counts(20, 20), 20)
    shown.close()
    assert [line.rpartition(" in ")[2] for line in stream.getvalue().splitlines()] == [
        "2.0 s",
        "3.0 s",
    ]


def test_a_long_replay_is_told_of() -> None:
    """Lines: handling ten thousand earlier results again is not silence."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    for done in range(0, 10_000, 64):
        clock.now += 0.1
        shown.replaying(done, 10_000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"pyboinc: \d+ of 10000 earlier results handled again", lines[0])


@pytest.mark.parametrize(
    ("flags", "notes"), [(("--quiet",), ""), (("--no-progress",), "pyboinc: attention\n")]
)
def test_silence_can_be_asked_for(flags: tuple[str, ...], notes: str) -> None:
    """--quiet says nothing at all; --no-progress only what is no progress."""
    for stream in (io.StringIO(), Terminal()):
        clock = Clock()
        shown = display(stream, clock, *flags)
        run(shown, clock, 60, rate=5)
        shown.replaying(5, 10)
        shown.note("attention")
        shown.close()
        assert stream.getvalue() == notes


# First errors.


def test_a_cause_is_told_of_once_while_the_batch_goes_on() -> None:
    """First errors: the first of each cause, made safe, at most a few; the list is emptied."""
    stream, clock = io.StringIO(), Clock()
    shown = display(stream, clock)
    news = ["1_3_0: ValueError: no root of 3", "1_4_0: ValueError: no root of 4"]
    shown.first_errors(news)
    assert news == []
    shown.first_errors([f"1_9_0: \x1b[2J{chr(97 + n)}" for n in range(10)])
    lines = stream.getvalue().splitlines()
    assert lines[0] == "pyboinc: first error: ValueError: no root of 3 (1_3_0; it is tried again)"
    assert lines[1] == "pyboinc: first error: \\x1b[2Ja (1_9_0; it is tried again)"
    assert len(lines) == SHOWN_CAUSES


def test_first_errors_are_silent_when_quiet() -> None:
    """First errors: --quiet means only what ends the program."""
    stream = io.StringIO()
    display(stream, Clock(), "--quiet").first_errors(["1_1_0: KeyError: 1"])
    assert stream.getvalue() == ""


# In nobody's way.


class Broken(io.StringIO):
    """A stream whose other end is gone, after so many writes."""

    def __init__(self, error: Exception, terminal: bool, after: int) -> None:
        super().__init__()
        self.error = error
        self.terminal = terminal
        self.after = after
        self.writes = 0

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes > self.after:
            raise self.error
        return len(text)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "EIO"), ValueError("closed")])
def test_a_stream_that_is_gone_never_stops_the_master(
    error: Exception, terminal: bool, after: int
) -> None:
    """Robust: a terminal that was closed makes the display silent, once and for all.

    Whatever it had taken for itself, it has given back.
    """
    stream, clock = Broken(error, terminal, after), Clock()
    stdout, stderr = sys.stdout, sys.stderr
    shown = display(stream, clock)
    run(shown, clock, 20, rate=5)
    tried = stream.writes
    assert tried >= 1
    run(shown, clock, 20, rate=5)
    shown.note("attention")
    shown.close()
    assert stream.writes == tried
    assert sys.stdout is stdout
    assert sys.stderr is stderr


def test_a_terminal_that_fails_once_is_not_tried_again() -> None:
    """Robust: also if it would work again, there is no live display on it, and no error."""

    class Hiccup(Broken):
        def write(self, text: str) -> int:
            self.writes += 1
            if self.writes == 2:
                raise self.error
            return len(text)

    stream, clock = Hiccup(OSError(5, "EIO"), True, 0), Clock()
    stdout = sys.stdout
    run(display(stream, clock), clock, 20, rate=5)
    assert sys.stdout is stdout
    assert stream.writes < 20


def test_a_closed_stream_is_no_terminal() -> None:
    """Robust: a display made for a closed stream says nothing."""
    stream = io.StringIO()
    stream.close()
    shown = display(stream, Clock())
    shown.note("attention")
    shown.close()


def test_without_stderr_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Robust: a master started without any stderr runs."""
    monkeypatch.setattr(sys, "stderr", None)
    shown = Display(settings())
    shown.note("attention")
    shown.show(counts(1), 1)
    shown.close()


def test_show_does_next_to_nothing_until_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed: between two looks nothing is computed, however often the master calls."""
    clock = Clock()
    shown = display(io.StringIO(), clock)
    shown.show(counts(1), 1)
    monkeypatch.setattr(Display, "_draw", lambda *_: pytest.fail("drawn too early"))
    for handled in range(1000):
        clock.now += 0.0001
        shown.show(counts(1), handled)


# A terminal.


def test_a_quick_run_on_a_terminal_never_waits_for_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick start: what ends within a second shows its last line and no more."""
    monkeypatch.setattr(progress, "_moving", lambda *_: pytest.fail("rich was imported"))
    stream, clock = Terminal(), Clock()
    shown = display(stream, clock)
    shown.note("attention")
    run(shown, clock, 0.8, rate=200)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "pyboinc: attention",
        "pyboinc: 100 of 100 handled: 100 done, 0 failed, 0 retries, in 0.8 s",
    ]


def test_on_a_terminal_the_display_is_live() -> None:
    """Live: a bar and all numbers, notes above it, and it is gone at the end."""
    stream, clock = Terminal(), Clock()
    shown = display(stream, clock)
    run(shown, clock, 5, rate=10)
    shown.note("attention")
    shown.show(counts(40, failed=1, running=2, retries=3), 41)
    clock.now += 0.5
    shown.show(counts(40, failed=1, running=2, retries=3), 41)
    text = stream.getvalue()
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "attention" in plain
    assert re.search(r"40 done  1 failed  2 running  59 queued  3 retries   \S+ jobs/s", plain)
    assert "41 of 100 handled" in plain
    shown.show(counts(100), 100)
    shown.close()
    last = stream.getvalue().rsplit("\x1b[2K", 1)[1]
    assert last.startswith("pyboinc: 100 of 100 handled")


def test_no_color_has_no_color_but_still_moves() -> None:
    """NO_COLOR: the display is live, in one colour."""
    stream, clock = Terminal(), Clock()
    run(display(stream, clock, NO_COLOR="1"), clock, 3, rate=10)
    text = stream.getvalue()
    assert "\x1b[2K" in text
    assert re.findall(r"\x1b\[(?:3[0-9]|9[0-7]|38;)[0-9;]*m", text) == []


@pytest.mark.parametrize(
    "environ", [{"CI": "true"}, {"TERM": "dumb"}, {}], ids=["CI", "dumb terminal", "no rich"]
)
def test_where_nothing_can_move_there_are_lines(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines: in CI, on a dumb terminal, and where rich is not installed."""
    monkeypatch.setenv("TERM", environ.get("TERM", "xterm"))
    if not environ:
        monkeypatch.setitem(sys.modules, "pyboinc.live", None)
    stream, clock = Terminal(), Clock()
    shown = display(stream, clock, **environ)
    run(shown, clock, 20, rate=5)
    shown.close()
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == pytest.approx(5, abs=1)


def test_a_replay_on_a_terminal_is_live_too() -> None:
    """Live: a long replay has a bar of its own."""
    stream, clock = Terminal(), Clock()
    shown = display(stream, clock)
    for done in range(0, 2000, 64):
        clock.now += 0.1
        shown.replaying(done, 2000)
    shown.close()
    assert re.search(r"\d+ of 2000 earlier results handled again", stream.getvalue())


PROGRAM = """
import sys, time
from pathlib import Path
from pyboinc import config
from pyboinc.backends import Counts
from pyboinc import progress
progress.PATIENCE = 0.2
display = progress.Display(config.load(Path("/nonexistent")))
handled = 0
while handled < 120:
    handled += 1
    display.show(Counts(total=1000, done=handled, queued=1000 - handled), handled)
    if handled % 50 == 0:
        print("result", handled, flush=True)
    time.sleep(0.01)
print("a last line without its end", end="")
display.close()
print()
print("rich" in sys.modules, flush=True)
"""


def on_a_terminal(stdout: int | None, **environ: str) -> tuple[str, str]:
    """Run PROGRAM with stderr (and stdout, if None) on a pseudo-terminal; return both texts."""
    terminal, end = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=end if stdout is None else stdout,
        stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "CI": "", **environ},
        text=True,
    )
    os.close(end)
    shown = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux: nobody has the other end any more
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    answer = run.communicate()[0]
    assert run.returncode == 0
    return shown.decode(), answer or ""


def test_on_a_real_terminal_the_masters_own_output_stays_whole() -> None:
    """Live: what handlers print appears above the display; the cursor is never left hidden."""
    shown, _ = on_a_terminal(None)
    assert "\x1b[2K" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown)
    assert "result 50\n" in plain
    assert "result 100\n" in plain
    assert "a last line without its end\n" in plain
    assert plain.rstrip().endswith("True")
    hidden, visible = shown.rfind("\x1b[?25l"), shown.rfind("\x1b[?25h")
    assert hidden < visible
    first_hidden = shown.find("\x1b[?25l")
    assert shown[first_hidden : first_hidden + 40].count("\x1b[?25h") == 1


def test_a_redirected_answer_is_not_touched_by_the_display() -> None:
    """Live: ``app_master.py > answer`` gets the program's output, and nothing else."""
    shown, answer = on_a_terminal(subprocess.PIPE)
    assert "handled" in shown
    lines = answer.splitlines()
    assert lines[-1] == "True"
    assert lines[-2] == "a last line without its end"
    assert all(re.fullmatch(r"result \d+", line) for line in lines[:-2])
    assert "result" not in shown


def test_in_ci_a_terminal_gets_plain_text() -> None:
    """CI: no escapes, and rich is not imported."""
    shown, _ = on_a_terminal(None, CI="true")
    assert "\x1b" not in shown
    assert shown.rstrip().endswith("False")


# Numbers.


def test_a_rate_is_unknown_until_something_is_known() -> None:
    """Honest numbers: before a second and three jobs there is no rate, and no time left."""
    rate = Rate()
    assert rate.value is None
    rate.observe(0.0, 0)
    rate.observe(0.5, 100)
    assert rate.value is None
    rate.observe(2.0, 100)
    assert rate.value == pytest.approx(50, rel=0.1)
    assert State(counts(1), 1, None, 3.0).time_left is None


def test_a_rate_follows_a_change_of_pace() -> None:
    """Honest numbers: the recent past counts more than what was long ago."""
    rate = Rate()
    for second in range(600):
        rate.observe(second, second * 10)
    assert rate.value == pytest.approx(10, rel=0.01)
    for second in range(120):
        rate.observe(600 + second, 6000 + second)
    assert rate.value == pytest.approx(1, rel=0.3)


def test_the_rate_of_long_jobs_does_not_jump_from_job_to_job() -> None:
    """Honest numbers: two jobs each ten minutes are 0.2 a minute, whenever one looks."""
    rate = Rate()
    seen = []
    for second in range(0, 40_000, 10):
        rate.observe(second, second // 300)
        if second > 20_000 and rate.value is not None:
            seen.append(rate.value * 60)
    assert min(seen) > 0.18
    assert max(seen) < 0.22


def test_a_resumed_run_does_not_count_what_was_handled_before() -> None:
    """Honest numbers: the jobs of earlier runs do not make this one look quick."""
    rate = Rate()
    rate.observe(0.0, 5000)
    for second in range(1, 11):
        rate.observe(second, 5000 + second)
    assert rate.value == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "- jobs/s"),
        (1234.5, "1234 jobs/s"),
        (12.34, "12.3 jobs/s"),
        (0.5, "30.0 jobs/min"),
        (0.001, "3.6 jobs/h"),
        (0.00001, "0.0 jobs/h"),
    ],
)
def test_rates_in_words(rate: float | None, text: str) -> None:
    """Numbers in words: per second, minute or hour, whichever reads best."""
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (42, "0:42"),
        (3661, "1:01:01"),
        (200_000, "2 d 7 h"),
    ],
)
def test_spans_in_words(seconds: float | None, text: str) -> None:
    """Numbers in words: seconds, minutes, hours, days."""
    assert span_text(seconds) == text


def test_time_left_and_counts() -> None:
    """Numbers in words: nothing left is 0 s also at no rate; one retry is no retries."""
    assert time_left(0, None) == 0.0
    assert time_left(10, 0.0) is None
    assert time_left(10, 2.0) == 5.0
    assert counts_text(counts(3, 3, retries=1), 3) == ("3 of 3 handled: 3 done, 0 failed, 1 retry")
