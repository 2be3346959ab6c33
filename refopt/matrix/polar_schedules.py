"""Coefficients of the quintics that approach the polar factor: the published ones, and how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refopt.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from refopt.matrix.common import check_choice, check_count, check_number

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Schedule:
    """The triples (a, b, c) of ``p(x) = a x + b x^3 + c x^5``, one a step, the last one repeated.

    `norm_factor` multiplies the Frobenius norm in the first division.
    """

    triples: tuple[Triple, ...]
    norm_factor: float = 1.0


_PUBLISHED_EXPRESS: tuple[Triple, ...] = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
)
_LIMIT: Triple = (1.875, -1.25, 0.375)

SCHEDULES = {
    "jordan": Schedule(((3.4445, -4.7750, 2.0315),)),
    "you": Schedule(
        tuple(
            (a / 1024, b / 1024, c / 1024)
            for a, b, c in (
                (3955, -8306, 5008), (3735, -6681, 3463), (3799, -6499, 3211),
                (4019, -6385, 2906), (2677, -3029, 1162), (2172, -1833, 682),
            )
        )
    ),
    "leloykun": Schedule(
        (
            (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
            (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012),
        )
    ),
    "cans": Schedule(
        (
            (8.4703, -25.1081, 18.6293), (4.1828, -3.1087, 0.5806), (3.9619, -2.9541, 0.5630),
            (3.2866, -2.4647, 0.5074), (2.2737, -1.6447, 0.4162),
        )
    ),
    # Rounding in low precision must not leave the interval: every triple but the limit is shrunk by 1.01.
    "polar-express": Schedule(
        (*((a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in _PUBLISHED_EXPRESS), _LIMIT), 1.01
    ),
    "polar-express-raw": Schedule((*_PUBLISHED_EXPRESS, _LIMIT)),
    "cubic": Schedule(((1.5, -0.5, 0.0),)),
    "quintic": Schedule((_LIMIT,)),
    "modula": Schedule(((3.0, -3.2, 1.2),)),
}  # fmt: skip


def polar_express_coefficients(
    lower: float, steps: int, cushion: float = 0.02407327424182761
) -> tuple[Triple, ...]:
    """Return the optimal quintics of Polar Express for singular values in [`lower`, 1].

    Each step is the polynomial ``p`` with the smallest ``max |1 - p|`` over ``[max(l, cushion u), u]``,
    found from its four points of equal oscillation; then ``l <- p(l)``, ``u <- 2 - l``.

    Parameters
    ----------
    lower : float
        Lower end ``l`` in (0, 1).
    steps : int
        Number of triples.
    cushion : float
        In [0, 1); 0 gives the list of CANS. The default gives the published list.

    References
    ----------
    Amsel et al. (2025), arXiv:2505.16932.

    Examples
    --------
    >>> a, b, c = polar_express_coefficients(1e-3, 1)[0]
    >>> print(round(a, 6), round(b, 6), round(c, 6))
    8.287212 -23.595887 17.300387
    """
    low = check_number(lower, "lower", above=0.0)
    check_count(steps, "steps")
    check_number(cushion, "cushion", least=0.0)
    if low >= 1 or cushion >= 1:
        raise ArgumentError(f"lower, cushion: wanted numbers below 1, got {lower!r}, {cushion!r}")
    high, found = 1.0, []
    for _ in range(steps):
        a, b, c = _optimal_quintic(max(low, cushion * high), high)
        if cushion * high > low:  # the narrower interval was solved: centre p on the true one
            ends = sum(a * x + b * x**3 + c * x**5 for x in (low, high))
            a, b, c = 2 * a / ends, 2 * b / ends, 2 * c / ends
        found.append((a, b, c))
        low = a * low + b * low**3 + c * low**5
        high = 2 - low
    return tuple(found)


def _optimal_quintic(low: float, high: float) -> Triple:
    if low / high > 1 - 5e-6:
        return 15 / (8 * high), -10 / (8 * high**3), 3 / (8 * high**5)
    inner_left, inner_right = (3 * low + high) / 4, (low + 3 * high) / 4
    error, old = np.inf, 0.0
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    a = b = c = 0.0
    while abs(error - old) > 1e-15:
        old = error
        x = np.array([low, inner_left, inner_right, high])
        a, b, c, error = map(float, np.linalg.solve(np.stack([x, x**3, x**5, signs], axis=1), np.ones(4)))
        # The extrema inside are the positive roots of p'(x) = a + 3 b x^2 + 5 c x^4.
        root = np.sqrt(9 * b * b - 20 * a * c)
        inner_left, inner_right = np.sqrt((-3 * b + np.array([-root, root])) / (10 * c))
    return a, b, c


def choose(
    coefficients: str | Schedule | Sequence[Sequence[float]], steps: int
) -> tuple[tuple[Triple, ...], float]:
    """Return `steps` triples and the norm's factor."""
    check_count(steps, "steps")
    if isinstance(coefficients, Schedule):
        schedule = coefficients
    elif isinstance(coefficients, str):
        check_choice(coefficients, "coefficients", tuple(SCHEDULES))
        schedule = SCHEDULES[coefficients]
    else:
        try:
            rows = np.asarray(coefficients, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise ArgumentTypeError(
                f"coefficients: wanted a name of {', '.join(SCHEDULES)}, or triples of numbers, got {coefficients!r}"
            ) from None
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != 3 or not rows.shape[0] or not np.all(np.isfinite(rows)):
            raise ShapeError(
                f"coefficients: wanted a name of {', '.join(SCHEDULES)}, or finite triples of shape (k, 3),"
                f" got shape {rows.shape}"
            )
        schedule = Schedule(tuple((float(a), float(b), float(c)) for a, b, c in rows))
    last = len(schedule.triples) - 1
    return tuple(schedule.triples[min(k, last)] for k in range(steps)), schedule.norm_factor
