"""A landscape is the loss at the places of a plane through the trained weights, and is no accuracy of chips."""

import re
import shutil

import numpy as np
import pytest
import torch
from support.fixtures.comparison import run_spec
from support.fixtures.report import figures_as_stubs
from torch import nn
from torch.nn import functional as F

from aimc_robust.analysis.landscape import Landscape, filter_directions
from aimc_robust.data.loading import load_data
from aimc_robust.errors import AimcError, InputError
from aimc_robust.experiments.planning.remaining import remaining_work
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.atomic import read_rows
from aimc_robust.models.registry import build_model
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.report.write import write_report
from aimc_robust.seeding import Axes
from aimc_robust.targets.command_line import target_tables
from aimc_robust.training.resumption import read_checkpoint

PLANE = ("[data]", '[[landscapes]]\nname = "plane"\npoints = 3\nspan = 0.5\nsplit = "training"\n\n[data]')


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.ConvTranspose2d(3, 4, 2), nn.Flatten(), nn.Linear(196, 5)
    ).eval()


def moved(model, step):
    """Parameter name -> its value after the step."""
    with perturbed(model, step, generator=Axes(0)):
        return {name: value.detach().clone() for name, value in model.named_parameters()}


def filters(name, value):
    """A weight as (filters, weights), its filters being its outputs."""
    return value.transpose(0, 1).flatten(1) if name == "3.weight" else value.flatten(1)


def test_places_run_over_the_square_and_an_odd_number_has_the_weights_in_its_middle():
    landscape = Landscape(3, 0.5)
    places = [landscape.coordinates(number) for number in range(landscape.num_points)]
    assert places == [(a, b) for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5)]
    assert Landscape(50).axis[0] == -1.0
    assert Landscape(50).axis[-1] == 1.0
    assert 0.0 not in Landscape(50).axis


def test_each_filter_moves_by_its_own_length_and_nothing_else_moves():
    model = net()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    landscape = Landscape(3)
    steps = [moved(model, landscape.step(filter_directions(model, seed=1), number)) for number in (7, 5)]
    for name, value in before.items():
        if name not in ("0.weight", "3.weight", "5.weight"):
            assert all(torch.equal(step[name], value) for step in steps)
            continue
        changes = [filters(name, step[name] - value).double() for step in steps]  # to (1, 0) and to (0, 1)
        lengths = filters(name, value).double().norm(dim=1)
        for change in changes:
            torch.testing.assert_close(change.norm(dim=1), lengths, rtol=1e-5, atol=0.0)
        cosines = F.cosine_similarity(*changes)
        assert cosines.abs().max() < 0.99  # two directions, not one


def test_a_place_is_the_sum_of_both_directions_and_the_middle_the_weights_bit_for_bit():
    model, landscape = net(), Landscape(5, 2.0)
    directions = filter_directions(model, seed=1)
    before = dict(model.named_parameters())
    first, second, both = (moved(model, landscape.step(directions, n))["5.weight"] for n in (22, 14, 24))
    weight = before["5.weight"].detach()
    torch.testing.assert_close(both - weight, (first - weight) + (second - weight), rtol=1e-5, atol=1e-6)
    middle = moved(model, landscape.step(directions, 12))
    assert all(torch.equal(middle[name], value) for name, value in before.items())


def test_two_models_have_the_same_directions_scaled_to_their_filters_and_two_seeds_others():
    one, other = (filter_directions(net(seed), seed=1)[0]["0"].flatten(1) for seed in (0, 1))
    torch.testing.assert_close(F.normalize(one), F.normalize(other))
    assert not torch.allclose(one, other)
    another = filter_directions(net(), seed=2)[0]["0"].flatten(1)
    assert F.cosine_similarity(one, another).abs().max() < 0.99


def test_a_weight_that_an_embedding_shares_moves_in_the_layer_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)
            self.head.weight = self.embedding.weight

    model = Tied()
    before = model.head.weight.detach().clone()
    with perturbed(model, Landscape(3).step(filter_directions(model, seed=0), 7), generator=Axes(0)):
        change = model.head.weight - before
        assert torch.equal(model.embedding.weight, before)
    torch.testing.assert_close(change.norm(dim=1), before.norm(dim=1))


