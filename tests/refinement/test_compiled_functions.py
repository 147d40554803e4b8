"""Functions are built once for their arguments, ahead of their turn where there are threads."""

import threading
import time

import pytest

from tfreg.refinement.compiled_functions import MAX_KEPT, CompiledFunctions
from tfreg.runtime.threads import limited_threads


class Function:
    """Counts its runs, which wait for a signal."""

    def __init__(self, size, options, gate):
        self.size, self.options, self.gate = size, options, gate
        self.runs = 0

    def compile_ahead(self):
        assert self.gate.wait(20)
        self.runs += 1


@pytest.fixture
def gate():
    """The signal for which runs wait."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def built():
    """The functions that were built."""
    return []


@pytest.fixture(autouse=True)
def two_threads():
    """As many as are needed to compile ahead, whatever the machine has."""
    with limited_threads(2):
        yield


@pytest.fixture
def owner(built, gate):
    """A `CompiledFunctions` of `Function`s."""

    def build(size, **options):
        if size < 0:
            raise ValueError("too small")
        built.append(Function(size, options, gate))
        return built[-1]

    return CompiledFunctions(build)


def test_one_model_for_the_same_arguments(owner, built):
    with owner.compiler() as functions:
        assert functions(3, window=5, stride=2) is functions(3, stride=2, window=5)
        assert functions(3, window=7) is not functions(3, window=5)
    assert len(built) == 3
    assert built[0].options == {"window": 5, "stride": 2}


def test_what_was_built_serves_the_next_pair(owner, built):
    with owner.compiler() as functions:
        first = functions(3)
    with owner.compiler() as functions:
        assert functions(3) is first
        assert functions(3) is first
    assert len(built) == 1


def test_pairs_at_the_same_time_share(owner, built):
    with owner.compiler() as functions, owner.compiler() as others:
        assert functions(4) is others(4)
    assert len(built) == 1


def test_of_two_that_are_built_at_once_one_is_kept():
    both_build = threading.Barrier(2)

    def build(size):
        both_build.wait(20)
        return Function(size, {}, None)

    owner, taken = CompiledFunctions(build), []

    def take():
        with owner.compiler() as functions:
            taken.append(functions(4))

    others = [threading.Thread(target=take) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert taken[0] is taken[1]


def test_what_a_function_depends_on_besides_counts():
    surroundings = []
    owner = CompiledFunctions(lambda size: Function(size, {}, None), lambda: len(surroundings))
    with owner.compiler() as functions:
        first = functions(2)
        surroundings.append("other")
        assert functions(2) is not first
        surroundings.clear()
        assert functions(2) is first


def test_what_is_compiled_ahead_has_run(owner, built, gate):
    gate.set()
    with owner.compiler() as functions:
        functions.ahead(1)
        functions.ahead(1)
        assert functions(1).runs == 1
        functions.ahead(1)
    with owner.compiler() as functions:
        functions.ahead(1)
        assert functions(1).runs == 1
    assert len(built) == 1


def test_nothing_is_compiled_ahead_where_one_thread_is_allowed(owner, built, gate):
    gate.set()
    with limited_threads(1), owner.compiler() as functions:
        functions.ahead(1)
        assert not built
        assert functions(1).runs == 0


def test_one_that_waits_in_line_is_built_at_once(owner, gate):
    with owner.compiler() as functions:
        functions.ahead(1)
        functions.ahead(2)
        second = functions(2)  # the thread is still at the first
        assert second.runs == 0
        gate.set()
        assert functions(1).runs == 1
        assert functions(2) is second


def test_what_no_thread_began_is_built_later(owner, built, gate):
    with owner.compiler() as functions:
        functions.ahead(1)
        functions.ahead(2)
        while not built:
            time.sleep(0.01)
    gate.set()
    with owner.compiler() as functions:
        assert functions(2).runs == 0
    assert [function.size for function in built] == [1, 2]


def test_a_failure_reaches_whoever_asks_and_is_not_kept(owner, built, gate):
    gate.set()
    with owner.compiler() as functions:
        functions.ahead(-1)
        with pytest.raises(ValueError, match="too small"):
            functions(-1)
    with owner.compiler() as functions, pytest.raises(ValueError, match="too small"):
        functions(-1)
    assert built == []


def test_the_least_used_is_forgotten(owner, built):
    for size in range(MAX_KEPT):
        with owner.compiler() as functions:
            functions(size)
    for size in (0, MAX_KEPT):
        with owner.compiler() as functions:
            functions(size)
    with owner.compiler() as functions:
        assert functions(0) is built[0]
        assert functions(1) is not built[1]
