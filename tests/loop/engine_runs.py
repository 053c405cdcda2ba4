"""Requests and engines that tests of the engine share."""

import time

from splitreason_integrations import (
    Completion,
    Request,
    Sampling,
    SplitEngine,
    Tag,
    TagClose,
    blocking,
)


def freed(models):
    """Whether all caches are free, at the end of a running step at the latest."""
    for _ in range(100):
        if all(model.open_sessions == 0 for model in models):
            return True
        time.sleep(0.005)
    return False


HELLO = [{"role": "user", "content": "Mia has 47 boxes with 23 pens each. How many pens?"}]
HOT = Sampling(temperature=1.0)


def request(**more):
    return Request(**{"messages": HELLO, "max_tokens": 80, "seed": 5, "sampling": HOT, **more})


def engine(pair, **more):
    """An engine whose random models open and close spans often."""
    settings = {"trigger": Tag(threshold=2e-3), "close": TagClose(2e-3), **more}
    return SplitEngine(small=pair[0], large=pair[1], **settings)


def complete(some_engine, some_request):
    return blocking.run(lambda: some_engine.complete(some_request))


def collect(some_engine, some_request):
    items = list(blocking.iterate(some_engine.stream(some_request)))
    assert isinstance(items[-1], Completion)
    return items[:-1], items[-1]
