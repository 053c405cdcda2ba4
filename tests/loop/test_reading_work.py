"""What reading along costs the large model: passes over chunks, and no decoded token."""

from collections import Counter

import pytest

from splitreason_integrations import Disagreement, TransformersModel, blocking
from splitreason_integrations.embedded import path
from tests.backends.large_work import NEVER, LargeWork, disagreeing


@pytest.mark.parametrize("trigger", [Disagreement(0.1), NEVER], ids=str)
def test_a_network_reads_a_chunk_in_one_pass_and_writes_in_spans_alone(
    embedded, monkeypatch, trigger
):
    large, passes = embedded[1], Counter()
    work = LargeWork(large, monkeypatch)
    base = TransformersModel(str(path("base")), device="cpu", taught=False)
    hook = large.network.register_forward_hook(lambda *_: passes.update([work.doing]))
    try:
        replies = blocking.run(lambda: disagreeing(base, large, trigger))
    finally:
        hook.remove()
    work.check(replies)
    assert passes["reads"] == work.chunks
    assert passes["writes"] <= work.written
    assert set(passes) == ({"reads"} if trigger is NEVER else {"reads", "writes"})
    assert any(reply.spans for reply in replies) is (trigger is not NEVER)
