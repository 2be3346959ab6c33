"""Optimizers of torch, optax, Keras, timm and pytorch_optimizer, on small streams so that tapes stay small."""

from __future__ import annotations

from typing import Any

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_keras, run_torch, timm_optimizer
from tests.parity.makers import Side, optax_side, ours, torch_side
from tests.streams import schedule

SMALL = {"w": (3, 2), "b": (3,)}
DEEP = {"w": (3, 2), "b": (2,), "k": (2, 3, 2)}
ONE = ("ill",)
DECAY = {"weight_decay": 0.1}


def case(name: str, label: str, theirs: Side, what: str, *, dialect: str | None = None, shapes: dict[str, Any] = SMALL,
    scheduled: bool = True, rtol: float = 1e-12, why: str = "", **mine: Any) -> Case:  # fmt: skip
    """A case on the a small stream; `label` begins with the library, whose dialect it is unless said otherwise."""
    library = label.split("-")[0]
    peer = {"kozistr": "pytorch-optimizer"}.get(library, library)
    under = " under a schedule" if scheduled else ""
    side = ours(
        name,
        dialect=library if dialect is None else dialect,
        shapes=shapes,
        kinds=ONE,
        scheduled=scheduled,
        **mine,
    )
    bound = f"{rtol:.0e}".replace("e-0", "e-")
    says = f"{what}{under}, 200 steps on a small stream, to {bound}."
    return Case(name, label, peer, side, theirs, rtol=rtol, why=why, says=says)


def torch(cls: str, module: str = "torch.optim", shapes: dict[str, Any] = SMALL, **options: Any) -> Side:
    """A torch optimizer on the small streams."""
    return torch_side(cls, module, shapes=shapes, kinds=ONE, double=True, **options)


def torch_once(cls: str, **options: Any) -> Side:
    """A torch optimizer on a small stream, at a constant rate."""

    def side(seed: int) -> Arrays:
        import torch

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            return run_torch(lambda p: getattr(torch.optim, cls)(p, **options), seed, None, ONE, SMALL)
        finally:
            torch.set_default_dtype(before)

    return side


def kozistr(cls: str, shapes: dict[str, Any] = SMALL, **given: Any) -> Side:
    """pytorch_optimizer's class on the small streams, averages with a dtype of their own in float64."""

    def side(seed: int) -> Arrays:
        import torch

        options = {k: torch.float64 if k == "momentum_dtype" else v for k, v in given.items()}
        return torch_side(cls, shapes=shapes, kinds=ONE, double=True, **options)(seed)

    return side


def timm(module: str, cls: str, shapes: dict[str, Any] = SMALL, **options: Any) -> Side:
    """timm's class on the small streams, with averages in float64."""

    def side(seed: int) -> Arrays:
        import torch

        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        dtype = {"momentum_dtype": torch.float64} if cls == "AdafactorBigVision" else {}
        try:
            return run_torch(
                lambda p: timm_optimizer(module, cls)(p, **options, **dtype), seed, schedule, ONE, shapes
            )
        finally:
            torch.set_default_dtype(before)

    return side


def optax(make: Any, lr: float = 0.03, shapes: dict[str, Any] = SMALL) -> Side:
    """``make(optax, rate)`` on the small streams."""
    return optax_side(make, lr, shapes=shapes, kinds=ONE)


def keras(make: Any, shapes: dict[str, Any] = SMALL) -> Side:
    """``make(keras.optimizers)`` on the small streams."""
    return lambda seed: run_keras(make, seed, schedule, ONE, shapes)


