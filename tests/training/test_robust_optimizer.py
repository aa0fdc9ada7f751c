"""An update through step(closure) is the update of method.backward and optimizer.step, whatever surrounds it."""

import copy
import pickle
import warnings

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, gradients_of, state_of
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import lr_scheduler

from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.registry import METHODS
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.robust_optimizer import RobustOptimizer

LOSS = nn.CrossEntropyLoss()
RAMP = Ramp(shape="quadratic", updates=5)
ARRAYS = Crossbar("pcm-nandakumar2019", dac=DAC(bits=6), adc=ADC(bits=6))
ARGUMENTS = {
    "sgd": {},
    "sam": {"rho": 0.2},
    "asam": {"rho": 0.5},
    "rwp": {"sigma": 0.1, "draws": 2},
    "m-rwp": {"sigma": 0.1, "batches": "same", "lam": 0.3},
    "array-aware": {"crossbar": ARRAYS, "batches": "same", "lam": 0.3},
}
METHOD = {name: kind(**ARGUMENTS.get(name, {}), ramp=RAMP) for name, kind in METHODS.items()}
BATCHES = digit_batches(6, size=32, dtype=torch.float64)


def net(dropout=0.0):
    return conv_net(dropout=dropout, dtype=torch.float64)


def momentum(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def adapter(method, *, model=None, **more):
    model = net() if model is None else model
    return RobustOptimizer(momentum(model), model, method, **more)


def closure_of(optimizer, batch, *, clear=None, model=None):
    """The usual closure; `clear` replaces optimizer.zero_grad(), `model` is the model in its wrapper."""
    model = optimizer.model if model is None else model

    def closure():
        (optimizer.zero_grad if clear is None else clear)()
        loss = LOSS(model(batch[0]), batch[1])
        loss.backward()
        return loss

    return closure


def by_hand(method, model, optimizer, batches, *, first=1, clip_norm=None):
    """The same training without the adapter."""
    losses = []
    for step, batch in enumerate(batches, start=first):
        optimizer.zero_grad()
        losses.append(method.backward(model, LOSS, [batch], step=step))
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
    return losses


def assert_close(first, second):
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-10, atol=1e-13, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_updates_are_those_of_a_loop_with_backward(name, set_to_none, clip_norm):
    method, expected, model = METHOD[name], net(dropout=0.2), net(dropout=0.2)
    optimizer = adapter(method, model=model, clip_norm=clip_norm)
    torch.manual_seed(1)
    losses = by_hand(method, expected, momentum(expected), BATCHES, clip_norm=clip_norm)
    torch.manual_seed(1)
    for batch, loss in zip(BATCHES, losses, strict=True):
        found = optimizer.step(closure_of(optimizer, batch, clear=lambda: optimizer.zero_grad(set_to_none=set_to_none)))
        torch.testing.assert_close(found, loss, rtol=1e-10, atol=0)
    assert_close(state_of(expected), state_of(model))  # BatchNorm statistics among them
    assert_close(gradients_of(expected), gradients_of(model))
    assert optimizer.steps == len(BATCHES)
    assert optimizer.strength == method.full_strength


@pytest.mark.parametrize("name", METHODS)
def test_an_update_leaves_the_weights_where_they_were_bit_for_bit(name):
    model = net()
    optimizer = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.0), model, METHOD[name])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    addresses = [p.data_ptr() for p in model.parameters()]
    for batch in BATCHES:
        optimizer.step(closure_of(optimizer, batch))
    assert differing(before, dict(model.named_parameters())) == []
    assert [p.data_ptr() for p in model.parameters()] == addresses


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("method", [SAM(rho=0.2), MixedRWP(sigma=0.1, batches="same")], ids=["sam", "m-rwp"])
def test_a_closure_that_raises_leaves_weights_and_count(method, failing):
    optimizer, calls = adapter(method), 0
    before = {name: p.detach().clone() for name, p in optimizer.model.named_parameters()}

    def closure():
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return closure_of(optimizer, BATCHES[0])()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert differing(before, dict(optimizer.model.named_parameters())) == []
    assert optimizer.steps == 0


