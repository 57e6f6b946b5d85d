"""What people are told of a workunit: its attempts, and why it was given up.

BOINC keeps outcomes as numbers and the reasons as bits of an error mask; here are their words.
"""

from __future__ import annotations

from pyboinc.backends import Attempt, Failure
from pyboinc.backends.local.store import Rows, Turn
from pyboinc.project import ErrorMask, Outcome, Result, ValidateState

_REASONS = {
    ErrorMask.COULDNT_SEND_RESULT: "couldn't send result",
    ErrorMask.TOO_MANY_ERROR_RESULTS: "too many errors",
    ErrorMask.TOO_MANY_SUCCESS_RESULTS: "too many results without consensus",
    ErrorMask.TOO_MANY_TOTAL_RESULTS: "too many total results",
    ErrorMask.CANCELLED: "cancelled",
    ErrorMask.NO_CANONICAL_RESULT: "no canonical result",
}


def failure_of(rows: Rows) -> Failure:
    """Return a failed workunit as its owner is told of it."""
    mask = rows.workunit.error_mask
    reasons = [text for bit, text in _REASONS.items() if mask & bit]
    return Failure(
        index=rows.details.sequence,
        name=rows.workunit.name,
        reason=", ".join(reasons) or "given up",
        error_mask=int(mask),
        attempts=attempts(rows),
    )


_OUTCOMES = {
    Outcome.INIT: "in progress",
    Outcome.SUCCESS: "success",
    Outcome.COULDNT_SEND: "could not be sent",
    Outcome.CLIENT_ERROR: "client error",
    Outcome.NO_REPLY: "no reply",
    Outcome.DIDNT_NEED: "not needed",
    Outcome.VALIDATE_ERROR: "validate error",
    Outcome.CLIENT_DETACHED: "client detached",
}


def attempts(rows: Rows) -> tuple[Attempt, ...]:
    """Return the instances of a workunit that were sent, for people."""
    sent = [one for one in rows.results if one.host]
    return tuple(_attempt(one, rows.turns.get(one.instance) or Turn()) for one in sent)


def _attempt(one: Result, turn: Turn) -> Attempt:
    outcome = _OUTCOMES[Outcome(one.outcome)]
    if one.outcome == Outcome.SUCCESS and one.validate_state == ValidateState.INVALID:
        outcome = "outvoted"
    return Attempt(
        instance=one.instance,
        host=one.host or "",
        outcome=outcome,
        exit_status=one.exit_status,
        signal=bool(turn.signal),
        stderr=turn.stderr,
        python=turn.python,
        platform=turn.platform,
        elapsed=turn.elapsed,
        sent=one.sent_time or 0.0,
        received=one.received_time or 0.0,
    )
