"""A published table of the small comparison, with values that a test can check.

`published` is imported in the functions: a run of tests that need none of them need not wait for it.
"""

SECTION = "support.published_tables:paper_section"

COLUMNS = ("paper", "table", "dataset", "model", "method", "setting", "metric", "value", "sd_noise", "sd_seed")


def figure(method, setting, value, sd_noise="", sd_seed=""):
    """A published figure as its file has it."""
    row = dict.fromkeys(COLUMNS, "") | {"method": method, "setting": setting}
    return row | {"value": str(value), "sd_noise": str(sd_noise), "sd_seed": str(sd_seed)}


PAPER = {
    "citation": "A. Author et al., Noise & <nets>_100%",
    "place": "Table 7",
    "caption": "Accuracy of small networks.",
    "open": {"lr": "The paper has no learning rate; settled: 0.1."},
    "heading": "training",
    "columns": [
        {"title": "digital", "target": "digital", "published": {"setting": "none"}},
        {"title": "sigma 0.2", "target": "gaussian-0.2", "published": {"setting": "0.2"}},
        {"title": "loss", "target": "gaussian-0.2", "metric": "loss", "published": {"setting": "loss"}},
        {"title": "FLOPs", "cost": "flops", "published": {"setting": "flops"}},
        {"title": "time", "cost": "time", "published": {"setting": "time"}},
    ],
    "rows": [
        {"title": "plain", "method": "sgd", "published": {"method": "SGD"}},
        {"title": "mixed", "method": "m-*", "published": {"method": "m-RWP"}},
        {"title": "best of all", "method": "*", "published": {"method": "best"}},
    ],
    "claims": [
        {
            "text": "Mixed training is better under noise",
            "better": {"method": "m-rwp", "target": "gaussian-0.2"},
            "than": {"method": "sgd", "target": "gaussian-0.2"},
        },
        {
            "text": "Noise costs nothing",
            "better": {"method": "sgd", "target": "gaussian-0.2"},
            "than": {"method": "sgd", "target": "digital"},
        },
    ],
    "values": [
        figure("SGD", "none", 50.0, "", 0.5),
        figure("SGD", "0.2", 40.0, 300.0, 4.0),
        figure("m-RWP", "none", 95.0),
        figure("SGD", "flops", 1),
        figure("m-RWP", "flops", 2),
    ],
}


def paper_section(content):
    """The section that a report of the small comparison has by `report_sections = [SECTION]`."""
    from published.layout import Layout
    from published.section import table_section

    return table_section(content, Layout.model_validate(PAPER))


def paper_pairs(spec, estimates):
    """The pairs that the claims compare."""
    from published.claims import claim_pairs
    from published.layout import Layout

    return claim_pairs(Layout.model_validate(PAPER).build_claims(spec.labels), spec, estimates)


paper_section.pairs = paper_pairs


def paper_entries(content):
    """The cells of the published table with what the comparison measured."""
    from published.layout import Layout
    from published.measured import measured_entries

    layout = Layout.model_validate(PAPER)
    return measured_entries(layout, content.results.spec.labels, content.estimates, content.costs)


def paper_claims(content):
    """What became of the claims."""
    from published.claims import check_claims
    from published.layout import Layout

    claims = Layout.model_validate(PAPER).build_claims(content.results.spec.labels)
    return check_claims(claims, content.results.spec, content.estimates, content.comparisons)
