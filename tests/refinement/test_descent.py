"""Steps down one pair's loss, and the loss itself."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from tfreg.ops import acceleration
from tfreg.refinement.deformable_objective import DeformableObjective
from tfreg.refinement.descent import Sizes, State, Step, minimise, refinement_steps, sizes_to_know

SHAPE, LEADING_MARGIN, MARGIN = (14, 16, 18), (2, 4, 2), (3, 4, 5)
NOTHING = np.zeros((1, 3, 4), "float32")


@pytest.fixture
def step():
    """The step for these sizes, as a refinement gets it; takes what the objective takes."""

    def step(**options):
        with refinement_steps.compiler() as compiler:
            return compiler(LEADING_MARGIN, sizes_to_know(SHAPE, MARGIN), **options)

    return step


def texture(shape, rng, sigma=1.5):
    volume = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return ((volume - volume.min()) / np.ptp(volume)).astype("float32")


def images(**volumes):
    """Volumes as a step takes them, and weights of one."""
    pair = {name: volume[None, ..., None] for name, volume in volumes.items()}
    return pair | {f"{name}_weights": np.ones_like(volume) for name, volume in pair.items()}


def a_pair(rng, shift=(0, 0, 0), shape=SHAPE, margin=MARGIN, smoothness=0.2):
    """A moving texture, and its part that a shift of whole voxels makes the fixed one."""
    moving = texture([n + 2 * r for n, r in zip(shape, margin, strict=True)], rng)
    low = np.array(margin) + np.array(LEADING_MARGIN) + np.array(shift)
    high = np.array(margin) + np.array(shape) + np.array(shift)
    fixed = moving[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    others = {"linear": np.eye(3, 4, dtype="float32")[None], "smoothness": np.float32(smoothness)}
    return images(fixed=fixed, moving=moving) | others


def still(shape=SHAPE):
    """Control points that have not moved."""
    return np.zeros((1, *(-(-n // 2) for n in shape), 3), "float32")


def similarity_of(objective, pair):
    fixed, warped, counts = objective.compared(still(), NOTHING, pair)
    return float(objective.similarity.compare(fixed, warped, counts)[0])


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_begins_at_the_identity(rng, linear, integration):
    pair = a_pair(rng)
    if integration == "axiswise":  # it has no leading margin: only networks use it
        objective = DeformableObjective(integration=integration, linear=linear)
        inner = tuple(slice(r, -r) for r in MARGIN)
        pair |= images(fixed=pair["moving"][0, ..., 0][inner])
    else:
        objective = DeformableObjective(LEADING_MARGIN, linear=linear)
    fixed, warped, counts = objective.compared(still(), NOTHING, pair)
    np.testing.assert_allclose(warped, fixed, atol=1e-6)
    np.testing.assert_allclose(counts, 1)


@pytest.mark.parametrize("similarity", ["lncc", "mse", "mi", "mind"])
def test_finds_a_shift(step, rng, similarity):
    pair = a_pair(rng, shift=(0, 1, -1), smoothness=0.01)
    (found, change), losses = minimise(step(similarity=similarity), State.at(still(), NOTHING), pair, 40, 0.2)
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(np.array(found)[0, 3:-2, 3:-2, 3:-2].mean((0, 1, 2)), (0, 1, -1), atol=0.35)
    np.testing.assert_array_equal(change, NOTHING)


def test_the_linear_part_moves_where_it_may(step, rng):
    pair = a_pair(rng, shift=(0, 1, -1), smoothness=0.01)
    taken = step(linear=True)
    (_, change), losses = minimise(taken, State.at(still(), NOTHING), pair, 20, 0.2)
    assert losses[-1] < losses[0]
    matrix = ops.convert_to_numpy(taken.objective.linear(change, pair))[0]
    assert matrix[1, 3] > 0.05
    assert matrix[2, 3] < -0.05


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX traces every size")
@pytest.mark.parametrize(("similarity", "linear"), [("lncc+30*mind", False), ("mse", True)])
def test_one_trace_serves_all_sizes(rng, similarity, linear):
    """And gives what a step gives that is traced for a size alone."""
    options, shape, margin = {"similarity": similarity, "linear": linear}, (18, 13, 15), (2, 3, 2)
    any_size, one_size = (Step(LEADING_MARGIN, sizes, **options) for sizes in (None, Sizes(shape, margin)))
    any_size.compile_ahead()
    minimise(any_size, State.at(still(), NOTHING), a_pair(rng), 1, 0.1)
    pair = a_pair(rng, (0, 1, -1), shape, margin)
    start = State.at(rng.normal(0, 0.1, still(shape).shape), 0.01 * rng.normal(size=(1, 3, 4)))
    results = [minimise(step, start, pair, 3, 0.1) for step in (any_size, one_size)]
    for variable, other in zip(*(variables for variables, _ in results), strict=True):
        np.testing.assert_allclose(variable, other, atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5)
    assert any_size._compiled.experimental_get_tracing_count() == 1


def test_small_volumes_need_no_trace_of_their_own(monkeypatch):
    if keras.backend.backend() == "tensorflow":
        assert sizes_to_know(SHAPE, MARGIN) is None
        monkeypatch.setattr(acceleration, "WORTH_COMPILING", 0)
    assert sizes_to_know(SHAPE, MARGIN) == Sizes(SHAPE, MARGIN)


def test_weights_leave_voxels_out(rng):
    """What differs where either image counts nothing makes no difference."""
    pair = a_pair(rng)
    spoilt = {name: np.array(value) for name, value in pair.items()}
    spoilt["fixed"][:, :4] = rng.uniform(size=spoilt["fixed"][:, :4].shape)
    objective = DeformableObjective(LEADING_MARGIN, similarity="mse")
    assert similarity_of(objective, spoilt) > 1e-3
    spoilt["fixed_weights"][:, :4] = 0
    assert similarity_of(objective, spoilt) == pytest.approx(0, abs=1e-9)


def test_stops_when_it_no_longer_helps(step, rng):
    done = []
    start = State.at(still(), NOTHING)
    _, losses = minimise(step(), start, a_pair(rng), 50, 0.2, tolerance=1e-3, progress=done.append)
    assert len(losses) == len(done) == 10


def test_nothing_is_kept_of_the_last_pair(step, rng):
    pair, taken = a_pair(rng, shift=(1, 0, 0)), step()
    runs = [minimise(taken, State.at(still(), NOTHING), pair, 6, 0.2)[1] for _ in range(2)]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX adds gradients in the order of its program")
@pytest.mark.parametrize("linear", [False, True])
def test_gradients_are_summed_in_one_order(linear):
    """TensorFlow begins a sum of three with the one that is free first, and the threads decide which that is."""
    graph = Step(LEADING_MARGIN, similarity="lncc+30*mind", linear=linear)._compiled.get_concrete_function().graph
    sums = [len(operation.inputs) for operation in graph.get_operations() if operation.type == "AddN"]
    assert sums
    assert max(sums) == 2


def test_loss_that_is_not_finite_is_an_error(step, rng):
    pair = a_pair(rng)
    pair["moving"] = pair["moving"] * np.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        minimise(step(), State.at(still(), NOTHING), pair, 3, 0.2)


def test_anchor_takes_its_part_of_the_displacement(rng):
    displacement = rng.normal(size=still().shape).astype("float32")
    centred = np.array(DeformableObjective(anchor="centre").centred_displacement(displacement))
    for d, n in enumerate(displacement.shape[1:4]):
        line = np.moveaxis(centred[0, ..., d], d, -1)
        middle = line[..., (n - 1) // 2 : n // 2 + 1].mean(-1)
        np.testing.assert_allclose(middle, 0, atol=1e-6)
        np.testing.assert_allclose(
            np.diff(line, axis=-1), np.diff(np.moveaxis(displacement[0, ..., d], d, -1), axis=-1), atol=1e-5
        )


@pytest.mark.parametrize("similarity", ["lncc", "lncc+30*mind"])
def test_what_lies_right_stays(step, rng, similarity):
    """Steps of one length leave the best place, so that the result is the beginning."""
    (found, _), losses = minimise(step(similarity=similarity), State.at(still(), NOTHING), a_pair(rng), 8, 0.3)
    assert losses[0] < 1e-4
    assert losses[-1] > losses[0]
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("shape", [SHAPE, (13, 16, 15)])
def test_every_voxel_has_its_turn(rng, shape):
    """At every second voxel the images are what they are there at all voxels; an odd size's last plane comes twice."""
    pair = a_pair(rng, (0, 1, -1), shape)
    moved = rng.normal(0, 0.5, still(shape).shape).astype("float32")
    everywhere = DeformableObjective(LEADING_MARGIN, similarity="mse")
    some = DeformableObjective(LEADING_MARGIN, similarity="mse", sparse=True)
    images = [np.array(image)[0, ..., 0] for image in everywhere.compared(moved, NOTHING, pair)]
    times = np.zeros(images[0].shape)
    for number in range(1, some.turns + 1):
        planes = [np.array(index) for index in some._planes(pair, number)]
        times[np.ix_(*planes)] += 1
        for found, image in zip(some.compared(moved, NOTHING, pair, number), images, strict=True):
            np.testing.assert_allclose(np.array(found)[0, ..., 0], image[np.ix_(*planes)], atol=1e-5)
    for axis, size in enumerate(times.shape):
        expected = np.ones(size)
        expected[-1] += size % 2
        times /= expected.reshape([-1 if a == axis else 1 for a in range(3)])
    np.testing.assert_array_equal(times, 1)


@pytest.mark.parametrize(("similarity", "turns"), [("lncc", 8), ("lncc+30*mind", 8), ("dwm", 1), ("mse+dwm", 1)])
def test_differences_of_neighbours_want_every_voxel(similarity, turns):
    assert DeformableObjective(similarity=similarity, sparse=True).turns == turns


@pytest.mark.parametrize("steps", [8, 9])
def test_what_lies_right_stays_at_every_second_voxel_too(step, rng, steps):
    """Losses of other voxels say nothing of whether a step helped: of noise alone, none does."""
    pair = a_pair(rng, smoothness=1.0)
    pair["fixed"] = pair["fixed"] + rng.normal(0, 0.02, pair["fixed"].shape).astype("float32")
    taken = step(similarity="mse", sparse=True)
    start = State.at(still(), NOTHING)
    (found, _), losses = minimise(taken, start, pair, steps, 0.3)
    first = float(taken(start, pair, 0.0, steps)[0])
    assert (losses[-1] >= first) == (not np.any(found))
    assert losses[-1] >= first
