"""A table of results is read whole at any width: in one piece, or in parts that repeat the names."""

import pytest

from aimc_robust.cli.printed_table import print_table
from aimc_robust.cli.views.evaluate import show

ROWS = [
    {"model": model, "target": target, "mean": f"{number}.25", "95 % interval": f"[{number}.12, {number}.38]"}
    | {"top5": f"{number}.9 [{number}.8, {number}.99]", "reached by 95 %": f"{number}.5", "chips": "2 x 25"}
    for number, (model, target) in enumerate(
        ((model, target) for model in ("sgd", "rwp [a]") for target in ("digital", "pcm-hermes2023-1dev-30d")), start=10
    )
]


def printed(monkeypatch, capsys, width, rows=ROWS, **options):
    """The lines of a table at a width, none of which is longer."""
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    print_table(rows, **options)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= (width or 200)
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", [200, None], ids=["200", "a file"])
def test_where_there_is_room_a_row_is_a_line(monkeypatch, capsys, width):
    title, head, *lines = printed(monkeypatch, capsys, width, title="Accuracy [%]", names=2)
    assert title == "Accuracy [%]"
    assert len(lines) - 1 == len(ROWS)  # the headings have two lines
    for row, line in zip(ROWS, lines[1:], strict=True):
        assert all(cell in line for cell in row.values())
    assert "reached by" in head


@pytest.mark.parametrize("width", [40, 60, 80])
def test_at_a_small_width_every_cell_is_printed_whole_beside_its_target(monkeypatch, capsys, width):
    lines = printed(monkeypatch, capsys, width, names=2)
    parts = "\n".join(lines).split("\n\n")
    assert len(parts) > 1
    for part in parts:
        assert part.splitlines()[0].strip() or part.splitlines()[1].startswith("target")
        assert [line for line in part.splitlines() if line in ("sgd", "rwp [a]")] == ["sgd", "rwp [a]"]
    for row in ROWS:
        assert all(any(cell in line for line in lines) for column, cell in row.items() if column != "target")
    if width == 80:
        assert sum("  pcm-hermes2023-1dev-30d" in line for line in lines) == 2 * len(parts)


def test_a_model_that_all_rows_have_takes_no_line(monkeypatch, capsys):
    lines = printed(monkeypatch, capsys, 60, rows=ROWS[:2], names=2)
    assert not [line for line in lines if "sgd" in line]
    assert [line for line in lines if line.startswith("digital")]


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 200])
def test_the_results_of_an_evaluation_fit_the_terminal(monkeypatch, capsys, finished_evaluation, width):
    monkeypatch.setenv("COLUMNS", str(width))
    results = finished_evaluation.results
    show(results)
    *lines, _ = capsys.readouterr().out.splitlines()  # the last line is a sentence
    assert max(map(len, lines)) <= width
    estimate = results.estimates()["exact", "wan"]
    for text in (
        f"{estimate.mean:.2f}",
        f"[{estimate.ci[0]:.2f}, {estimate.ci[1]:.2f}]",
        f"{estimate.worst.value:.2f}",
    ):
        assert [line for line in lines if "wan " in line and text in line]
    assert (len([line for line in lines if " wan " in line and "1d" not in line]) == 2) == (width == 200)
