"""The one vocabulary of faults, and the seeded draws from it.

The local emulator injects these faults into real processes, the simulator into virtual
ones.  Both ask here what goes wrong with which instance, so that a failure rate means
the same in both, and the same seed breaks the same instances on every machine.

What a fault is, what it does in each of those worlds and which BOINC outcome it leads to
stands in ``docs/faults.md``.  How the draws are made: :mod:`pyboinc.faults.draws`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType

from pyboinc.errors import ConfigurationError
from pyboinc.faults.draws import uniform, uniforms
from pyboinc.spelling import advice


class Kind(StrEnum):
    """A kind of fault; its value is the name used by ``--fault`` and ``pyboinc.toml``."""

    CRASH = "crash"
    ERROR = "error"
    HANG = "hang"
    LATE = "late"
    WRONG = "wrong"
    GARBAGE = "garbage"
    DUPLICATE = "duplicate"
    VANISH = "vanish"
    RESTART = "restart"
    SUSPEND = "suspend"
    LOST_UPLOAD = "lost_upload"
    SERVER_OUTAGE = "server_outage"
    MASTER_KILLED = "master_killed"
    DISK_FULL = "disk_full"


#: How an instance can end badly; one instance suffers at most one of these.
ENDING = (
    Kind.CRASH,
    Kind.ERROR,
    Kind.HANG,
    Kind.LATE,
    Kind.WRONG,
    Kind.GARBAGE,
    Kind.VANISH,
    Kind.LOST_UPLOAD,
)

#: What can happen to an instance on its way, whatever its end.
ACCOMPANYING = (Kind.DUPLICATE, Kind.RESTART, Kind.SUSPEND)

#: What happens to the project or to the master, not to an instance: see FaultPlan.strikes.
SURROUNDING = (Kind.SERVER_OUTAGE, Kind.MASTER_KILLED, Kind.DISK_FULL)

#: How ``--failure-rate`` is shared out among the kinds, in percent.  ``wrong`` is not here:
#: with a quorum of 1 nothing can outvote a wrong value, and a failure rate must cost time,
#: never the right answer.
MIX: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.CRASH: 20,
        Kind.ERROR: 20,
        Kind.VANISH: 20,
        Kind.HANG: 10,
        Kind.LATE: 10,
        Kind.GARBAGE: 10,
        Kind.LOST_UPLOAD: 10,
    }
)


class FaultPlan:
    """Which faults strike: a failure rate, a probability for each kind, and a seed.

    Immutable.  *failure_rate* is the probability that an instance ends badly by the
    documented :data:`MIX`; *probabilities* come on top, each for its own kind.
    ``ConfigurationError`` if a probability is not in 0..1, or if the failure rate and
    the probabilities of the ending kinds sum to more than 1.

    The draws of instance *attempt* of job *sequence* are uniforms(seed, "instance",
    sequence, attempt), numbered from 0:

    ====  ==========================================================================
    0     the ending: below failure_rate it is of the mix; the other ending kinds lie
          from 1 downwards, so that neither moves when the other is changed
    1     which kind of the mix
    2-4   duplicate, restart, suspend: each strikes below its probability
    5-7   left to the backend (:meth:`details`): how far a slave got, how late it is...
    ====  ==========================================================================

    So the instances that fail at ``--failure-rate 0.1`` fail in the same way at 0.2.
    """

    __slots__ = ("_accompanying", "_endings", "failure_rate", "probabilities", "quiet", "seed")

    failure_rate: float
    probabilities: Mapping[Kind, float]
    seed: int
    #: True if no instance can suffer anything: draw() then costs nothing.
    quiet: bool
    _endings: tuple[tuple[float, Kind], ...]
    _accompanying: tuple[tuple[int, float, Kind], ...]

    def __init__(
        self,
        failure_rate: float = 0.0,
        probabilities: Mapping[Kind, float] | None = None,
        seed: int = 0,
    ) -> None:
        given = {Kind(kind): float(p) for kind, p in (probabilities or {}).items() if p != 0}
        check_probabilities(given, failure_rate)
        endings, upper = [], 1.0
        for kind in ENDING:
            if kind in given:
                upper -= given[kind]
                endings.append((upper, kind))
        accompanying = tuple((i + 2, given[k], k) for i, k in enumerate(ACCOMPANYING) if k in given)
        fields = {
            "failure_rate": float(failure_rate),
            "probabilities": MappingProxyType(given),
            "seed": seed,
            "quiet": not (failure_rate or endings or accompanying),
            "_endings": tuple(endings),
            "_accompanying": accompanying,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a FaultPlan can not be changed: {name}")

    def __repr__(self) -> str:
        faults = format_faults(self.probabilities)
        return f"<FaultPlan seed={self.seed} failure_rate={self.failure_rate:g} faults={faults!r}>"

    @property
    def kinds(self) -> frozenset[Kind]:
        """Every kind that this plan can bring about."""
        mixed = MIX if self.failure_rate else ()
        return frozenset(mixed) | frozenset(self.probabilities)

    def require(self, supported: Collection[Kind], backend: str) -> None:
        """Raise ``ConfigurationError`` unless *backend* can bring about every kind asked for."""
        missing = [str(kind) for kind in Kind if kind in self.kinds and kind not in supported]
        if missing:
            raise ConfigurationError(
                f"the backend {backend} can not inject {', '.join(missing)}; leave that out:"
                " a fault that is silently not injected would look like a program that stands it"
            )

    def draw(self, sequence: int, attempt: int) -> tuple[Kind, ...]:
        """The faults of one instance: at most one ending kind (it comes first), then others.

        *sequence* is the job's number in its batch, *attempt* the instance's number in
        its job.  Empty for an instance that does its work.
        """
        if self.quiet:
            return ()
        u = uniforms(self.seed, "instance", sequence, attempt)
        ending = self._ending(u[0], u[1])
        if not self._accompanying:
            return ending
        return ending + tuple(kind for i, p, kind in self._accompanying if u[i] < p)

    def _ending(self, position: float, share: float) -> tuple[Kind, ...]:
        if position < self.failure_rate:
            return (_of_the_mix(share),)
        for lower, kind in self._endings:
            if position >= lower:
                return (kind,)
        return ()

    def details(self, sequence: int, attempt: int) -> tuple[float, float, float]:
        """Three more numbers in [0, 1) of one instance, independent of which faults it has.

        The backend's own: how far a slave gets before it is hit, which signal, how late.
        """
        u = uniforms(self.seed, "instance", sequence, attempt)
        return u[5], u[6], u[7]

    def strikes(self, kind: Kind, *key: int | str) -> bool:
        """Whether a surrounding fault (outage, killed master, full disk) strikes at *key*.

        The key names the occasion, for example ("poll", 17) or ("rename", 3).
        """
        p = self.probabilities.get(kind, 0.0)
        return p > 0 and uniform(self.seed, kind, *key) < p


_MIX_BOUNDS = tuple((sum(list(MIX.values())[: i + 1]) / 100, kind) for i, kind in enumerate(MIX))


def _of_the_mix(share: float) -> Kind:
    for upper, kind in _MIX_BOUNDS:
        if share < upper:
            return kind
    raise AssertionError("the shares of the mix sum to 100")


def is_probability(value: float) -> bool:
    """Whether *value* is a number from 0 to 1 (NaN is not)."""
    return 0.0 <= value <= 1.0


def check_probabilities(probabilities: Mapping[Kind, float], failure_rate: float = 0.0) -> None:
    """Raise ``ConfigurationError`` unless these can be the probabilities of one plan."""
    if not is_probability(failure_rate):
        raise ConfigurationError(
            f"failure_rate: {failure_rate!r} is not a probability; give a number from 0 to 1"
        )
    for kind, p in probabilities.items():
        if not is_probability(p):
            raise ConfigurationError(
                f"fault {kind}: {p!r} is not a probability; give a number from 0 to 1"
            )
    endings = [kind for kind in ENDING if probabilities.get(kind)]
    total = failure_rate + sum(probabilities[kind] for kind in endings)
    if total > 1 + 1e-9:  # 0.7 + 0.2 + 0.1 is not quite 1 in binary
        names = (["failure_rate"] if failure_rate else []) + [str(kind) for kind in endings]
        raise ConfigurationError(
            f"the probabilities of {', '.join(names)} sum to {total:g}: an instance ends in one"
            " way only, so together they may be 1 at most"
        )


def kind_named(name: str) -> Kind:
    """The kind of fault called *name*; ``ConfigurationError`` that names near ones."""
    try:
        return Kind(name.strip().lower().replace("-", "_"))
    except ValueError:
        raise ConfigurationError(f"there is no fault {name!r}; {advice(name, Kind)}") from None


def parse_faults(text: str) -> dict[Kind, float]:
    """Read ``"crash=0.05,late=0.02"``; ``ConfigurationError`` for anything else.

    Raised for an unknown kind (near ones are named), a kind given twice, a probability
    that is not in 0..1, and ending kinds that sum to more than 1.
    """
    faults: dict[Kind, float] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, number = item.partition("=")
        kind = kind_named(name)
        if kind in faults:
            raise ConfigurationError(f"fault {kind} is given twice in {text!r}; give it once")
        faults[kind] = _probability(kind, number.strip() if equals else "")
    check_probabilities(faults)
    return faults


def _probability(kind: Kind, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise ConfigurationError(
            f"fault {kind}: {number!r} is not a probability; write {kind}=P, P from 0 to 1"
        ) from None


def format_faults(faults: Mapping[Kind, float]) -> str:
    """The text that :func:`parse_faults` reads back as *faults*, in the order of the kinds."""
    return ",".join(f"{kind}={_number(faults[kind])}" for kind in Kind if kind in faults)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
