"""Passes over few tokens at addresses that stay, replayed as CUDA graphs.

A pass over one token is hundreds of small kernels. A GPU runs them faster than Python can start
them one by one, so that a small model's step takes tens of times as long as reading its weights.
A recorded pass starts all of them at once. It needs fixed shapes and addresses: one sequence at a
time has its keys and values there, a pass has one of three sizes, and what is behind its last token
is computed in vain and overwritten by the next one.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from splitreason_integrations.backends.hf.attention import ATTENTION, PARTS, FixedRows, Place
from splitreason_integrations.backends.hf.norms import in_one_kernel, spelled_out
from splitreason_integrations.backends.swapped import swapped
from splitreason_integrations.processes.children import PerProcess

SIZES = (1, 16, 64)
"""Tokens of a pass: a step, a usual span, and what is usually between two spans."""

_LEAST_ROWS = 4096
_STEADY_ROTATIONS = ("default", "linear", "llama3", "yarn")
_log = logging.getLogger(__name__)
_recording = PerProcess(threading.Lock)


def steps_for(network: PreTrainedModel) -> "Steps | None":
    """Return steps for a network that can be recorded, else None.

    It must be on one GPU of compute capability 8.0 or later, in bfloat16 or float16, and do the
    same for all tokens: with full attention in every layer, without experts, its rotation of a
    position the same however long the sequence is.
    """
    devices = {weights.device for weights in network.parameters()}
    fits = (
        network.device.type == "cuda"
        and len(devices) == 1
        and network.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(network.device) >= (8, 0)
        and does_the_same_for_all(network)
    )
    return Steps(network) if fits else None


def does_the_same_for_all(network: PreTrainedModel) -> bool:
    """Return whether a pass over one token runs what a pass over any other runs."""
    layers = DynamicCache(config=network.config).layers
    rotation = getattr(network.config, "rope_parameters", None) or {}
    return (
        network.config.get_text_config() is network.config
        and len(layers) > 0
        and all(type(layer) is DynamicLayer for layer in layers)
        and rotation.get("rope_type", "default") in _STEADY_ROTATIONS
        and not any("expert" in name for name, _ in network.named_modules())
        and getattr(network, "_supports_attention_backend", False)
    )


class CachedRows(Protocol):
    """The keys and values of one sequence, of which the first `length` tokens count."""

    rows: DynamicCache
    length: int


class Steps:
    """Recorded passes of one network, for the one thread that uses it.

    What is recorded has the network's weights at their addresses: they may change in place, and
    must not be replaced. Off CUDA the passes run unrecorded: that is for tests.
    """

    def __init__(self, network: PreTrainedModel) -> None:
        self._network = network
        self._norms = spelled_out(network)
        self._context_tokens = int(network.config.max_position_embeddings)
        self._place: Place | None = None
        self._cache: Cache | None = None
        self._passes: dict[int, Callable[[], torch.Tensor]] = {}
        self._owner: weakref.ref[CachedRows] | None = None
        self._rows = 0
        self.usable = True

    def read(self, token_ids: Sequence[int], cache: CachedRows) -> torch.Tensor | None:
        """Return logits (tokens, vocabulary) of tokens behind a cache's, or None.

        It is None for too many tokens, and where the context ends within a pass's size. Where the
        network cannot be recorded, a warning says so once, and it is None ever after.
        """
        size = next((size for size in SIZES if size >= len(token_ids)), None)
        start = cache.length
        if size is None or not self.usable or start + size > self._context_tokens:
            return None
        with torch.inference_mode():
            try:
                place = self._hold(cache, start, start + size)
                place.set(token_ids, start, size)
                if size not in self._passes:
                    self._passes[size] = self._recorded(size, place)
                logits = self._passes[size]()[: len(token_ids)].clone()
            except Exception as error:  # noqa: BLE001 - logged; a lasting fault shows in the plain pass
                self._give_up(error)
                return None
        self._rows = start + len(token_ids)
        return logits

    def settle(self, cache: CachedRows) -> None:
        """Copy the rows that are here only to the cache itself."""
        if not self._holds(cache):
            return
        with torch.inference_mode():
            for at, here in enumerate(self._fixed_rows()):
                # Layer by layer: where memory ends within, the others can still be settled.
                settled = cache.rows.layers[at].get_seq_length()
                if settled < self._rows:
                    cache.rows.update(*here.part(settled, self._rows), at)

    def crop(self, cache: CachedRows) -> None:
        """Forget the rows that a cache has been cut by."""
        if self._holds(cache):
            self._rows = min(self._rows, cache.length)

    def _holds(self, cache: CachedRows) -> bool:
        return self._owner is not None and self._owner() is cache

    def _fixed_rows(self) -> Sequence[FixedRows]:
        return () if self._cache is None else self._cache.layers

    def _hold(self, cache: CachedRows, length: int, rows: int) -> Place:
        """Bring a cache's first `length` rows here, in place of another's, with room for `rows`."""
        if not self._holds(cache):
            self._release()
            self._owner = weakref.ref(cache)
        place = self._place
        if place is None or rows > place.capacity:
            place = self._grow(rows)
        if self._rows < length:
            for here, there in zip(self._fixed_rows(), cache.rows.layers, strict=True):
                here.load(there.keys, there.values, since=self._rows, until=length)
            self._rows = length
        return place

    def _release(self) -> None:
        owner = self._owner() if self._owner is not None else None
        if owner is not None:
            self.settle(owner)
        self._owner, self._rows = None, 0

    def _grow(self, rows: int) -> Place:
        """Make room, at new addresses: what was recorded for the old ones is void."""
        owner = self._owner
        self._release()
        self._owner = owner
        self._passes.clear()
        self._cache = None
        most = -(-self._context_tokens // PARTS) * PARTS
        capacity = min(max(_LEAST_ROWS, 1 << (rows - 1).bit_length()), most)
        place = self._place = Place(SIZES, capacity, self._network.device)
        layers = len(DynamicCache(config=self._network.config).layers)
        self._cache = Cache([FixedRows(place) for _ in range(layers)])
        return place

    def _recorded(self, size: int, place: Place) -> Callable[[], torch.Tensor]:
        def run() -> torch.Tensor:
            with (
                # Nobody else may run the network meanwhile.
                swapped(self._network.config, "_attn_implementation", ATTENTION),
                in_one_kernel(self._norms),
            ):
                return self._network(  # type: ignore[no-any-return]
                    input_ids=place.tokens[:, :size],
                    position_ids=place.positions[:, :size],
                    past_key_values=self._cache,
                    use_cache=True,
                    place=place,
                ).logits[0]

        if self._network.device.type != "cuda":
            return run
        return _record(run, self._network.device)

    def _give_up(self, error: Exception) -> None:
        """Switch recorded passes off and log why; nothing that was read is lost."""
        _log.warning(
            "%s steps without CUDA graphs, which is slower: %s",
            type(self._network).__name__,
            str(error).partition("\n")[0],
        )
        self.usable = False
        self._passes.clear()
        self._release()
        self._cache = self._place = None


def _record(run: Callable[[], torch.Tensor], device: torch.device) -> Callable[[], torch.Tensor]:
    """Return what replays a pass. One is recorded at a time, whatever other threads do."""
    with _recording.value, torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        # The stream is set here as well: a recording that fails does not set the old one again.
        with torch.cuda.stream(aside):
            run()
            aside.synchronize()
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                logits = run()
        torch.cuda.current_stream().wait_stream(aside)

    def replay() -> torch.Tensor:
        graph.replay()
        return logits

    return replay
