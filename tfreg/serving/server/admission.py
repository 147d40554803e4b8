"""So many predictions at once, so many more waiting, and no one computed whom nobody waits for."""

import collections
import contextlib
import threading
from collections.abc import Iterator

import grpc

from tfreg.serving.server.status import StatusError

_LOOK_EVERY = 0.1  # seconds between looks whether a waiting client is still there


class Admission:
    """Lets requests in one after the other, in the order in which they came.

    Args:
        concurrency: Predictions at once.
        queue: Requests that may wait besides.
    """

    def __init__(self, concurrency: int, queue: int) -> None:
        self._concurrency = concurrency
        self._queue = queue
        self._running = 0
        self._waiting = collections.deque()
        self._changed = threading.Condition()

    @property
    def busy(self) -> int:
        """Number of requests that run or wait."""
        return self._running + len(self._waiting)

    @contextlib.contextmanager
    def turn(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Waits for this request's turn, and holds it within the context.

        Args:
            context: The call's grpc.ServicerContext.

        Raises:
            StatusError: RESOURCE_EXHAUSTED if the queue is full; CANCELLED or DEADLINE_EXCEEDED if
                the client has gone or no longer waits.
        """
        ticket = object()
        with self._changed:
            if self.busy >= self._concurrency + self._queue:
                raise StatusError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"the server is busy: {self._running} predictions run and {len(self._waiting)} wait; "
                    "try again later",
                )
            self._waiting.append(ticket)
            try:
                _must_be_awaited(context)
                while self._running >= self._concurrency or self._waiting[0] is not ticket:
                    self._changed.wait(_LOOK_EVERY)
                    _must_be_awaited(context)
                self._running += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


def _must_be_awaited(context):
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed while the request waited")
    if not context.is_active():
        raise StatusError(grpc.StatusCode.CANCELLED, "the client has gone")
