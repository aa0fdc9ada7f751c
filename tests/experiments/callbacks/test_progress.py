"""Callbacks are passed on whole, in order, to every member of a group and to other processes."""

import inspect

import pytest

from aimc_robust.experiments.callbacks.progress import (
    ExperimentProgress,
    ExperimentSize,
    ForwardingProgress,
    ProgressGroup,
    replay,
)
from aimc_robust.experiments.results.trial import Trial

SGD = Trial("sgd", 0)
CALLS = {
    "started": ((ExperimentSize(trials=4, epochs=3, coverage="all"),), {}),
    "note": (("a remark",), {}),
    "training": ((SGD,), {"done": 0}),
    "epoch": ((SGD, {"epoch": 1}), {}),
    "evaluating": ((SGD, "digital"), {"done": 0, "chips": 3}),
    "chip": ((SGD, "digital", [90.0]), {}),
    "evaluated": ((SGD, "digital", [90.0]), {}),
    "explaining": (("attribution",), {"done": 1, "total": 2}),
    "finished": ((SGD, {"digital": 90.0}), {}),
    "failed": ((SGD, "why"), {}),
}


class Listening(ExperimentProgress):
    def __init__(self):
        self.heard = []


for _name in CALLS:
    setattr(Listening, _name, lambda self, *args, _name=_name, **named: self.heard.append((_name, args, named)))


def test_every_callback_is_tried_here():
    members = inspect.getmembers(ExperimentProgress, inspect.isfunction)
    assert {name for name, _ in members if not name.startswith("_")} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_group_passes_every_call_to_each_member(name):
    members = [Listening(), Listening()]
    args, named = CALLS[name]
    getattr(ProgressGroup(members), name)(*args, **named)
    assert members[0].heard == members[1].heard == [(name, args, named)]


def test_calls_that_were_sent_are_replayed_in_order():
    sent, listening = [], Listening()
    forwarding = ForwardingProgress(sent.append)
    for name, (args, named) in CALLS.items():
        getattr(forwarding, name)(*args, **named)
    for call in sent:
        replay(listening, call)
    assert listening.heard == [(name, *call) for name, call in CALLS.items()]
