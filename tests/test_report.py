"""What went wrong, for people: grouped by cause, the slave's own lines first, safe to print."""

from __future__ import annotations

import json

import pytest

from pyboinc.backends import Attempt, Failure
from pyboinc.report import (
    by_cause,
    cause_as_data,
    describe_cause,
    describe_failures,
    ending,
    own_frames,
    printable,
    retried,
)

OWN = """\
Traceback (most recent call last):
  File "app_slave.py", line 9, in <module>
    print(step({number}))
  File "lib/steps.py", line 4, in step
    raise ValueError("no root of {number}")
ValueError: no root of {number}
"""

THROUGH_A_LIBRARY = """\
Traceback (most recent call last):
  File "app_slave.py", line 5, in <module>
    data = json.loads(text)
           ^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
"""


def attempt(stderr: str = "", **more: object) -> Attempt:
    facts = {"outcome": "client error", "exit_status": 1, "python": "3.9.1", "platform": "Linux"}
    return Attempt(0, "host-1", stderr=stderr, **{**facts, **more})  # type: ignore[arg-type]


def failure(index: int, stderr: str = "", *attempts: Attempt) -> Failure:
    return Failure(index, f"1_{index}", "too many errors", 8, attempts or (attempt(stderr),))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9 \u4e2d", "plain \u00e9 \u4e2d"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\r over", "\\r over"),
        ("\u202egnihton", "\\u202egnihton"),
        ("\ud800", "\\ud800"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028", "\\u2028"),
    ],
)
def test_nothing_of_a_volunteer_reaches_the_terminal_raw(text: str, shown: str) -> None:
    """Safe output: what could move a cursor, recolour or turn text around is an escape."""
    assert printable(text) == shown


def test_a_long_line_is_cut() -> None:
    """Safe output: one line of a megabyte does not fill the terminal."""
    assert len(printable("x" * 1_000_000)) < 500
    assert printable("short\n" + "y" * 900).startswith("short\nyyy")


def test_frames_are_the_slaves_own_innermost_last() -> None:
    """Own frames: files of the job directory count, those of libraries do not."""
    frames = own_frames(OWN.format(number=3))
    assert [(one.file, one.line, one.function) for one in frames] == [
        ("app_slave.py", 9, "<module>"),
        ("lib/steps.py", 4, "step"),
    ]
    assert frames[-1].code == 'raise ValueError("no root of 3")'
    assert [str(one) for one in own_frames(THROUGH_A_LIBRARY)] == [
        "app_slave.py, line 5, in <module>"
    ]


def test_of_several_tracebacks_the_last_counts() -> None:
    """Own frames: an error raised while another was handled is the one that ended the slave."""
    text = OWN.format(number=1) + "\nDuring handling of the above...\n\n" + THROUGH_A_LIBRARY
    assert [frame.file for frame in own_frames(text)] == ["app_slave.py"]


def test_a_frame_at_the_end_of_cut_text_has_no_code() -> None:
    """Own frames: stderr that was cut off inside a traceback is read as far as it goes."""
    assert own_frames('  File "app_slave.py", line 2')[0] == ("app_slave.py", 2, "", "")


def test_what_varies_does_not_make_a_new_cause() -> None:
    """Grouping: a thousand numbers in the same message of the same line are one cause."""
    causes = by_cause(failure(n, OWN.format(number=n)) for n in (7, 5, 9))
    assert [cause.jobs for cause in causes] == [[5, 7, 9]]
    assert causes[0].text == "ValueError: no root of 7"


def test_a_cancelled_job_was_cancelled_whatever_its_slave_said() -> None:
    """Grouping: that an instance had failed before the batch was cancelled is not why."""
    cancelled = [
        Failure(n, f"1_{n}", "cancelled", 16, (attempt(stderr),))
        for n, stderr in enumerate(("", OWN.format(number=5), "OSError: only once"))
    ]
    (cause,) = by_cause(cancelled)
    assert (cause.text, cause.jobs) == ("cancelled", [0, 1, 2])
    assert "no root" not in describe_cause(by_cause(cancelled[1:])[0])


def test_another_line_or_another_message_is_another_cause() -> None:
    """Grouping: the most frequent cause comes first."""
    failures = [failure(0, THROUGH_A_LIBRARY)]
    failures += [failure(n, OWN.format(number=n)) for n in (1, 2)]
    failures += [failure(3, OWN.format(number=3).replace("line 4", "line 5"))]
    assert [cause.jobs for cause in by_cause(failures)] == [[1, 2], [0], [3]]


def test_silent_deaths_are_told_apart_by_how_they_ended() -> None:
    """Grouping: without a word on stderr, the signal or the exit status is the cause."""
    killed = failure(1, "", attempt(exit_status=9, signal=True))
    failed = failure(2, "", attempt(exit_status=3))
    assert {cause.text for cause in by_cause([killed, failed])} == {
        "too many errors; last: client error, killed by SIGKILL",
        "too many errors; last: client error, exit status 3",
    }


def test_a_job_that_never_ran_has_the_projects_reason() -> None:
    """Grouping: without any instance the project's own word is the cause."""
    never = Failure(4, "1_4", "cancelled")
    (cause,) = by_cause([never])
    assert cause.text == "cancelled"
    assert "no host ever ran it" in describe_cause(cause)


