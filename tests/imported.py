"""What is imported stays: the garbage collector needn't look at it time and again.

After torch and transformers it is millions of objects, and a collection takes half a second of
them.
"""

import gc
import sys

import pytest

_MANY = 100


class Kept:
    """Takes what there is out of the collector's sight when a test has imported much."""

    modules = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        self._freeze()

    def pytest_unconfigure(self) -> None:
        gc.unfreeze()  # so that libraries find nothing left behind at their end

    def _freeze(self) -> None:
        if len(sys.modules) > self.modules + _MANY:
            self.modules = len(sys.modules)
            gc.collect()
            gc.freeze()
