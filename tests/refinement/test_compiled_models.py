"""Models are built once for their arguments, by whoever needs them first."""

import threading
import time

import pytest

from tfreg.refinement.compiled_models import KEPT, CompiledModels, compiling_ahead


class Model:
    """Counts its steps, which wait for a signal."""

    def __init__(self, size, options, gate):
        self.size, self.options, self.gate = size, options, gate
        self.steps = 0

    def blank_pair(self):
        return self.size

    def train_on_batch(self, pair):
        assert pair == self.size
        assert self.gate.wait(20)
        self.steps += 1


@pytest.fixture
def built():
    """The models, the list of those that were built, and the signal."""
    gate, models = threading.Event(), []

    def build(size, **options):
        if size < 0:
            raise ValueError("too small")
        models.append(Model(size, options, gate))
        return models[-1]

    yield CompiledModels(build), models, gate
    gate.set()


def test_one_model_for_the_same_arguments(built):
    get, models, _ = built
    assert get(3, window=5, stride=2) is get(3, stride=2, window=5)
    assert get(3, window=7) is not get(3, window=5)
    assert len(models) == 3
    assert models[0].options == {"window": 5, "stride": 2}


def test_what_is_compiled_ahead_has_taken_its_step(built):
    get, models, gate = built
    gate.set()
    with compiling_ahead() as pool:
        get.ahead(pool, 1)
        get.ahead(pool, 1)
        assert get(1).steps == 1
        get.ahead(pool, 1)
    assert len(models) == 1


def test_one_that_waits_in_line_is_built_at_once(built):
    get, _, gate = built
    with compiling_ahead() as pool:
        get.ahead(pool, 1)
        get.ahead(pool, 2)
        second = get(2)  # the thread is still at the first
        assert second.steps == 0
        gate.set()
        assert get(1).steps == 1
    assert get(2) is second


def test_what_no_thread_began_is_built_later(built):
    get, models, gate = built
    with compiling_ahead() as pool:
        get.ahead(pool, 1)
        get.ahead(pool, 2)
        while not models:
            time.sleep(0.01)
    gate.set()
    assert get(2).steps == 0
    assert get(1).steps == 1


def test_a_failure_reaches_whoever_asks_and_is_not_kept(built):
    get, models, gate = built
    gate.set()
    with compiling_ahead() as pool:
        get.ahead(pool, -1)
        with pytest.raises(ValueError, match="too small"):
            get(-1)
    with pytest.raises(ValueError, match="too small"):
        get(-1)
    assert models == []


def test_two_threads_get_the_same_model():
    begun, models = threading.Event(), []

    def slow(size):
        begun.set()
        time.sleep(0.2)
        models.append(Model(size, {}, None))
        return models[-1]

    get, found = CompiledModels(slow), []
    other = threading.Thread(target=lambda: found.append(get(4)))
    other.start()
    assert begun.wait(20)
    found.append(get(4))
    other.join()
    assert found[0] is found[1]
    assert len(models) == 1


def test_the_least_used_is_forgotten(built):
    get, models, _ = built
    for size in range(KEPT):
        get(size)
    get(0)
    get(KEPT)
    assert get(0) is models[0]
    assert get(1) is not models[1]
