"""Hours add up over the checkpoints that a training was started from."""

from __future__ import annotations

from typing import Any

from enhance.models.provenance import audio_hours, hours, steps


def provenance(step: int, wall: float, init: dict[str, Any] | None, **recipe: dict[str, Any]) -> dict[str, Any]:
    settings = {"optim": {"batch": 16}, "run": {}, "data": {"seconds": 2.0}, **recipe}
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
