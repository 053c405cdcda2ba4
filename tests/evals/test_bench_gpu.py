"""The handoff benchmark: tiny shapes on a CPU, real sizes on a GPU."""

import json

import pytest
import torch
from typer.testing import CliRunner

from splitreason_integrations.cli import app
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.shapes import SHAPES, random_network

TINY = ["--device", "cpu", "--small-shape", "tiny", "--large-shape", "tiny"]


def bench(*arguments):
    result = CliRunner().invoke(app, ["bench", "gpu", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_tiny_shapes_on_a_cpu_give_every_figure():
    said = json.loads(
        bench(*TINY, "--context", "64", "--context", "128", "--rounds", "3", "--json")
    )
    assert [one["context_tokens"] for one in said["contexts"]] == [64, 128]
    for one in said["contexts"]:
        assert one["handoff_ratio"] > 0
        assert one["handback_ms"] > 0
        assert one["reading_ratio"] > 0
        assert one["reading_ms"] > 0
        assert 8 <= one["reading_tokens"] <= 64
        assert min(one["tokens_per_s"].values()) > 0
    assert said["peak_memory_bytes"] is None
    assert {"command", "hardware", "date"} <= said.keys()
    shown = bench(*TINY, "--context", "64", "--rounds", "2")
    assert "tokens/s" in shown
    assert "disagreement ÷ tag" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_remedy_is_named():
    with pytest.raises(ConfigurationError, match="--device cpu"):
        bench()


def test_unknown_shapes_are_refused():
    with pytest.raises(ConfigurationError, match="unknown shape"):
        random_network("3T", context_tokens=64, device="cpu", seed=0)


@pytest.mark.parametrize(("name", "billions"), [("1.5B", 1.54), ("32B", 32.8), ("7B", 7.6)])
def test_shapes_have_the_parameters_of_their_names(name, billions):
    shape = SHAPES[name]
    keys = shape.hidden * shape.key_value_heads // shape.heads
    layer = 2 * shape.hidden**2 + 2 * shape.hidden * keys + 3 * shape.hidden * shape.feed_forward
    words = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    assert (layer * shape.layers + words) / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_handoff_takes_about_a_step_of_the_large_model():
    said = json.loads(bench("--context", "2048", "--rounds", "8", "--json"))
    (one,) = said["contexts"]
    assert one["handoff_ratio"] < 3
    assert one["reading_ratio"] < 3
    assert said["peak_memory_bytes"] > 0
