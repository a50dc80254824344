"""The benchmark of the judge: its yardstick, its draws, its peers and its sums."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from bench.judge import figures, pictures, results, rules, tables, walk
from bench.judge.limit import information, least
from bench.judge.scenarios import BOUNDS_MS, FAULTY, HEALTHY, SCENARIOS, WEIGHTS, Draw, Scenario, draw
from bench.judge.walk import Outcome, Task, carry_out


def drawn(name: str, seconds: int = 60, seed: int = 1) -> Draw:
    return draw(SCENARIOS[name], seconds, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("stable", "canary", "wanted"),
    [(0.001, 0.003, (3268, 3764, 7967)), (0.01, 0.02, (1081, 1220, 2422)), (0.0, 0.01, (91, 181, 600))],
)
def test_the_yardstick_agrees_with_walds_bound(stable: float, canary: float, wanted: tuple[int, ...]) -> None:
    """The least canary requests at 1, 10 and 50 %: a yardstick that is off by a factor makes any judge look good."""
    sides = np.array([1 - stable, stable]), np.array([1 - canary, canary])
    assert [round(share * least() / float(information(*sides, share))) for share in (0.01, 0.1, 0.5)] == list(wanted)


@pytest.mark.parametrize("scenario", [*HEALTHY, *FAULTY], ids=lambda one: one.name)
@pytest.mark.parametrize("seconds", [15, 60])
def test_every_draw_is_a_histogram_of_what_it_says(scenario: Scenario, seconds: int) -> None:
    """Requests are failures and durations, of pods that add up; the judge must not refuse what we draw."""
    one = draw(scenario, seconds, np.random.default_rng(3))
    for side in (one.past, one.stable, one.canary):
        assert side.errors.min() >= 0
        assert (side.errors <= side.requests).all()
        assert np.allclose(side.buckets.sum(axis=-1) + side.errors, side.requests)
        assert np.allclose(side.pods[..., 0].sum(axis=-1), side.requests)
        assert np.allclose(side.pods[..., 1].sum(axis=-1), side.errors)
    shares = one.canary.requests.sum(axis=0) / (one.canary.requests + one.stable.requests).sum(axis=0)
    assert np.allclose(shares, np.array(WEIGHTS) / 100, rtol=0.3, atol=0.02)
    assert np.allclose(one.truth[0].sum(axis=-1), 1)
    assert np.allclose(one.truth[1].sum(axis=-1), 1)


@pytest.mark.parametrize("name", ["iid 0.5 % at 2000 rps", "beta-binomial pods", "failures in clumps of three"])
def test_healthy_sides_fail_alike(name: str) -> None:
    """A scenario that is called healthy and is not would be counted against the judge, or for a peer."""
    scenario = replace(SCENARIOS[name], rps=2000)
    one = draw(scenario, 60, np.random.default_rng(5))
    rates = [side.errors.sum() / side.requests.sum() for side in (one.stable, one.canary)]
    assert rates == pytest.approx([0.005, 0.005], rel=0.05)


def test_pod_noise_is_as_wide_as_it_says() -> None:
    """The whole difficulty of the scenario is its intraclass correlation; z-scores of pods must show it."""
    pods = np.concatenate([drawn("beta-binomial pods", seed=seed).stable.pods[:, 0] for seed in range(20)])
    requests, errors = pods[..., 0].mean(), pods[..., 1]
    weight = (1 - 0.01) / 0.01
    wanted = requests * 0.005 * 0.995 + requests * (requests - 1) * beta.var(0.005 * weight, 0.995 * weight)
    assert errors.var() == pytest.approx(wanted, rel=0.15)


def test_draws_do_not_depend_on_who_makes_them() -> None:
    """A result can be done again from its seed, whatever the processes and their order."""
    task = Task("0.1 -> 5 % at 100 rps", 60, 9, 0, 3, ("canaryd", "flagger", "oracle"))
    whole = carry_out(task)
    parts = [carry_out(replace(task, first=place, count=1))[0] for place in range(3)]

    def timeless(found: dict[str, Outcome]) -> dict[str, Outcome]:
        return {rule: replace(one, cpu=0.0) for rule, one in found.items()}

    assert list(map(timeless, whole)) == list(map(timeless, parts))


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        ([0.0, 1.0, 2.0, 1.0, 0.0, 0.0], [0.0] * 6),
        (
            [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7],
            [1.0, 100.0, 4.0, 101.0, 5.0, 102.0, 6.0, 103.0, 7.0, 104.0, 8.0, 105.0, 9.0, 106.0, 17.0],
        ),
    ],
    ids=["spinnaker/kayenta#426", "spinnaker/spinnaker#6278"],
)
def test_kayenta_passes_what_its_users_report_that_it_passes(canary: list[float], stable: list[float]) -> None:
    """A peer must have its own weaknesses here and not ours: these two are reported as wrongly passed."""
    assert rules.classify(np.array(canary), np.array(stable)) == "pass"


def test_kayenta_tells_a_plain_shift() -> None:
    """And it must have its strengths."""
    chance = np.random.default_rng(0)
    stable = chance.normal(10, 2, 30)
    assert rules.classify(chance.normal(20, 2, 30), stable) == "high"
    assert rules.classify(chance.normal(10, 2, 30), stable) == "pass"
    assert rules.classify(chance.normal(5, 2, 30), stable) == "pass"  # better is not worse
    assert rules.classify(np.array([]), stable) == "nodata"


def test_the_hodges_lehmann_estimate_is_the_median_of_all_differences() -> None:
    """Kayenta's root of a step function, away from ties, is the textbook's estimate."""
    chance = np.random.default_rng(2)
    canary, stable = chance.normal(12, 2, 25), chance.normal(10, 2, 30)
    differences = np.subtract.outer(canary, stable)
    low, estimate = rules.shift(canary, stable)
    assert estimate == pytest.approx(np.median(differences), abs=0.02)
    assert low < estimate


def test_quantiles_are_prometheus_own() -> None:
    """Linear within a bucket, and the last bound for what is above it: a tighter one would flatter the peers."""
    buckets = np.zeros(len(BOUNDS_MS) + 1)
    buckets[BOUNDS_MS.index(100.0)] = 10
    assert rules.quantile(buckets, 0.5) == pytest.approx(75)  # between 50 and 100
    buckets[:] = 0
    buckets[-1] = 1
    assert rules.quantile(buckets, 0.5) == BOUNDS_MS[-1]
    assert np.isnan(rules.quantile(0 * buckets, 0.5))


def test_flagger_adds_failures_up_and_acts_a_tick_later() -> None:
    """Its failures are never forgiven, and the fifth is acted upon at the next tick."""
    found = carry_out(Task("0.1 -> 100 % at 100 rps", 60, 1, 0, 1, ("flagger",)))[0]["flagger"]
    assert (found.end, found.cells) == ("rollback", 6)


def test_argo_goes_on_while_it_measures() -> None:
    """More than three failed measurements of five minutes: it ends at the fourth, at the third step's beginning."""
    found = carry_out(Task("0.1 -> 100 % at 100 rps", 60, 1, 0, 1, ("argo, as in its docs",)))[0]
    assert found["argo, as in its docs"].minutes == 20


