"""The engine's completion draws itself."""

from splitreason_integrations import Request, SplitEngine, blocking

QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)


def test_a_completion_of_the_real_pair_draws_itself_in_colours():
    request = Request(messages=[{"role": "user", "content": QUESTION}], seed=1)
    reply = blocking.run(lambda: SplitEngine().complete(request))
    html = getattr(reply, "_repr_html_", str)()
    for span in reply.spans:
        assert f'font-weight:bold"> {span.text}</span>' in html
    assert "<p" in html
    assert "25 by the large model (17.5%) in 2 spans" in html
    markdown = getattr(reply, "_repr_markdown_", str)()
    assert "⟦ 940\\+141 &#61; 1081⟧" in markdown
