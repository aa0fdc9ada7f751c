"""Tests that loop over many small cases, where a test of each would take longer to schedule than to run."""

import functools
import inspect
from collections.abc import Callable, Iterable

from aimc_robust.seeding import seed_global_generators


def for_each(names: str | tuple[str, ...], cases: Iterable) -> Callable[[Callable], Callable]:
    """Like `pytest.mark.parametrize`, but as one test; the case at fault is noted in the error.

    The cases share the fixtures of the test.
    """
    names, cases = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names), list(cases)
    assert cases

    def decorate(test: Callable) -> Callable:
        signature = inspect.signature(test)
        assert set(names) <= set(signature.parameters)

        @functools.wraps(test)
        def run(*args: object, **fixtures: object) -> None:
            for case in cases:
                seed_global_generators(0)
                values = dict(zip(names, case if len(names) > 1 else (case,), strict=True))
                try:
                    test(*args, **fixtures, **values)
                except BaseException as error:
                    error.add_note(f"for {values}"[:500])
                    raise

        del run.__wrapped__  # whose signature pytest would take
        others = [parameter for name, parameter in signature.parameters.items() if name not in names]
        run.__signature__ = signature.replace(parameters=others)
        return run

    return decorate
