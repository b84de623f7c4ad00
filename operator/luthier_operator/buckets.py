"""Token buckets: so much at once, and from then on so much a second. Pure but for the clock."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Bucket:
    """Holds `burst` tokens, and gets `rate` a second. `now`: of a clock that never goes back."""

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        """Take a token; False where there is none."""
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return a token that was taken."""
        self._left = min(self._burst, self._left + 1)

    def promise(self, now: float) -> float:
        """Take a token, where there is none one of those to come: seconds until it is there."""
        self._fill(now)
        self._left -= 1
        return max(0.0, -self._left / self._rate)

    def _fill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now


class Buckets(Generic[K]):
    """A bucket a key; beyond `most` keys the one that was asked for longest ago is forgotten."""

    def __init__(
        self,
        burst: float,
        rate: float,
        *,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst, self._rate, self._most, self._clock = burst, rate, most, clock
        self._buckets: OrderedDict[K, Bucket] = OrderedDict()

    def take(self, key: K) -> bool:
        """Take a token of that key's; False where there is none."""
        return self._of(key).take(self._clock())

    def give_back(self, key: K) -> None:
        """Return a token that was taken of that key's."""
        self._of(key).give_back()

    def promise(self, key: K) -> float:
        """Take a token of that key's, if need be one to come: seconds until it is there."""
        return self._of(key).promise(self._clock())

    def forget(self, key: K) -> None:
        """What comes under that key from now on is another one's."""
        self._buckets.pop(key, None)

    def _of(self, key: K) -> Bucket:
        if key not in self._buckets:
            self._buckets[key] = Bucket(self._burst, self._rate, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return self._buckets[key]
