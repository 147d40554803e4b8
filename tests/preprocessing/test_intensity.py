"""Intensities in [0, 1]."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfreg.io.formats import read_volume
from tfreg.preprocessing.intensity import normalise
from tfreg.volumes.padding import filled, measured_voxels, outside_value, padding_values


def ramp(dtype=np.float32):
    return np.arange(120).reshape(4, 5, 6).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_a_window_is_linear_inside_and_clips_outside(dtype):
    result, limits, notes = normalise(ramp(dtype), window=(20, 100))
    assert result.dtype == np.float32
    assert limits == (20, 100)
    assert notes == ()
    np.testing.assert_allclose(result, np.clip((ramp() - 20) / 80, 0, 1), atol=1e-6)


def test_percentiles_are_numpys():
    array = np.random.default_rng(0).normal(100, 20, (9, 10, 11)).astype(np.float32)
    result, limits, _ = normalise(array, percentiles=(2, 97))
    np.testing.assert_allclose(limits, np.percentile(array, [2, 97]), rtol=1e-6)
    assert (result == 0).mean() == pytest.approx(0.02, abs=2e-3)
    assert (result == 1).mean() == pytest.approx(0.03, abs=2e-3)


@pytest.mark.parametrize(
    "value",
    [np.nan, np.inf, -np.inf, -1024, -1500, -2000, -2048, -3024, -9999, -32768, -1e20, -3.4e38, 32767, 65535, 1e20],
)
def test_what_is_not_a_measurement_becomes_the_floor_and_moves_no_percentile(value):
    array = ramp()
    _, expected, _ = normalise(array[1:], percentiles=(1, 99))
    array[0] = value
    result, limits, notes = normalise(array, percentiles=(1, 99))
    assert limits == expected
    assert (result[0] == 0).all()
    assert result[1:].max() == 1
    assert "30 voxels" in notes[0]
    # Below the window's floor, and above it.
    for window in ((0, 100), (-4000, 100)):
        assert (normalise(array, window=window)[0][0] == 0).all()


def test_paddings_lie_below_each_other():
    array = ramp()
    array[0, 0], array[0, 1], array[0, 2], array[0, 3] = -3024, -2000, -1024, np.nan
    measured, notes = measured_voxels(array)
    np.testing.assert_array_equal(measured, np.arange(120).reshape(4, 5, 6) >= 24)
    assert len(notes) == 4


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_a_padding_value_among_lower_ones_is_a_measurement(dtype):
    array = (ramp() * 50 - 4024).astype(dtype)
    assert (array == -1024).any()
    assert (array == -3024).any()
    measured, notes = measured_voxels(array)
    assert measured.all()
    assert notes == ()


def test_unsigned_integers_have_no_padding():
    assert measured_voxels(ramp(np.uint8))[0].all()


def chest(rng):
    """A CT: air, lungs and soft tissue with noise."""
    array = rng.normal(-1000, 20, (20, 24, 18))
    array[4:16, 4:20] = rng.normal(40, 20, (12, 16, 18))
    array[6:10, 6:18] = rng.normal(-850, 40, (4, 12, 18))
    return np.round(array).astype(np.int16)


def test_padding_is_found_by_its_place_and_its_value_changes_nothing(rng):
    array = chest(rng)
    outside = np.zeros(array.shape, bool)
    outside[:3] = True
    expected = normalise(np.where(outside, np.nan, array), percentiles=(0.5, 99.5))
    for value in (-1500, -2048, -3024, -8192, -32768):
        found = normalise(np.where(outside, np.int16(value), array), percentiles=(0.5, 99.5))
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]
        assert found[2] == (f"{outside.sum()} voxels of padding ({value}) were set to the window's floor.",)
    # Intensities that are from 0 to 1 already, and -1 where there are none.
    assert padding_values(np.where(outside, -1, (array + 1200) / 2000)) == (-1.0,)
    for value in (-1, -1000, -9999):  # nothing else is below zero
        assert padding_values(np.where(outside, value, array + 1200)) == (value,)


def test_padding_that_resampling_mixed_with_tissue_is_padding_still(rng):
    array = chest(rng).astype(np.float32)
    array[:4] = -3024
    array[4] = (array[4] - 3024) / 2
    assert padding_values(array) == (-3024.0,)


def test_what_lies_low_and_is_no_padding(rng):
    ct = chest(rng)
    for array in (
        ct,
        np.maximum(ct, -1024),  # scanners store nothing below
        np.clip(ct, -840, 300),  # a clipped copy
        np.where(ct < -900, np.int16(-1000), ct),  # air as a drawing has it
        np.maximum(ct + 1024, 0),  # stored values, from 0 on
        np.where(ct < -500, 0, ct + 1500),  # nothing but tissue: a brain without its skull
        np.where(ct < -500, -1000, 40),  # two values
        np.where(ct < -950, -3000, np.where(ct < -500, -800, 40)),  # three
    ):
        assert padding_values(array) == ()
    alone = ct.copy()
    alone[3, 4, 5] = -32768  # a single wild voxel
    assert padding_values(alone) == ()


def test_bright_structures_are_no_padding(rng):
    array = chest(rng)
    for value in (1000, 3071, 4095, 20000):  # bone, metal
        array[8, 8:12, 8:12] = value
        assert padding_values(array) == ()


def test_outside_an_image_is_its_padding_or_its_smallest_value(rng):
    array = chest(rng).astype(np.float32)
    array[0, 0, 0] = np.nan
    assert outside_value(array) == np.nanmin(array)
    array[:3] = -8192
    assert outside_value(array) == -8192
    with pytest.raises(ValueError, match="finite"):
        outside_value(np.full((2, 2, 2), np.nan))


@given(st.floats(-2000, 2000), st.floats(1e-2, 3000))
def test_results_are_in_range_and_ascend(low, width):
    array = np.linspace(low - width, low + 2 * width, 60).reshape(3, 4, 5)
    result = normalise(array, window=(low, low + width))[0]
    assert result.min() == 0
    assert result.max() == 1
    assert (np.diff(result.ravel()) >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "exactly one"),
        ({"window": (0, 1), "percentiles": (1, 99)}, "exactly one"),
        ({"window": (1, 1)}, "ascending"),
        ({"window": (0, np.nan)}, "ascending"),
        ({"percentiles": (99, 1)}, "ascending"),
        ({"window": (500, 600)}, "all voxels come out equal, as 0"),
        ({"window": (-600, -500)}, "all voxels come out equal, as 1"),
    ],
)
def test_windows_that_leave_nothing(arguments, text):
    with pytest.raises(ValueError, match=text):
        normalise(ramp(), **arguments)


def test_arrays_that_hold_nothing():
    with pytest.raises(ValueError, match="no voxel holds a measurement"):
        normalise(np.full((4, 5, 6), np.nan, np.float32), window=(0, 1))
    with pytest.raises(ValueError, match="are both -1024"):
        normalise(np.full((4, 5, 6), -1024, np.int16), percentiles=(1, 99))
    with pytest.raises(ValueError, match="are both 7"):
        normalise(np.full((4, 5, 6), 7.0), percentiles=(1, 99))
    with pytest.raises(ValueError, match="beyond float32"):
        normalise(np.linspace(-3e38, 3e38, 120).reshape(4, 5, 6), percentiles=(0, 100))


def test_the_array_is_left_alone():
    array = ramp()
    array[0] = np.nan
    before = array.copy()
    normalise(array, window=(0, 1))
    filled(array)
    np.testing.assert_array_equal(array, before)


def test_filled_replaces_by_the_floor():
    array = ramp() + 5
    array[0, 0], array[3] = np.nan, np.inf
    result, count = filled(array)
    assert count == 36
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.where(np.isfinite(array), array, 11))
    assert filled(ramp(np.int16))[1] == 0
    array[3] = -32768
    np.testing.assert_array_equal(filled(array)[0], result)
    with pytest.raises(ValueError, match="finite"):
        filled(np.full((4, 5, 6), np.nan))


def test_real_ct_and_mri(shared_data):
    ct, limits, notes = normalise(read_volume(shared_data / "lung_ct" / "fixed.nii.gz").array, window=(-1000, 400))
    assert limits == (-1000, 400)
    assert 0.1 < ct.mean() < 0.9
    mri, limits, notes = normalise(read_volume(shared_data / "lung_mri" / "0004.nii.gz").array, percentiles=(0.5, 99.5))
    assert 0 <= limits[0] < limits[1] <= 2000
    assert notes == ()
    assert mri.std() > 0.1
