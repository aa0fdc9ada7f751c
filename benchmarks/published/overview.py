"""What the stored results say of every claim: the table of results/README.md.

python -m published.overview    # in this repository's folder benchmarks
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aimc_robust.experiments.results.archive import ARCHIVE, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import ComparisonContent, gather

from .claims import HELD, NOT_HELD, NOT_SETTLED, ClaimResult, check_claims
from .layout import FOLDER, read_layout

RESULTS = FOLDER.parent / "results"
SCALES = ("cpu-digits", "cpu-fashion", "cpu-cifar-ten", "cpu-cifar-twenty", "mini")
STATES = (HELD, NOT_HELD, NOT_SETTLED)
AGREEMENT = {  # what it is called -> the verdicts of the data sets that settle a claim
    "held wherever settled": {HELD},
    "did not hold wherever settled": {NOT_HELD},
    "held on one, did not hold on another": {HELD, NOT_HELD},
    "settled nowhere": set(),
}


def stored(name: str, scale: str, results: Path = RESULTS) -> Path | None:
    """Return the folder of the stored results of a table at a scale; None if there are none."""
    folder = results / f"{name}-{scale}"
    return folder if (folder / ARCHIVE).is_file() else None


def claim_results(folder: Path) -> list[ClaimResult]:
    """Test the claims of a table on its packed results, which stay as they are."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / folder.name))
        unpack(copy)
        return claims_of(gather(ComparisonResults.open(copy)))


def claims_of(content: ComparisonContent) -> list[ClaimResult]:
    """Test the claims of a table on its results."""
    spec = content.results.spec
    layout = read_layout(spec.name)
    return check_claims(
        layout.build_claims(spec.labels), spec, content.estimates, content.comparisons, layout.smallest_lead
    )


def claims_table(found: Mapping[tuple[str, str], Sequence[ClaimResult]]) -> str:
    """Return a Markdown table: a row per claim, a column per scale.

    Args:
        found: (name of the table, scale) -> its claims.
    """
    scales = [scale for scale in SCALES if any(scale == at for _, at in found)]
    lines = [f"| table | claim | {' | '.join(scales)} |", "|" + "---|" * (2 + len(scales))]
    for name in dict.fromkeys(name for name, _ in found):
        here = {scale: {claim.text: claim for claim in found.get((name, scale), ())} for scale in scales}
        for text in dict.fromkeys(text for claims in here.values() for text in claims):
            cells = [_verdict(here[scale].get(text)) for scale in scales]
            lines.append(f"| {name} | {text} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counts_table(found: Mapping[tuple[str, str], Sequence[ClaimResult]]) -> str:
    """Return a Markdown table: how many claims held, did not hold and are not settled, per scale and table."""
    lines = ["| results | claims | held | did not hold | not settled |", "|---|---|---|---|---|"]
    for (name, scale), claims in found.items():
        counts = [sum(claim.state == state for claim in claims) for state in STATES]
        row = [f"[{name}-{scale}]({name}-{scale}/report.md)", str(len(claims)), *map(str, counts)]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def agreement_table(found: Mapping[tuple[str, str], Sequence[ClaimResult]]) -> str:
    """Return a Markdown table: in how many claims the data sets agree where they settle them, per paper."""
    states: dict[tuple[str, str], set[str]] = {}
    for (name, _), claims in found.items():
        for claim in claims:
            states.setdefault((name, claim.text), set()).add(claim.state)
    papers = list(dict.fromkeys(_paper(name) for name, _ in states))
    lines = [f"| over the data sets | {' | '.join(papers)} | all |", "|" + "---|" * (2 + len(papers))]
    for text, settled in AGREEMENT.items():
        at = [_paper(name) for (name, _), seen in states.items() if seen - {NOT_SETTLED} == settled]
        lines.append(f"| {text} | {' | '.join(str(at.count(paper)) for paper in papers)} | {len(at)} |")
    return "\n".join(lines)


def _paper(name: str) -> str:
    return name.rpartition("-table")[0] or name.rpartition("-figure")[0]


def _verdict(claim: ClaimResult | None) -> str:
    if claim is None or claim.difference is None or claim.interval is None:
        return "–"
    low, high = claim.interval
    state = f"**{claim.state}**" if claim.state != NOT_SETTLED else claim.state
    return f"{state} {claim.difference.mean:+.1f} [{low:.1f}, {high:.1f}]"


def all_claims(results: Path = RESULTS) -> dict[tuple[str, str], Sequence[ClaimResult]]:
    """Return the claims of all stored results that have any: (name of the table, scale) -> its claims."""
    found = {(name, scale): claim_results(folder) for name, scale, folder in _folders(results)}
    return {key: claims for key, claims in found.items() if claims}


def _folders(results: Path) -> Iterator[tuple[str, str, Path]]:
    for name in sorted(path.stem for path in FOLDER.glob("*-*.toml")):
        for scale in SCALES:
            if (folder := stored(name, scale, results)) is not None:
                yield name, scale, folder


if __name__ == "__main__":
    claims = all_claims()
    print(counts_table(claims), agreement_table(claims), claims_table(claims), sep="\n\n")
