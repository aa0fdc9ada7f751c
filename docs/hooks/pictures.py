"""Draw the pictures of docs/explanation/crossbars.md: `python docs/hooks/pictures.py`; a test compares them."""

from pathlib import Path

import torch

import aimc_robust as ar

FOLDER = Path(__file__).parents[1] / "explanation"
INK, BLUE, RED, GRAY = "#263238", "#1565c0", "#c62828", "#90a4ae"
WEIGHTS = [[0.8, -0.3, 0.0, 0.5], [-1.0, 0.2, 0.6, -0.1], [0.4, 0.7, -0.6, 0.1]]


def text(x, y, words, *, size=13, anchor="middle", color=INK, weight="normal"):
    """Return a line of text around (x, y)."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{color}" '
        f'font-weight="{weight}">{words}</text>'
    )


def box(x, y, width, height, *, fill="none", stroke=INK, opacity=1.0):
    """Return a rectangle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" fill-opacity="{opacity:.2f}" '
        f'stroke="{stroke}"/>'
    )


def line(x1, y1, x2, y2, color=INK):
    """Return a line."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}"/>'


def svg(width, height, *parts):
    """Return a picture on white, so that it is read in a dark page too."""
    body = "\n".join([box(0, 0, width, height, fill="#ffffff", stroke="none"), *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif">\n{body}\n</svg>\n'
    )


def matrix(x, y, title, values, form, shade):
    """Return a table of numbers whose cells are shaded by `shade(value)`: a color and an opacity."""
    parts = [text(x + 26 * len(values[0]), y - 10, title, weight="bold")]
    for row, numbers in enumerate(values):
        for column, value in enumerate(numbers):
            color, opacity = shade(value)
            parts += [
                box(x + 52 * column, y + 34 * row, 52, 34, fill=color, opacity=opacity, stroke=GRAY),
                text(x + 52 * column + 26, y + 34 * row + 22, form.format(value)),
            ]
    return "\n".join(parts)


def mapping_picture():
    """Weights, and the target and programmed states of their devices on one chip."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False)).eval()
    model[0].weight.data = torch.tensor(WEIGHTS)
    states = ar.device_states(model, ar.Crossbar("rram-milo2021"), chip=3)
    low, high = ar.load_card("rram-milo2021").window

    def shade(state):
        return BLUE, 0.6 * min(max((state - low) / (high - low), 0.0), 1.0)

    parts = [matrix(20, 170, "weights, w_max = 1", WEIGHTS, "{:.1f}", lambda w: (BLUE if w > 0 else RED, 0.6 * abs(w)))]
    for column, (title, values) in enumerate(
        {"target states [µS]": states.target["0"], "programmed, chip 3 [µS]": states.programmed["0"]}.items()
    ):
        for row, name in enumerate(("G+", "G-")):
            x, y = 290 + 250 * column, 60 + 190 * row
            parts.append(matrix(x, y, f"{name}: {title}", values[row].tolist(), "{:.0f}", shade))
    parts += [text(259, 225, "→", size=26), text(519, 225, "→", size=26)]
    return svg(770, 380, *parts)


def arrays_picture():
    """The cut of a convolution, as `coverage` reports it."""
    convolution = torch.nn.Sequential(torch.nn.Conv2d(64, 300, 3, padding=1))
    crossbar = ar.Crossbar("rram-milo2021", rows=256, columns=256)
    layer = ar.coverage(convolution, torch.rand(1, 64, 8, 8), crossbar=crossbar).mapping.to_json()["layers"][0]
    scale = 0.5
    rows, columns = sum(layer["row_tiles"]), sum(layer["column_tiles"])
    title = f"one matrix: {rows} rows (64 inputs × 3 × 3), {columns} columns"
    parts = [
        text(95, 30, title, weight="bold", anchor="start"),
        box(95, 60, columns * scale, rows * scale, fill=BLUE, opacity=0.15),
    ]
    y = 60.0
    for tile in layer["row_tiles"][:-1]:
        y += tile * scale
        parts.append(line(95, y, 95 + columns * scale, y, RED))
    x = 95.0
    for tile in layer["column_tiles"][:-1]:
        x += tile * scale
        parts.append(line(x, 60, x, 60 + rows * scale, RED))
    parts.append(text(290, 200, "→", size=26))
    side = 256 * 0.32
    for row, used_rows in enumerate(layer["row_tiles"]):
        for column, used_columns in enumerate(layer["column_tiles"]):
            x, y = 340 + 110 * column, 60 + 105 * row
            parts += [
                box(x, y, side, side, stroke=GRAY),
                box(x, y, used_columns * 0.32, used_rows * 0.32, fill=BLUE, opacity=0.3, stroke=BLUE),
                text(x + side / 2, y + side + 14, f"{used_rows} × {used_columns}", size=11),
            ]
    share = f"{100 * layer['utilization']:.0f} % of their cells hold a device"
    parts.append(text(340, 395, f"{layer['arrays']} arrays of 256 × 256, {share};", anchor="start", size=12))
    parts.append(text(340, 412, "read once for each of the output positions", anchor="start", size=12))
    return svg(720, 430, *parts)


def path_picture():
    """The path of one read, from inputs to outputs."""
    parts = [text(30, 130 + 60 * row, f"x{row + 1}") for row in range(3)]
    for row in range(3):
        y = 125 + 60 * row
        parts += [
            line(45, y, 80, y),
            box(80, y - 16, 50, 32, fill=BLUE, opacity=0.15),
            text(105, y + 5, "DAC", size=12),
        ]
        parts.append(line(130, y, 430, y))
    for pair in range(2):
        left, right = 180 + 140 * pair, 250 + 140 * pair
        middle = (left + right) / 2
        parts += [line(x, 95, x, 305) for x in (left, right)]
        parts += [line(left, 305, middle - 12, 325), line(right, 305, middle + 12, 325)]
        parts += [
            f'<circle cx="{middle:g}" cy="332" r="14" fill="none" stroke="{INK}"/>',
            text(middle, 337, "−", size=16),
        ]
        parts += [line(middle, 346, middle, 365), box(middle - 28, 365, 56, 30, fill=BLUE, opacity=0.15)]
        parts += [text(middle, 385, "ADC", size=12), line(middle, 395, middle, 425)]
    parts += [
        box(150, 425, 270, 34, fill="#eceff1"),
        text(285, 447, "digital sum over the arrays × w_max + bias", size=12),
    ]
    for x, y in [(180 + 70 * column, 125 + 60 * row) for column in range(4) for row in range(3)]:
        name, color = ("G-", RED) if (x - 180) // 70 % 2 else ("G+", BLUE)
        parts += [f'<circle cx="{x}" cy="{y}" r="12" fill="{color}"/>', text(x, y + 4, name, size=10, color="#ffffff")]
    notes = [
        "each device: programming error, drift",
        "each read: read noise",
        "wires: IR drop",
        "DAC, ADC: clipping, rounding",
    ]
    parts += [text(460, 130 + 26 * number, note, anchor="start") for number, note in enumerate(notes)]
    parts += [text(285, 40, "one array: rows are driven, columns add currents", weight="bold")]
    parts += [text(215 + 140 * pair, 80, f"output {pair + 1}", size=12) for pair in range(2)]
    return svg(720, 480, *parts)


PICTURES = {"mapping.svg": mapping_picture, "arrays.svg": arrays_picture, "path.svg": path_picture}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
