"""The processes that train one model together: torch.distributed behind a few words.

Between them goes JSON, and tensors. torch's own collectives for objects unpickle whatever comes.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import TCPStore

from luthier_trainer.distributed.place import Place
from luthier_trainer.errors import PeersLost
from luthier_trainer.log import log
from luthier_trainer.machine import device

# A collective waits for whoever saves or evaluates meanwhile; one that is gone is noticed sooner.
_TIMEOUT = timedelta(minutes=30)
# The first one downloads, prepares and claims before it is to be met.
_MEET_SECONDS = 24 * 3600.0
_ATTEMPT = timedelta(seconds=10)
# Gradients that go together: large enough for the network, small enough for a copy.
_BUCKET_BYTES = 64 * 2**20
_LOOK_SECONDS = 0.05
ALONE = Place(0, 1, "")


class World:
    """This process among all of them. What is said of all holds for one alone, at no cost."""

    def __init__(self, place: Place = ALONE, notes: Any = None) -> None:
        """`notes`: the store where they met."""
        self.rank, self.size = place.rank, place.size
        self._notes = notes
        self._lost = False
        # Whether this one was told to stop: asked where all must stop at one point.
        self.told_to_stop: Callable[[], bool] = _never

    @property
    def is_first(self) -> bool:
        """Whether it is the one that claims, reports, saves and publishes."""
        return self.rank == 0

    def share(self, document: Any = None) -> Any:
        """The first one's document, JSON-ready, in all of them. Raises PeersLost."""
        if self.size == 1:
            return document
        body = json.dumps(document).encode() if self.is_first else b""
        with self._together():
            length = torch.tensor([len(body)])
            dist.broadcast(length, 0)
            content = torch.zeros(int(length), dtype=torch.uint8)
            if self.is_first:
                content = torch.frombuffer(bytearray(body), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return json.loads(content.numpy().tobytes())

    def gather(self, document: Any) -> list[Any]:
        """Each one's document, JSON-ready, by rank. Raises PeersLost."""
        if self.size == 1:
            return [document]
        body = json.dumps(document).encode()
        with self._together():
            lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
            dist.all_gather(lengths, torch.tensor([len(body)]))
            longest = max(int(length) for length in lengths)
            padded = torch.frombuffer(bytearray(body.ljust(longest)), dtype=torch.uint8)
            found = [torch.zeros_like(padded) for _ in range(self.size)]
            dist.all_gather(found, padded)
        return [json.loads(it.numpy().tobytes()) for it in found]

    def add(self, *numbers: float) -> list[float]:
        """The sum over all of each number, exact for counts below 2^53. Raises PeersLost."""
        if self.size == 1:
            return list(numbers)
        with self._together():
            total = torch.tensor(numbers, dtype=torch.float64)
            dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it is so for one of them. Raises PeersLost."""
        return self.add(float(flag))[0] > 0

    def add_tensor(self, tensor: Tensor) -> None:
        """Put the sum over all in its place. Raises PeersLost."""
        if self.size > 1:
            with self._together():
                dist.all_reduce(tensor)

    def copy_of_first(self, tensor: Tensor) -> None:
        """Put the first one's numbers in it, which is contiguous. Raises PeersLost."""
        if self.size > 1 and tensor.numel():
            with self._together():
                dist.broadcast(tensor.detach().view(-1).view(torch.uint8), 0)

    def collect(self, tensor: Tensor) -> list[Tensor] | None:
        """Each one's tensor on the CPU, by rank, in the first; all have the same shape. Raises
        PeersLost."""
        if self.size == 1:
            return [tensor]
        own = tensor.detach().to("cpu").contiguous()
        found = [torch.empty_like(own) for _ in range(self.size)] if self.is_first else None
        with self._together():
            dist.gather(own, found, 0)
        return found

    def leave_note(self, name: str, document: Any) -> None:
        """For another one to find, whatever either does meanwhile. From any thread. Raises
        PeersLost."""
        with self._together():
            self._notes.set(name, json.dumps(document))

    def find_note(self, name: str) -> Any:
        """Wait for what another one leaves. From any thread. Raises PeersLost."""
        with self._together():
            while not self._notes.check([name]):
                if self._lost:
                    raise PeersLost
                time.sleep(_LOOK_SECONDS)
            return json.loads(self._notes.get(name))

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Each gradient becomes the sum over all: the losses were divided by the targets of all.

        Not by DistributedDataParallel: its order of summation changes after its first step, so
        that a training that goes on from a checkpoint would end otherwise than an undisturbed
        one; and a process that has no rows in the last step of an epoch would have to make up
        some. Raises PeersLost.
        """
        if self.size == 1:
            return
        for bucket in _buckets(parameters):
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([part.reshape(-1) for part in parts])
            self.add_tensor(flat)
            sums = torch.split(flat, [p.numel() for p in bucket])
            for parameter, part in zip(bucket, sums, strict=True):
                parameter.grad = part.view_as(parameter)

    def leave(self) -> None:
        """No more is done together."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def alive(self) -> Iterator[None]:
        """What is done together within by others than this class, as FSDP2 does, raises PeersLost
        where one of the processes is gone."""
        try:
            yield
        except RuntimeError as error:
            if not _of_collectives(error):
                raise
            self._lost = True
            raise lost(error) from error

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of which torch's own are
            self._lost = True
            raise lost(error) from error


def meet(place: Place, check: Callable[[], None]) -> World:
    """Wait for all processes. `check` is called now and then, and may end the waiting by what it
    raises. Gradients of a GPU go by NCCL, all else by gloo. Raises PeersLost."""
    if place.size == 1:
        return World()
    host, _, port = place.master.rpartition(":")
    log(f"process {place.rank} of {place.size}: meeting at {place.master}")
    store = _store(host, int(port), place, check)
    backend = "cpu:gloo,cuda:nccl" if device.on_gpu() else "gloo"
    try:
        dist.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.size, timeout=_TIMEOUT
        )
    except RuntimeError as error:
        raise lost(error) from error
    return World(place, store)


def _store(host: str, port: int, place: Place, check: Callable[[], None]) -> Any:
    """The first one's; the others try until it is there: its name may not even resolve yet."""
    deadline = time.monotonic() + _MEET_SECONDS
    while True:
        try:
            return TCPStore(
                host,
                port,
                place.size,
                place.is_first,
                timeout=_TIMEOUT if place.is_first else _ATTEMPT,
                wait_for_workers=False,
            )
        except (RuntimeError, ValueError) as error:
            if place.is_first or time.monotonic() > deadline:
                raise lost(error) from error
            check()
            time.sleep(1)


def _never() -> bool:
    return False


def _of_collectives(error: RuntimeError) -> bool:
    """Whether torch.distributed raised it: it has no class of its own for all of these."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = at.tb_frame.f_globals.get("__name__", "") if at else ""
    return where.startswith("torch.distributed") and not isinstance(error, torch.OutOfMemoryError)


def lost(error: BaseException) -> PeersLost:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    log(
        f"a process that trains beside this one is gone ({first[:200]}): all go on from the last "
        "checkpoint; the log of the one that ended first says why"
    )
    return PeersLost()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type and device, up to _BUCKET_BYTES."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        first = bucket[0] if bucket else parameter
        alike = (parameter.dtype, parameter.device) == (first.dtype, first.device)
        if bucket and (not alike or size + parameter.nbytes > _BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