CASES = [
    case("adafactor", "torch", torch("Adafactor", shapes=DEEP, lr=0.03, beta2_decay=-0.7, eps=(1e-2, 0.5), d=1.25, **DECAY),
        "torch.optim.Adafactor with large ε1 and ε2 and decay", shapes=DEEP, lr=0.03, beta2_power=0.7, eps1=1e-2, eps2=0.5, eps_form="floor",
        clip=1.25, **DECAY),
    case("adafactor", "torch-default", torch("Adafactor", shapes=DEEP, lr=0.03), "torch.optim.Adafactor, its machine ε,", shapes=DEEP,
        lr=0.03),
    case("adafactor", "optax", optax(lambda o, rate: o.adafactor(rate, 2, 0.75, eps=1e-2, clipping_threshold=1.25, momentum=0.6,
        dtype_momentum="float64", weight_decay_rate=0.01), shapes=DEEP), "optax.adafactor with momentum and decay", shapes=DEEP, lr=0.03,
        factored_from=2, beta2_power=0.75, eps1=1e-2, clip=1.25, beta1=0.6, weight_decay=0.01, rtol=3e-7,
        why="its β̂ is computed in single precision, whose rounding is 6e-8"),
    case("adafactor", "keras", keras(lambda k: k.Adafactor(0.03, beta_2_decay=-0.75, epsilon_1=2.0**-7, epsilon_2=0.5,
        clip_threshold=0.75, weight_decay=0.1), DEEP), "keras.optimizers.Adafactor with large ε1 and ε2 and decay", shapes=DEEP, lr=0.03,
        beta2_power=0.75, eps1=2.0**-7, eps2=0.5, clip=0.75, rtol=1e-7, why="its torch backend divides a scalar by a Python number in single precision",
        **DECAY),
    case("adafactor", "timm", timm("adafactor", "Adafactor", DEEP, lr=0.03, min_dim_size_to_factor=1, decay_rate=-0.7, eps=1e-2,
        clip_threshold=1.25, betas=(0.6, 0.6), **DECAY), "timm's Adafactor with a rate, momentum and decay", shapes=DEEP, lr=0.03,
        relative_step=False, scale_parameter=False, factored_from=2, beta2_power=0.7, eps1=1e-2, clip=1.25, beta1=0.6, **DECAY),
    case("adafactor", "timm-big-vision", timm("adafactor_bv", "AdafactorBigVision", DEEP, lr=0.03, min_dim_size_to_factor=2,
        decay_rate=0.7, beta2_cap=0.9, eps=1e-2, clipping_threshold=1.25, momentum=0.6, **DECAY),
        "timm's AdafactorBigVision with clipping, momentum in float64 and decay", dialect="big-vision", shapes=DEEP, lr=0.03,
        factored_from=2, beta2_power=0.7, beta2_cap=0.9, eps1=1e-2, clip=1.25, beta1=0.6, **DECAY),
    case("adafactor", "kozistr", kozistr("AdaFactor", DEEP, lr=0.03, betas=(0.6, 0.9), relative_step=False, eps1=1e-2, eps2=0.5,
        clip_threshold=1.25, decay_rate=-0.7, momentum_dtype="float64", **DECAY), "pytorch_optimizer.AdaFactor, its average in float64, with decay",
        shapes=DEEP, lr=0.03, beta1=0.6, beta2_cap=0.9, relative_step=False, eps1=1e-2, eps2=0.5, clip=1.25, beta2_power=0.7, **DECAY),
    case("rprop", "torch", torch("Rprop", lr=0.02, etas=(0.6, 1.3), step_sizes=(1e-2, 0.5)), "torch.optim.Rprop with near bounds",
        scheduled=False, initial=0.02, shrink=0.6, grow=1.3, least=1e-2, most=0.5),
    case("asgd", "torch", torch_once("ASGD", lr=0.03, lambd=0.05, alpha=0.6, t0=3, **DECAY), "torch.optim.ASGD with a large λ and decay",
        scheduled=False, lr=0.03, strength=0.05, power=0.6, average_from=5, **DECAY),
    case("sm3", "optax", optax(lambda o, rate: o.chain(o.scale_by_sm3(0.6, 1.0, 1e-2), o.scale_by_learning_rate(rate)), shapes=DEEP),
        "optax.scale_by_sm3 with momentum and a large ε", shapes=DEEP, lr=0.03, beta1=0.6, eps=1e-2),
    case("sm3", "optax-average", optax(lambda o, rate: o.chain(o.scale_by_sm3(0.6, 0.7, 1e-2), o.scale_by_learning_rate(rate)), shapes=DEEP),
        "optax.scale_by_sm3 with averaged squares", shapes=DEEP, lr=0.03, beta1=0.6, beta2=0.7, eps=1e-2),
    case("sm3", "kozistr", kozistr("SM3", DEEP, lr=0.03, momentum=0.6, beta=0.7, eps=1e-2), "pytorch_optimizer.SM3 with averaged squares",
        shapes=DEEP, lr=0.03, beta1=0.6, beta2=0.7, holds=True, eps=1e-2),
    case("fromage", "kozistr", kozistr("Fromage", lr=0.03, p_bound=1.5), "pytorch_optimizer.Fromage with a bound", dialect="official", lr=0.03,
        bound=1.5),
    case("fromage", "optax", optax(lambda o, rate: o.fromage(0.03, 0.5)), "optax.fromage with a large least norm", scheduled=False, lr=0.03,
        least=0.5),
    case("schedule-free-sgd", "kozistr", kozistr("ScheduleFreeSGD", lr=0.03, momentum=0.8, r=0.5, weight_lr_power=1.5, warmup_steps=7, **DECAY),
        "pytorch_optimizer.ScheduleFreeSGD with warm-up, weights of t and decay", dialect="official", lr=0.03, beta=0.8, step_power=0.5,
        rate_power=1.5, warmup=7, **DECAY),
    case("schedule-free-sgd", "optax", optax(lambda o, rate: o.contrib.schedule_free_sgd(0.03, None, 0.8, weight_decay=0.1)),
        "optax.contrib.schedule_free_sgd with decay", scheduled=False, lr=0.03, beta=0.8, **DECAY),
    case("schedule-free-adamw", "kozistr", kozistr("ScheduleFreeAdamW", lr=0.03, betas=(0.8, 0.7), r=0.5, weight_lr_power=1.5,
        warmup_steps=7, eps=1e-2, **DECAY), "pytorch_optimizer.ScheduleFreeAdamW with warm-up, weights of t and decay", dialect="official",
        lr=0.03, beta=0.8, beta2=0.7, step_power=0.5, rate_power=1.5, warmup=7, eps=1e-2, **DECAY),
    case("schedule-free-adamw", "optax", optax(lambda o, rate: o.contrib.schedule_free_adamw(0.03, None, 0.8, 0.7, 1e-2, 0.1)),
        "optax.contrib.schedule_free_adamw with decay", scheduled=False, lr=0.03, beta=0.8, beta2=0.7, eps=1e-2, **DECAY),
    case("dog", "optax", optax(lambda o, rate: o.contrib.dog(rate, ("heuristic", 1e-2), eps=0.5, weight_decay=0.1), 0.9),
        "optax.contrib.dog with a large ε and decay", dialect="official", lr=0.9, reps=1e-2, eps=0.5, **DECAY),
    case("dog", "optax-rate", optax(lambda o, rate: o.contrib.dog(1.0, ("learning_rate", 1e-3), eps=0.5)),
        "optax.contrib.dog from a first rate", dialect="official", scheduled=False, first_rate=1e-3, eps=0.5),
    case("dowg", "optax", optax(lambda o, rate: o.contrib.dowg(rate, 0.04, eps=0.5, weight_decay=0.1), 0.9),
        "optax.contrib.dowg with a large ε and decay", dialect="official", lr=0.9, distance=0.2, eps=0.5, **DECAY),
]  # fmt: skip
