"""Initial wiring of fresh models, and the optimizer Muon."""

import pytest
import torch

from splitreason_integrations.training.architecture import build_model
from splitreason_integrations.training.muon import Muon, orthogonalise
from splitreason_integrations.training.pair import load_tokenizer, make_tokenizer
from splitreason_integrations.training.run import Folders, Settings
from splitreason_integrations.training.wiring import LOOK_BACK_HEADS


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folders = Folders(tmp_path_factory.mktemp("pair"))
    make_tokenizer(folders, Settings(scale=0.002))
    return load_tokenizer(folders)


@pytest.mark.parametrize("role", ["small", "large"])
def test_fresh_models_look_back_and_find_repetitions(tokenizer, role):
    model = build_model(role, tokenizer, seed=1)
    model.set_attn_implementation("eager")
    part = torch.randint(20, len(tokenizer), (1, 60), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = model(torch.cat([part, part], 1), output_attentions=True).attentions
    for head in range(LOOK_BACK_HEADS):
        assert seen[0][0, head].diagonal(-head - 1).mean() > 0.9
    followed = seen[1][0, 0].diagonal(-59)[1:].mean()
    assert followed > 5 / 60


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_updates_are_orthogonal_in_the_gradients_own_directions(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrices)
    assert torch.linalg.svdvals(found).sub(0.95).abs().max() < 0.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inside = (u.mT @ found @ v.mT).diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(
        inside,
        torch.linalg.svdvals(found).gather(-1, inside.argsort(descending=True).argsort()),
        atol=1e-3,
    )


def test_steps_like_the_muon_of_torch():
    start = [
        torch.randn(s, generator=torch.Generator().manual_seed(i))
        for i, s in enumerate([(16, 16), (16, 40), (16, 16)])
    ]
    ours, theirs = ([torch.nn.Parameter(one.clone()) for one in start] for _ in range(2))
    mine = Muon(ours, lr=0.01, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for group in (ours, theirs):
            for i, one in enumerate(group):
                generator = torch.Generator().manual_seed(100 * step + i)
                one.grad = torch.randn(one.shape, generator=generator)
        mine.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-3)