def test_a_filter_of_zeros_stays():
    model = net()
    with torch.no_grad():
        model[5].weight[2] = 0.0
    found = moved(model, Landscape(2).step(filter_directions(model, seed=0), 3))
    assert torch.equal(found["5.weight"][2], torch.zeros(196))
    assert all(value.isfinite().all() for value in found.values())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('name = "plane"\npoints = 1', "landscapes.0.points: .* greater than or equal to 2, got 1"),
        ('name = "plane"\npoints = "9"', "landscapes.0.points: .* integer, got '9'"),
        ('name = "plane"\npoints = 9\nspan = -1.0', "landscapes.0.span"),
        ('name = "plane"\npoints = 9\nsigma = 0.1', "unknown key 'sigma'"),
        ("points = 9", "landscapes.0.name: .* missing"),
        ('name = "plane"\npoints = 9\nselected_at = 0.5', r"landscapes.plane: selected_at = 0.5"),
        ('name = "digital"\npoints = 9', "digital appears twice"),
    ],
)
def test_a_landscape_that_cannot_be_is_refused_in_a_sentence(table, words, write_spec):
    with pytest.raises(AimcError, match=words):
        load_spec(write_spec(("[data]", f"[[landscapes]]\n{table}\n[data]")))


@pytest.mark.parametrize("table", ['{name = "p", noise = "ascent", radius = 0.1}', '{name = "p", split = "training"}'])
def test_evaluate_refuses_what_only_a_comparison_knows(table):
    with pytest.raises(AimcError, match="`compare`"):
        target_tables(["rram-wan2022", table], [0.0], {})