@pytest.mark.parametrize("bn_stats", ["clean", "perturbed"])
def test_statistics_move_once_by_the_named_pass(bn_stats):
    found = {}
    for through_closure in (True, False):
        method, model = SAM(rho=0.5, bn_stats=bn_stats), net()
        if through_closure:
            optimizer = adapter(method, model=model)
            optimizer.step(closure_of(optimizer, BATCHES[0]))
        else:
            by_hand(method, model, momentum(model), BATCHES[:1])
        found[through_closure] = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert differing(found[True], found[False]) == []
    assert found[True]["1.num_batches_tracked"] == 1


@pytest.mark.parametrize("name", ["sam", "rwp", "m-rwp"])
def test_unreached_and_frozen_parameters_have_no_gradient(name):
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1), "frozen": nn.Linear(1, 1)})
    model["frozen"].requires_grad_(False)
    optimizer = adapter(METHOD[name], model=model)
    before = state_of(model)

    def closure():
        optimizer.zero_grad()
        loss = model["frozen"](model["used"](torch.ones(4, 2))).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert model["unused"].weight.grad is None
    assert model["frozen"].weight.grad is None
    assert differing(before, state_of(model)) == ["used.weight", "used.bias"]


def test_autocast_in_the_closure_sees_the_perturbed_weights():
    method, batch = SAM(rho=0.2), digit_batches(1, size=32)[0]
    expected, model = conv_net(), conv_net()
    with torch.autocast("cpu", torch.bfloat16):
        method.backward(expected, LOSS, [batch], step=1)
    optimizer = adapter(method, model=model)

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = LOSS(model(batch[0]), batch[1])
        loss.backward()
        return loss

    optimizer.step(closure)
    assert differing(gradients_of(expected), gradients_of(model)) == []


# What a wrapper must not lose.


def test_groups_state_and_defaults_are_the_base_optimizers_also_after_loading():
    optimizer = adapter(SGD())
    optimizer.step(closure_of(optimizer, BATCHES[0]))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups is optimizer.base.param_groups
    assert optimizer.state is optimizer.base.state
    assert optimizer.defaults is optimizer.base.defaults
    extra = nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [extra], "lr": 0.7})
    assert optimizer.base.param_groups[-1]["params"][0] is extra
    assert "momentum: 0.9" in repr(optimizer)
    assert repr(SGD()) in repr(optimizer)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.StepLR(o, 2, 0.5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, len(BATCHES)),
        lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=len(BATCHES) + 1),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.5)], [2]
        ),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=10.0),
    ],
    ids=["step", "cosine", "one cycle", "sequential", "plateau"],
)
def test_schedulers_drive_the_base_optimizer_without_a_warning(schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "The epoch parameter")  # SequentialLR's own, up to torch 2.7
        found = []
        for optimizer in (adapter(SAM(rho=0.1)), momentum(net())):
            scheduler, rates = schedule(optimizer), []
            for batch in BATCHES:
                if isinstance(optimizer, RobustOptimizer):
                    optimizer.step(closure_of(optimizer, batch))
                    assert optimizer.base.param_groups[0]["lr"] == scheduler.get_last_lr()[0]
                else:
                    optimizer.step()
                plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
                scheduler.step(*[1.0] if plateau else [])
                rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            found.append(rates)
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


