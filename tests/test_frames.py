"""Messages between a master and its keepers come whole, however they are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyboinc.backends.local.frames import Receiver, pack

FIELDS = st.one_of(st.text(), st.binary(max_size=300), st.integers(), st.none(), st.booleans())


@given(
    st.lists(st.lists(FIELDS, max_size=4).map(tuple), max_size=5),
    st.lists(st.integers(1, 40), max_size=30),
)
def test_messages_are_put_together(messages: list[tuple[object, ...]], cuts: list[int]) -> None:
    """Frames: any messages, cut anywhere, arrive whole and in order."""
    data = b"".join(pack(message) for message in messages)  # type: ignore[arg-type]  # any fields
    receiver = Receiver()
    received = []
    for cut in [*cuts, len(data)]:
        received += receiver.take(data[:cut])
        data = data[cut:]
    assert received == messages


def test_a_long_message_is_gathered_once() -> None:
    """Frames: a message of many megabytes is not copied with each of its pieces."""
    data = pack((b"x" * 50_000_000,))
    receiver = Receiver()
    received = []
    for start in range(0, len(data), 1 << 16):
        received += receiver.take(data[start : start + (1 << 16)])
    assert [len(message[0]) for message in received] == [50_000_000]