@pytest.mark.slow
@pytest.mark.usefixtures("stub_figures")
def test_the_report_says_how_many_models_it_rests_on(comparison_with_landscape, tmp_path):
    folder = shutil.copytree(comparison_with_landscape, tmp_path / "out")
    shutil.rmtree(folder / "runs" / "sgd-seed1")
    html = write_report(folder).read_text()
    section = html[html.index("<h2>Loss landscape <") : html.index("<h2>Training <")]
    assert re.findall(r'<th scope="row">(.*?)</th>', section) == ["sgd <small>1 of 2 models</small>", "m-rwp"]
    figure = "Figure `figures/landscape-plane.svg`: Loss of each method over the plane of plane"
    start = f"### plane, on training data\n\n{figure}\n\n| method | lowest loss |"
    assert start in (folder / "report.md").read_text()
    assert "| sgd<br>1 of 2 models |" in (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def comparison_with_landscape(tiny, trained_models, tmp_path_factory):
    """A finished comparison with a landscape on training images."""
    folder = tmp_path_factory.mktemp("landed")
    path = folder / "spec.toml"
    path.write_text(tiny.replace(*PLANE))
    run_spec(path, folder / "out", model_cache=trained_models)
    with figures_as_stubs():
        write_report(folder / "out")
    return folder / "out"


def test_what_has_no_directions_is_told_before_anything_is_written(write_spec, run, tmp_path, monkeypatch):
    def none(model, *, seed):
        raise InputError("no weights to move")

    monkeypatch.setattr("aimc_robust.experiments.execution.dry_run.filter_directions", none)
    with pytest.raises(InputError, match="weights"):
        run(write_spec(PLANE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def plane_rows(folder, trial):
    return read_rows(folder / "runs" / trial / "landscape.jsonl")


def test_rows_hold_the_loss_of_the_weights_moved_by_hand(comparison_with_landscape):
    store = ComparisonResults.open(comparison_with_landscape)
    trial = store.trials[0]
    data = load_data(store.spec.data_of(trial.model), data_seed=store.spec.data_seed, folder=comparison_with_landscape)
    model = build_model(store.spec.model_of(trial.model), data, seed=trial.train_seed).eval()
    model.load_state_dict(
        read_checkpoint(comparison_with_landscape / "runs" / str(trial) / "checkpoint.safetensors")[0]
    )
    model, (images, labels) = model.double(), data.training
    directions = filter_directions(model, seed=store.spec.chip_seed)
    rows = plane_rows(comparison_with_landscape, str(trial))
    assert [(row["landscape"], row["point"]) for row in rows] == [("plane", point) for point in range(9)]
    weights = {name.removesuffix(".weight"): p for name, p in model.named_parameters()}
    for row, (a, b) in zip(rows, [(a, b) for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5)], strict=True):
        with torch.no_grad():
            kept = {layer: weights[layer].clone() for layer in directions[0]}
            for layer in kept:
                weights[layer] += a * directions[0][layer] + b * directions[1][layer]
            loss = float(F.cross_entropy(model(images.double()), labels))
            for layer, value in kept.items():
                weights[layer].copy_(value)
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
        assert row["n"] == len(labels)
    assert len({row["loss"] for row in rows}) == 9


def test_it_changes_no_table_of_accuracies(comparison_with_landscape, finished_comparison):
    for name in ("evaluations.csv", "summary.csv", "tables/accuracy.csv", "tables/accuracy.md"):
        assert (comparison_with_landscape / name).read_bytes() == (finished_comparison / name).read_bytes()


def test_the_report_has_a_picture_the_numbers_and_how_flat_each_is(comparison_with_landscape):
    html, markdown = (
        (comparison_with_landscape / "report.html").read_text(),
        (comparison_with_landscape / "report.md").read_text(),
    )
    assert "Loss landscape" in html
    assert (comparison_with_landscape / "figures" / "landscape-plane.svg").read_text().split("<svg")[1][-200:] in html
    assert (comparison_with_landscape / "figures" / "landscape-plane.png").read_bytes().startswith(b"\x89PNG")
    head, *lines = (comparison_with_landscape / "tables" / "landscape-plane.csv").read_text().splitlines()
    assert head == "method,models,first,second,loss"
    for method, nine in (("sgd", lines[:9]), ("m-rwp", lines[9:])):
        expected = np.mean(
            [[row["loss"] for row in plane_rows(comparison_with_landscape, f"{method}-seed{s}")] for s in (0, 1)],
            axis=0,
        )
        assert [line.split(",")[:2] for line in nine] == [[method, "2"]] * 9
        assert [float(line.split(",")[4]) for line in nine] == expected.tolist()
        share = 100.0 * np.mean(expected <= expected.min() + 1.0)
        assert f"| {method} | {expected.min():.3f} | {share:.1f} |" in markdown


def test_places_that_are_missing_are_counted_and_made_again(comparison_with_landscape, tmp_path, run):
    folder = shutil.copytree(comparison_with_landscape, tmp_path / "out")
    path = folder / "runs" / "sgd-seed0" / "landscape.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    results = ComparisonResults.open(folder)
    (work,) = [work for work in remaining_work(results, results.trials) if work.chips_left]
    assert work.chips_left == {"plane": 3}
    run(comparison_with_landscape.parent / "spec.toml", folder)
    assert sorted(path.read_text().splitlines(keepends=True)) == sorted(lines)


def test_a_point_whose_outputs_are_nan_has_no_values(run, write_quick_spec, tmp_path):
    run(write_quick_spec((PLANE[0], PLANE[1].replace("span = 0.5", "span = 1e25"))))
    rows = read_rows(tmp_path / "out" / "runs" / "sgd-seed0" / "landscape.jsonl")
    assert [row["point"] for row in rows if row["loss"] is not None] == [4]  # the trained weights
    assert {row["accuracy"] for row in rows if row["loss"] is None} == {None}
    assert len({row["n"] for row in rows}) == 1


def test_the_mean_loss_records_no_gradients():
    from aimc_robust.analysis.loss_landscape import mean_loss

    model, recorded = torch.nn.Linear(3, 2), []

    def loss(outputs, labels):
        recorded.append(outputs.requires_grad)
        return torch.nn.functional.cross_entropy(outputs, labels)

    mean_loss(model, loss, [(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))])
    assert recorded == [False]