@pytest.mark.parametrize("base", [momentum, lambda model: torch.optim.AdamW(model.parameters(), lr=0.01)])
@pytest.mark.parametrize("name", METHODS)
def test_a_resume_goes_on_bit_for_bit(name, base, tmp_path):
    def start():
        model = net()
        return model, RobustOptimizer(base(model), model, METHOD[name])

    undisturbed, optimizer = start()
    for batch in BATCHES:
        optimizer.step(closure_of(optimizer, batch))
    interrupted, optimizer = start()
    for batch in BATCHES[:3]:
        optimizer.step(closure_of(optimizer, batch))
    torch.save([interrupted.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    resumed, optimizer = start()
    for part, state in zip((resumed, optimizer), torch.load(tmp_path / "state.pt"), strict=True):
        part.load_state_dict(state)
    for batch in BATCHES[3:]:
        optimizer.step(closure_of(optimizer, batch))
    assert optimizer.steps == len(BATCHES)
    assert differing(state_of(undisturbed), state_of(resumed)) == []


def test_a_plain_optimizers_state_is_refused_unless_the_count_is_added():
    optimizer = adapter(SGD())
    plain = optimizer.base.state_dict()
    with pytest.raises(CheckpointError, match="'method_steps'"):
        optimizer.load_state_dict(plain)
    optimizer.load_state_dict(plain | {"method_steps": 7})
    assert optimizer.steps == 7
    optimizer.base.load_state_dict(optimizer.state_dict())  # and back


def test_hooks_run_once_with_the_adapter():
    optimizer, seen = adapter(SAM(rho=0.1)), []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(("pre", o)))
    optimizer.register_step_post_hook(lambda o, *_: seen.append(("post", o)))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append(("state pre", o)))
    optimizer.register_state_dict_post_hook(lambda o, state: state | {"note": o.steps})
    optimizer.register_load_state_dict_pre_hook(lambda o, state: {**state, "method_steps": state["note"] + 10})
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append(("loaded", o)))
    optimizer.step(closure_of(optimizer, BATCHES[0]))
    optimizer.load_state_dict(optimizer.state_dict())
    assert [name for name, _ in seen] == ["pre", "post", "state pre", "loaded"]
    assert all(found is optimizer for _, found in seen)
    assert optimizer.steps == 11


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
def test_a_duplicate_goes_on_alike_and_apart(duplicate):
    optimizer = adapter(METHOD["m-rwp"], model=net())
    optimizer.step(closure_of(optimizer, BATCHES[0]))
    twin = duplicate(optimizer)
    for one in (optimizer, twin):
        one.step(closure_of(one, BATCHES[1]))
    assert differing(state_of(optimizer.model), state_of(twin.model)) == []
    twin.step(closure_of(twin, BATCHES[2]))
    assert differing(state_of(optimizer.model), state_of(twin.model))
    assert (optimizer.steps, twin.steps) == (2, 3)


# Gradients that belong to others.


class TestOfTwoOptimizers:
    """The adapter has the convolution, another optimizer the rest of the model."""

    @pytest.fixture(params=["sam", "rwp", "m-rwp"])
    def method(self, request):
        return METHOD[request.param]

    @pytest.fixture
    def split(self, method):
        model = net()
        return RobustOptimizer(torch.optim.SGD(model[:2].parameters(), lr=0.1), model, method), model

    @pytest.fixture
    def expected(self, method):
        model = net()
        method.backward(model, LOSS, BATCHES[:1], step=1)
        return gradients_of(model)

    def test_all_get_the_updates_gradient(self, split, expected):
        optimizer, model = split
        optimizer.step(closure_of(optimizer, BATCHES[0], clear=model.zero_grad))
        assert_close(expected, gradients_of(model))

    @pytest.mark.parametrize("set_to_none", [True, False])
    def test_what_the_closure_clears_is_cleared(self, split, expected, set_to_none):
        optimizer, model = split
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step(closure_of(optimizer, BATCHES[0], clear=lambda: model.zero_grad(set_to_none=set_to_none)))
        assert_close(expected, gradients_of(model))

    @pytest.mark.parametrize("set_to_none", [True, False])
    def test_what_the_closure_keeps_stays_and_the_update_comes_on_top(self, split, expected, set_to_none):
        optimizer, model = split
        model[6].bias.grad = torch.ones_like(model[6].bias)
        clear = lambda: optimizer.zero_grad(set_to_none=set_to_none)  # noqa: E731
        optimizer.step(closure_of(optimizer, BATCHES[0], clear=clear))
        assert_close(expected | {"6.bias": expected["6.bias"] + 1.0}, gradients_of(model))


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_over_batches_is_refused(name):
    optimizer = adapter(METHOD[name])
    optimizer.step(closure_of(optimizer, BATCHES[0]))
    before = {name: p.detach().clone() for name, p in optimizer.model.named_parameters()}
    closure_of(optimizer, BATCHES[1])()  # gradients of one batch wait, and the next closure adds to them
    with pytest.raises(InputError, match="accumulate_grad_batches=1"):
        optimizer.step(closure_of(optimizer, BATCHES[2], clear=lambda: None))
    assert differing(before, dict(optimizer.model.named_parameters())) == []


