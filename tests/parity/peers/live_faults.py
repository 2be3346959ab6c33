"""Peers whose newest release has a fault: the reference, changed by the deviation of its name, beside them."""

from __future__ import annotations

from typing import Any

import refopt
from refopt.verify.variants.deviation import known

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_torch
from tests.parity.makers import Side
from tests.parity.peers.authors import on_quartic
from tests.parity.peers.beyond_adam import DECAY, ONE, SMALL, keras, kozistr, optax, optax_on_quartic
from tests.streams import run_method, schedule


def changed(name: str, *deviations: str, **options: Any) -> Any:
    """Return a method with named deviations."""
    made = refopt.optimizer(name, **options)
    for wanted in deviations:
        (found,) = (d for d in known(name) if d.name == wanted)
        made = found.change(made)
    return made


def on_stream(name: str, *deviations: str, scheduled: bool = True, **options: Any) -> Side:
    """A changed method on a small stream."""
    given = {**options, "schedule": schedule} if scheduled else options
    return lambda seed: run_method(lambda: changed(name, *deviations, **given), seed, ONE, SMALL)


def changed_on_quartic(name: str, deviation: str, **options: Any) -> Side:
    """A changed method that asks for values, on the raised quartic."""
    return on_quartic(lambda: changed(name, deviation, schedule=schedule, **options), 3.0)


def unscheduled(cls: str, **options: Any) -> Side:
    """pytorch_optimizer's class, which has no rate, on a small stream."""

    def side(seed: int) -> Arrays:
        import pytorch_optimizer

        return run_torch(lambda p: getattr(pytorch_optimizer, cls)(p, **options), seed, None, ONE, SMALL)

    return side


def case(
    name: str, label: str, peer: str, mine: Side, theirs: Side, says: str, rtol: float = 1e-12, why: str = ""
) -> Case:
    """A case that says that the peer has a fault."""
    return Case(
        name,
        label,
        peer,
        mine,
        theirs,
        rtol=rtol,
        why=why,
        says=f"{says}, to {rtol:.0e}.".replace("e-0", "e-"),
    )


