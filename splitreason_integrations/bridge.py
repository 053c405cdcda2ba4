"""Carries text from one model's tokens to another's, piece by piece, never twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.backends.base import Codec

_CONTEXT_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Carried:
    """Target ids of one piece, and where both token sequences stand at the same character.

    `boundaries` holds pairs (source tokens, target tokens), in order; a piece may be cut at these
    places alone.
    """

    token_ids: tuple[int, ...]
    boundaries: tuple[tuple[int, int], ...]


class Bridge:
    """One direction of one request. With the same tokenizer on both sides ids pass as they are."""

    def __init__(self, source: Codec, target: Codec) -> None:
        self._source = source
        self._target = target
        self._same = source.fingerprint == target.fingerprint
        self._source_before: list[int] = []
        self._target_before: list[int] = []

    def carry(self, token_ids: Sequence[int]) -> Carried:
        """Return a piece in the target's tokens."""
        if self._same:
            ends = self._ends(self._source, token_ids, ())
            return Carried(tuple(token_ids), tuple((at, at) for at in ends.values()))
        before, target_ids = self._target_before, []
        for token_id, run in self._runs(token_ids):
            target_ids += self._control(token_id) if run is None else self._encode(run)
        mine = self._ends(self._source, token_ids, self._source_before)
        theirs = self._ends(self._target, target_ids, before)
        self._source_before = list(token_ids[-_CONTEXT_TOKENS:])
        shared = sorted(mine.keys() & theirs.keys())
        return Carried(tuple(target_ids), tuple((mine[at], theirs[at]) for at in shared))

    def _runs(self, token_ids: Sequence[int]) -> list[tuple[int, list[int] | None]]:
        runs: list[tuple[int, list[int] | None]] = []
        ordinary: list[int] = []
        for token_id in token_ids:
            if not self._source.is_control(token_id):
                if not ordinary:
                    runs.append((token_id, ordinary))
                ordinary.append(token_id)
            else:
                ordinary = []
                runs.append((token_id, None))
        return runs

    def _control(self, token_id: int) -> list[int]:
        text = self._source.decode([token_id])
        known = self._target.control_token(text)
        return self._target.encode(text) if known is None else [known]

    def _encode(self, run: list[int]) -> list[int]:
        text = self._source.decode(run)
        ids = self._target.encode(text)
        if not self._joins(ids, text):
            # A tokenizer that puts a space before every text: encode behind a line break instead.
            lead = self._target.encode("\n")
            led = self._target.encode("\n" + text)
            if led[: len(lead)] == lead and self._joins(led[len(lead) :], text):
                ids = led[len(lead) :]
        self._target_before = ids[-_CONTEXT_TOKENS:] or self._target_before
        return ids

    def _joins(self, ids: list[int], text: str) -> bool:
        before = self._target.decode(self._target_before)
        return self._target.decode([*self._target_before, *ids]) == before + text

    @staticmethod
    def _ends(codec: Codec, token_ids: Sequence[int], before: Sequence[int]) -> dict[int, int]:
        """Return, by character offset, after how many tokens that offset is reached whole."""
        stream, offset, ends = codec.text_stream(after=before), 0, {}
        for count, token_id in enumerate(token_ids, 1):
            offset += len(stream.push(token_id))
            if stream.complete:
                ends[offset] = count
        return ends
