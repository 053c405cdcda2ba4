"""What people read of tables, charts and prose at 60, 80 and 200 columns."""

import io

import pytest
from rich.console import Console

from splitreason_integrations.cli.bench_gpu import _show as show_gpu
from splitreason_integrations.cli.chart import Mark, chart
from splitreason_integrations.cli.display import progress_bar

WIDTHS = [60, 80, 200]
PROSE = "the large model wrote few tokens, and handed back where the small model agreed with it"


def printed(prints, width, *, terminal=True):
    console = Console(
        file=io.StringIO(), force_terminal=terminal, color_system=None, width=width, highlight=False
    )
    prints(console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_prose_breaks_between_words_and_goes_on_below_its_second_column(width):
    from splitreason_integrations.cli.wrapping import print_lines

    lines = printed(lambda one: print_lines(one, f"chosen   {PROSE}"), width).splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == f"chosen {PROSE}"
    assert {line[:9] for line in lines[1:]} <= {" " * 9}
    indented = printed(lambda one: print_lines(one, f"  {PROSE} {PROSE}"), width).splitlines()
    assert all(line[:3].strip() and line.startswith("  ") for line in indented)


def test_a_file_gets_each_line_whole():
    from splitreason_integrations.cli.wrapping import print_lines

    assert printed(lambda one: print_lines(one, PROSE), 20, terminal=False) == f"{PROSE}\n"


@pytest.mark.parametrize("width", [40, *WIDTHS])
def test_a_chart_fits_the_terminal_with_every_mark_and_tick(width):
    marks = [Mark(at, at / 4, at / 5, at / 3, chosen=at == 0.9) for at in (0.5, 0.9, 0.999)]
    drawn = chart(marks, bound=0.2, title="share", formatted="{:.0%}".format, width=width).plain
    lines = drawn.splitlines()
    assert max(map(len, lines)) <= width
    assert (drawn.count("○"), drawn.count("●")) == (2, 1)
    assert "0.999" in lines[-1]
    assert drawn.count("┬") == len(lines[-1].split())


FIGURES = {
    "context_tokens": 2048, "step_ms": {"small": 1.0, "large": 2.0},
    "step_floor_ms": {"small": 0.5, "large": 1.0}, "handoff_ms": 3.0, "handoff_ratio": 1.5,
    "handoff_interval": (1.25, 1.75), "handback_ms": 2.0, "reading_ms": 1.5, "reading_tokens": 8,
    "reading_ratio": 1.1, "reading_interval": (1.0, 1.2),
    "tokens_per_s": {"small": 900.0, "large": 500.0, "split": 800.0},
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_the_benchmark_of_a_gpu_loses_no_figure(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    contexts = [{**FIGURES, "context_tokens": size} for size in (2048, 8192, 32768, 131072)]
    show_gpu(
        {"contexts": contexts, "peak_memory_bytes": None, "hardware": "one GPU", "date": "today"}
    )
    out = capsys.readouterr().out
    assert "…" not in out
    assert out.count("1.50 (1.25 to 1.75)") == 4
    assert "131072" in out


@pytest.mark.parametrize("width", WIDTHS)
def test_markdown_is_columns_at_a_terminal_and_stays_markdown_in_a_file(width):
    from splitreason_integrations.cli.printed_tables import print_markdown

    text = "| rule | share |\n|---|---|\n| <code>(a &#124; b)</code> | `5%` |\n\nn = 4"
    shown = printed(lambda one: print_markdown(one, text), width)
    assert not {"<code>", "&#124;", "`", "|--"} & {sign for sign in shown.split() if sign}
    assert "(a | b)" in shown
    assert shown.split()[:2] == ["rule", "share"]
    assert shown.splitlines()[-1] == "n = 4"
    assert printed(lambda one: print_markdown(one, text), width, terminal=False) == f"{text}\n"


def test_a_cost_without_prices_is_no_zero():
    from splitreason_integrations.cli.printed_tables import known

    assert known([0.0, 0.0], ".2f") == ["–", "–"]
    assert known([0.0, 1.5], ".2f") == ["0.00", "1.50"]


def test_progress_of_unknown_length_shows_no_made_up_total():
    with progress_bar() as bar:
        task = bar.add_task("calibrating")
        assert bar.tasks[0].total is None
        bar.update(task, completed=1, total=7)
        assert bar.tasks[0].total == 7


@pytest.mark.parametrize("width", WIDTHS)
def test_an_error_breaks_between_words(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    done = run("ask", "hi", "--small", "nonsense", "--large", "embedded", status=2)
    lines = done.err.splitlines()
    assert max(map(len, lines)) <= width
    said = " ".join(line.strip() for line in lines)
    assert said.startswith("splitreason: unknown small model 'nonsense': use 'embedded',")
    assert "or a TransformersModel(...), VLLMModel(...) or OpenAIServerModel(...)" in said
