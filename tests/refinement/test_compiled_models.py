"""Models are built for their arguments, leased to one pair at a time, and wait for the next one."""

import threading
import time

import pytest

from tfreg.refinement.compiled_models import MAX_IDLE, CompiledModels
from tfreg.runtime.threads import limited_threads


class Model:
    """Counts its steps, which wait for a signal."""

    def __init__(self, size, options, gate):
        self.size, self.options, self.gate = size, options, gate
        self.steps = 0

    def compile_ahead(self):
        assert self.gate.wait(20)
        self.steps += 1


@pytest.fixture
def gate():
    """The signal for which steps wait."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def built():
    """The models that were built."""
    return []


@pytest.fixture(autouse=True)
def two_threads():
    """As many as are needed to compile ahead, whatever the machine has."""
    with limited_threads(2):
        yield


@pytest.fixture
def owner(built, gate):
    """A `CompiledModels` of `Model`s."""

    def build(size, **options):
        if size < 0:
            raise ValueError("too small")
        built.append(Model(size, options, gate))
        return built[-1]

    return CompiledModels(build)


def test_one_model_for_the_same_arguments(owner, built):
    with owner.leased() as models:
        assert models(3, window=5, stride=2) is models(3, stride=2, window=5)
        assert models(3, window=7) is not models(3, window=5)
    assert len(built) == 3
    assert built[0].options == {"window": 5, "stride": 2}


def test_what_is_given_back_serves_the_next_pair(owner, built):
    with owner.leased() as models:
        first = models(3)
    with owner.leased() as models:
        assert models(3) is first
        assert models(3) is first
    assert len(built) == 1


def test_nobody_else_gets_a_model_that_is_leased(owner, built):
    with owner.leased() as models:
        first = models(4)
        with owner.leased() as others:
            second = others(4)
            assert second is not first
        with owner.leased() as others:
            assert others(4) is second
    with owner.leased() as models:
        assert {id(models(4)), id(first)} <= {id(first), id(second)}
    assert len(built) == 2


def test_two_threads_get_a_model_each(owner):
    both_have_one, leased = threading.Barrier(2), []

    def lease():
        with owner.leased() as models:
            leased.append(models(4))
            both_have_one.wait(20)

    others = [threading.Thread(target=lease) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert leased[0] is not leased[1]


def test_a_pair_that_fails_keeps_its_models(owner, built):
    def fails():
        with owner.leased() as models:
            models(5)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with owner.leased() as models:
        assert models(5) is not built[0]


def test_what_a_model_depends_on_besides_counts():
    surroundings = []
    owner = CompiledModels(lambda size: Model(size, {}, None), lambda: len(surroundings))
    with owner.leased() as models:
        first = models(2)
        surroundings.append("other")
        assert models(2) is not first
        surroundings.clear()
        assert models(2) is first


def test_what_is_compiled_ahead_has_taken_its_step(owner, built, gate):
    gate.set()
    with owner.leased() as models:
        models.ahead(1)
        models.ahead(1)
        assert models(1).steps == 1
        models.ahead(1)
    with owner.leased() as models:
        models.ahead(1)
        assert models(1).steps == 1
    assert len(built) == 1


def test_nothing_is_compiled_ahead_where_one_thread_is_allowed(owner, built, gate):
    gate.set()
    with limited_threads(1), owner.leased() as models:
        models.ahead(1)
        assert not built
        assert models(1).steps == 0


def test_one_that_waits_in_line_is_built_at_once(owner, gate):
    with owner.leased() as models:
        models.ahead(1)
        models.ahead(2)
        second = models(2)  # the thread is still at the first
        assert second.steps == 0
        gate.set()
        assert models(1).steps == 1
        assert models(2) is second


def test_what_no_thread_began_is_built_later(owner, built, gate):
    with owner.leased() as models:
        models.ahead(1)
        models.ahead(2)
        while not built:
            time.sleep(0.01)
    gate.set()
    with owner.leased() as models:
        assert models(2).steps == 0
        assert models(1).steps == 0
    assert len(built) == 3


def test_a_failure_reaches_whoever_asks_and_is_not_kept(owner, built, gate):
    gate.set()
    with owner.leased() as models:
        models.ahead(-1)
        with pytest.raises(ValueError, match="too small"):
            models(-1)
    with owner.leased() as models, pytest.raises(ValueError, match="too small"):
        models(-1)
    assert built == []


def test_the_least_used_is_forgotten(owner, built):
    for size in range(MAX_IDLE):
        with owner.leased() as models:
            models(size)
    for size in (0, MAX_IDLE):
        with owner.leased() as models:
            models(size)
    with owner.leased() as models:
        assert models(0) is built[0]
        assert models(1) is not built[1]
