"""The spool and the journal: what a crash leaves is cut off, what is damaged is named."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable, Collection, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.compact import Handled, Order
from pyboinc.disk import AppendLog
from pyboinc.errors import DirectoryDamaged
from pyboinc.records import Journal, Spool, calls_from, checksum

New = Callable[[], Path]


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Here it is about formats: nobody waits for a disk (tests/test_disk.py does)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> New:
    """Gives a path at which nothing is yet, each time it is called."""
    directory, number = tmp_path_factory.mktemp("records"), count()
    return lambda: directory / f"{next(number)}.log"


# ---------------------------------------------------------------- the spool

INPUTS = st.lists(st.binary(max_size=40), max_size=5)


def spooled(path: Path, inputs: list[bytes]) -> None:
    """Write a spool of calls with these inputs."""
    spool = Spool(path)
    for number, data in enumerate(inputs):
        limits = {"quorum": 2} if number % 2 else {}
        assert spool.append("app_slave.py", "ab" * 32, 1 + number // 3, limits, data) == number
    spool.sync()
    spool.close()


def loaded(path: Path, calls: int) -> list[bytes]:
    """The inputs of the first *calls* calls of a spool."""
    spool = Spool(path)
    try:
        spool.load(calls)
        return [spool.data(spool.call(number)) for number in range(len(spool))]
    finally:
        spool.close()


@given(INPUTS)
def test_what_is_spooled_is_read_again(new: New, inputs: list[bytes]) -> None:
    """Spool: every call comes back as it was made, any bytes in its input."""
    path = new()
    spooled(path, inputs)
    assert loaded(path, len(inputs)) == inputs


def test_a_record_says_all_of_its_call(new: New) -> None:
    """Spool: slave, archive, phase and own limits stand in the record; phases can be counted."""
    path = new()
    spooled(path, [b"a", b"bc", b"", b"d"])
    spool = Spool(path)
    spool.load(4)
    call = spool.call(3)
    assert (call.sequence, call.slave, call.bundle, call.phase) == (3, "app_slave.py", "ab" * 32, 2)
    assert (call.limits, call.size) == ({"quorum": 2}, 1)
    assert [spool.phase_of(number) for number in range(4)] == [1, 1, 1, 2]
    assert [spool.calls_up_to(phase) for phase in (0, 1, 2)] == [0, 3, 4]
    log = AppendLog(path)
    assert list(calls_from(log, spool.start_of(2), 2, 4)) == [spool.call(2), spool.call(3)]
    assert spool.start_of(4) == path.stat().st_size
    log.close()
    spool.close()


def test_each_call_has_its_own_limits(new: New) -> None:
    """Spool: what calls have in common is written as often as if they had nothing in common."""
    path = new()
    spool = Spool(path)
    limits = [{}, {"quorum": 2}, {"quorum": 3}, {}, {"priority": -1}]
    made = [("a", "x", 1), ("b", "x", 1), ("a", "y", 1), ("a", "x", 2), ("a", "x", 1)]
    expected = [(*call, each) for call in made for each in limits]
    for slave, bundle, phase, each in expected:
        spool.append(slave, bundle, phase, each, b"")
    spool.sync()
    spool.close()
    spool = Spool(path)
    spool.load(len(expected))
    found = [spool.call(number) for number in range(len(spool))]
    assert [(one.slave, one.bundle, one.phase, one.limits) for one in found] == expected
    spool.close()


def test_a_record_with_a_long_head(new: New) -> None:
    """Spool: a slave of a very long path has its place, too."""
    path = new()
    spool = Spool(path)
    slave = "/".join(["directory"] * 100)
    spool.append(slave, "ab" * 32, 1, {}, b"data")
    assert spool.call(0).slave == slave
    spool.close()


@given(INPUTS.filter(bool), st.data())
def test_calls_that_nothing_counts_are_cut_off(
    new: New, inputs: list[bytes], data: st.DataObject
) -> None:
    """Spool: however much of the last calls a crash left, the committed ones are there."""
    path = new()
    spooled(path, inputs)
    number = data.draw(st.integers(0, len(inputs) - 1), "committed")
    whole = path.read_bytes()
    spool = Spool(path)
    spool.load(number)
    committed = spool.start_of(number)
    spool.close()
    torn = data.draw(st.integers(committed, len(whole)), "bytes left")
    path.write_bytes(whole[:torn])
    assert loaded(path, number) == inputs[:number]
    assert path.stat().st_size == committed


@given(INPUTS.filter(bool), st.data())
def test_a_spool_that_is_cut_is_damaged(new: New, inputs: list[bytes], data: st.DataObject) -> None:
    """Spool: if a committed call is not whole, the spool is damaged, and says where."""
    path = new()
    spooled(path, inputs)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DirectoryDamaged, match="log is damaged at call [0-9]; restore it"):
        loaded(path, len(inputs))


@given(INPUTS.filter(bool), st.data())
def test_a_flipped_bit_in_a_spool_is_noticed(
    new: New, inputs: list[bytes], data: st.DataObject
) -> None:
    """Spool: no input is ever read that is not the one that was written."""
    path = new()
    spooled(path, inputs)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), "byte")
    content[position] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path.write_bytes(content)
    try:
        found = loaded(path, len(inputs))
    except DirectoryDamaged:
        return
    assert found == inputs, "the line feed after an input means nothing"


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(1, 200))
def test_small_and_large_records_are_read_alike(new: New, sizes: list[int], chunk: int) -> None:
    """Spool: however its records lie in the parts that are read, each is found."""
    path = new()
    inputs = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    spooled(path, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyboinc.records._CHUNK", 64 * chunk)
        assert loaded(path, len(inputs)) == inputs


def test_limits_of_their_own_cost_no_memory(new: New) -> None:
    """Spool: a call with limits that no other has leaves nothing behind in memory."""
    path = new()
    spool = Spool(path)
    tracemalloc.start()
    try:
        for number in range(5_000):
            spool.append("app_slave.py", "ab" * 32, 1, {"fpops": 1e9 + number}, b"data")
        spool.sync()
        spool.load(5_000)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spool.call(4_999).limits == {"fpops": 1e9 + 4_999}
    spool.close()
    assert kept / 5_000 < 50


def test_calls_can_be_taken_back(new: New) -> None:
    """Spool: what a handler called for before it raised is forgotten, in the file as well."""
    path = new()
    spooled(path, [b"a", b"b", b"c"])
    spool = Spool(path)
    spool.load(3)
    spool.append("app_slave.py", "ab" * 32, 1, {}, b"d")
    spool.forget_after(4)
    assert len(spool) == 4
    spool.forget_after(1)
    assert len(spool) == 1
    spool.append("app_slave.py", "ab" * 32, 1, {}, b"e")
    spool.sync()
    spool.close()
    assert loaded(path, 2) == [b"a", b"e"]


def test_the_format_of_a_spool(new: New) -> None:
    """Spool: format 1, byte for byte: what this version writes, the next one will read."""
    path = new()
    spool = Spool(path)
    spool.append("app_slave.py", "abc", 1, {}, b"data")
    spool.append("app_slave.py", "abc", 1, {}, b"")
    spool.append("app_slave.py", "abc", 1, {"quorum": 2, "fpops": 1e9}, b"\n")
    spool.sync()
    spool.close()
    what = b'"slave":"app_slave.py","bundle":"abc","phase":1,'
    assert path.read_bytes() == (
        with_crc(b'{"call":0,"bytes":4,"crc32":"adf3f363",' + what + b'"limits":{}}')
        + b"data\n"
        + with_crc(b'{"call":1,"bytes":0,"crc32":"00000000",' + what + b'"limits":{}}')
        + b"\n"
        + with_crc(
            b'{"call":2,"bytes":1,"crc32":"32d70693",'
            + what
            + b'"limits":{"quorum":2,"fpops":1000000000.0}}'
        )
        + b"\n\n"
    )


def with_crc(text: bytes) -> bytes:
    """A line of a log: a text, its CRC-32, a line feed."""
    return b"%s %08x\n" % (text, zlib.crc32(text))


def test_a_phase_of_a_large_number(new: New) -> None:
    """Spool: a program may have some ten thousand phases, one after the other."""
    path = new()
    spool = Spool(path)
    for phase in (1, 40_000, 65_535):
        spool.append("app_slave.py", "abc", phase, {}, b"")
    assert [spool.phase_of(number) for number in range(3)] == [1, 40_000, 65_535]
    assert [spool.calls_up_to(phase) for phase in (39_999, 40_000, 65_535)] == [1, 2, 3]
    spool.close()


def test_what_damage_is_called(new: New) -> None:
    """Logs: a message names the file, the call or the byte, and both ways out."""
    path = new()
    spooled(path, [b"a", b"b"])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DirectoryDamaged) as caught:
        loaded(path, 2)
    ways_out = "restore it from a backup, or start a new batch with --fresh"
    assert str(caught.value) == f"{path} is damaged at call 1; {ways_out}"
    path.unlink()
    spooled(path, [b"a", b"b", b"c"])
    path.write_bytes(path.read_bytes()[:-2])  # the input of the last one alone
    with pytest.raises(DirectoryDamaged) as caught:
        loaded(path, 3)
    assert str(caught.value) == f"{path} is damaged at call 2; {ways_out}"
    path.write_bytes(with_crc(b"strange"))
    with pytest.raises(DirectoryDamaged) as caught:
        read(path)
    assert str(caught.value) == f"{path} is damaged at byte 17; {ways_out}"


# ---------------------------------------------------------------- the journal

FACTS = st.lists(
    st.one_of(
        st.tuples(st.just("handled"), st.integers(0, 99), st.sampled_from(["out", "error"])),
        st.tuples(st.just("calls"), st.integers(2, 9), st.just("")),
        st.tuples(st.just("forget"), st.integers(0, 99), st.just("")),
        st.tuples(st.just("sync"), st.just(0), st.just("")),
    ),
    max_size=12,
)
State = tuple[dict[int, int], list[Handled], int]


def written(path: Path, facts: list[tuple[str, int, str]]) -> tuple[list[State], list[int]]:
    """Write a journal; return its state after each fact, and the sizes it was durable at."""
    journal = Journal(path)
    journal.commit_calls(1, 3)
    states, sizes = [state(journal)], [path.stat().st_size]
    for fact, number, kind in facts:
        if fact == "handled":
            journal.add_handled(number, kind, journal.calls + number % 3)
        elif fact == "calls":
            journal.commit_calls(number, journal.calls + 1)
        elif fact == "forget":
            journal.forget([number])
        else:
            journal.sync()
        if fact != "handled":
            sizes.append(path.stat().st_size)
        states.append(state(journal))
    journal.sync()
    journal.close()
    return states, sizes


def state(journal: Journal) -> State:
    return dict(journal.phases), list(journal.handled), journal.calls


def read(path: Path) -> State:
    journal = Journal(path)
    journal.close()
    return state(journal)


@given(FACTS)
def test_a_journal_is_read_as_it_was_written(new: New, facts: list[tuple[str, int, str]]) -> None:
    """Journal: opened again it knows what it knew, and reading changes nothing."""
    path = new()
    states, _ = written(path, facts)
    content = path.read_bytes()
    assert read(path) == read(path) == states[-1]
    assert path.read_bytes() == content


@given(FACTS, st.data())
def test_a_torn_journal_is_what_it_was_before(
    new: New, facts: list[tuple[str, int, str]], data: st.DataObject
) -> None:
    """Journal: cut off anywhere, it is as it was after some fact, with all that was durable."""
    path = new()
    states, sizes = written(path, facts)
    whole = path.read_bytes()
    durable = data.draw(st.sampled_from(sizes))
    kept = data.draw(st.integers(durable, len(whole)))
    path.write_bytes(whole[:kept])
    found = read(path)
    assert found in states
    path.write_bytes(whole[:durable])
    assert states.index(read(path)) <= states.index(found)


@given(FACTS, st.data())
def test_a_flipped_bit_in_a_journal(
    new: New, facts: list[tuple[str, int, str]], data: st.DataObject
) -> None:
    """Journal: damage is named, or it is in what was written last and taken for torn."""
    path = new()
    states, _ = written(path, facts)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1), "byte")
    mark = content.rfind(b"durable")
    content[position] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path.write_bytes(content)
    if position < mark:
        with pytest.raises(DirectoryDamaged, match="log is damaged at byte [0-9]+; restore it"):
            read(path)
        assert path.read_bytes() == content, "what is damaged is left as it is"
    else:
        empty: State = ({}, [], 0)
        assert read(path) in [empty, *states]


def test_a_damaged_line_feed_before_the_last_mark_is_noticed(new: New) -> None:
    """Journal: a line that hides the mark behind it does not make durable facts look torn."""
    path = new()
    written(path, [("handled", 0, "out")])
    content = path.read_bytes()
    assert content.count(b"\ndurable") == 1
    path.write_bytes(content.replace(b"\ndurable", b"\x0bdurable"))
    with pytest.raises(DirectoryDamaged, match="log is damaged at byte 0; restore it"):
        read(path)


@given(st.integers(1, 4), st.binary(max_size=60))
def test_a_journal_goes_on_after_a_crash(new: New, crashes: int, rubbish: bytes) -> None:
    """Journal: written on after a torn end it is whole again, any number of times."""
    path = new()
    journal = Journal(path)
    journal.commit_calls(1, 10)
    journal.close()
    for number in range(crashes):
        with open(path, "ab") as file:
            file.write(rubbish)
        journal = Journal(path)
        assert [one.sequence for one in journal.handled] == list(range(number))
        journal.add_handled(number, "out", 10)
        journal.sync()
        journal.close()
    assert [one.sequence for one in read(path)[1]] == list(range(crashes))


def test_the_format_of_a_journal(new: New) -> None:
    """Journal: format 1, byte for byte: what this version writes, the next one will read."""
    path = new()
    journal = Journal(path)
    journal.commit_calls(1, 3)
    journal.add_handled(2, "out", 5)
    journal.add_handled(0, "error", 5)
    journal.sync()
    journal.forget([2, 0])
    journal.close()
    facts = ["calls 1 3", "durable 19", "handled 2 out 5", "handled 0 error 5"]
    facts += ["durable 91", "forget 0", "forget 2"]
    assert path.read_bytes() == b"".join(with_crc(fact.encode()) for fact in facts)


def test_a_fact_of_another_version_is_not_skipped(new: New) -> None:
    """Journal: a whole line that means nothing here is damage: it may mean something elsewhere."""
    path = new()
    for text in (b"postponed 17", b"handled 17 half 3", b"handled 17 out -1"):
        path.write_bytes(with_crc(text))
        with pytest.raises(DirectoryDamaged, match="is damaged"):
            Journal(path)


def test_made_calls_are_known(new: New) -> None:
    """Journal: how many calls a handler made is what the next run compares with."""
    journal = Journal(new())
    journal.commit_calls(1, 2)
    journal.add_handled(0, "out", 5)
    journal.add_handled(1, "error", 5)
    assert list(journal.handled) == [Handled(0, "out", 3, 2), Handled(1, "error", 0, 5)]
    assert journal.calls == 5
    journal.forget([1, 7])
    assert list(journal.handled) == [Handled(0, "out", 3, 2)]
    journal.close()


def test_a_long_journal_is_read_in_parts(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal: a line that is cut by the end of a part is read as a whole."""
    path = new()
    journal = Journal(path)
    journal.commit_calls(1, 50)
    for number in range(50):
        journal.add_handled(number, "out", 50)
    journal.sync()
    journal.close()
    monkeypatch.setattr("pyboinc.records._CHUNK", 7)
    assert [one.sequence for one in read(path)[1]] == list(range(50))


