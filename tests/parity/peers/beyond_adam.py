"""Optimizers of torch, optax, Keras, timm and pytorch_optimizer, on small streams so that tapes stay small."""

from __future__ import annotations

from typing import Any

import numpy as np
import refopt

from tests.parity.case import Arrays, Case
from tests.parity.libraries import run_keras, run_torch, timm_optimizer
from tests.parity.makers import Side, optax_side, ours, torch_side
from tests.parity.peers.authors import PROBLEM_KEPT, PROBLEM_STEPS, Quartic, _on_quartic
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


def on_quartic(name: str, **options: Any) -> Side:
    """A method that asks for values, on the quartic of the authors' cases, whose value is above zero by 3."""
    return _on_quartic(name, raised=3.0, **options)


def optax_on_quartic(make: Any) -> Side:
    """``make(optax)`` on the same quartic, given value and gradient."""

    def side(seed: int) -> Arrays:
        import jax
        import optax

        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp

        problem = Quartic(seed, 3.0)
        x, rows = {k: jnp.asarray(v) for k, v in problem.start.items()}, []
        transformation = make(optax)
        state, update = transformation.init(x), jax.jit(transformation.update)
        for t in range(1, PROBLEM_STEPS + 1):
            at = {k: np.asarray(v) for k, v in x.items()}
            g = {k: jnp.asarray(v) for k, v in problem.grad(at).items()}
            step, state = update(g, state, x, value=jnp.asarray(problem.value(at)))
            x = optax.apply_updates(x, step)
            if t in PROBLEM_KEPT:
                rows.append(problem.join({k: np.asarray(v) for k, v in x.items()}))
        return {"x": np.stack(rows)}

    return side


def kozistr_on_quartic(cls: str, **options: Any) -> Side:
    """pytorch_optimizer's wrapper over torch's SGD with momentum and decay, its rate scheduled, on the quartic."""

    def side(seed: int) -> Arrays:
        import pytorch_optimizer
        import torch

        problem = Quartic(seed)
        p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in problem.start.items()}
        sgd, make = {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.1}, getattr(pytorch_optimizer, cls)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        if cls == "TRAC":
            o = make(torch.optim.SGD(list(p.values()), **sgd), **options)
        else:
            first = (torch.nn.Module(),) if cls == "WSAM" else ()
            o = make(*first, list(p.values()), torch.optim.SGD, **sgd, **options)

        closure = problem.closure(p)
        rows = []
        for t in range(1, PROBLEM_STEPS + 1):
            for group in o.param_groups:
                group["lr"] = 0.02 * schedule(t)
            closure()
            o.step(closure)
            if t in PROBLEM_KEPT:
                rows.append(problem.join({k: v.detach().numpy().copy() for k, v in p.items()}))
        torch.set_default_dtype(before)
        return {"x": np.stack(rows)}

    return side


def over_sgd(name: str, **options: Any) -> Side:
    """A wrapper over momentum as torch has it, as in `kozistr_on_quartic`."""

    def side(seed: int) -> Arrays:
        base = refopt.optimizer(
            "momentum", dialect="torch", lr=0.02, momentum=0.8, weight_decay=0.1, schedule=schedule
        )
        return _on_quartic(name, base=base, **options)(seed)

    return side


def _wrapper(name: str, label: str, cls: str, what: str, mine: dict[str, Any], **theirs: Any) -> Case:
    return Case(name, label, "pytorch-optimizer", over_sgd(name, **mine), kozistr_on_quartic(cls, **theirs), rtol=2e-8,
        why="it takes the global norm in single precision, whose rounding is 6e-8",
        says=f"pytorch_optimizer.{cls}{what} over torch's SGD with momentum and decay under a schedule, 40 steps on a quartic of three leaves, to 2e-8.")  # fmt: skip


def _quartic(name: str, label: str, make: Any, what: str, **mine: Any) -> Case:
    """A case of optax on the quartic."""
    return Case(name, label, "optax", on_quartic(name, **mine), optax_on_quartic(make),
        says=f"{what}, 40 steps on a quartic of three leaves, to 1e-12.")  # fmt: skip


