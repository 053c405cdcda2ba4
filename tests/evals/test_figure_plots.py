"""Published plots show what the JSON says, name it, and are the same for the same data."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pytest

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.figures import PLOTS, update_plots
from splitreason_integrations.evals.figures.canvas import WIDTH, Point, Series, scatter, svg
from splitreason_integrations.evals.figures.plots import (
    alone,
    costs,
    drawing,
    knob,
    made_of,
    passes,
    prices,
    trade_off,
)

ROOT = Path(__file__).parent.parent.parent
FIGURES = ROOT / "docs/figures"
HOW = {"command": "splitreason bench one", "hardware": "a machine", "date": "2026-11-30"}


def measured(small, trigger, close="agrees", *, share=0.1, accuracy=0.9, cost=0.5):
    return {
        "small": small,
        "trigger": trigger,
        "close": close,
        "accuracy": accuracy,
        "interval": [accuracy - 0.05, accuracy + 0.05],
        "offload_share": share,
        "share_interval": [share - 0.01, share + 0.01],
        "cost_by_input_price": {"0.1": cost, "0.5": 2 * cost},
    }


UNTAUGHT = {
    "rows": [
        measured("base", "always", "", share=1.0, accuracy=0.95, cost=2.0),
        measured("base", "never", "", share=0.0, accuracy=0.3, cost=0.0),
        measured("base", "disagreement<0.1", share=0.2),
        measured("base", "disagreement<0.1", "agrees:2"),
        measured("small", "tag", "tag>0.5", share=0.08),
        measured("small", "(tag | disagreement<0.1)", "tag>0.5"),
        measured("base", "disagreement<0.1", share=0.2, cost=9.0),
        measured("base", "disagreement<0.5", share=0.3),
        measured("base", "entropy>1.5", share=0.11),
        measured("base", "step-entropy>2", share=0.12),
        measured("base", "confidence<0.2", share=0.13),
        measured("base", "random:0.1", share=0.14),
    ],
    "speculation": {
        "rows": [
            {"engine": "transformers", "method": "large alone", "large_passes": 150.0},
            {"engine": "vLLM", "method": "`small` drafts", "large_passes": 30.0},
        ]
    },
    **HOW,
}
PAIR = {
    "curve": [
        measured("", "tag>0.9", share=0.05, accuracy=0.6),
        measured("", "tag>0.5", share=0.15, accuracy=0.9),
    ],
    **HOW,
}
PRICES = {
    "rows": [["fine-tuned", "70.5 %", "68.4 to 72.4 %", "11.4 %", "11.0 to 11.8 %", "0.179"]],
    **HOW,
}


@pytest.fixture
def folder(tmp_path):
    for name, found in {"untaught": UNTAUGHT, "pair": PAIR, "grpo-price": PRICES}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(found), "utf-8")
    return tmp_path


def test_every_plot_is_drawn_once_and_names_its_data(folder):
    paths = [folder / f"{name}.svg" for name in PLOTS]
    assert update_plots(folder, write=False) == paths
    assert not any(path.exists() for path in paths)
    assert update_plots(folder) == paths
    assert update_plots(folder) == []
    for path in paths:
        says = ET.parse(path).getroot().find("{http://www.w3.org/2000/svg}desc").text
        for file in PLOTS[path.stem].files:
            assert made_of(folder / f"{file}.json", HOW) in says
    (folder / "pair.json").write_text(json.dumps({**PAIR, "date": "2026-12-01"}), "utf-8")
    assert update_plots(folder) == [folder / "knob.svg"]


def test_a_plot_whose_data_is_not_there_is_not_drawn(folder):
    (folder / "untaught.json").unlink()
    assert [path.stem for path in update_plots(folder)] == ["knob", "grpo-price"]


@pytest.mark.parametrize("key", HOW)
def test_data_that_does_not_say_how_it_was_measured_is_refused(folder, key):
    (folder / "pair.json").write_text(json.dumps({**PAIR, key: ""}), "utf-8")
    with pytest.raises(RequestError, match=f"{key} is missing"):
        update_plots(folder)


def test_the_trade_off_has_a_series_for_each_trigger_and_both_models_alone():
    found = {one.name: one.points for one in trade_off(UNTAUGHT)}
    assert [point.x for point in found["taught: tag"]] == [0.08]
    assert [point.x for point in found["untaught: disagreement"]] == [0.2, 0.3]
    for name, share in {"entropy": 0.11, "step-entropy": 0.12, "confidence": 0.13}.items():
        (point,) = found[f"untaught: {name}"]
        assert (point.x, point.y) == (share, 0.9)
        assert point.x_interval == (share - 0.01, share + 0.01)
        assert point.y_interval == (0.9 - 0.05, 0.9 + 0.05)
    assert alone(UNTAUGHT) == {
        "large alone": (0.95, (0.95 - 0.05, 0.95 + 0.05)),
        "small alone": (0.3, (0.3 - 0.05, 0.3 + 0.05)),
    }


def test_the_knob_has_intervals_of_both_figures():
    assert [point.y for point in knob(PAIR, "accuracy").points] == [0.6, 0.9]
    shares = knob(PAIR, "offload_share").points
    assert [point.y_interval for point in shares] == [
        (share - 0.01, share + 0.01) for share in (0.05, 0.15)
    ]


def test_costs_are_parts_of_what_the_large_model_alone_costs():
    names, series = costs(UNTAUGHT)
    assert len(names) == 4
    assert [one.name for one in series] == ["input at 10% of output", "input at 50% of output"]
    assert {point.x for one in series for point in one.points} == {0.25}


def test_passes_have_a_row_for_each_way_and_a_series_for_each_engine():
    names, series = passes(UNTAUGHT)
    assert names == ["large alone", "small drafts"]
    assert series == [
        Series("transformers", (Point(150.0, 0),)),
        Series("vLLM", (Point(30.0, 1),)),
    ]


def test_prices_are_read_from_their_table():
    (one,) = prices(PRICES)
    (point,) = one.points
    assert (one.name, point.x, point.y) == ("fine-tuned", 0.114, 0.705)
    assert point.x_interval == pytest.approx((0.110, 0.118))
    assert point.y_interval == pytest.approx((0.684, 0.724))


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_asks_no_host_and_has_a_background_of_its_own(folder, name):
    drawn = drawing(name, [folder / f"{file}.json" for file in PLOTS[name].files])
    assert set(re.findall(r'https?://[^"\s<]+', drawn)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "fill: #ffffff" in drawn
    assert "sans-serif" in drawn
    assert f'width="{72 * WIDTH:g}pt"' in drawn


def test_what_is_named_is_escaped():
    def draw(picture):
        panel = picture.subplots()
        scatter(panel, [Series("a & <b>", (Point(1.0, 2.0),))])
        panel.legend()

    drawn = svg("one", "a < b", "c & d", 3.0, draw)
    root = ET.fromstring(drawn)
    assert root[0].text == "a < b"
    assert root[1].text == "c & d"
    assert "a &amp; &lt;b&gt;" in drawn


def pinned():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("matplotlib=="))


@pytest.mark.skipif(
    version("matplotlib") != pinned(), reason="other versions of matplotlib draw other bytes"
)
def test_committed_plots_are_those_of_the_committed_figures(tmp_path):
    for file in FIGURES.iterdir():
        shutil.copy(file, tmp_path)
    assert update_plots(tmp_path, write=False) == []
