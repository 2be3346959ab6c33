"""Does the evidence of a name hold its rule? ``refopt evidence NAME``, or ``python -m tests.evidence.hold NAME``.

Every smallest edit of the method's own text is put in place in turn (a sign turned, a term left out, a name
for another: `refopt.verify` makes them), and the name's own evidence is run, the other tests of its files, and
what the house holds over all methods, until something fails. Text that is inherited from another name is that
name's to hold. What survives is printed: an edit that a user could see needs a test, the others
say that nobody can tell.

With ``--record`` what came of it is kept in `held.json`, which a name's page on the site shows.

Exit status: 0 if nothing survives, 1 if something does.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import signal
import sys
import time
from pathlib import Path

import pytest
import refopt
from _pytest.runner import runtestprotocol
from refopt.core.registry import Entry, entry
from refopt.verify.variants.edits import Edit
from refopt.verify.variants.recorder import ROOMS
from refopt.verify.variants.text_edit import codes_of, small_edits, swapped

from tests.evidence import held

ROOT = Path(__file__).parents[2]
# An edit may leave a loop without an end: a test is stopped after so many times what it took without one.
TIMES, AT_LEAST = 30.0, 60.0
MARKS = ("claim", "identity", "parity")


class EndlessError(BaseException):
    """A test did not end."""


def _passes(item: pytest.Item) -> bool:
    """Run one test; True if it passed or was skipped."""
    return not any(r.failed for r in runtestprotocol(item, log=False, nextitem=None))


def _is_own(edit: Edit, method: Entry) -> bool:
    """Tell whether an edit is of the method's own text: of its class, of one that it inherits from in the
    rooms and that has no name of its own, or of a function of its file.
    """
    code, first = edit.text.function.__code__, edit.text.function.__qualname__.split(".")[0]
    classes = {
        (inspect.getsourcefile(c), c.__qualname__)
        for c in getattr(method.obj, "__mro__", ())
        if c.__module__.startswith(tuple(f"refopt.{room}." for room in ROOMS))
        and c.__dict__.get("registered_name", method.name) == method.name
    }
    if (code.co_filename, first) in classes:
        return True
    others = {n for n, c in vars(sys.modules[method.obj.__module__]).items() if isinstance(c, type)}
    return code.co_filename == inspect.getsourcefile(inspect.unwrap(method.obj)) and first not in others


class Hold:
    """The pytest plugin that runs the collected evidence under every edit."""

    def __init__(self, method: Entry, nodes: list[str]) -> None:
        self.method, self.nodes = method, nodes
        self.edits = self.endless = 0
        self.took: dict[pytest.Item, float] = {}
        self.broken: list[str] = []
        self.survivors: list[Edit] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Take the evidence first, and of its files what is nobody's evidence: errors, edges, states."""

        def is_evidence(item: pytest.Item) -> bool:
            return any(f"{item.nodeid}[".startswith(f"{n}[") for n in self.nodes)

        others = [i for i in items if not any(map(i.get_closest_marker, MARKS)) and not is_evidence(i)]
        items[:] = [i for i in items if is_evidence(i)] + others

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the evidence once as it is, then under each edit."""
        items = list(session.items)

        def once() -> None:
            for item in items:
                begun = time.monotonic()
                if not _passes(item):
                    self.broken.append(item.nodeid)
                self.took[item] = time.monotonic() - begun

        found = [e for e in small_edits(once) if e.size == 0 and _is_own(e, self.method)]
        if self.broken:
            return True
        for edit in found:
            codes = codes_of((edit,))
            if codes is None:
                continue
            self.edits += 1
            with swapped(codes):
                # What caught the last edit is likely to catch the next one.
                caught = next((i for i in items if not self._still_passes(i)), None)
            if caught is None:
                self.survivors.append(edit)
            else:
                items.sort(key=lambda i: i is not caught)
        return True

    def _still_passes(self, item: pytest.Item) -> bool:
        """Run one test under an edit; one that does not end is stopped, counted, and has not passed."""

        def stop(*_: object) -> None:
            self.endless += 1
            raise EndlessError

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(AT_LEAST, TIMES * self.took[item]))
        try:
            return _passes(item)
        except EndlessError:  # between the parts of a test that pytest guards
            return False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def told(edit: Edit) -> str:
    """Return a survivor in one line."""
    function = edit.text.function
    place = f"{Path(function.__code__.co_filename).name}, {function.__qualname__}"
    return f"{place}: `{edit.old}` -> `{edit.new or '(nothing)'}`"


def _house_rules(name: str) -> list[str]:
    """Return the cases of the tests over all methods that are of one name's rule."""
    if entry(name).kind == "curvature":
        from tests.properties import test_curvature as matrices

        path = "tests/properties/test_curvature.py"
        cases = ("test_the_parts_agree", "test_what_it_cannot_use_is_told", "test_the_point_is_kept_by_value")
        halves = [f"{path}::test_batches[{name}]"] if name in matrices.OF_EXAMPLES else []
        return [*(f"{path}::{test}[{name}]" for test in cases), *halves, f"{path}::test_one_array"]
    from tests.properties import test_everywhere as rules

    over = {
        "test_decay_is_what_it_is_called[{}]": rules.DECAYING,
        "test_a_rate_may_be_a_function[{}]": rules.RATED,
        "test_coupled_decay_is_in_the_gradient_alone[{}]": rules.SECOND,
        "test_a_box_holds[{}]": [n for n in rules.UPDATING if rules._with(n, "lower", "upper")],
        "test_a_second_device[{}]": rules.NAMES,
        "test_a_schedule_is_asked_for_the_step[{}]": rules.NAMES,
        "test_no_gradient_no_move[{}-0.0]": rules.STANDING,
        "test_nothing_is_shared_with_what_was_given[{}]": rules.GRADIENT_ONLY,
    }
    path = "tests/properties/test_everywhere.py"
    return [f"{path}::{test.format(name)}" for test, names in over.items() if name in names]


def hold(name: str) -> Hold:
    """Run a name's evidence under every edit of its text.

    Parameters
    ----------
    name : str

    Returns
    -------
    Hold
        With ``edits``, the number tried, and ``survivors``.
    """
    method = entry(name)
    nodes = sorted({e.test for e in method.evidence}) + _house_rules(name)
    plugin = Hold(method, nodes)
    files = sorted({n.split("::")[0] for n in nodes if n.startswith("tests/methods/")})
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        f"--rootdir={ROOT}",
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        code = pytest.main(
            [
                *options,
                *(str(ROOT / n) for n in [*files, *(n for n in nodes if n.split("::")[0] not in files)]),
            ],
            plugins=[plugin],
        )
    if code != pytest.ExitCode.OK and not plugin.broken:
        # Nothing ran: no edit survived, since none was tried.
        plugin.broken.append(f"pytest ended with {code!r}")
    return plugin


def main(names: list[str]) -> int:
    """Print what survives, name by name."""
    left, keep = 0, "--record" in names
    names = [name for name in names if name != "--record"]
    for name in names or [m.name for m in refopt.methods()]:
        found = hold(name)
        if found.broken:
            print(f"{name}: its evidence fails as it stands: {', '.join(found.broken)}")
            left += len(found.broken)
            continue
        n = len(found.survivors)
        if keep:
            held.keep(entry(name), time.strftime("%Y-%m-%d"), found.edits, [told(e) for e in found.survivors])
        endless = f" ({found.endless} by a test that did not end)" if found.endless else ""
        print(f"{name}: {found.edits} edits, {found.edits - n} caught{endless}, {n} survive")
        for edit in found.survivors:
            print(f"  {told(edit)}")
        left += n
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
