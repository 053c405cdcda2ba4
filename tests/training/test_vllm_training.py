"""Training with rollouts by vLLM, from a copy of the weights in training."""

import shutil
from importlib.util import find_spec

import pytest

from splitreason_integrations import Never, SplitEngine, VLLMModel
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.embedded import path
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.training.offloading.grpo import reinforce
from splitreason_integrations.training.offloading.recipe import (
    GRPORecipe,
    Lora,
    Tasks,
    Writing,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not find_spec("vllm"), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two engines on two cores: without it each would take both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


async def texts(small):
    engine = SplitEngine(small=small, large="embedded", trigger=Never(), telemetry=None)
    asked = [
        Request(messages=one.messages, sampling=Sampling(temperature=0.0), max_tokens=80, seed=0)
        for one in generated("test", ("word",), n=6, seed=4)
    ]
    return [(await engine.complete(one)).pieces for one in asked]


async def test_weights_are_reloaded(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(path("small"), folder)
    model = await load_model(VLLMModel(str(folder)), role="small")
    trained = await texts(model)
    assert trained == await texts("embedded:small")
    shutil.copy(path("base") / "model.safetensors", folder)
    await model.reload()
    assert await texts(model) == await texts("embedded:base") != trained


@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["full", "lora"])
def test_rollouts_by_vllm_train_the_model(tmp_path, lora):
    trainer = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_steps": 2,
        "learning_rate": 1e-3,
    }
    writing = Writing(run_by="vllm", max_tokens=60, temperature=1.5, at_once=4)
    reports = []
    reinforce(
        GRPORecipe(
            large=(f"vllm:{path('large')}",),
            tasks=Tasks(count=8),
            writing=writing,
            lora=lora,
            trainer=trainer,
        ),
        tmp_path / "out",
        command="x",
        on_progress=lambda *reported: reports.append(reported),
    )
    figures = [one for _, _, one in reports if "right" in one]
    assert len(figures) == 2
    assert all(one["degraded"] == 0.0 for one in figures)
    assert all(one["surprise"] < 1.5 for one in figures)
