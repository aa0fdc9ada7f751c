"""A published table of the small comparison, with figures that a test can check."""

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
    "figures": [
        figure("SGD", "none", 50.0, "", 0.5),
        figure("SGD", "0.2", 40.0, 300.0, 4.0),
        figure("m-RWP", "none", 95.0),
        figure("SGD", "flops", 1),
        figure("m-RWP", "flops", 2),
    ],
}
