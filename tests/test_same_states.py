"""The emulator and the simulator take every workunit through the same states."""

from __future__ import annotations

from pathlib import Path

import pytest
from masters import MASTER, Place

from pyboinc.backends.simulated.masters import Program
from pyboinc.backends.simulated.project import Project
from pyboinc.faults import FaultPlan, Kind, parse_faults
from simulator.campaign import Campaign
from simulator.campaign.volunteers import Volunteers

JOBS = 25

COLUMNS = ("instance", "server_state", "outcome", "client_state", "validate_state", "exit_status")

States = dict[str, tuple[int, int | None, list[tuple[int, ...]]]]
"""By workunit: error mask, canonical instance, and the columns of each of its results."""

TOLD = """
def handle_error(failure):
    print(failure.index, failure.reason)

pyboinc_master(make_calls, handle_result, handle_error)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A program whose jobs may fail for good."""
    master = MASTER.format(calls=JOBS).replace("pyboinc_master(make_calls, handle_result)\n", TOLD)
    return Place(tmp_path / "app", {"app_master.py": master})


def emulated(place: Place, flags: tuple[str, ...]) -> States:
    """What the emulator's database holds when the program has ended."""
    run = place.run(*flags)
    assert run.code == 0, run.stderr
    found: States = {}
    query = f"select w.name, w.error_mask, w.canonical_instance, {', '.join(COLUMNS)}"
    rows = place.select(f"{query} from workunit w join result on workunit = w.id order by 1, 4")
    for name, mask, canonical, *columns in rows:
        found.setdefault(str(name), (mask, canonical, []))[2].append(tuple(columns))  # type: ignore[arg-type]  # numbers
    return found


def simulated(
    place: Place, flags: tuple[str, ...], faults: FaultPlan, *, to_the_end: bool = False
) -> States:
    """The same in virtual time, on hosts that are always on; *to_the_end*: until all are heard."""
    campaign = Campaign(Program(place / "app_master.py", flags=flags), 1, "fork", 64_000_000)
    found: States = {}

    def look(project: Project) -> None:
        if to_the_end:
            project.world.run_until_outcome()
        for job in project.jobs:
            rows = project.rows(job)
            states = [tuple(int(getattr(one, name)) for name in COLUMNS) for one in rows.results]
            one = rows.workunit
            found[job.name] = int(one.error_mask), one.canonical_instance, states

    try:
        run = campaign.run(Volunteers(["lhc-2024/always:20"]), faults, look=look)
        assert run.last.code == 0, run.last.stderr
    finally:
        campaign.close()
    return found


def never_late(states: States, faults: FaultPlan) -> set[str]:
    """The workunits of which no instance is late: what is, races with what replaces it."""
    return {
        name
        for name, (_, _, rows) in states.items()
        if not any(
            Kind.LATE in faults.draw(int(name.rpartition("_")[2]), number)
            for number in range(len(rows))
        )
    }


def has_enough_errors(states: States) -> set[str]:
    """The workunits that were given up: the last error races with what is in progress."""
    return {name for name, (mask, _, _) in states.items() if mask}


@pytest.mark.parametrize(
    ("rate", "kinds", "limits"),
    [
        (0.5, "", ("--max-errors=2",)),
        (0.0, "crash=0.1,vanish=0.1,hang=0.1,wrong=0.2,duplicate=0.2", ("--quorum=2",)),
        (0.0, "error=0.2,garbage=0.2,lost_upload=0.1,wrong=0.2", ("--quorum=3", "--max-errors=4")),
    ],
)
def test_every_workunit_goes_through_the_same_states(
    place: Place, rate: float, kinds: str, limits: tuple[str, ...], seed: int
) -> None:
    """Fidelity: the same program, seed and faults give the same instances, outcomes and masks."""
    faults = FaultPlan(rate, parse_faults(kinds), seed)
    flags = (f"--seed={seed}", f"--failure-rate={rate}", f"--fault={kinds}", *limits)
    there = simulated(place, limits, faults)
    here = emulated(place, flags)
    assert len(here) == JOBS
    compared = never_late(there, faults) & never_late(here, faults)
    if any("quorum" in one for one in limits):  # with one instance at a time nothing races
        compared -= has_enough_errors(there) | has_enough_errors(here)
    assert len(compared) > JOBS / 4  # 12 to 22 of 25 with a quorum of 3, in 40 seeds
    assert {name: there[name] for name in compared} == {name: here[name] for name in compared}
    assert {len(rows) for _, _, rows in there.values()} != {1}
