"""Validation: what an app says of its outputs is the rule, everywhere, and can harm nobody."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from masters import SLAVE, TYPES, Place

from pyboinc.backends.local import judge as judge_module
from pyboinc.backends.local.judge import Judge
from pyboinc.backends.local.slave_faults import wrong
from pyboinc.classes import Classes
from pyboinc.codec import encode
from pyboinc.errors import ConfigurationError
from pyboinc.faults import FaultPlan, Kind
from pyboinc.project import Outcome, ValidateState
from pyboinc.validation import Own, Rules, named, own_of

MAX_OUTPUT = 10_000

Say = Callable[..., Path]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Say]:
    """Makes a job directory whose app_types.py has the usual classes and these lines."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def make(*lines: str) -> Path:
        sys.modules.pop("app_types", None)
        (tmp_path / "app_types.py").write_text(TYPES + "\n" + "\n".join(lines) + "\n")
        return tmp_path

    yield make
    sys.modules.pop("app_types", None)


def rules(directory: Path) -> Rules:
    return Rules.load(directory, ["app_types"], MAX_OUTPUT)


def output(directory: Path, value: Any) -> bytes:
    """An Output of the app, as a slave writes it."""
    own_of(directory)
    from importlib import import_module

    sys.path.insert(0, str(directory))
    return encode(import_module("app_types").Output(value))


# ---------------------------------------------------------------- the rule


def test_without_a_word_of_the_app(app: Say) -> None:
    """Default: what loads and is of a declared type is valid; equal values agree."""
    directory = app()
    rule = rules(directory)
    one = output(directory, {1, 8})
    assert rule.valid(one) and rule.valid(encode([1, 2.0, "three"]))
    foreign = one.replace(b"app_types", b"app_typos")
    assert "app_typos.Output" in rule.refusal(foreign)
    assert "not a pickle" in rule.refusal(b"garbage")
    assert "limit" in rule.refusal(encode("x" * MAX_OUTPUT)) or not rule.valid(encode("x" * 20_000))
    assert rule.same(encode({"a": 1, "b": 2}), encode({"b": 2, "a": 1}))
    assert not rule.same(encode(1), encode(1.0))
    assert not rule.same(encode(1), b"garbage")


def test_validate(app: Say) -> None:
    """Validate: true is valid; anything else is not, and the reason says what and where."""
    directory = app(
        "def validate(output):",
        "    if output.value == 'none': return None",
        "    if output.value == 'exit': raise SystemExit('out')",
        "    return 0 <= output.value < 50",
    )
    rule, line = rules(directory), TYPES.count("\n") + 5
    assert rule.valid(output(directory, 7))
    reasons = {value: rule.refusal(output(directory, value)) for value in (50, "x", "none", "exit")}
    assert reasons == {
        50: "validate in app_types.py says that it is not valid",
        "x": "validate in app_types.py raised TypeError: '<=' not supported between instances of "
        f"'int' and 'str' (app_types.py, line {line})",
        "none": "validate in app_types.py returned None; it must return True for what is valid",
        "exit": f"validate in app_types.py raised SystemExit: out (app_types.py, line {line - 1})",
    }
    assert "not a pickle" in rule.refusal(b"garbage"), "the loader is asked first"


def test_compare(app: Say, capsys: pytest.CaptureFixture[str]) -> None:
    """Compare: the app's own word; what it raises is no agreement, and is said once."""
    directory = app(
        "def compare(a, b):",
        "    if a.value == 0: raise ValueError('two\\nlines')",
        "    return a.value % 10 == b.value % 10",
    )
    rule = rules(directory)
    nought, one, other = (output(directory, value) for value in (0, 7, 17))
    assert rule.same(one, other) and not rule.same(one, nought)
    assert rule.same(nought, nought), "equal to the byte: nobody is asked"
    for _ in range(3):
        assert not rule.same(nought, one)
    said = "pyboinc: compare in app_types.py raised ValueError: two (app_types.py, line "
    assert capsys.readouterr().err.count(said) == 1
    assert not rule.same(one, b"garbage")


@pytest.mark.parametrize(
    ("line", "near", "set_order"),
    [
        ("from pyboinc import close_to; compare = close_to(1e-6)", True, True),
        ("import pyboinc; compare = pyboinc.close_to(absolute=1.0)", True, True),
        ("from pyboinc import bitwise as compare", False, False),
        ("import pyboinc; compare = pyboinc.bitwise", False, False),
        ("compare = None", False, True),
    ],
)
def test_ready_to_name(app: Say, line: str, near: bool, set_order: bool) -> None:
    """Compare: a tolerance or the bytes themselves need one line in app_types.py."""
    directory = app(line)
    rule = rules(directory)
    one, other = output(directory, [1.0]), output(directory, [1.0 + 1e-9])
    assert rule.same(one, other) == near
    there, back = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert rule.same(output(directory, there), output(directory, back)) == set_order