def test_a_walk_that_holds_does_not_rise() -> None:
    """Held time is not bake; a ramp that cannot end is inconclusive at its limit."""

    class Holding(rules.Rule):
        def judge(self, seen: rules.Seen, baked: int, *, last: bool) -> rules.Answer:
            assert seen.level == 0
            return "hold"

    one = drawn("iid 0.1 % at 10 rps")
    found = walk.walk(one, Holding(one), walk.nats_of(one))
    assert (found.end, found.minutes) == ("inconclusive", 90)


def outcome(end: str, **how: float) -> Outcome:
    return replace(Outcome(end, 50.0, 10.0, 5.0, 4.18, 50, 0.01), **how)  # type: ignore[arg-type]


def test_results_add_up_once(tmp_path: Path) -> None:
    """Seeds of several machines make one table; the same file twice would shrink every interval."""
    key = (HEALTHY[0].name, "canaryd", 60)
    for seed in (1, 2):
        one = results.Results({key: [outcome("promote")] * seed}, [f"seed {seed}"])
        results.save(one, tmp_path / f"{seed}.json")
    whole = results.load([tmp_path / "1.json", tmp_path / "2.json"])
    assert whole.of(*key) == [outcome("promote")] * 3
    with pytest.raises(ValueError, match="seed 1 is there already"):
        results.load([tmp_path / "1.json", tmp_path / "1.json"])


def test_wilsons_interval() -> None:
    """0 of 400 is not 0 %: the interval is the point of a benchmark of rare events."""
    found = results.share(0, 400)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(0.0095, abs=1e-4)
    assert results.share(5, 10).low == pytest.approx(0.2366, abs=1e-4)


def test_a_missed_target_says_by_how_much() -> None:
    """One faulty canary promoted is a miss, and the table names it."""
    plain = {(one.name, "canaryd", 60): [outcome("promote")] * 50 for one in HEALTHY}
    faulty = {(one.name, "canaryd", 60): [outcome("rollback")] * 49 + [outcome("promote")] for one in FAULTY[:1]}
    found = results.Results({**plain, **faulty}, ["seed 0"])
    text = tables.as_markdown(found, [60])
    line = next(line for line in text.splitlines() if line.startswith("| faulty promoted, each"))
    assert "**missed by 2 %**" in line
    assert FAULTY[0].name in line
    met = next(line for line in text.splitlines() if line.startswith("| false rollback, plain together"))
    assert "| met |" in met


def test_every_figure_has_its_interval(tmp_path: Path) -> None:
    """A number without one invites to believe in its last digit."""
    found = results.Results()
    for name in ("iid 0.5 % at 100 rps", "p99 doubled"):
        for outcome in carry_out(Task(name, 60, 1, 0, 3, ("flagger",))):
            found.outcomes.setdefault((name, "flagger", 60), []).append(outcome["flagger"])
    figures.save_figures(found, tmp_path / "figures.csv")
    with (tmp_path / "figures.csv").open(encoding="utf-8") as file:
        rows = {row["scenario"]: row for row in csv.DictReader(file)}
    faulty, healthy = rows["p99 doubled"], rows["iid 0.5 % at 100 rps"]
    assert (faulty["rolled_back"], faulty["rolled_back_high"], faulty["walks"]) == ("1", "1", "3")
    assert 0.2 < float(faulty["rolled_back_low"]) < 0.5
    for name in ("minutes", "harmed", "samples"):
        assert float(faulty[f"{name}_low"]) <= float(faulty[name]) <= float(faulty[f"{name}_high"])
    assert healthy["samples"] == ""


def test_a_picture_is_drawn_of_what_there_is(tmp_path: Path) -> None:
    """Pictures come from results alone, and a rule that promoted the faulty has a hollow mark."""
    outcomes = {
        (FAULTY[0].name, rule, 60): [outcome("promote" if rule == "flagger" else "rollback")] * 5
        for rule in pictures.MARKS
    }
    files = pictures.draw_all(results.Results(outcomes, ["seed 0"]), tmp_path)
    assert [file.name for file in files] == ["judge-harm.svg", "judge-minutes.svg"]
    text = files[0].read_text()
    colour = pictures.MARKS["flagger"][0]
    assert f'fill="#ffffff" stroke="{colour}"' in text
    assert len(text) < 20_000