def test_gradients_of_the_last_update_need_no_clearing_and_those_in_the_way_are_cleared():
    first, second = (adapter(SAM(rho=0.1), model=net()) for _ in range(2))
    for batch in BATCHES:
        closure_of(first, batch)()  # a user's look at the gradient before the step
        first.step(closure_of(first, batch))
        second.step(closure_of(second, batch, clear=lambda: None))
    assert differing(*(dict(one.model.named_parameters()) for one in (first, second))) == []


# Refusals.


def test_a_step_without_a_closure_says_why():
    with pytest.raises(InputError, match=r"GradScaler.*bf16-mixed"):
        adapter(SGD()).step()


def test_a_grad_scaler_is_refused_and_a_disabled_one_works():
    optimizer = adapter(SAM(rho=0.1), model=conv_net())
    closure, scaler = closure_of(optimizer, digit_batches(1)[0]), torch.amp.GradScaler("cpu")
    scaler.scale(closure()).detach()
    with pytest.raises(InputError, match="GradScaler"):
        scaler.step(optimizer)
    torch.amp.GradScaler("cpu", enabled=False).step(optimizer, closure=closure)
    assert optimizer.steps == 1


@pytest.mark.parametrize("value", [None, 0.3, torch.ones(3)])
def test_a_closure_must_return_a_scalar_tensor(value):
    with pytest.raises(InputError, match="loss"):
        adapter(SGD()).step(lambda: value)


@pytest.mark.parametrize(
    ("method", "mend"),
    [
        (MixedRWP(sigma=0.1), "batches='same'"),
        (SAM(rho=0.1, batches="different"), "batches='same'"),
        (SAM(rho=0.1, m=16), "m=None"),
        (SAM(rho=0.1, per_worker=True), "per_worker=False"),
        (MixedRWP(sigma=0.1, parallel=True), "parallel=False.*'same'"),
        (RWP(sigma=0.1, ramp=Ramp(shape="linear", fraction=0.5)), r"method.for_run\(total_updates\)"),
        (SAM, "SAM.*rho=0.*05"),
    ],
)
def test_a_method_that_a_closure_cannot_serve_is_refused_with_the_mend(method, mend):
    with pytest.raises(InputError, match=mend):
        adapter(method)


def test_an_optimizer_that_cannot_be_the_base_is_refused():
    model = net()
    for optimizer, message in [
        (torch.optim.SGD, "torch.optim.Optimizer"),
        (torch.optim.LBFGS(model.parameters()), "LBFGS calls the closure itself"),
        (adapter(SGD()), "RobustOptimizer calls the closure itself"),
        (momentum(net()), "none of the model's parameters"),
    ]:
        with pytest.raises(InputError, match=message):
            RobustOptimizer(optimizer, model, SGD())
    with pytest.raises(InputError, match="clip_norm"):
        adapter(SGD(), clip_norm=-1.0)


# Data-parallel workers.


def one_update(rank, method, through_closure, bucket_view):
    """Gradients after two updates of a DDP model on this worker's own batches."""
    model = DistributedDataParallel(net(), gradient_as_bucket_view=bucket_view)
    batches = BATCHES[rank::2][:2]
    optimizer = momentum(model)
    if not through_closure:
        by_hand(method, model, optimizer, batches)
    else:
        optimizer = RobustOptimizer(optimizer, model, method)
        for batch in batches:
            optimizer.step(closure_of(optimizer, batch, model=model))
    return gradients_of(model)


@pytest.mark.parametrize("bucket_view", [False, True])
@pytest.mark.parametrize("name", ["sam", "rwp", "m-rwp"])
def test_workers_share_the_gradient_that_backward_gives(workers, name, bucket_view):
    expected, found = (workers(one_update, METHOD[name], through, bucket_view) for through in (False, True))
    for rank in range(2):
        assert_close(expected[rank], found[rank])
    assert differing(found[0], found[1]) == []


def refusal_of_a_wrapper_inside(rank):
    model = nn.Sequential(DistributedDataParallel(net()))
    try:
        RobustOptimizer(momentum(model), model, SGD())
    except InputError as error:
        return str(error)
    return ""


def test_a_ddp_wrapper_inside_the_model_is_refused(workers):
    assert all("wrap the whole model" in message for message in workers(refusal_of_a_wrapper_inside))