def test_many_jobs_are_forgotten_at_once(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal: what pyboinc rerun forgot costs the next start one pass, not one for each job."""
    path = new()
    journal = Journal(path)
    journal.commit_calls(1, 100)
    for number in range(100):
        journal.add_handled(number, "out", 100)
    journal.forget(range(0, 100, 2))
    journal.add_handled(4, "out", 100)
    journal.sync()
    journal.close()
    passes: list[int] = []
    real = Order.forget

    def counted(self: Order, sequences: Collection[int]) -> None:
        passes.append(len(sequences))
        real(self, sequences)

    monkeypatch.setattr(Order, "forget", counted)
    _, handled, _ = read(path)
    assert [one.sequence for one in handled] == [*range(1, 100, 2), 4]
    assert passes == [50]


def test_both_can_be_read_beside_their_writer(new: New) -> None:
    """Logs: who only looks sees what was synced and cuts nothing off."""
    path, other = new(), new()
    journal, spool = Journal(path), Spool(other)
    spool.append("app_slave.py", "ab" * 32, 1, {}, b"data")
    spool.append("app_slave.py", "ab" * 32, 1, {}, b"not committed")
    spool.sync()
    journal.commit_calls(1, 1)
    seen = Journal(path, read_only=True)
    calls = Spool(other, read_only=True)
    calls.load(seen.calls)
    assert calls.data(calls.call(0)) == b"data"
    assert len(calls) == 1
    spool.load(2)
    for one in (journal, spool, seen, calls):
        one.close()


def test_a_checksum() -> None:
    """Checksums: the CRC-32 that every tool knows, over all parts, in eight digits."""
    assert checksum(()) == "00000000"
    assert checksum((b"123456789",)) == checksum((b"1234", b"56789")) == "cbf43926"
    assert checksum((b"\n",)) == "32d70693"