# ---------------------------------------------------------------- an author's mistakes

MISTAKES = {
    "two arguments": (
        ["def validate(output, limit):", "    return True"],
        1,
        r"validate\(output, limit\) can not be called as validate\(output\): missing .*'limit'",
    ),
    "one argument": (
        ["", "def compare(a):", "    return True"],
        2,
        r"compare\(a\) can not be called as compare\(a, b\): too many positional arguments",
    ),
    "a number": (["compare = 1e-9"], 1, r"compare is 1e-09; define a function compare\(a, b\), or"),
    "a word": (["validate = 'yes'"], 1, r"validate is 'yes'; define a function validate\(output\)"),
    "not called": (
        ["from pyboinc import close_to", "compare = close_to"],
        2,
        r"call it: compare = close_to\(relative=1e-9\)",
    ),
    "async": (["async def validate(output):", "    return True"], 1, "validate would do nothing"),
    "yield": (["def compare(a, b):", "    yield True"], 1, "compare would do nothing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_file_and_line(app: Say, mistake: str) -> None:
    """Mistakes: what can not be called as it will be is refused, with its place."""
    lines, at, why = MISTAKES[mistake]
    directory = app(*lines)
    number = TYPES.count("\n") + 1 + at
    with pytest.raises(ConfigurationError, match=rf"app_types.py, line {number}: .*{why}"):
        own_of(directory)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_can_not_be_imported(app: Say, line: str, why: str) -> None:
    """Mistakes: rules can only be had where app_types.py can be imported; without, it need not."""
    with pytest.raises(ConfigurationError, match=rf"which outputs are valid .*{why}.*install here"):
        own_of(app("def validate(output): return True", line))
    assert own_of(app(line)) == Own()


def test_only_what_says_something_is_imported(app: Say, tmp_path: Path) -> None:
    """Quick start: an app_types.py without rules is read and not run; none at all is well, too."""
    assert own_of(app("class Mine:", "    def validate(self): ...", "def f(compare): ...")) == Own()
    assert "app_types" not in sys.modules
    assert own_of(tmp_path / "elsewhere") == Own()
    (tmp_path / "rules.py").write_text("def validate(output): return True\n")
    for line in ("from rules import validate", "from rules import *"):
        assert own_of(app(line)).validate is not None
        sys.modules.pop("rules")
    found = named(app("if True:", "    compare = validate = None") / "app_types.py")
    assert set(found) == {"compare", "validate"}
    with pytest.raises(ConfigurationError, match="can not be read"):
        own_of(app("def validate(output:"))


def test_a_mistake_is_told_before_any_job_is_made(tmp_path: Path) -> None:
    """Mistakes: exit code 2, file and line, and no job; mended, the same command runs."""
    place = Place(tmp_path / "job", {"app_types.py": TYPES + "compare = 1e-9\n"})
    run = place.run()
    assert (run.code, run.stdout) == (2, ""), run
    assert f"app_types.py, line {TYPES.count(chr(10)) + 1}: compare is 1e-09; define" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (place / "pyboinc_checkpoint").exists()
    (place / "app_types.py").write_text(TYPES)
    run = place.run()
    assert (run.code, run.stdout) == (0, "The answer is 14\n"), run


# ---------------------------------------------------------------- at arm's length


@pytest.fixture
def judge(app: Say, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Judge]]:
    """Makes the judge of a job directory whose app_types.py has these lines."""
    made: list[Judge] = []

    def make(*lines: str, patience: float = 60.0) -> Judge:
        directory = app(*lines)
        classes = Classes(directory)
        classes.add(["app_types"])
        made.append(Judge(directory, classes, MAX_OUTPUT, patience))
        made[-1].add({"app_types"})
        return made[-1]

    yield make
    for one in made:
        one.close()


EVIL = """
def validate(output):
    import os, signal, sys, time
    print("to stdout"); print("to stderr", file=sys.stderr); sys.stdin.read()
    match output:
        case "exit": os._exit(0)
        case "abort": os.abort()
        case "hang": time.sleep(3600)
        case "deaf": signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(3600)
        case "close": os.closerange(0, 100); time.sleep(3600)
        case "deep": return validate(output)
        case "module": raise KeyError(output)
    return output == "good"
"""


def test_nothing_that_validate_does_harms_the_server(judge: Callable[..., Judge]) -> None:
    """Containment: it ends, hangs, prints, reads; the verdict is invalid, and the next is right."""
    one = judge(EVIL, patience=60.0)
    for what in ("exit", "abort", "close"):
        assert one.refusal(encode(what)) == "validate in app_types.py ended its process"
        assert one.refusal(encode("good")) == ""
    assert "RecursionError" in one.refusal(encode("deep"))
    assert "raised KeyError: 'module' (app_types.py, line" in one.refusal(encode("module"))
    assert one.refusal(encode("bad")) == "validate in app_types.py says that it is not valid"
    one._patience = 0.2
    for what in ("hang", "deaf"):
        assert one.refusal(encode(what)) == "validate in app_types.py took longer than 0.2 s"
    one._patience = 60.0
    assert one.refusal(encode("good")) == ""


def test_nothing_that_compare_does_harms_the_server(
    judge: Callable[..., Judge], capsys: pytest.CaptureFixture[str]
) -> None:
    """Containment: a comparison that ends its process is no agreement, and is said."""
    one = judge(
        "def compare(a, b):", "    if a == 'exit': __import__('os')._exit(0)", "    return 1"
    )
    assert one.same(encode("x"), encode("y"))
    assert not one.same(encode("exit"), encode("y"))
    assert "compare in app_types.py ended its process; the out" in capsys.readouterr().err
    assert one.same(encode("exit"), encode("exit"))
    big = encode("x" * 9_000)
    assert one.same(big, encode("y" * 9_000))
    assert one.refusal(big) == ""


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("import pyboinc; compare = pyboinc.bitwise",),
        ("import pyboinc; compare = pyboinc.close_to(1e-6)",),
    ],
)
def test_what_is_no_code_of_the_author_s_is_not_asked_for(
    judge: Callable[..., Judge], lines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick: without functions of the author's own there is no process, or none that is asked."""
    one = judge(*lines)
    if not lines:
        monkeypatch.setattr(judge_module.subprocess, "Popen", None)
    assert one.refusal(encode(1.0)) == ""
    monkeypatch.setattr(one, "_talk", None)
    near = "close_to" in str(lines)
    assert one.same(encode(1.0), encode(1.0 + 1e-9)) == near
    assert one.same(encode({"a": 1, "b": 2}), encode({"b": 2, "a": 1})) == (
        "bitwise" not in str(lines)
    )
    assert one.refusal(b"garbage")


def test_further_modules(judge: Callable[..., Judge], tmp_path: Path) -> None:
    """Judge: a handler may call a slave with further classes; then they are known, too."""
    (tmp_path / "later.py").write_text("class Later:\n    value = 3\n")
    one = judge("def validate(output): return output.value == 3")
    data = b"\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00\x8c\x05later\x8c\x05Later\x93)\x81."
    assert "later.Later" in one.refusal(data)
    one._classes.add(["later"])
    one.add({"later"})
    assert one.refusal(data) == ""
    sys.modules.pop("later", None)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("import no_such_module", "app_types.py says in line .*No module named 'no_such_module'"),
        ("import os; os._exit(0)", "app_types.py ends the process that imports it"),
    ],
)
def test_an_app_types_that_was_broken_meanwhile(
    judge: Callable[..., Judge], line: str, why: str
) -> None:
    """Judge: rules that can not be had stop the batch with the reason; no output pays for it."""
    one = judge("def validate(output): return True", line)
    with pytest.raises(ConfigurationError, match=why):
        one.refusal(encode(1))


