"""What ``--hosts`` says: a number, presets, or a TOML file; and what that file may hold.

::

    200                                          so many of the usual volunteers
    einstein-2016:500                            a preset and how many
    einstein-2016/daily:500                      ... with another availability
    einstein-2016/seti-all-iid@24h:500           ... with no down-time longer than a day
    lhc-2024/0.7:20                              ... up 70 % of the time
    seti-2016-all:900+lhc-2024/always:10         some groups, joined by + or given one by one
    hosts.toml                                   groups described in a file

A file has a table for each group; what a table leaves out is the preset's::

    [[hosts]]
    count = 900
    preset = "seti-2016-all"
    availability = "seti-all-iid@7d"
    lifetime_days = "weibull:0.58,135"
    error_rate = "uniform:0,0.1"

Numbers may be distributions, as texts (:mod:`simulator.distributions`).
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice
from simulator import distributions, presets
from simulator.availability import DAY, Daily, Model, Renewal
from simulator.distributions import Distribution, Fixed
from simulator.population import MOST, Hosts
from simulator.traces import read_traces

_Read = TypeVar("_Read")

_HOURS = {"h": 1.0, "d": 24.0}

_FORM = "write for example 200, seti-2016-all:1000, seti-2016-all/daily:50 or the name of a .toml"


def read_hosts(texts: Iterable[str]) -> tuple[Hosts, ...]:
    """The groups of hosts that *texts* describe; ``ConfigurationError`` says what can not be."""
    groups = [group for text in texts for group in _groups(text.strip())]
    if not sum(group.count for group in groups):
        raise ConfigurationError(f"--hosts: there are no hosts; {_FORM}")
    return tuple(groups)


def spelled_out(text: str) -> str:
    """*text* with the preset that a number alone stands for."""
    return f"{presets.DEFAULT}:{text}" if _as_number(text) is not None else text


def _groups(text: str) -> list[Hosts]:
    if text.endswith(".toml"):
        return read_file(Path(text))
    return [_group(part.strip()) for part in text.split("+")]


def _group(text: str) -> Hosts:
    head, colon, count = text.rpartition(":")
    if not colon:
        head, count = (presets.DEFAULT, text) if _as_number(text) is not None else (text, "")
    name, slash, availability = head.partition("/")
    group = preset(name)
    if slash:
        group = dataclasses.replace(group, availability=availability_named(availability))
    if not count:
        raise ConfigurationError(f"--hosts {text}: how many hosts? Write {text}:1000")
    return dataclasses.replace(group, count=_count(f"--hosts {text}", count))


def preset(name: str) -> Hosts:
    """The group of hosts of this name, without a count."""
    if name not in presets.HOSTS:
        raise ConfigurationError(
            f"there is no preset of hosts {name!r}; {advice(name, presets.HOSTS)}"
        )
    return presets.HOSTS[name]()


def availability_named(text: str) -> Model:
    """The model that *text* names: a preset, perhaps with ``@24h``, or a share of time up."""
    name, at, longest = text.partition("@")
    share = _as_number(name)
    if share is not None:
        if not 0 < share <= 1:
            raise ConfigurationError(
                f"availability {text}: a share of time up is above 0 and at most 1"
            )
        model: Model = presets.up_share(share)
    elif name in presets.AVAILABILITY:
        model = presets.AVAILABILITY[name]()
    else:
        raise ConfigurationError(
            f"there is no availability {name!r}; {advice(name, presets.AVAILABILITY)}"
        )
    return _with_longest(model, _hours(longest), text) if at else model


def _hours(text: str) -> float:
    number = _as_number(text[:-1])
    if number is None or text[-1:] not in _HOURS or not 0 < number < math.inf:
        raise ConfigurationError(
            f"@{text}: this is not the longest down-time; write for example @24h or @7d"
        )
    return number * _HOURS[text[-1]]


def _with_longest(model: Model, hours: float, text: str) -> Model:
    if not isinstance(model, Renewal):
        raise ConfigurationError(
            f"availability {text}: only random down-times can be cut short"
            "; leave the longest one out"
        )
    return presets.with_longest_down(model, hours)


def _as_number(value: object) -> float | None:
    """*value* as a number, or None; True is none, and NaN neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _count(place: str, value: object) -> int:
    number = _as_number(value)
    if number is None or number % 1 or not 0 <= number <= MOST:
        raise ConfigurationError(
            f"{place}: {value!r} is not a number of hosts; give a whole number up to {MOST}"
        )
    return int(number)


# ---------------------------------------------------------------- the file

# What each key may be, from ... to ..., and the unit in words.
_RANGES: dict[str, tuple[float, float, str]] = {
    "speed_gflops": (1e-6, 1e6, "GFLOPS of one core"),
    "cores": (1, 4096, "cores"),
    "joining_days": (0, 36_500, "days"),
    "lifetime_days": (0, math.inf, "days"),
    "error_rate": (0, 1, "a probability"),
    "wrong_rate": (0, 1, "a probability"),
    "downstream": (1, math.inf, "bytes per second"),
    "upstream": (1, math.inf, "bytes per second"),
    "latency": (0, 3_600, "seconds"),
}
# The keys of which one says when hosts are up, and what each may have beside it.
_AVAILABILITY_KEYS = {
    "availability": {"longest_down_hours"},
    "up_hours": {"down_hours", "longest_down_hours"},
    "daily_hours": {"days_a_week"},
    "trace": {"trace_period_days"},
}
_BESIDE = sorted(set().union(*_AVAILABILITY_KEYS.values()))
_KEYS = ("count", "preset", *_RANGES, *_AVAILABILITY_KEYS, *_BESIDE)