def official(
    name: str, peer: str, what: str, label: str = "official", *, scheduled: bool = True, **mine: Any
) -> Case:
    """The authors' code, recorded on a small stream."""
    under = " under a schedule" if scheduled else ""
    return Case(name, label, peer, ours(name, shapes=SMALL, kinds=ONE, scheduled=scheduled, **mine), None,
        says=f"The authors' {what}{under}, 200 steps on a small stream, to 1e-12.")  # fmt: skip


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
        "optax.contrib.dowg with a large ε and decay", dialect="paper", lr=0.9, distance=0.2, eps=0.5, **DECAY),
    case("dowg", "optax-defaults", optax(lambda o, rate: o.contrib.dowg(rate, eps=0.04), 0.9), "optax.contrib.dowg, whose first distance is the root"
        " of ε", dialect="official", lr=0.9, eps=0.04),
    case("d-adapt-sgd", "kozistr", kozistr("DAdaptSGD", lr=0.9, momentum=0.8, d0=0.01, growth_rate=1.05),
        "pytorch_optimizer.DAdaptSGD with momentum and slow growth", lr=0.9, momentum=0.8, d0=0.01, growth_rate=1.05, rtol=2e-8,
        why="some of its scalars are in single precision, whose rounding is 6e-8"),
    case("d-adapt-adam", "kozistr", kozistr("DAdaptAdam", lr=0.9, betas=(0.6, 0.7), d0=0.01, growth_rate=1.05, eps=1e-2,
        weight_decouple=True, bias_correction=True, **DECAY), "pytorch_optimizer.DAdaptAdam, corrected and decoupled, with slow growth",
        dialect="official", lr=0.9, beta1=0.6, beta2=0.7, d0=0.01, growth_rate=1.05, eps=1e-2, decay="decoupled", bias_correction=True, **DECAY),
    case("d-adapt-adam", "optax", optax(lambda o, rate: o.contrib.dadapt_adamw(rate, (0.6, 0.7), 1e-2, 0.01, 0.1), 0.9),
        "optax.contrib.dadapt_adamw with decay", lr=0.9, beta1=0.6, beta2=0.7, d0=0.01, eps=1e-2, **DECAY),
    case("optimistic-gd", "optax", optax(lambda o, rate: o.optimistic_gradient_descent(rate, 0.7, 0.3)),
        "optax.optimistic_gradient_descent with α = 0.7 and β = 0.3", lr=0.03, alpha=0.7, beta=0.3),
    case("cocob", "optax", optax(lambda o, rate: o.contrib.cocob(rate, 5.0, 0.3, 0.1), 0.9), "optax.contrib.cocob with a large ε and decay",
        dialect="official", lr=0.9, alpha=5.0, eps=0.3, **DECAY),
    case("simplified-ademamix", "optax", optax(lambda o, rate: o.contrib.simplified_ademamix(rate, 0.9, 0.7, 2.0, 1e-2, 0.0, 0.1)),
        "optax.contrib.simplified_ademamix with decay", lr=0.03, beta1=0.9, beta2=0.7, alpha=2.0, eps=1e-2, **DECAY),
    _quartic("polyak-sgd", "optax", lambda o: o.polyak_sgd(0.2, 1.0, 2.9, 0.3), "optax.polyak_sgd, which climbs where the loss is below f*",
        dialect="optax", bound=0.2, f_star=2.9, eps=0.3),
    _quartic("polyak-sgd", "optax-plus", lambda o: o.polyak_sgd(0.2, 1.0, 1.0, 0.0, "sps+"), "optax.polyak_sgd, variant sps+",
        dialect="optax-plus", bound=0.2, f_star=1.0),
    _quartic("momo", "optax", lambda o: o.contrib.momo(lambda n: 0.4 * schedule(n + 1), 0.8, -1.0, 0.0, True),
        "optax.contrib.momo with an estimated bound under a schedule", dialect="official", lr=0.4, beta=0.8, lower_bound=-1.0,
        adaptive_bound=True, schedule=schedule),
    _quartic("momo-adam", "optax", lambda o: o.contrib.momo_adam(lambda n: 0.4 * schedule(n + 1), 0.8, 0.7, 1e-2, -1.0, 0.0, True),
        "optax.contrib.momo_adam with an estimated bound under a schedule", dialect="official", lr=0.4, beta1=0.8, beta2=0.7, eps=1e-2,
        lower_bound=-1.0, adaptive_bound=True, schedule=schedule),
    official("schedule-free-adamw", "facebookresearch/schedule_free@70785b5", "AdamWScheduleFreePaper with warm-up, weights of t and decay",
        "paper", lr=0.03, beta=0.8, beta2=0.7, step_power=0.5, rate_power=1.5, warmup=7, eps=1e-2, **DECAY),
    official("d-adapt-sgd", "facebookresearch/dadaptation@c984980", "DAdaptSGD with momentum, slow growth and decay", dialect="official", lr=0.9,
        momentum=0.8, d0=0.01, growth_rate=1.05, **DECAY),
    official("d-adapt-adam", "facebookresearch/dadaptation@c984980", "DAdaptAdam with slow growth and coupled decay", dialect="official",
        lr=0.9, beta1=0.6, beta2=0.7, d0=0.01, growth_rate=1.05, eps=1e-2, **DECAY),
    official("acprop", "juntang-zhuang/ACProp-Optimizer@a880843", "ACProp, rectified, with decay", dialect="official", lr=0.03, beta1=0.6,
        beta2=0.9, eps=1e-2, **DECAY),
    official("acprop", "juntang-zhuang/ACProp-Optimizer@a880843", "ACProp, not rectified, coupled", "official-plain", lr=0.03, beta1=0.6,
        beta2=0.7, eps=1e-2, decay="coupled", **DECAY),
    official("acprop", "juntang-zhuang/ACProp-Optimizer@a880843", "ACProp with momentum in the numerator", "official-momentum", lr=0.03,
        beta1=0.6, beta2=0.7, eps=1e-2, momentum=True),
    official("simplified-ademamix", "DepenM/Simplified-AdEMAMix@dba14d0", "SimAdEMAMix with a warm-up of β1 and decay", dialect="official",
        lr=0.03, beta1=0.98, beta2=0.7, alpha=2.0, eps=1e-2, beta1_steps=50, least_beta1=0.5, averaged=True, **DECAY),
    Case("momo", "official", "fabian-sp/MoMo@7be52f2", on_quartic("momo", dialect="official", lr=0.4, beta=0.8, lower_bound=-1.0,
        adaptive_bound=True, schedule=schedule, **DECAY), None,
        says="The authors' Momo with an estimated bound and decay under a schedule, 40 steps on a quartic of three leaves, to 1e-12."),
    Case("momo", "official-corrected", "fabian-sp/MoMo@7be52f2", on_quartic("momo", dialect="official", lr=0.4, beta=0.8, lower_bound=-1.0,
        bias_correction=True, schedule=schedule, **DECAY), None,
        says="The authors' Momo with bias correction and decay under a schedule, 40 steps on a quartic of three leaves, to 1e-12."),
    Case("momo-adam", "official", "fabian-sp/MoMo@7be52f2", on_quartic("momo-adam", dialect="official", lr=0.4, beta1=0.8, beta2=0.7, eps=1e-2,
        lower_bound=-1.0, adaptive_bound=True, schedule=schedule, **DECAY), None,
        says="The authors' MomoAdam with an estimated bound and decay under a schedule, 40 steps on a quartic of three leaves, to 1e-12."),
    Case("momo-adam", "official-adamw", "fabian-sp/MoMo@7be52f2", on_quartic("momo-adam", dialect="official", lr=0.4, beta1=0.8, beta2=0.7,
        eps=1e-2, lower_bound=2.0, divides=False, schedule=schedule, **DECAY), None,
        says="The authors' MomoAdam with AdamW's decay under a schedule, 40 steps on a quartic of three leaves, to 1e-12."),
    case("came", "kozistr", kozistr("CAME", DEEP, lr=0.03, betas=(0.6, 0.7, 0.8), eps1=1e-2, eps2=1e-3, clip_threshold=1.25, **DECAY),
        "pytorch_optimizer.CAME with large ε and decay", dialect="official", shapes=DEEP, lr=0.03, beta1=0.6, beta2=0.7, beta3=0.8, eps1=1e-2,
        eps2=1e-3, clip=1.25, **DECAY),
    case("aggmo", "kozistr", kozistr("AggMo", lr=0.03, betas=(0.0, 0.6, 0.95), **DECAY), "pytorch_optimizer.AggMo with coupled decay",
        dialect="official", lr=0.03, betas=(0.0, 0.6, 0.95), **DECAY),
    case("pnm", "kozistr", kozistr("PNM", lr=0.03, betas=(0.7, 0.6), **DECAY), "pytorch_optimizer.PNM with decay", dialect="official", lr=0.03,
        beta1=0.7, beta0=0.6, **DECAY),
    case("adapnm", "kozistr", kozistr("AdaPNM", lr=0.03, betas=(0.7, 0.8, 0.6), eps=1e-2, **DECAY), "pytorch_optimizer.AdaPNM with decay",
        lr=0.03, beta1=0.7, beta2=0.8, beta0=0.6, eps=1e-2, **DECAY),
    case("adapnm", "kozistr-plain", kozistr("AdaPNM", lr=0.03, betas=(0.7, 0.8, 0.6), eps=1e-2, ams_bound=False),
        "pytorch_optimizer.AdaPNM without the maximum", lr=0.03, beta1=0.7, beta2=0.8, beta0=0.6, eps=1e-2, amsgrad=False),
    case("padam", "kozistr", kozistr("PAdam", lr=0.03, betas=(0.6, 0.7), partial=0.2, eps=1e-2, **DECAY),
        "pytorch_optimizer.PAdam with coupled decay", lr=0.03, beta1=0.6, beta2=0.7, p=0.2, eps=1e-2, **DECAY),
    case("adai", "kozistr", kozistr("Adai", lr=0.03, betas=(0.2, 0.7), eps=1e-2, **DECAY), "pytorch_optimizer.Adai with coupled decay",
        lr=0.03, beta0=0.2, beta2=0.7, eps=1e-2, **DECAY),
    case("adamod", "kozistr", kozistr("AdaMod", lr=0.03, betas=(0.6, 0.7, 0.8), eps=1e-2, **DECAY), "pytorch_optimizer.AdaMod with decay",
        lr=0.03, beta1=0.6, beta2=0.7, beta3=0.8, eps=1e-2, **DECAY),
    case("adashift", "kozistr", kozistr("AdaShift", lr=0.03, betas=(0.6, 0.7), keep_num=4, eps=1e-2), "pytorch_optimizer.AdaShift", lr=0.03,
        beta1=0.6, beta2=0.7, window=4, eps=1e-2),
    case("adasmooth", "kozistr", kozistr("AdaSmooth", lr=0.03, betas=(0.6, 0.9), eps=1e-2, **DECAY),
        "pytorch_optimizer.AdaSmooth with coupled decay", lr=0.03, rho1=0.6, rho2=0.9, eps=1e-2, **DECAY),
    case("adanorm", "kozistr", kozistr("AdaNorm", lr=0.03, betas=(0.6, 0.7), r=0.8, eps=1e-2, **DECAY), "pytorch_optimizer.AdaNorm with decay",
        lr=0.03, beta1=0.6, beta2=0.7, gamma=0.8, eps=1e-2, **DECAY),
    case("adamg", "kozistr", kozistr("AdamG", lr=0.2, betas=(0.6, 0.7, 0.8), p=0.3, q=0.2, eps=1e-2, **DECAY),
        "pytorch_optimizer.AdamG with coupled decay", lr=0.2, beta1=0.6, beta2=0.7, beta3=0.8, p=0.3, q=0.2, eps=1e-2, **DECAY),
    case("stable-adamw", "kozistr", kozistr("StableAdamW", lr=0.03, betas=(0.6, 0.9), weight_decay=0.1, eps=1e-2),
        "pytorch_optimizer.StableAdamW with decay", lr=0.03, beta1=0.6, beta2=0.9, weight_decay=0.1, eps=1e-2),
    official("padam", "uclaml/Padam@586a02b", "Padam with its maximum and coupled decay", dialect="official", lr=0.03, beta1=0.6, beta2=0.7,
        p=0.2, eps=1e-2, **DECAY),
    official("adai", "zeke-xie/adaptive-inertia-adai@e6c1b9d", "AdaiV2 with δ = 0.5, decoupled", dialect="official", lr=0.03, beta0=0.2, beta2=0.7,
        eps=1e-2, delta=0.5, decay="decoupled", **DECAY),
    official("adamod", "lancopku/AdaMod@d866407", "AdaMod with decay", dialect="official", lr=0.03, beta1=0.6, beta2=0.7, beta3=0.8, eps=1e-2, **DECAY),
    official("adanorm", "shivram1987/AdaNorm@8f90abc", "AdamNorm with decay", dialect="official", lr=0.03, beta1=0.6, beta2=0.7, eps=1e-2,
        **DECAY),
    _wrapper("looksam", "kozistr", "LookSAM", " with a period of three", {"dialect": "kozistr", "rho": 0.1, "every": 3, "alpha": 0.6},
        rho=0.1, k=3, alpha=0.6),
    _wrapper("wsam", "kozistr", "WSAM", ", decoupled,", {"dialect": "official", "rho": 0.1, "gamma": 0.6}, rho=0.1, gamma=0.6),
    _wrapper("wsam", "kozistr-coupled", "WSAM", ", coupled and adaptive,", {"dialect": "official", "rho": 0.1, "gamma": 0.6, "decoupled": False,
        "adaptive": True}, rho=0.1, gamma=0.6, decouple=False, adaptive=True),
    Case("trac", "kozistr", "pytorch-optimizer", over_sgd("trac", dialect="kozistr", betas=(0.9, 0.99), scale=0.3, eps=1e-3),
        kozistr_on_quartic("TRAC", betas=(0.9, 0.99), s_prev=0.3, eps=1e-3),
        rtol=1e-7, why="the wealth multiplies the way and is bet again on it, which carries rounding on tenfold in five steps",
        says="pytorch_optimizer.TRAC with two discounts over torch's SGD with momentum and decay under a schedule, 40 steps on a quartic of three leaves, to 1e-7 (on this stream 2e-13)."),
    Case("bsam", "official", "team-approx-bayes/bayesian-sam@936eec1", lambda seed: _on_quartic("bsam", dialect="official", lr=0.1, beta1=0.6,
        beta2=0.7, rho=0.3, delta=0.2, damping=0.4, initial=2.0, examples=50, schedule=schedule)(seed), None,
        says="The authors' bSAM, handed the normal numbers that refopt draws, under a schedule, 40 steps on a quartic of three leaves, to 1e-12."),
]  # fmt: skip
