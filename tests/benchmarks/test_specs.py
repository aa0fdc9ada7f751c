"""The specs state the papers' tables whole: each published figure has its place, each statement is the paper's own."""

import csv
import re

import pytest
from published.claim import Side
from published.layout import PublishedCell
from published.values import FILE
from support.for_each import for_each
from support.paper_specs import NAMES, layout, loaded, recipes

from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation

TABLES = [name for name in NAMES if "/table" in name]
PICTURES = [name for name in NAMES if "/figure" in name and name != "incorruptible/figure2"]  # without numbers
RMSE = "RMSE of all weights (paper units)"  # of Sec. 6, which states it of weights: no accuracy of a model

# Places of the papers, read off the pages: (spec, method, target, metric) -> what is printed there.
PRINTED = {
    ("incorruptible/table1", "rwp-0.08", "gaussian-0.07", "accuracy"): (61.36, 2.85, 0.90),
    ("incorruptible/table1", "sgd", "digital", "accuracy"): (79.31, None, 0.04),
    ("incorruptible/table2", "sam-0.5", "gaussian-0.03", "accuracy"): (74.41, 2.00, 0.97),
    ("incorruptible/table3", "linear-sam", "gaussian-0.05", "accuracy"): (67.27, 1.18, 1.10),
    ("incorruptible/table4", "quadratic-sam-0.4", "training-0.04", "accuracy"): (60.04, 2.30, 1.83),
    ("incorruptible/table5", "quadratic-rwp", "rram-milo2021", "accuracy"): (74.33, 0.88, 0.12),
    ("incorruptible/table5", "sam-0.3", "sonos-agrawal2022", "accuracy"): (80.28, 0.02, 0.20),
    ("incorruptible/table6", "rwp-laplace-0.04", "laplace-0.03", "accuracy"): (73.60, 0.61, 0.52),
    ("incorruptible/table9", "wrn-16-10-quadratic-rwp", "gaussian-0.07", "accuracy"): (67.19, 2.28, 0.90),
    ("incorruptible/table10", "quadratic-sam-0.5", "training-0.05", "accuracy"): (52.62, 3.20, 0.95),
    ("incorruptible/table10", "rwp-0.06", "gaussian-0.04", "accuracy"): (57.20, 1.08, 0.37),
    ("incorruptible/table11", "quadratic-sam-1.2-15000", "gaussian-0.07", "accuracy"): (57.07, 1.92, 0.33),
    ("incorruptible/table12", "quadratic-rwp-0.1-45000", "gaussian-0.07", "accuracy"): (65.57, 2.05, 0.64),
    ("m-rwp/table1", "cifar10-vit-s-m-rwp", "digital", "accuracy"): (88.18, None, 0.19),
    ("m-rwp/table1", "cifar100-vit-s-sgd", "digital", "accuracy"): (63.66, None, 0.28),
    ("m-rwp/table2", "resnet50-m-rwp", "digital", "top5"): (93.91, None, None),
    ("m-rwp/tableA1", "sam-different", "digital", "accuracy"): (78.30, None, 0.11),
}


def cells(name: str) -> list[PublishedCell]:
    return [cell for row in layout(name).cells(loaded(name).labels) for cell in row]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_spec_loads_at_every_scale_and_says_what_it_reproduces(name):
    spec = loaded(name)
    assert spec.report_sections == ["published.section:published_table"]
    layout(name).check_references(spec.labels, [target.name for target in spec.build_targets()])
    assert layout(name).citation
    assert layout(name).open, "each of the papers leaves something open"
    assert re.search(r"(Table|Figures?) A?\d+", layout(name).place)
    for scale in ("mini", "smoke"):
        assert set(loaded(name, scale).labels) <= set(spec.labels)
        assert len(loaded(name, scale).build_targets()) == len(spec.build_targets())


@pytest.mark.slow
@for_each("name", TABLES)
def test_every_place_of_a_table_has_its_published_figure(name):
    assert [(cell.row, cell.column) for cell in cells(name) if cell.published is None] == []


@pytest.mark.parametrize("name", [name for name in TABLES if name != "m-rwp/table1-resnet18"])  # a part of table1
def test_every_published_figure_of_a_table_has_its_place(name):
    placed = [(c.published.value, c.published.sd_noise, c.published.sd_seed) for c in cells(name)]
    figures = [
        tuple(float(row[key]) if row[key] else None for key in ("value", "sd_noise", "sd_seed"))
        for row in layout(name).values
    ]
    assert set(placed) == set(figures)
    measured = [cell for cell in cells(name) if not cell.cost]
    assert len(measured) == sum(row["setting"] != "cost" for row in layout(name).values)


def test_together_the_specs_cover_everything_that_is_published():
    with FILE.open(newline="", encoding="utf-8") as file:
        published = {tuple(row.items()) for row in csv.DictReader(file) if row["metric"] != RMSE}
    covered = {tuple(row.items()) for name in TABLES for row in layout(name).values}
    assert covered == published
    assert len(published) > 360


