"""Models behind OpenAI-compatible servers."""

import logging
from collections.abc import Collection, Sequence

from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.loaded import LoadedModel
from splitreason_integrations.backends.lookahead import DraftStats
from splitreason_integrations.backends.openai_server.chat import Chat
from splitreason_integrations.backends.openai_server.detect import (
    Capabilities,
    Found,
    check_beginning,
    detect,
    dialect_of,
)
from splitreason_integrations.backends.openai_server.dialects import Dialect, Served
from splitreason_integrations.backends.openai_server.form_probe import (
    forms_of,
    heeds_grammars,
    lists_tokens,
)
from splitreason_integrations.backends.openai_server.ids import NO_SERVER_KNOWS
from splitreason_integrations.backends.openai_server.marks import PLAIN
from splitreason_integrations.backends.openai_server.refusals import LeftOut
from splitreason_integrations.backends.openai_server.replicas import Replica, Replicas
from splitreason_integrations.backends.openai_server.session import ServerSession
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.backends.searches import Searches
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import RequestError
from splitreason_integrations.processes.children import PerProcess
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import PENALTIES, Sampling, no_such_sampling

_log = logging.getLogger(__name__)


class ServerModel(LoadedModel[ServerSession]):
    """A model behind a server. `vocabulary` is how many token ids it may answer with.

    `served` is how it is known; `speaks` names its dialect; with None it is found at the first use.
    `own_tokenizer` says that the codec is made of the model's own; by `host` providers are known.
    """

    remote = True

    def __init__(
        self,
        replicas: Replicas,
        codec: Codec,
        *,
        model: str,
        name: str,
        vocabulary: int,
        context_tokens: int,
        prices: Prices | None = None,
        hint: str | None = None,
        taught: bool | None = None,
        default_sampling: Sampling | None = None,
        speaks: str | None = "ids",
        own_tokenizer: bool = True,
        host: str = "",
    ) -> None:
        super().__init__(
            codec,
            name=name,
            context_tokens=context_tokens,
            prices=prices,
            hint=hint,
            # Whoever is asked for the next step is shown no tags, so that they need not be known.
            taught=False if speaks == PLAIN and taught is None else taught,
            default_sampling=default_sampling,
        )
        self.replicas = replicas
        self.draft_stats = DraftStats()
        self.no_grammars = Refusal()
        self._heeds_none = Refusal()
        self._no_forms = Refusal()
        self.model = model
        self.served = Served(model, codec, vocabulary, own_tokenizer, host)
        self._named = None if speaks is None else dialect_of(speaks, self.served)
        # A server of text is asked one thing all the same.
        self._found = None if speaks == Text.name and codec.begin_token is not None else self._named
        self._finding = PerProcess(Searches[Found])

    @property
    def dialect(self) -> Dialect | None:
        """How the servers are spoken to; None before it is found."""
        return None if self._found is None else self._found.dialect

    @property
    def gives(self) -> Gives:
        """What the servers give; before they have been asked, what they may give."""
        likely = "chosen" if self.capabilities is None else self.capabilities.probabilities
        known = {"chosen": Gives.WRITING | Gives.READING, "likeliest": Gives.READING}
        dialect = self.dialect
        names_tokens = isinstance(dialect, Text) and dialect.names_tokens
        writing = Gives.WRITING if names_tokens else Gives.NOTHING
        return self._forms | writing | known.get(likely, Gives.NOTHING)

    @property
    def _forms(self) -> Gives:
        """Whether an answer can be held to a form, or may be."""
        if self._found is None or self._found.capabilities.token_ids:
            return Gives.FORM
        dialect = self._found.dialect
        if isinstance(dialect, Chat):
            return dialect.forms
        return Gives.FORM if isinstance(dialect, Text) and dialect.heeds_grammars else Gives.NOTHING

    async def find_out(self, *, whole: bool = False) -> None:
        """Ask a server what it can do, unless that is known; raise ModelCallError.

        `whole` asks a chat whether it can give a whole answer in its form.
        """
        replica = self.replicas.choose()
        dialect = await self.find_dialect(replica)
        if isinstance(dialect, Text) and not (dialect.heeds_grammars or self._heeds_none.holds):
            dialect.heeds_grammars = await heeds_grammars(replica, dialect, self.served)
            if not dialect.heeds_grammars:
                self._heeds_none.begin()
        if whole and isinstance(dialect, Chat) and not (dialect.forms or self._no_forms.holds):
            dialect.forms = await forms_of(replica, dialect, self.served)
            if not dialect.forms:
                self._no_forms.begin()

    @property
    def capabilities(self) -> Capabilities | None:
        """What the servers can do; None before it is found."""
        known = self._found or self._named
        return None if known is None else known.capabilities

    async def find_dialect(self, replica: Replica) -> Dialect:
        """Return the best dialect that a server speaks: one finding holds for all of them.

        Raises ModelCallError where none does, or where the server fails meanwhile.
        """
        if self._found is None:
            found = await self._finding.value.outcome(replica, lambda: self._search(replica))
            # Another server's may have come first, and may have learned something since.
            self._found = self._found or found
        return self._found.dialect

    async def _search(self, replica: Replica) -> Found:
        if self._named is not None:
            return await check_beginning(replica, self._named, self.served)
        found = await detect(replica, self.served)
        if isinstance(found.dialect, Text) and found.dialect.names_tokens:
            found.dialect.lists_tokens = await lists_tokens(replica, found.dialect, self.served)
        return found

    @property
    def left_out(self) -> frozenset[LeftOut]:
        """The parameters that the servers are known not to take, and are not sent now."""
        return frozenset[LeftOut]().union(*(one.lessons.left_out for one in self.replicas.all))

    @property
    def unknown_sampling(self) -> frozenset[str]:  # type: ignore[override]
        """The settings of a `Sampling` that the servers are known not to take."""
        unknown = {one.name for one in self.left_out if one.value is None}
        return NO_SERVER_KNOWS | unknown & frozenset(PENALTIES)

    def check_taken(self, missing: Collection[LeftOut], sampling: Sampling) -> None:
        """Raise RequestError if a server does not take a penalty that a request asks for.

        One that is merely the model's own default is left out with a warning.
        """
        names, own = {one.name for one in missing}, self.default_sampling.penalties
        for name, value in sampling.penalties.items():
            if name not in names:
                continue
            if own.get(name) != value:
                raise RequestError(no_such_sampling(self.name, name))
            _log.warning("%s does not take %s, which its settings recommend", self.name, name)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> ServerSession:
        """Start a session with a prompt and what is `written` behind it; nothing is asked yet."""
        self._check_not_closed()
        return self._counted(ServerSession(self, prompt, written))

    def close(self) -> None:
        """Close the connections to all servers."""
        super().close()
        for replica in self.replicas.all:
            replica.server.close()