RATE = {"lr": 0.03, "eps": 1e-2}
CASES = [
    case("rprop", "optax-fault", "optax", on_stream("rprop", "step-of-the-last-call", scheduled=False, initial=0.02, shrink=0.6, grow=1.3,
        least=1e-2, most=0.5), optax(lambda o, rate: o.rprop(0.02, 0.6, 1.3, 1e-2, 0.5)),
        "optax.rprop with near bounds, whose steps are those of the call before: a fault, put into the reference, 200 steps on a small stream"),
    case("acprop", "optax-fault", "optax", on_stream("acprop", "residual-of-the-old-average", dialect="optax", lr=0.03,
        beta1=0.6, beta2=0.7, eps=0.1, **DECAY), optax(lambda o, rate: o.contrib.acprop(rate, 0.6, 0.7, 0.1, weight_decay=0.1)),
        "optax.contrib.acprop with a large ε and decay, whose residual is about the average of the step before: a fault, put into the reference, 200 steps on a small stream"),
    case("simplified-ademamix", "kozistr-fault", "pytorch-optimizer", on_stream("simplified-ademamix", "average-in-place-of-the-sum",
        beta1=0.9, beta2=0.7, alpha=2.0, **RATE, **DECAY), kozistr("SimplifiedAdEMAMix", betas=(0.9, 0.7), alpha=2.0, foreach=False, **RATE, **DECAY),
        "pytorch_optimizer.SimplifiedAdEMAMix, which averages where the paper sums, and divides by a correction that multiplies: faults, put"
        " into the reference, 200 steps on a small stream"),
    case("sgd-sai", "kozistr-fault", "pytorch-optimizer", on_stream("sgd-sai", "norm-as-the-gain-of-vectors", "average-from-zero",
        dialect="official", lr=0.003, momentum=0.8, eps=1e-2, **DECAY), kozistr("SGDSaI", lr=0.003, momentum=0.8, eps=1e-2, **DECAY),
        "pytorch_optimizer.SGDSaI with decay, whose vectors gain by their norm and whose momentum begins at zero: faults, put into the reference,"
        " 200 steps on a small stream"),
    case("bcos", "kozistr-fault", "pytorch-optimizer", on_stream("bcos", "moment-of-the-new-average", lr=0.03, beta=0.8, eps=1e-2, **DECAY),
        kozistr("BCOS", lr=0.03, beta=0.8, eps=1e-2, **DECAY),
        "pytorch_optimizer.BCOS with decay, whose conditional moment sees the new average: a fault, put into the reference, 200 steps on a small"
        " stream"),
    case("kate", "kozistr-fault", "pytorch-optimizer", on_stream("kate", "eps-summed-with-the-squares", lr=0.03, eta=0.2, eps=1e-2, **DECAY),
        kozistr("Kate", lr=0.03, delta=0.2, eps=1e-2, **DECAY),
        "pytorch_optimizer.Kate with decay, which sums ε with the squares: a fault, put into the reference, 200 steps on a small stream"),
    *(case("a2grad", f"kozistr-fault-{v}", "pytorch-optimizer", on_stream("a2grad", "weights-of-the-next-step", dialect="severilov", scheduled=False,
        lipschitz=4.0, beta=2.0, average=v, rho=0.3), unscheduled("A2Grad", lips=4.0, beta=2.0, rho=0.3, variant=v),
        f"pytorch_optimizer.A2Grad, variant {v}, whose weights are the next step's: a fault, put into the reference, 200 steps on a small stream")
        for v in ("uni", "exp")),
    case("avagrad", "kozistr-fault", "pytorch-optimizer", on_stream("avagrad", "rates-corrected-and-their-norm-a-step-behind", lr=0.03, beta1=0.6,
        beta2=0.7, eps=1e-2, **DECAY), kozistr("AvaGrad", lr=0.03, betas=(0.6, 0.7), eps=1e-2, **DECAY),
        "pytorch_optimizer.AvaGrad with decay, corrected, its norm a step behind: a fault, put into the reference, 200 steps on a small stream"),
    case("d-adapt-adan", "kozistr-fault", "pytorch-optimizer", on_stream("d-adapt-adan", "squares-of-squares", lr=0.9, beta1=0.8, beta2=0.7, beta3=0.9,
        d0=0.01, eps=0.5, growth_rate=1.05, **DECAY), kozistr("DAdaptAdan", lr=0.9, betas=(0.8, 0.7, 0.9), d0=0.01, eps=0.5, growth_rate=1.05, **DECAY),
        "pytorch_optimizer.DAdaptAdan with decay, which averages fourth powers: a fault, put into the reference, 200 steps on a small stream"),
    case("momo", "optax-fault", "optax", changed_on_quartic("momo", "decay-divides-the-point-alone", lr=0.4, beta=0.8, **DECAY),
        optax_on_quartic(lambda o: o.contrib.momo(lambda n: 0.4 * schedule(n + 1), 0.8, 0.0, 0.1)),
        "optax.contrib.momo, whose decay divides x before the step: a fault, put into the reference, 40 steps on a quartic"),
    case("momo-adam", "optax-fault", "optax", changed_on_quartic("momo-adam", "decay-divides-the-point-alone", lr=0.4, beta1=0.8, beta2=0.7, eps=1e-2, **DECAY),
        optax_on_quartic(lambda o: o.contrib.momo_adam(lambda n: 0.4 * schedule(n + 1), 0.8, 0.7, 1e-2, 0.0, 0.1)),
        "optax.contrib.momo_adam, whose decay divides x before the step: a fault, put into the reference, 40 steps on a quartic"),
    case("schedule-free-sgd", "optax-fault", "optax", on_stream("schedule-free-sgd", "warm-up-of-the-last-step", scheduled=False, lr=0.03,
        beta=0.8, warmup=7), optax(lambda o, rate: o.contrib.schedule_free_sgd(0.03, 7, 0.8)),
        "optax.contrib.schedule_free_sgd with warm-up, which steps with the last step's rate: a fault, put into the reference, 200 steps on a small"
        " stream", rtol=1e-6, why="its schedule is in single precision"),
    case("schedule-free-adamw", "keras-fault", "keras", on_stream("schedule-free-adamw", "average-from-the-new-iterate", dialect="keras", lr=0.03,
        beta=0.8, beta2=0.7, eps=2.0**-7, warmup=8), keras(lambda k: k.ScheduleFreeAdamW(0.03, 0.8, 0.7, 2.0**-7, warmup_steps=8)),
        "keras.optimizers.ScheduleFreeAdamW on torch, which rebuilds the average from the iterate after its step: a fault, put into the reference,"
        " 200 steps on a small stream"),
]  # fmt: skip