@for_each(("place", "printed"), PRINTED.items())
def test_a_place_has_the_figure_that_is_printed_there(place, printed):
    name, method, target, metric = place
    found = [c for c in cells(name) if (c.methods, c.target, c.metric, c.cost) == ((method,), target, metric, None)]
    assert [(c.published.value, c.published.sd_noise, c.published.sd_seed) for c in found] == [printed]


def published(name: str, side: Side) -> float | None:
    """What the paper has for the best of these methods, or the worst, where it prints them."""
    known = {(c.methods, c.target): c.published.value for c in cells(name) if c.published and not c.cost}
    if side.pick == "best" and (side.labels, side.target) in known:
        return known[side.labels, side.target]
    values = [known.get(((label,), side.target)) for label in side.labels]
    return None if None in values or not values else {"best": max, "worst": min}[side.pick](values)


@pytest.mark.parametrize("name", NAMES)
def test_the_statements_hold_of_the_papers_own_figures(name):
    for claim in layout(name).build_claims(loaded(name).labels):
        better, than = published(name, claim.better), published(name, claim.than)
        if better is None or than is None:
            assert name in PICTURES, f"{claim.text}: the paper's table does not say"
        else:
            assert better > than, claim.text


def test_five_tables_of_the_incorruptible_paper_need_twenty_recipes():
    five = [f"incorruptible/table{number}" for number in (1, 2, 3, 5, 6)]
    assert len(recipes(*five)) == 20
    assert recipes("incorruptible/figure2") <= recipes(*five)


@pytest.mark.parametrize(
    ("spec", "others", "shared"),
    [
        ("incorruptible/table7", ["incorruptible/table1", "incorruptible/table2"], 10),  # ResNet-18
        ("incorruptible/table8", ["incorruptible/table7"], 10),
        ("incorruptible/table9", ["incorruptible/table7", "incorruptible/table8"], 20),  # ResNet-50 and WRN-16-10
        ("incorruptible/table11", ["incorruptible/table3"], 1),  # the best of the grid
        ("incorruptible/table12", ["incorruptible/table5"], 1),
        ("incorruptible/table4", ["incorruptible/table10"], 2),
        ("incorruptible/figure13", ["incorruptible/table10"], 5),  # all but SGD
        ("m-rwp/table1-resnet18", ["m-rwp/table1"], 4),
        ("m-rwp/tableA1", ["m-rwp/table1"], 2),
        ("m-rwp/figureA5", ["m-rwp/table1"], 4),  # sigma 0.015 and lam 0.5
        ("m-rwp/figureA5-resnet18", ["m-rwp/figureA5"], 20),
        ("m-rwp/figureA1", ["m-rwp/table1"], 1),
    ],
)
def test_a_model_that_several_specs_need_is_trained_once(spec, others, shared):
    assert len(recipes(spec) & recipes(*others)) == shared


def test_the_recipes_are_the_papers():
    incorruptible = loaded("incorruptible/table1").config()
    found = (incorruptible.epochs, incorruptible.batch_size, incorruptible.lr, incorruptible.weight_decay)
    assert (*found, incorruptible.label_smoothing, incorruptible.momentum) == (200, 128, 0.05, 5e-4, 0.1, 0.9)
    assert incorruptible.epochs * incorruptible.updates_per_epoch(50000) == 78000  # the `run` of its ramps
    mixed = loaded("m-rwp/table1").config()
    found = (mixed.epochs, mixed.batch_size, mixed.lr, mixed.weight_decay, mixed.label_smoothing, mixed.early_stopping)
    assert found == (200, 256, 0.1, 1e-3, 0.0, None)
    vit = loaded("m-rwp/table1").config_of("cifar10-vit-s-sam")
    assert (vit.epochs, vit.optimizer, vit.lr) == (400, "adam", 1e-4)
    imagenet = loaded("m-rwp/table2")
    assert (imagenet.config().epochs, imagenet.config().weight_decay) == (90, 1e-4)
    assert imagenet.data.build_augmentation() == StreamedAugmentation(area=(0.08, 1.0), flip=True)
    cut_out = Augmentation(crop=4, flip=True, cutout=16, cutout_probability=0.5)
    assert loaded("m-rwp/table1").data_of("cifar10-vit-s-sam").build_augmentation() == cut_out
    assert loaded("m-rwp/tableA1", "mini").data.build_augmentation() == Augmentation(crop=4, flip=True)  # as run


def test_every_gaussian_column_is_of_an_epoch_kept_for_its_sigma():
    for name in NAMES:
        spec = loaded(name)
        if not name.startswith("incorruptible/") or name.endswith("/figure5"):  # a curve there is of one model
            continue
        kept = spec.config().selections
        for target in spec.build_targets():
            sigma = re.fullmatch(r"(?:gaussian|training)-([\d.]+)", target.name)
            if sigma:
                assert kept[target.selection(spec.config())] == float(sigma[1]), (name, target.name)
