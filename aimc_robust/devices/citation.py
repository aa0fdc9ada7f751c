"""Where the numbers of a device come from."""

from __future__ import annotations

import re

import pydantic

from aimc_robust.io.toml import StrictModel


class Source(StrictModel):
    """Where the card's numbers come from.

    Attributes:
        citation: Publication, data set or definition, at least 10 characters.
        doi: DOI of the publication.
        figure: Figure or table of the publication.
        fit: How the laws were fitted.
        note: What to know before use.
    """

    citation: str = pydantic.Field(min_length=10)
    doi: str | None = None
    figure: str | None = None
    fit: str = ""
    note: str = ""

    @pydantic.field_validator("doi")
    @classmethod
    def _is_doi(cls, doi: str | None) -> str | None:
        if doi is not None and not re.fullmatch(r"10\.\d{4,9}/\S+", doi):
            raise ValueError(f"expected a DOI such as 10.1038/s41586-022-04992-8, got {doi!r}")
        return doi
