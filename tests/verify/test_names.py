"""What `refopt.verify` offers, whatever was imported before."""

from __future__ import annotations

import pkgutil

import pytest
import refopt.verify


def test_no_module_has_the_name_of_a_function() -> None:
    """Importing such a module would set it in the function's place."""
    modules = {m.name for m in pkgutil.iter_modules(refopt.verify.__path__)}
    assert modules & set(refopt.verify.__all__) == set()


def test_everything_offered_is_there() -> None:
    """Every name of ``__all__``, and no other."""
    for name in refopt.verify.__all__:
        assert getattr(refopt.verify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = refopt.verify.nothing
