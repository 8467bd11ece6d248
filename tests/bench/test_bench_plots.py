"""Plots of a benchmark: what they show, not how they look."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from enhance.bench import plots
from enhance.bench.labels import Name, apart, beside_points, fitted
from enhance.bench.records import UNTOUCHED, Record

METRICS = ("pesq_wb", "si_sdr")


def made(systems: int, clips: int, tags: bool = False) -> list[Record]:
    """System k gains k / 8 in PESQ on every clip, and half of that where the input is above 10 dB."""
    records = []
    for k, name in enumerate([UNTOUCHED, *(f"system {n}" for n in range(1, systems + 1))]):
        for n in range(clips):
            level = float((n * 7) % 20)
            gain = k / 8 * (0.5 if level > 10 else 1.0)
            scores = {"pesq_wb": 1.5 + level / 16 + gain, "si_sdr": level + k}
            records.append(Record(name, f"c{n}", "speech", scores, tags={"snr": str(5 * (n % 4))} if tags else {}))
    return records


def summed(records: list[Record], rtf: dict[str, float]) -> dict:
    rows = []
    for name in dict.fromkeys(record.system for record in records):
        scores = {}
        for metric in METRICS:
            mean = float(np.mean([record.scores[metric] for record in records if record.system == name]))
            scores[metric] = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 9}
        kind = "mixture" if name == UNTOUCHED else "model"
        rows.append({"name": name, "kind": kind, "rtf": rtf.get(name), "scores": scores})
    return {"metrics": list(METRICS), "systems": rows}


def texts(figure) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


def test_colours_go_by_order_and_markers_tell_the_rest_apart():
    names = [f"s{n}" for n in range(20)]
    found = plots.looks([UNTOUCHED, *names])
    assert found[UNTOUCHED].colour == plots.GREY
    assert [found[name].colour for name in names[:7]] == list(plots.PALETTE)
    assert len({(found[name].colour, found[name].marker) for name in names}) == 20
    assert plots.looks(names)["s3"] == found["s3"]  # with or without the mixture


def test_distributions_have_a_row_a_system_and_a_panel_a_metric():
    records = made(2, 30)
    figure = plots.distributions(records[30:] + records[:30], METRICS)  # the mixture last
    panels = figure.axes
    assert [panel.get_xlabel() for panel in panels] == ["PESQ-WB ↑", "SI-SDR (dB) ↑"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [UNTOUCHED, "system 1", "system 2"]
    dots = panels[1].collections[1].get_offsets()  # density, then dots
    assert sorted(dots[:, 0]) == sorted(record.scores["si_sdr"] for record in records[:30])
    means = [line.get_xdata()[0] for line in panels[1].lines if line.get_marker() == "o"]
    expected = np.mean([record.scores["si_sdr"] for record in records[:30]])
    assert means == pytest.approx([expected, expected + 1, expected + 2])


def test_few_or_equal_or_missing_scores_are_drawn_without_density():
    records = [Record(UNTOUCHED, f"c{n}", "speech", {"pesq_wb": 2.0}) for n in range(10)]
    records += [Record("one", "c0", "speech", {"pesq_wb": 3.0}), Record("none", "c0", "speech", error="failed")]
    figure = plots.distributions(records, ["pesq_wb"])
    figure.draw_without_rendering()
    assert len(figure.axes[0].collections) == 2  # the dots of those that have any
    assert {"one", "none"} <= texts(figure)


def test_speed_shows_systems_with_a_factor_and_the_untouched_level():
    records = made(4, 12)
    summary = summed(records, {"system 1": 0.001, "system 2": 0.2, "system 4": 0.05})
    figure = plots.quality_against_speed(summary)
    panel = figure.axes[0]
    assert panel.get_xscale() == "log"
    assert panel.get_xlabel() == "real-time factor on one thread"
    points = {round(float(line.get_xdata()[0]), 6) for line in panel.lines if line.get_marker() in plots.MARKERS}
    assert points == {0.001, 0.2, 0.05}
    shown = texts(figure)
    assert {"system 1", "system 2", "system 4"} <= shown
    assert "system 3" not in shown
    level = summary["systems"][0]["scores"]["pesq_wb"]["mean"]
    assert f"untouched\n{level:.2f}" in shown
    assert any(list(line.get_ydata()) == [level, level] for line in panel.lines if line.get_linestyle() == "--")


def test_names_of_a_crowd_do_not_overlap():
    rng = np.random.default_rng(3)
    figure = plots._figure(6.4, 4.2)
    panel = figure.subplots()
    panel.set_xscale("log")
    panel.set_xlim(5e-4, 1)
    panel.set_ylim(1.5, 3.2)
    places = zip(10 ** rng.uniform(-3, -0.5, 14), rng.uniform(1.8, 3.0, 14), strict=True)
    names = [Name(f"system number {n}", x, y, "black", y - 0.03, y + 0.03) for n, (x, y) in enumerate(places)]
    boxes = beside_points(figure, panel, names, 2.1)
    assert len(boxes) == 14
    for number, box in enumerate(boxes):
        assert panel.bbox.x0 <= box.x0 <= box.x1 <= panel.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_names_at_ends_are_a_step_apart_and_moved_least():
    assert apart([0.0, 5.0], 1.0) == [0.0, 5.0]
    assert apart([1.0, 1.0, 1.0], 2.0) == pytest.approx([-1.0, 1.0, 3.0])
    rng = np.random.default_rng(0)
    heights = sorted(rng.uniform(0, 10, 14))
    moved = np.array(apart(heights, 0.8))
    assert np.diff(moved).min() >= 0.8 - 1e-9
    assert moved.mean() == pytest.approx(np.mean(heights))


def test_long_names_and_dollars_are_text():
    assert len(fitted("x" * 100)) == 36
    figure = plots.distributions([Record("a$b$c", "c", "speech", {"pesq_wb": 2.0})], ["pesq_wb"])
    figure.draw_without_rendering()
    assert r"a\$b\$c" in texts(figure)  # which is drawn as dollars


def test_gain_against_the_inputs_level():
    figure = plots.gain_over_input(made(2, 120))
    panel = figure.axes[0]
    assert panel.get_xlabel() == "SI-SDR of the input (dB)"
    curves = {to_hex(line.get_color()): line for line in panel.lines if line.get_marker() in plots.MARKERS}
    for k, colour in enumerate(plots.PALETTE[:2], start=1):
        gains = np.asarray(curves[colour.lower()].get_ydata())
        assert gains[0] == pytest.approx(k / 8)
        assert gains[-1] == pytest.approx(k / 16)


def test_gain_goes_by_the_tag_where_there_is_one_and_up_is_better():
    records = made(1, 40, tags=True)
    figure = plots.gain_over_input(records)
    assert figure.axes[0].get_xlabel() == "SNR of the input (dB)"
    assert list(figure.axes[0].get_xticks()) == [0, 5, 10, 15]
    worse = [Record(r.system, r.clip, r.source, {"llr": r.scores["si_sdr"]}, tags=r.tags) for r in records]
    curve = next(line for line in plots.gain_over_input(worse, "llr").axes[0].lines if line.get_marker() == "o")
    assert np.asarray(curve.get_ydata()) == pytest.approx(-1.0)  # a higher LLR


@pytest.mark.parametrize(("systems", "clips"), [(2, 3), (14, 60)])
def test_files_are_written_without_a_word(tmp_path, capsys, systems, clips):
    records = made(systems, clips)
    summary = summed(records, {f"system {n}": 0.001 * 1.7**n for n in range(1, systems + 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = plots.save_all(records, summary, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["distributions.png", "speed.png", "gain.png"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        picture = imread(path)[..., :3]
        assert picture.shape[1] > 800
        border = np.concatenate((picture[0], picture[-1], picture[:, 0], picture[:, -1]))
        assert border.mean() > 0.99  # nothing is cut off
    assert capsys.readouterr() == ("", "")


def test_only_what_the_data_allow(tmp_path):
    mixture = made(0, 5)
    assert [p.name for p in plots.save_all(mixture, summed(mixture, {}), tmp_path)] == ["distributions.png"]
    failed = [Record(UNTOUCHED, "c", "speech", error="no")]
    summary = {"metrics": ["pesq_wb"], "systems": [{"name": UNTOUCHED, "kind": "mixture", "rtf": None, "scores": {}}]}
    assert plots.save_all(failed, summary, tmp_path / "none") == []