# ---------------------------------------------------------------- in the emulator

JOBS = 8
IN_RANGE = "\ndef validate(output):\n    return 0 <= output.value <= 49\n"


def rows(place: Place) -> dict[tuple[int, int], tuple[int, int]]:
    """Outcome and verdict of the instances that were sent, by job and instance."""
    found = place.select(
        "select w.sequence, r.instance, r.outcome, r.validate_state from result r "
        "join workunit w on w.id = r.workunit where r.host is not null"
    )
    return {(one[0], one[1]): (one[2], one[3]) for one in found}  # type: ignore[misc]  # numbers


def test_what_is_out_of_range_is_a_validate_error(tmp_path: Path) -> None:
    """Faults: with validate, a wrong value is found out without a quorum, and done again."""
    place = Place(tmp_path / "job", {"app_types.py": TYPES + IN_RANGE}, calls=JOBS)
    plan = FaultPlan(0.0, {Kind.WRONG: 0.4}, 5)
    run = place.run("--fault=wrong=0.4", "--seed=5")
    expected: dict[tuple[int, int], tuple[int, int]] = {}
    total = 0
    for job in range(JOBS):
        for instance in range(100):
            value = SimpleNamespace(value=job**2)
            if plan.draw(job, instance):
                value = wrong(value, (job << 8) + instance)
            valid = 0 <= value.value <= 49
            verdict = (Outcome.SUCCESS, ValidateState.VALID)
            refused = (Outcome.VALIDATE_ERROR, ValidateState.INVALID)
            expected[job, instance] = verdict if valid else refused
            if valid:
                total += value.value
                break
    assert rows(place) == {key: (int(a), int(b)) for key, (a, b) in expected.items()}
    assert len(expected) > JOBS, "something was wrong, and out of range"
    assert (run.stdout, run.code) == (f"The answer is {total}\n", 0), run
    place.check()


