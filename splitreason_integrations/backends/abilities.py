"""Whether a model answers in a form and thinks as it is asked to, for `splitreason doctor`."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from splitreason_integrations.backends.base import FindsOut, Gives, Model, WriteOrder
from splitreason_integrations.backends.sent_session import SendingModel
from splitreason_integrations.backends.trials import Finding
from splitreason_integrations.errors import ModelCallError, SplitReasonError
from splitreason_integrations.protocols import AnswerForm
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.grammar import Guide, answer_grammar
from splitreason_integrations.text.prompts import begins_reasoning
from splitreason_integrations.text.tags import Tags, tags_of
from splitreason_integrations.text.thoughts import tokens_of

_HELLO = [{"role": "user", "content": "Hello"}]
_TOKENS = 64
_SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer", "enum": [7]}},
    "required": ["number"],
}
_WHOLE = {Gives.ANSWER: ("answers", "response_format"), Gives.CALL: ("calls", "tool_choice")}
_NO_FORM = {
    "small": "no: typed answers and forced calls are refused",
    "large": "no: the small model writes typed answers and forced calls",
}

Means = Callable[[], str | None]

Switch = Callable[[], Awaitable[tuple[bool, str]]]
"""Returns whether a model thinks or not as it is asked to, and how or why not."""


async def abilities(
    model: Model, *, role: str, means: Means = lambda: None, switch: Switch | None = None
) -> AsyncGenerator[Finding, None]:
    """Yield by what means answers are held to a form, and how thoughts are switched.

    Args:
        model: the loaded model.
        role: `small` or `large`.
        means: returns what keeps an answer to its form, once that is known; None for what its kind
            has.
        switch: asks how thoughts are switched; by default the model's own prompts show it.

    """
    yield await _form(model, role, means)
    what = f"{role} model thinks as asked"
    try:
        can, how = switch_of(model) if switch is None else await switch()
    except SplitReasonError as error:
        yield Finding(what, False, str(error))
        return
    yield Finding(what, True, f"{'yes' if can else 'no'}: {how}", {"can": can, "how": how})


async def _form(model: Model, role: str, means: Means) -> Finding:
    what = f"{role} model answers in a form"
    try:
        if isinstance(model, FindsOut):
            await model.find_out(whole=True)
        if Gives.FORM in model.gives:
            await _try_form(model)
            how = means() or _means(model)
            return Finding(what, True, f"yes: by {how}", {"answers": how, "calls": how})
    except SplitReasonError as error:
        return Finding(what, False, str(error))
    known = [one for one in _WHOLE if one in model.gives and role == "large"]
    by = [means() or _WHOLE[one][1] for one in known]
    names = [_WHOLE[one][0] for one in known]
    facts = {"answers": None, "calls": None, **dict(zip(names, by, strict=True))}
    if not known:
        return Finding(what, True, _NO_FORM[role], facts)
    said = " and ".join(f"{name} by {how}" for name, how in zip(names, by, strict=True))
    return Finding(what, True, f"yes: {said}, where it writes the whole reply", facts)


async def _try_form(model: Model) -> None:
    """Have an answer written that fits one schema alone; raise ModelCallError for another one."""
    codec, prompt = model.codec, model.codec.render(_HELLO, None)
    reasons = begins_reasoning(prompt)
    grammar, form = answer_grammar(_SCHEMA, codec), AnswerForm(_SCHEMA)
    ended = tokens_of(codec, codec.reply_format.end_of_reasoning) if reasons else []
    session, ids = model.open(prompt, ended), list[int]()
    order = WriteOrder(
        max_tokens=_TOKENS,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=codec.end_tokens,
        forbidden=tags_of(codec, as_text=False).control_tokens,
        guide=Guide(codec, grammar, Tags(), reasons=reasons, form=form),
    )
    try:
        async with aclosing(session.write(order)) as writing:
            async for written in writing:
                ids += written.token_ids
    finally:
        session.close()
    said = codec.decode(ids)
    try:
        fits = json.loads(said) == {"number": 7}
    except ValueError:
        fits = False
    if not fits:
        raise ModelCallError(f"its answer does not fit its form: {said[:60]!r}", retryable=False)


def _means(model: Model) -> str:
    if not isinstance(model, SendingModel):
        return "a grammar in this process, token by token"
    return "allowed tokens, one by one" if model.no_grammars.holds else "structured outputs"


def switch_of(model: Model) -> tuple[bool, str]:
    """Return whether a model's prompts make it think or not, and how or why not."""
    codec, form = model.codec, model.codec.reply_format
    if not form.reasons:
        return False, "its chat template knows no thoughts"
    on, off = (codec.render(_HELLO, None, thinking=thinking) for thinking in (True, False))
    if on.token_ids == off.token_ids:
        return False, "its chat template writes the same either way"
    if form.always_reasons:
        return True, "by its chat template, unless tools are offered"
    return True, "by its chat template, or by ending the thought at once"
