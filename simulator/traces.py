"""Recorded availability from a CSV file: one line for each time that a host was up.

::

    host,start,stop
    a,0,36000
    a,50000,90000
    b,1200,86400

Times are seconds from the beginning of the record; with the columns ``start_hours,stop_hours``
they are hours, with ``start_days,stop_days`` days.  The lines of one host stand in order of
time, hosts may be mixed; other columns are left alone.  The record is repeated after its last
stop (of all hosts), or after the period that is given.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pyboinc.errors import ConfigurationError
from simulator.availability import DAY, FOREVER, HOUR, Trace, Traces

_UNITS = {"": 1.0, "_hours": HOUR, "_days": DAY}


def read_traces(path: Path, period: float | None = None) -> Traces:
    """The records of *path*; ``ConfigurationError`` names the file and the line at fault."""
    ups: dict[str, list[tuple[float, float]]] = {}
    for line, host, start, stop in _rows(path):
        known = ups.setdefault(host, [])
        if known and start < known[-1][1]:
            raise _bad(
                path,
                line,
                f"host {host} was up until {known[-1][1]:g} s and can not begin at {start:g} s;"
                " put its lines in order of time, without overlaps",
            )
        known.append((start, stop))
    if not ups:
        raise ConfigurationError(f"{path}: there is no up-time in it; write lines host,start,stop")
    last = max(spans[-1][1] for spans in ups.values())
    if period is not None and period < last:
        raise ConfigurationError(
            f"{path}: the period of {period:g} s ends before the last stop, {last:g} s;"
            " give a longer one, or none"
        )
    return Traces(tuple(_record(spans, period or last) for spans in ups.values()))


def _record(spans: list[tuple[float, float]], period: float) -> Trace:
    return Trace(tuple(start for start, _ in spans), tuple(stop for _, stop in spans), period)


def _rows(path: Path) -> Iterator[tuple[int, str, float, float]]:
    """Each line's number, its host, and its start and stop in seconds."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            columns, unit = _columns(path, next(reader, []))
            for row in reader:
                if row:
                    yield (reader.line_num, *_row(path, reader.line_num, row, columns, unit))
    except OSError as error:
        raise ConfigurationError(
            f"the trace {path} can not be read: {error.strerror}; name a CSV file"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: this is not a CSV file in UTF-8: {error}") from None


def _columns(path: Path, header: list[str]) -> tuple[tuple[int, int, int], float]:
    names = [name.strip().lower() for name in header]
    for suffix, unit in _UNITS.items():
        wanted = ("host", f"start{suffix}", f"stop{suffix}")
        if set(wanted) <= set(names):
            host, start, stop = map(names.index, wanted)
            return (host, start, stop), unit
    raise _bad(path, 1, f"it should name the columns host,start,stop, not {','.join(header)!r}")


def _row(
    path: Path, line: int, row: list[str], columns: tuple[int, int, int], unit: float
) -> tuple[str, float, float]:
    try:
        host, start, stop = (row[column].strip() for column in columns)
        begins, ends = float(start) * unit, float(stop) * unit
    except IndexError:
        raise _bad(path, line, f"it has {len(row)} columns, too few for the first line's") from None
    except ValueError:
        text = ",".join(row)
        raise _bad(path, line, f"{text!r} has no two numbers for start and stop") from None
    if not 0 <= begins < ends <= FOREVER:  # NaN is never fine
        raise _bad(
            path,
            line,
            f"an up-time from {start} to {stop} can not be;"
            " it starts at 0 or later, and ends after its start",
        )
    return host, begins, ends


def _bad(path: Path, line: int, says: str) -> ConfigurationError:
    return ConfigurationError(f"{path}, line {line}: {says}")
