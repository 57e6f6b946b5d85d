"""The validator: the daemon that decides which outputs are right.

Volunteers err, and some cheat, so a project may ask several for the same job and compare.
The validator looks at a workunit whose ``need_validate`` the transitioner has set.  Without
a canonical result it looks for a set of equal outputs that is big enough; with one it
compares the stragglers with it.

Source of the rules: BOINC ``sched/validator.cpp``, ``handle_wu()``, and the simple
validator framework around it, ``sched/validate_util2.cpp``, ``check_set()`` and
``check_pair()``.  What two outputs have to have in common is the application's business: the
two hooks are BOINC's ``init_result()`` (*valid*) and ``compare_results()`` (*same*), and
their defaults are those of ``sample_bitwise_validator``: there is a file, equal to the byte.

Left out: transient failures of the hooks (BOINC tries again after six hours), "suspicious"
results, and the amount of credit (here a result is credited or it is not).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import eq
from typing import TypeAlias

from pyboinc.project.states import (
    NEVER,
    AssimilateState,
    ErrorMask,
    Outcome,
    Output,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
    position,
)

#: Whether an output can be used at all; one that can not makes its result a VALIDATE_ERROR.
Valid: TypeAlias = Callable[[Output], bool]

#: Whether two usable outputs say the same.
Same: TypeAlias = Callable[[Output, Output], bool]

_OVER = ServerState.OVER
_SUCCESS = Outcome.SUCCESS
_UNCHECKED = ValidateState.INIT
_VALID = ValidateState.VALID
_INVALID = ValidateState.INVALID
_PENDING = (ValidateState.INIT, ValidateState.INCONCLUSIVE)


def present(output: Output) -> bool:
    """The default of *valid*: the host uploaded a file, and it is still there."""
    return output is not None


def validate(
    workunit: Workunit,
    results: Sequence[Result],
    now: float,
    *,
    valid: Valid = present,
    same: Same = eq,
) -> tuple[Workunit, Results]:
    """Judge the results of a workunit that asks for it and return all rows afterwards."""
    after = workunit.copy()
    after.need_validate = False
    rows = list(results)
    if workunit.canonical_instance is None:
        _look_for_canonical(after, rows, now, valid, same)
    else:
        canonical = rows[position(workunit, rows, workunit.canonical_instance)].output
        _check_stragglers(after, rows, canonical, now, valid, same)
    return after, tuple(rows)


def _look_for_canonical(
    after: Workunit, rows: list[Result], now: float, valid: Valid, same: Same
) -> None:
    """Compare all successes, also those of earlier passes, and act on what comes out."""
    viable = [index for index, row in enumerate(rows) if _is_viable(row)]
    if len(viable) < after.min_quorum:
        return
    good = [index for index in viable if valid(rows[index].output)]
    enough = after.min_quorum // 2 + 1
    agreeing = _agreeing(rows, good, enough, same) if len(good) >= after.min_quorum else []
    for index in viable:
        if index not in good:
            rows[index] = _validate_error(rows[index])
            after.transition_time = now
    if agreeing:
        _consensus(after, rows, good, agreeing)
    else:
        _no_consensus(after, rows, good, now)


def _is_viable(row: Result) -> bool:
    return row.server_state == _OVER and row.outcome == _SUCCESS and row.validate_state != _INVALID


def _agreeing(rows: list[Result], good: list[int], enough: int, same: Same) -> list[int]:
    """Return the canonical result, then all that equal it; nothing if there is none.

    It is the first of *good* that equals at least *enough* of them, itself included: half
    the quorum and one, so that a quorum of 3 needs only 2 that agree.  The first that has
    enough wins, even against a greater number of others that agree as well.
    """
    for index in good:
        output = rows[index].output
        others = [each for each in good if each != index and same(output, rows[each].output)]
        if len(others) + 1 >= enough:
            return [index, *others]
    return []


def _consensus(after: Workunit, rows: list[Result], good: list[int], agreeing: list[int]) -> None:
    """Credit those that agree with the canonical result, and have it assimilated.

    The transitioner is not woken: BOINC leaves that to the assimilator, since the two
    would race.  A workunit that had been given up is assimilated a second time.
    """
    for index in good:
        rows[index] = _judged(rows[index], index in agreeing)
    for index, row in enumerate(rows):
        if row.server_state == ServerState.UNSENT:
            rows[index] = row = row.copy()
            row.server_state = _OVER
            row.outcome = Outcome.DIDNT_NEED
    after.canonical_instance = rows[agreeing[0]].instance
    after.assimilate_state = AssimilateState.READY
    after.transition_time = NEVER


def _no_consensus(after: Workunit, rows: list[Result], good: list[int], now: float) -> None:
    """Keep the good ones for the next comparison, and ask for one more instance."""
    for index in good:
        if rows[index].validate_state == _UNCHECKED:
            rows[index] = row = rows[index].copy()
            row.validate_state = ValidateState.INCONCLUSIVE
    if len(good) > after.max_success_results:
        after.error_mask |= ErrorMask.TOO_MANY_SUCCESS_RESULTS
        after.transition_time = now
    if len(good) >= after.target_nresults:
        after.target_nresults = len(good) + 1
        after.transition_time = now


def _check_stragglers(
    after: Workunit, rows: list[Result], canonical: Output, now: float, valid: Valid, same: Same
) -> None:
    """Compare what came in after the canonical result with it.

    If the canonical file has been deleted under the validator's hands, the straggler pays:
    ``check_pair()`` makes it a VALIDATE_ERROR, since it can not be judged.
    """
    for index, row in enumerate(rows):
        if row.server_state != _OVER or row.outcome != _SUCCESS:
            continue
        if row.validate_state not in _PENDING:
            continue
        after.transition_time = now
        if valid(row.output) and valid(canonical):
            rows[index] = _judged(row, same(row.output, canonical))
        else:
            rows[index] = _validate_error(row)


def _judged(row: Result, agrees: bool) -> Result:
    """A disagreeing result is INVALID, but its outcome stays SUCCESS: it is no error."""
    row = row.copy()
    row.validate_state = _VALID if agrees else _INVALID
    row.credited = row.credited or agrees
    return row


def _validate_error(row: Result) -> Result:
    row = row.copy()
    row.outcome = Outcome.VALIDATE_ERROR
    row.validate_state = _INVALID
    return row
