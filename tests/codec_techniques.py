"""The table of techniques: each way in which a pickle is known to do harm, once, by name.

`TECHNIQUES` maps a technique to what shows that it works under plain `pickle` (``sees``), the
pickle, and what the loader must make of it: a refusal, or an inert value that was looked at.
What shows it is the name of an audit event or one of

    trap        code of a class, or `codec_traps.fire`, ran        file     something was made
    state       something global in the process has changed        killed   by a signal
    memory      more than 300 MB were asked for                    time     more than a second
    token       a function or class came out as a value            other    another value than
    import, exec, compile, open   as the audit events of these names         it shows to others
    SystemExit, KeyboardInterrupt, RecursionError   was raised     exit     the process ended
    nothing     pickle refuses too, or another reader than `pickle` is the victim

`codec_sacrifice` runs all of them under `pickle` in processes that may die of it.
"""

from __future__ import annotations

from typing import NamedTuple

import codec_costs
import codec_effects
import codec_gadgets
import codec_traps  # noqa: F401 - a payload reaches it by the dotted name
import codec_tricks


class Technique(NamedTuple):
    """One way to do harm."""

    sees: str
    data: bytes
    inert: str = ""  # what the loader makes of it, if it does not refuse


INERT = {
    "a base without __init__ run": "an object without attributes, as the slave may send it",
    "the state changed after BUILD": "the object has a copy of its state",
    "numpy: a size that the type has not": "the size comes from the type's name",
    "a Decimal that integers can not be": "a number, however large its exponent",
    "__getattr__ asked for __setstate__": "attributes, set without asking the class",
}
"""What the loader makes a value of all the same, and what that is."""

TECHNIQUES: dict[str, Technique] = {}
for _way in (*codec_gadgets.WAYS, *codec_effects.WAYS, *codec_tricks.WAYS, *codec_costs.WAYS):
    for _name, _sees, _data in _way():
        assert _name not in TECHNIQUES, _name
        TECHNIQUES[_name] = Technique(_sees, _data, INERT.get(_name, ""))
