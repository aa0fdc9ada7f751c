"""Text of users stays text: in HTML, Markdown, LaTeX and CSV, wherever a page shows it."""

import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aimc_robust.io.csv_text import csv_text
from aimc_robust.report import page_model as model
from aimc_robust.report.formatting import escape_latex, latex_table
from aimc_robust.report.html_page import render_html
from aimc_robust.report.markdown_page import render_markdown
from aimc_robust.report.rendering import RenderedFigure

HOSTILE = [
    "<script>alert(1)</script>",
    "a\n# not a heading\n\n- not a list",
    "[click](javascript:alert(1))",
    "![](http://example.com/x.png)",
    "[a]: http://example.com",
    "a | b || c \\| d \\",
    "| a |\n|---|\n| b |",
    "`` a ` b",
    "``` \n</pre><b>",
    "&lt;img src=x onerror=alert(1)&gt;",
    "<!-- ", "</style><h1>", '" onmouseover="alert(1)', "1. one", "> quote", "===", "---", "+ a", "*a* _b_ ~~c~~",
    "<http://example.com>", "\\", "{0} {name}", "{{ script }}", "**", "a\r\nb\tc",
]  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n#|`*_<>[]()!&;-\\"))


def page_of(text):
    """A page that shows a text in every place."""
    cells = [("method", text), (f"target\n{text}", model.Cell(f"{text}\n{text}", "best", 1.0))]
    blocks = [
        text,
        model.Prose(text, "warning"),
        model.Bullets([text], "note", text),
        model.Code(text),
        model.Table(text, [cells, cells]),
        model.Section(text, [text], target=text),
        model.Section(text, [text], folded=True),
    ]
    everywhere = model.Section(text, [*blocks, model.Filters([text, "b"], [text, "c"]), model.Legend({text: ""}, text)])
    return model.Page(text, text, [model.Prose(text, "question")], [everywhere])


class Tags(HTMLParser):
    """Start tags with their attributes' names."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, sorted(name for name, _ in attributes)))
        self.links += [value for name, value in attributes if name == "href"]


def styled(tags):
    """The tags without those of text itself: code and strong are a text's to have."""
    return [tag for tag in tags if tag[0] not in ("code", "strong", "a", "small")]


def every_hostile(function):
    for text in HOSTILE:
        function = example(text)(function)
    return function


@every_hostile
@given(TEXTS)
def test_in_html_no_text_is_a_tag_or_an_attribute(text):
    plain, found = (Tags(render_html(page_of(t), {})) for t in ("plain", text or "plain"))
    assert styled(found.tags) == styled(plain.tags) or not text.split("\n")[0].strip()  # a cell begins with its name
    assert all(re.match(r"#|https://doi\.org/|[\w/-]+\.html$", link) for link in found.links)


def blocks_of(markdown):
    """Kinds of the blocks of a Markdown text, without what stands in them."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    return [token.type for token in tokens], inline


@every_hostile
@given(TEXTS)
def test_in_markdown_no_text_is_a_block_html_or_a_link(text):
    if not text.strip() or not text.split("\n")[0].strip():
        return
    plain, _ = blocks_of(render_markdown(page_of("plain"), {}))
    found, inline = blocks_of(render_markdown(page_of(text), {}))
    assert found == plain
    assert not {"image", "em_open", "s_open"} & {token.type for token in inline}
    assert {token.content for token in inline if token.type == "html_inline"} == {"<br>"}  # the page's own
    links = [token.attrs["href"] for token in inline if token.type == "link_open"]
    assert all(re.match(r"https://doi\.org/|[\w/-]+\.html$", link) for link in links)


@pytest.mark.parametrize(
    ("text", "html", "markdown"),
    [
        ("x **bold** y", "<strong>bold</strong>", "**bold**"),
        ("x `a|b` y", "<code>a|b</code>", "`a|b`"),
        (
            "[page](sweep/report.html) [t](#terms)",
            '<a href="sweep/report.html">page</a>',
            "[page](sweep/report.html) t",
        ),
        ("a_b 3 < 4 & c", "a_b 3 &lt; 4 &amp; c", "a_b 3 < 4 & c"),
        ("&lt;b", "&amp;lt;b", "&amp;lt;b"),
    ],
)
def test_what_text_may_have_is_shown(text, html, markdown):
    assert html in render_html(page_of(text), {})
    assert markdown in render_markdown(page_of(text), {})


@every_hostile
@given(TEXTS)
def test_in_latex_a_title_is_one_line_with_its_signs_written_out(text):
    lines = latex_table([text, "b"], [(text, ["1"])]).splitlines()
    assert len(lines) == 8
    assert [len(re.findall(r"(?<!\\)&", line)) for line in lines if line.endswith(r" \\")] == [1, 1]
    assert not re.search(r"(?<!\\)[%#$_](?!\$)", re.sub(r"\$\\\w+\$|\$-\$", "", escape_latex(text)))


@every_hostile
@given(TEXTS)
def test_a_figure_of_markdown_is_one_paragraph_with_its_file_and_caption(text):
    block = model.Figure(lambda: None, "label", text)
    page = model.Page("page", "", [block, model.Figure(lambda: None, "not drawn")], [])
    markdown = render_markdown(page, {id(block): RenderedFigure("name", "", b"")})
    kinds, _ = blocks_of(markdown)
    assert kinds.count("paragraph_open") == kinds.count("inline") - 1 == 1
    assert "\n\nFigure `figures/name.svg`: " in markdown
    assert ("label" in markdown) == (not text or "label" in text)
    assert "not drawn" not in markdown


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(1)", "-2+3", "-rwp", "\t=1", "\r=1", '=HYPERLINK("http://x")']
HARMLESS = ["rwp-0.1", "-0.5", "+1e-3", "", "–", "-", "m-rwp", "a=b", "-.5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_in_csv_no_text_is_a_formula(text):
    written = csv_text(pd.DataFrame({text: [text, "a"], "number": [-1.5, 2.0]}))
    head, first, _ = csv.reader(io.StringIO(written, newline=""))
    shown = text.replace("\r", "\n")  # within quotes
    assert head == [f"'{shown}", "number"]
    assert first == [f"'{shown}", "-1.5"]


@pytest.mark.parametrize("text", HARMLESS)
def test_in_csv_names_and_numbers_stay_as_they_are(text):
    rows = list(csv.reader(io.StringIO(csv_text(pd.DataFrame({"a": [text, "x"], "b": [-1, None]})))))
    assert rows[1] == [text, "-1.0"]
