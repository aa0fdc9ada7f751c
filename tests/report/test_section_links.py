"""Each section of a page has an id of its own and a link to it, so that it can be cited; the head has the address of
the documentation if the package states one."""

import re
import shutil
from email.message import Message
from html.parser import HTMLParser

import pytest

from aimc_robust.report import html_page
from aimc_robust.report.html_page import render_html
from aimc_robust.report.page_model import Bullets, Grid, Page, Section
from aimc_robust.report.section_ids import section_ids
from aimc_robust.report.write import write_report


class Elements(HTMLParser):
    """Ids of a page; heading or summary -> the id of the section that it is the first element of, and its link."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.headings, self.section = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        if tag in ("section", "details"):
            self.section = found["id"]
        elif tag in ("h2", "h3", "h4", "summary"):
            self.headings.append([self.section, None])
        elif found.get("class") == "anchor":
            self.headings[-1][1] = found["href"]


def test_every_heading_of_a_report_links_to_its_section(comparison_copy, finished_evaluation, tmp_path):
    evaluation = shutil.copytree(finished_evaluation.folder, tmp_path / "evaluation")
    for folder in (comparison_copy, evaluation):
        page = Elements(write_report(folder).read_text(encoding="utf-8"))
        assert len(page.headings) > 5
        assert [link for _, link in page.headings] == [f"#{place}" for place, _ in page.headings]
        assert len(page.ids) == len(set(page.ids))


def ids_of(*sections, intro=()):
    """The ids of all sections, in the order of the page."""
    return list(section_ids(Page("page", "", intro, sections)).values())


def test_an_id_is_made_of_the_titles_around_the_section():
    inner = Section("gaussian-0.2, 1 day", ["text"])
    assert ids_of(Section("Devices", [Grid([inner])])) == ["devices", "devices-gaussian-0-2-1-day"]


def test_equal_titles_and_those_without_a_letter_have_different_ids():
    found = ids_of(*(Section(title, ["text"]) for title in ("Accuracy", "accuracy!", "µ", "§")))
    assert found == ["accuracy", "accuracy-2", "section", "section-2"]


def test_an_id_of_its_own_is_kept_and_no_title_takes_it():
    intro = [Bullets(["text"], id="terms")]
    sections = Section("Failed", ["text"]), Section("Failed models", ["text"], id="failed"), Section("Terms", ["text"])
    assert ids_of(*sections, intro=intro) == ["failed-2", "failed", "terms-2"]


@pytest.mark.parametrize("url", ["https://example.org/docs?a&b", None])
def test_the_head_links_to_the_documentation_if_the_package_states_its_address(monkeypatch, url):
    stated = Message()
    stated["Project-URL"] = "Source, https://example.org/source"
    if url:
        stated["Project-URL"] = f"Documentation, {url}"
    monkeypatch.setattr(html_page, "metadata", lambda _: stated)
    head = re.search(r'<p class="kicker">(.*)</p>', render_html(Page("page", "evaluation", [], []), {}))[1]
    expected = '<a href="https://example.org/docs?a&amp;b">Documentation</a> · ' if url else ""
    assert re.fullmatch(re.escape(expected) + r"aimc-robust \S+ · evaluation", head)
