"""Overlap against SciPy and SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.distance import dice as dice_distance

from tfreg.metrics.overlap import dice_by_label

SHAPE = (5, 6, 7)


def test_dice_is_scipys_and_simpleitks(rng):
    fixed, warped = rng.integers(0, 4, (2, *SHAPE)) * 3
    result = dice_by_label(fixed, warped)
    assert list(result) == [3, 6, 9]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(array.astype(np.uint8)) for array in (fixed, warped)))
    for label, value in result.items():
        assert value == pytest.approx(1 - dice_distance((fixed == label).ravel(), (warped == label).ravel()))
        assert value == pytest.approx(overlap.GetDiceCoefficient(label))


def test_a_label_of_one_side_only_scores_zero():
    fixed, warped = np.zeros((2, *SHAPE), np.int16)
    fixed[1:3] = 1
    warped[1:3] = 1
    warped[4, 0, 0] = -2
    assert dice_by_label(fixed, warped) == {-2: 0.0, 1: 1.0}
    assert dice_by_label(fixed * 0, fixed * 0) == {}
    assert dice_by_label(fixed, warped, [1, 5]) == {1: 1.0, 5: 0.0}


def test_labels_of_different_dtypes(rng):
    fixed = rng.integers(0, 3, SHAPE)
    assert dice_by_label(fixed.astype(np.uint8), fixed.astype(np.int32)) == {1: 1.0, 2: 1.0}
