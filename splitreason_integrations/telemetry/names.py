"""Names of spans, metrics and their attributes.

`gen_ai.*` and `error.type` are OpenTelemetry's semantic conventions; they hold numbers and names,
texts only where content is recorded. `splitreason.*` are names of this package.
"""

CHAT = "chat"
"""The operation of every request, and the first word of its span's name."""

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
OUTPUT_TYPE = "gen_ai.output.type"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_TOP_P = "gen_ai.request.top_p"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
ERROR_TYPE = "error.type"

OPERATION_DURATION = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TOKEN_USAGE = "gen_ai.client.token.usage"

SMALL = "splitreason.small"
HANDOFF = "splitreason.handoff"
HUMAN = "splitreason.human"

ATTEMPTS = "splitreason.attempts"
AUTHOR = "splitreason.author"
CAP = "splitreason.cap"
CLOSED_BY = "splitreason.closed_by"
COST_USD = "splitreason.cost_usd"
DECISION = "splitreason.decision"
DEGRADED = "splitreason.degraded"
HUMAN_TOKENS = "splitreason.human_tokens"
LARGE_MODEL = "splitreason.large_model"
LARGE_TOKENS = "splitreason.large_tokens"
METADATA = "splitreason.metadata"
MOMENT = "splitreason.moment"
OFFLOAD_SHARE = "splitreason.offload_share"
OPENED_BY = "splitreason.opened_by"
OUTCOME = "splitreason.outcome"
RESUMED = "splitreason.resumed"
SMALL_TOKENS = "splitreason.small_tokens"
SPAN = "splitreason.span"
SPANS = "splitreason.spans"
START_TOKEN = "splitreason.start_token"
TO = "splitreason.to"
TOKENS = "splitreason.tokens"
TRIGGER = "splitreason.trigger"
WAITED_S = "splitreason.waited_s"

FINISHED = "finished"
WAITING = "waiting"
FAILED = "failed"
CANCELLED = "cancelled"
"""Values of `OUTCOME`: how a request ended. WAITING: paused until a person answers."""


def outcome_of(error: BaseException) -> str:
    """Return the outcome of a request that did not finish."""
    return FAILED if isinstance(error, Exception) else CANCELLED