NOISE = SLAVE.replace("** 2", "** 2 * (1 + 1e-12 * (int.from_bytes(os.urandom(3), 'big') + 1))")
NOISY = {
    "app_slave.py": "import os\n" + NOISE,
    "app_types.py": "from pyboinc import close_to\n" + TYPES + "\ncompare = close_to(1e-4)\n",
}


def test_a_tolerance_lets_noise_through_and_nothing_else(tmp_path: Path) -> None:
    """Quorum: computers that differ in the last digits agree; a wrong value is outvoted."""
    place = Place(tmp_path / "job", NOISY, calls=JOBS)
    for seed in range(100):  # one that has something to outvote
        plan = FaultPlan(0.0, {Kind.WRONG: 0.1}, seed)
        struck = [n for n in range(JOBS) for i in range(2) if plan.draw(n, i)]
        if len(struck) == len(set(struck)) == 2 and not any(plan.draw(n, 2) for n in struck):
            break
    run = place.run("--fault=wrong=0.1", f"--seed={seed}", "--quorum=2")
    assert run.code == 0, run
    answer = float(run.stdout.split()[-1])
    assert math.isclose(answer, sum(n**2 for n in range(JOBS)), rel_tol=1e-4)
    seen = rows(place)
    assert len(seen) == 2 * JOBS + len(struck), "no retry but for what was wrong"
    for key, (outcome, verdict) in seen.items():
        right = (Outcome.SUCCESS, ValidateState.INVALID if plan.draw(*key) else ValidateState.VALID)
        assert (outcome, verdict) == right, key
    place.check()


def test_without_a_tolerance_noise_never_agrees(tmp_path: Path) -> None:
    """Quorum: the default is the same value; computers with noise of their own never agree."""
    place = Place(tmp_path / "job", {**NOISY, "app_types.py": TYPES}, calls=2)
    run = place.run("--quorum=2", "--max-errors=1")
    assert run.code == 1
    assert "1 x too many total results" in run.stderr, run


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("raise ValueError('no energy is %s' % output.value)", r"raised ValueError: no energy is"),
        ("__import__('os').abort()", "ended its process"),
    ],
)
def test_the_reason_is_told(tmp_path: Path, line: str, why: str) -> None:
    """Failures: an output that is never valid is a failure which says what validate said."""
    types = TYPES + f"\ndef validate(output):\n    {line}\n"
    place = Place(tmp_path / "job", {"app_types.py": types}, calls=2)
    run = place.run("--max-errors=1")
    assert run.code == 1, run
    assert f"its output is not valid: validate in app_types.py {why}" in run.stderr
    assert "2 of 2 jobs can not be done" in run.stderr
    assert set(rows(place).values()) == {(Outcome.VALIDATE_ERROR, ValidateState.INVALID)}
    place.check()


def test_in_virtual_time(tmp_path: Path, pyboinc_simulate: Any, seed: int) -> None:
    """Simulation: the same rule; what is out of range is refused, what is close agrees."""
    place = Place(tmp_path / "job", {"app_types.py": TYPES + IN_RANGE.replace("49", "16")}, calls=5)
    program = place / "app_master.py"
    simulated = pyboinc_simulate(program, seed=seed, fault={"wrong": 0.3}, quorum=2, hosts=20)
    assert simulated.stdout == "The answer is 30\n"


def test_the_judge_ends_with_its_server(tmp_path: Path) -> None:
    """Processes: a judge whose author's code hangs does not outlive a master that is killed."""
    types = TYPES + "\ndef validate(output):\n    open('%s', 'w').close()\n    while True: pass\n"
    place = Place(tmp_path / "job", {"app_types.py": types % (tmp_path / "job/pipe")}, calls=1)
    place.mkfifo("pipe")
    master = place.start()
    (place / "pipe").read_text()  # it is asked, and will not answer
    master.kill()
    master.communicate()
    place.wait_for_processes()