def read_file(path: Path) -> list[Hosts]:
    """The groups of a TOML file; ``ConfigurationError`` names the file, the table and the key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"--hosts {path}: this file can not be read: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: this is not TOML: {error}") from None
    tables = data.pop("hosts", None)
    if data or not isinstance(tables, list):
        what = f"there is no key {next(iter(data))!r}" if data else "there are no hosts in it"
        raise ConfigurationError(f"{path}: {what}; write tables [[hosts]]")
    return [_Table(path, number, table).hosts() for number, table in enumerate(tables, 1)]


class _Table:
    """One table ``[[hosts]]`` of a file."""

    def __init__(self, path: Path, number: int, table: object) -> None:
        self.folder = path.parent
        self.place = f"{path}, [[hosts]] number {number}"
        if not isinstance(table, dict):
            raise ConfigurationError(f"{self.place}: this is not a table")
        self.table: dict[str, Any] = table
        for key in table:
            if key not in _KEYS:
                raise self._bad(f"there is no key {key!r}; {advice(key, _KEYS)}")

    def hosts(self) -> Hosts:
        group: Hosts = self._checked(preset, str(self.table.get("preset", presets.DEFAULT)))
        if "count" not in self.table:
            raise self._bad("how many hosts? Add count = 100")
        changes: dict[str, Any] = {
            key: self._distribution(key) for key in _RANGES if key in self.table
        }
        changes["count"] = _count(f"{self.place}, count", self.table["count"])
        changes["availability"] = self._availability(group.availability)
        return dataclasses.replace(group, **changes)

    def _distribution(self, key: str) -> Distribution:
        value = self.table[key]
        low, high, unit = _RANGES[key]
        if key == "cores" and isinstance(value, dict):
            return self._mix(value)
        number = _as_number(value)
        if number is None and not isinstance(value, str):
            raise self._bad(f"{key} is {value!r}, neither a number nor a distribution as a text")
        found: Distribution = (
            Fixed(number) if number is not None else self._checked(distributions.parse, value)
        )
        # Nearly all of it: a normal distribution has no ends.
        ends = [found.quantile(u) for u in (0.01, 0.99)]
        if not all(low <= end <= high for end in ends):
            raise self._bad(f"{key} = {value!r} can not be; give {low:g} to {high:g}, {unit}")
        return found if number is not None else distributions.Clipped(found, low, high)

    def _mix(self, value: dict[str, Any]) -> Distribution:
        parts = {_as_number(cores): _as_number(share) for cores, share in value.items()}
        numbers = {int(c): s for c, s in parts.items() if c and s and 1 <= c <= 4096 and s > 0}
        if not numbers or len(numbers) < len(value):
            raise self._bad(f"cores = {value!r} can not be; write for example {{4 = 0.6, 8 = 0.4}}")
        return presets.shares(numbers)

    def _availability(self, of_preset: Model) -> Model:
        given = [key for key in _AVAILABILITY_KEYS if key in self.table]
        if len(given) > 1:
            raise self._bad(f"there are {' and '.join(given)}; give one of them")
        key = given[0] if given else "availability"
        for beside in _BESIDE:
            if beside in self.table and beside not in _AVAILABILITY_KEYS[key]:
                needed = [one for one, may in _AVAILABILITY_KEYS.items() if beside in may]
                raise self._bad(f"{beside} goes with {' or '.join(needed)} alone")
        if given:
            model: Model = self._checked(getattr(self, f"_by_{key}"), self.table[key])
        else:
            model = of_preset
        longest = self._checked(self._number, "longest_down_hours", 0, math.inf)
        return model if longest is None else self._checked(_with_longest, model, longest, key)

    def _by_availability(self, value: object) -> Model:
        return availability_named(str(value))

    def _by_up_hours(self, value: object) -> Model:
        if "down_hours" not in self.table:
            raise ConfigurationError("up_hours needs down_hours beside it")
        up, down = (distributions.parse(str(each)) for each in (value, self.table["down_hours"]))
        return Renewal(distributions.Clipped(up), distributions.Clipped(down))

    def _by_daily_hours(self, value: object) -> Model:
        hours = self._number("daily_hours", 0, 24)
        days = self._number("days_a_week", 1, 7)
        return Daily(hours or 0.0, 7 if days is None else int(days))

    def _by_trace(self, value: object) -> Model:
        period = self._number("trace_period_days", 0, 36_500)
        return read_traces(self.folder / str(value), None if period is None else period * DAY)

    def _number(self, key: str, low: float, high: float) -> float | None:
        if key not in self.table:
            return None
        number = _as_number(self.table[key])
        if number is None or not low <= number <= high:
            raise ConfigurationError(
                f"{key} = {self.table[key]!r} can not be; give a number from {low:g} to {high:g}"
            )
        return number

    def _checked(self, read: Callable[..., _Read], *values: object) -> _Read:
        """What *read* says of *values*; its error is told with the place in the file."""
        try:
            return read(*values)
        except ConfigurationError as error:
            raise self._bad(str(error)) from None

    def _bad(self, says: str) -> ConfigurationError:
        return ConfigurationError(f"{self.place}: {says}")
