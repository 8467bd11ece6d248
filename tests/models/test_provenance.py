"""Hours add up over the checkpoints that a training was started from."""

from __future__ import annotations

from typing import Any

import pytest

from enhance.models.provenance import audio_hours, hours, origins, steps


def provenance(step: int, wall: float, init: dict[str, Any] | None, **recipe: Any) -> dict[str, Any]:
    identity = {"name": f"{step} steps", "model": "dcunet-s", "seed": 0}
    settings = {**identity, "optim": {"batch": 16}, "run": {}, "data": {"seconds": 2.0}, **recipe}
    return {"step": step, "hours": wall, "init": init, "recipe": settings}


def test_hours_add_up():
    first = provenance(900, 1.5, None)
    second = provenance(
        450, 0.25, first, optim={"batch": 8, "accumulate": 2}, run={"devices": 2, "nodes": 3}, data={"seconds": 4.0}
    )
    assert hours(first) == 1.5
    assert hours(second) == 1.75
    assert steps(second) == 1350
    assert audio_hours(first) == 900 * 16 * 2 / 3600
    assert audio_hours(second) == 900 * 16 * 2 / 3600 + 450 * 8 * 2 * 6 * 4 / 3600


def test_hours_of_a_cascades_modules_add_up():
    modules = [provenance(900, 1.5, None), provenance(450, 0.25, provenance(9, 0.5, None))]
    whole = {**provenance(90, 1.0, None), "init": modules}
    assert hours(whole) == 3.25
    assert steps(whole) == 90 + 900 + 450 + 9
    assert audio_hours(whole) == (90 + 900 + 450 + 9) * 16 * 2 / 3600


def test_a_run_counts_once_however_often_a_mean_has_it():
    start = provenance(900, 1.5, None)
    halfway, end = (provenance(step, wall, start, name="next") for step, wall in ((200, 0.25), (400, 0.5)))
    other = provenance(300, 0.375, start, name="next", seed=1)
    mean = provenance(0, 0.0, None)
    mean["init"] = origins([start, halfway, end, other])
    assert mean["init"] == [end, other]
    assert (hours(mean), steps(mean)) == (1.5 + 0.5 + 0.375, 900 + 400 + 300)
    assert audio_hours(mean) == pytest.approx(1600 * 16 * 2 / 3600)
    later = provenance(100, 0.125, mean)
    assert (hours(later), steps(later)) == (2.5, 1700)
    again = provenance(0, 0.0, None)
    again["init"] = origins([mean, later, other])
    assert again["init"] == [later]


def test_a_mean_of_what_was_never_trained():
    first, second = provenance(0, 0.0, None, name="a"), provenance(0, 0.0, None, name="b")
    assert origins([first, second]) == [first]
    assert origins([]) == []
