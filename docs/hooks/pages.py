"""MkDocs hook: what the site has beside docs/.

- Pages of the repository that `nav` names keep their path: CONTRIBUTING.md, benchmarks/README.md, ...
- Files that a page links to travel with the site; links between pages lead to pages.
- Reference pages are generated from the package (`reference.py`, `devices.py`), pages of results and the gallery from
  rows and by running commands (`results.py`, `gallery.py`).
- Reports lead back to the site.
- Words of the glossary have anchors (`glossary.md#drift`).
- The first `ar.NAME` and the first name of a device on a page lead to its reference.
"""

import os
import posixpath
import re
from fnmatch import fnmatch
from pathlib import Path

from devices import device_pages
from gallery import gallery_files
from mkdocs.structure.files import File
from reference import API_PAGE_OF, reference_pages
from results import result_files, result_names, result_page

from aimc_robust.devices.library import card_names

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")
RESULT = re.compile(r"benchmarks/results/([^/]+)/report\.md")
BOOST = {  # how much search prefers pages: what to do before what is, and the stored reports last
    "how-to/train.md": 4.0,
    "how-to/add-a-device.md": 4.0,
    "how-to/transformers.md": 1.5,
    "how-to/aihwkit-and-crosssim.md": 1.5,
    "how-to/": 3.0,
    "tutorials/": 2.0,
    "explanation/": 1.5,
    "reference/api/": 0.5,
    "reference/examples.md": 0.2,
    "benchmarks/results/": 0.1,
}
generated: dict[str, str | bytes | Path] = {}  # content of each generated file or its path, by its place in the site


def on_config(config):
    """Generate pages, and put them in the place of the entries of `nav` with a `*`."""
    generated.clear()
    generated.update(reference_pages() | device_pages() | result_files() | gallery_files())
    generated.update({uri: _with_site_link(uri, path) for uri, path in generated.items() if uri.endswith(".html")})
    reports = [f"benchmarks/results/{name}/report.md" for name in result_names()]
    config.nav = _expand(config.nav, [*generated, *reports])
    return config


def _with_site_link(uri, path):
    """Return the HTML of a report, the head of which links to the page of the site that shows it."""
    folder = posixpath.dirname(uri)
    home = posixpath.relpath("gallery/index.html", folder) if uri.startswith("gallery/") else "report.html"
    head = f'<p class="kicker"><a href="{home}">Documentation</a> · '
    pattern = r'<p class="kicker">(<a [^>]*>Documentation</a> · )?'  # the address that the package states, if it does
    text, count = re.subn(pattern, head, path.read_text(encoding="utf-8"))
    assert count == 1, f"{uri} has {count} heads"
    return text


def _expand(entry, pages):
    if isinstance(entry, dict):
        return {key: _expand(value, pages) for key, value in entry.items()}
    if isinstance(entry, list):
        return [_expand(value, pages) for value in entry]
    if "*" in entry:
        found = [page for page in pages if fnmatch(page, entry) and page.endswith(".md")]
        found = sorted(found, key=lambda page: (not page.endswith("index.md"), page))
        return [{name[1]: page} if (name := RESULT.fullmatch(page)) else page for page in found]
    return entry


def _pages_of(entry):
    if isinstance(entry, dict):
        entry = list(entry.values())
    return [page for value in entry for page in _pages_of(value)] if isinstance(entry, list) else [entry]


def on_files(files, config):
    """Add generated pages, pages of the repository, and files that pages link to."""
    for uri, content in generated.items():
        path = {"abs_src_path": str(content)} if isinstance(content, Path) else {"content": content}
        files.append(File.generated(config, uri, **path))
    for uri in _pages_of(config.nav):
        if files.get_file_from_path(uri) is None and (ROOT / uri).is_file():
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    for page in list(files.documentation_pages()):
        for _, link, _, _ in LINK.findall(_without_code(page.content_string)):
            uri = _target(page.src_uri, link)
            if files.get_file_from_path(uri) is None and (ROOT / uri).is_file() and not uri.endswith(".md"):
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    return files


def _target(page_uri, link):
    """Return the place in the site of a link, which is relative to the page's place in the repository."""
    folder = posixpath.dirname(page_uri if page_uri in generated or (ROOT / page_uri).is_file() else f"docs/{page_uri}")
    path = posixpath.normpath(posixpath.join(folder, link))
    if (ROOT / path).is_dir():
        path = posixpath.join(path, "README.md" if (ROOT / path / "README.md").is_file() else "index.md")
    return {"README.md": "index.md"}.get(path, path.removeprefix("docs/"))


def on_page_markdown(markdown, page, config, files):
    """Make links relative to places in the site, link names to their reference, and say how search ranks the page."""
    here = page.file.src_uri
    if boost := next((value for start, value in BOOST.items() if here.startswith(start)), None):
        page.meta["search"] = {"boost": boost}
    if name := RESULT.fullmatch(here):
        markdown = result_page(markdown, name[1], files.src_uris)

    def replaced(match):
        uri = _target(here, match[2])
        relative = os.path.relpath(uri, posixpath.dirname(here) or ".")
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}" if files.get_file_from_path(uri) else match[0]

    text = _outside_code(markdown, lambda line: LINK.sub(replaced, line))
    if here == "reference/glossary.md":
        text = re.sub(r"^\*\*([^*,]+)[^*]*\*\*", _with_anchor, text, flags=re.MULTILINE)
    return text if here.startswith("reference/") and here in generated else _outside_code(text, _linked(here))


def _with_anchor(word):
    return f"{word[0]}{{ #{word[1].lower().replace(' ', '-')} }}"


def _linked(here):
    """Return a function that links the first `ar.NAME` and the first name of a device to its reference."""
    places = {f"ar.{name}": page for name, page in API_PAGE_OF.items()}
    places |= {name: f"reference/devices/{name}.md" for name in card_names()}
    seen = set()

    def link(match):
        code, name = match[0], re.match(r"[\w.-]+", match[1])
        name = name and name[0]
        if name not in places or name in seen or (not name.startswith("ar.") and name != match[1]):
            return code
        seen.add(name)
        anchor = f"#aimc_robust.{name.removeprefix('ar.')}" if name.startswith("ar.") else ""
        return f"[{code}]({os.path.relpath(places[name], posixpath.dirname(here) or '.')}{anchor})"

    def line(text):
        return text if text.startswith("#") else re.sub(r"(?<![\[`])`([^`]+)`(?![\]`])", link, text)

    return line


def _without_code(markdown):
    return re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)


def _outside_code(markdown, change):
    """Change each line that is not in a block of code."""
    lines, fenced = [], False
    for line in markdown.split("\n"):
        fenced ^= line.startswith("```")
        lines.append(line if fenced or line.startswith("    ") else change(line))
    return "\n".join(lines)