def test_a_job_that_was_cancelled_while_it_ran_is_just_that() -> None:
    """Grouping: an instance that had no time to end is no part of the cause."""
    running = failure(1, "", attempt(outcome="in progress", exit_status=0))
    (cause,) = by_cause([running])
    assert cause.text == "too many errors"
    assert "last:" not in describe_cause(cause)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (attempt(exit_status=11, signal=True), "client error, killed by SIGSEGV"),
        (attempt(exit_status=64000, signal=True), "client error, killed by signal 64000"),
        (attempt(exit_status=2), "client error, exit status 2"),
        (attempt(outcome="no reply", exit_status=0), "no reply"),
    ],
)
def test_how_an_instance_ended_in_words(one: Attempt, words: str) -> None:
    """Reports: signals have names, and only an exit status that is one is told."""
    assert ending(one) == words


def test_a_description_begins_with_the_slaves_own_lines() -> None:
    """Reports: through a library, the slave's own line stands before the whole traceback."""
    (cause,) = by_cause([failure(17, THROUGH_A_LIBRARY)])
    lines = describe_cause(cause).splitlines()
    assert lines[0].startswith("1 x json.decoder.JSONDecodeError: Expecting value")
    assert lines[1:3] == [
        "  at app_slave.py, line 5, in <module>",
        "       data = json.loads(text)",
    ]
    assert lines[3] == "    | Traceback (most recent call last):"
    assert lines[-5:] == [
        "  project: too many errors",
        "  jobs:    17",
        "  last:    client error, exit status 1",
        "  where:   host-1; Linux, Python 3.9.1; at most 1 attempt at a job",
        "  replay:  pyboinc replay 17",
    ]


def test_a_traceback_of_own_lines_alone_is_shown_once() -> None:
    """Reports: where the traceback is all the slave's own, it is not told twice."""
    (cause,) = by_cause([failure(1, OWN.format(number=1))])
    assert "  at " not in describe_cause(cause)
    assert '    |   File "lib/steps.py", line 4, in step' in describe_cause(cause)


def test_a_flood_of_stderr_is_shown_from_its_end() -> None:
    """Reports: of a long stderr the end is shown, and how much was left out is said."""
    (cause,) = by_cause([failure(1, "".join(f"line {n}\n" for n in range(100)))])
    shown = [line for line in describe_cause(cause).splitlines() if line.startswith("    | ")]
    assert shown[0] == "    | [70 lines before]"
    assert shown[1:] == [f"    | line {n}" for n in range(70, 100)]


def test_many_jobs_and_hosts_are_abridged() -> None:
    """Reports: a cause of a thousand jobs is a paragraph and not a page."""
    failures = [
        Failure(n, f"1_{n}", "too many errors", 8, (Attempt(0, f"host-{n}", "client error", 1),))
        for n in range(1000)
    ]
    (cause,) = by_cause(failures)
    text = describe_cause(cause)
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 988 more" in text
    assert "host-0, host-1, host-2, host-3 and 996 more" in text
    assert len(text) < 600


def test_the_message_of_a_failed_batch_ends_with_what_to_do() -> None:
    """JobsFailed: how many of how many, each cause once, and the next command."""
    message = describe_failures([failure(n, OWN.format(number=n)) for n in range(3)], 10)
    assert message.startswith("3 of 10 jobs can not be done")
    assert message.count("no root of") == 3  # head, source line and last line of one traceback
    assert message.endswith("Mend the cause, then: pyboinc rerun --failed")


def test_a_cause_as_data_is_complete_and_json() -> None:
    """errors --json: everything the text says, and raw stderr, which JSON escapes."""
    hostile = THROUGH_A_LIBRARY + "\x1b[2J"
    (cause,) = by_cause([failure(2, hostile), failure(1, hostile)])
    data = json.loads(json.dumps(cause_as_data(cause)))
    assert data["jobs"] == [1, 2]
    assert data["count"] == 2
    assert data["reason"] == "too many errors"
    assert data["error_mask"] == 8
    assert data["frames"] == [
        {
            "file": "app_slave.py",
            "line": 5,
            "function": "<module>",
            "code": "data = json.loads(text)",
        }
    ]
    assert data["stderr"] == hostile
    assert "\x1b" not in json.dumps(cause_as_data(cause))
    assert (data["hosts"], data["platforms"], data["pythons"]) == (["host-1"], ["Linux"], ["3.9.1"])
    assert data["replay"] == "pyboinc replay 2"


def test_attempts_that_were_made_good_are_failures_of_their_own() -> None:
    """errors --all: each failed attempt of a job that is done, and no other."""
    attempts = [
        attempt(OWN.format(number=1)),
        attempt(outcome="no reply", exit_status=0),
        attempt("a warning\n", outcome="success", exit_status=0),
        attempt(outcome="in progress", exit_status=0),
    ]
    found = list(retried(6, "1_6", attempts))
    assert [one.reason for one in found] == [
        "client error, exit status 1; done again",
        "no reply; done again",
    ]
    assert [cause.text for cause in by_cause(found)] == [
        "ValueError: no root of 1",
        "no reply; done again",
    ]
