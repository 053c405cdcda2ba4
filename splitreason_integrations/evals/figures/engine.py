"""Tables of what the engine itself costs: benches overhead, servers and disagreement."""

from collections.abc import Iterator

from splitreason_integrations.evals.figures.cells import Found, note, ratio, rule, share
from splitreason_integrations.evals.tables import markdown_table

_FIGURE = ("figure", "value", "n")


def overhead(found: Found) -> str:
    """Return the time of split generation ÷ that of its forward passes alone."""
    row = (
        "split generation ÷ its forward passes alone (95 %)",
        ratio(found["ratio"], found["interval"]),
        str(found["n"]),
    )
    return f"{markdown_table(_FIGURE, [row])}\n\n{note(found)}"


def servers(found: Found) -> str:
    """Return what two vLLM servers do, against the published flow and under load."""
    remark = "the client and both servers share the cores"
    return f"{markdown_table(_FIGURE, _server_rows(found))}\n\n{note(found, remark)}"


def _server_rows(found: Found) -> Iterator[tuple[str, str, str]]:
    answers, spans, load = found["answers"], found["long_spans"], found["load"]
    n = str(answers["n"])
    yield (
        "wall time of an answer ÷ the published flow's (95 %)",
        ratio(answers["wall_ratio"], answers["wall_interval"]),
        n,
    )
    yield (
        "… of its tokens alone, in plain requests",
        ratio(answers["bare_ratio"], answers["bare_interval"]),
        n,
    )
    yield "answers with the same text as the published flow's", str(answers["same_text"]), n
    yield (
        "requests of a 128-token span, ours and the published flow's",
        f"{spans['requests']['ours']:.1f}, {spans['requests']['published']:.1f}",
        str(spans["n"]),
    )
    yield (
        "wall time of such a span ÷ the published flow's (95 %)",
        ratio(spans["wall_ratio"], spans["wall_interval"]),
        str(spans["n"]),
    )
    yield (
        f"tokens/s of {load['concurrency']} concurrent answers ÷ the same segments as "
        "independent requests",
        f"{load['ideal_ratio']['together']:.2f}",
        str(load["n"]),
    )
    yield (
        "… ÷ the same segments, each requested once the one before is complete",
        f"{load['in_turn_ratio']:.2f}",
        str(load["n"]),
    )
    yield (
        "… latency of an answer, p50 and p99",
        f"{load['latency_s']['p50']:.1f} s, {load['latency_s']['p99']:.1f} s",
        str(load["n"]),
    )


def disagreement(found: Found, on_servers: Found) -> str:
    """Return what it costs that the large model reads along, in this process and on servers."""
    headings = (
        *("models", "small model", "trigger, close rule", "wall time ÷ `tag`'s (95 %)", "right"),
        *("large share", "chunks, their tokens", "text shown after"),
    )
    places = (("transformers", found), ("two vLLM servers", on_servers["disagreement"]))
    rows = [
        (
            place,
            _model(row["small"]),
            f"{rule(row['trigger'])}, {rule(row['close'])}",
            ratio(row["wall_ratio"], row["wall_interval"]),
            share(row["accuracy"]),
            share(row["offload_share"]),
            f"{row['chunks_an_answer']:.1f}, {row['chunk_tokens']:.1f}",
            f"{row['shown_after_ms']:.1f} ms",
        )
        for place, measured in places
        for row in measured["rows"]
    ]
    notes = (
        note(found, f"{found['n']} problems"),
        note(on_servers, f"{on_servers['disagreement']['n']} problems"),
    )
    return "\n\n".join((markdown_table(headings, rows), *notes))


def _model(label: str) -> str:
    """Return the bundled model that a label or the address of a server names."""
    return label.rpartition("#")[2].rpartition("-")[2]
