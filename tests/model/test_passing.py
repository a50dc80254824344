"""What a step still lacks, in words: a person who waits must be told of the check that keeps it waiting."""

from __future__ import annotations

from canaryd.model.evidence import Evidence, Reading
from canaryd.model.passing import lack
from canaryd.model.traffic import Split


def reading(check: str, proof: float, *, known: str = "", proves: bool = True) -> Reading:
    return Reading(
        check, "0 %", "0 %", 900.0, 900.0, 0.5, proof, check, proof_bound=20.0 if proves else 0.0, known=known
    )


def lacks(*readings: Reading) -> str:
    evidence = Evidence(
        harm=0.5,
        harm_bound=100.0,
        hold_bound=3.0,
        proof=min(one.proof for one in readings if one.proof_bound),
        proof_bound=20.0,
        proven=False,
        failure="",
        canary_requests=900.0,
        readings=readings,
    )
    return lack(evidence, Split.percent(50), 50, 12, promotes=True).partition(" at 50 %")[2]


def test_a_check_that_is_no_part_of_the_proof_is_not_what_it_waits_for() -> None:
    """One route by itself proves nothing: to name it would send people after the wrong check."""
    route = reading("pay", 1.0, known="at most 1 % more", proves=False)
    assert lacks(reading("errors", 25.0), reading("latency", 0.5), route) == "; latency: proof 0.50"
    assert lacks(reading("errors", 3.0, known="at most 0.2 % more"), route) == "; errors: at most 0.2 % more"


def test_of_what_is_proven_already_nothing_is_said_and_of_the_rest_everything() -> None:
    """Else latency, of which no bound is known, would hide behind errors that are nearly there."""
    errors, slow = reading("errors", 11.0, known="at most 0.2 % more"), reading("latency", 0.5)
    assert lacks(errors, slow) == "; errors: at most 0.2 % more; latency: proof 0.50"


def test_the_only_check_is_not_named_again_where_nothing_more_is_known_of_it() -> None:
    route = reading("pay", 1.0, known="at most 1 % more", proves=False)
    assert lacks(reading("errors", 3.0)) == lacks(reading("errors", 3.0), route) == ""
