"""What `register` refuses, in one line with a cure."""

import numpy as np
import pytest
from pairs import thresholded

from tfreg.errors import UserError, WorkError
from tfreg.registration import register as register_module
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.register_volumes import register
from tfreg.volumes.volume import Volume


def refused(*volumes, **options):
    with pytest.raises(UserError) as caught:
        register(*volumes, **options)
    assert ";" in str(caught.value)
    return str(caught.value)


def test_other_frames_are_refused(pair):
    fixed, moving = pair
    for name in ("fixed_labels", "fixed_mask"):
        assert refused(fixed, moving, **{name: thresholded(moving)}).startswith(f"{name.replace('_', ' ')}: lies in")
    shifted = np.array(moving.affine)
    shifted[:3, 3] += 0.4 * moving.affine[:3, 0]
    for name in ("moving_labels", "moving_mask"):
        with pytest.raises(UserError, match=r"^m.nii: lies in another frame.* up to 0.4 voxels away"):
            ImagePair(fixed, moving, **{name: Volume(thresholded(moving).array, shifted)}, names={name: "m.nii"})
    # A header's rounding is no other frame, whatever is computed from the mask.
    shifted[:3, 3] -= 0.35 * moving.affine[:3, 0]
    mask = Volume(thresholded(moving).array, shifted)
    register(fixed, moving, model="none", refine=False, init="moments", moving_mask=mask)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parts": "rigid"}, r"--parts rigid: choose linear, deformable, both$"),
        ({"parts": "LINEAR"}, r"--parts LINEAR: choose .*\(is `linear` meant\?\)"),
        ({"parts": None}, r"--parts None: choose"),
        ({"parts": 3}, r"--parts 3: choose"),
        ({"init": "center"}, r"--init center: choose header, .*\(is `centre` meant\?\)"),
        ({"interpolation": "nearest"}, r"--interpolation nearest: choose linear or cubic"),
        ({"preset": "slow"}, r"--preset slow: choose quality or fast"),
        ({"similarity": "ncc2"}, r"--similarity ncc2: give mse, lncc"),
        ({"similarity": 3}, r"--similarity 3: give a text"),
        ({"smoothness": -1}, r"--smoothness -1: give a number of at least 0"),
        ({"smoothness": np.nan}, r"--smoothness nan: give a finite number"),
        ({"smoothness": "stiff"}, r"--smoothness stiff: give a number"),
        ({"smoothness": True}, r"--smoothness True: give a number"),
        ({"background": np.inf}, r"--background inf: give a finite number"),
        ({"background": "black"}, r"--background black: give a number"),
        ({"refine": "perhaps"}, r"--refine perhaps: give yes or no"),
        ({"check": 2}, r"--check 2: give yes or no"),
        ({"refine": False, "similarity": "mi"}, r"--similarity: is of the refinement, which is not asked for"),
        ({"refine": False, "search": "normal"}, r"--search: is of the refinement, which is not asked for"),
        ({"search": "far"}, r"--search far: choose none, normal, wide"),
        ({"refine": False, "linear": "rigid"}, r"--linear: is of the refinement, which is not asked for"),
        ({"linear": "rigid", "parts": "deformable"}, r"--linear rigid: nothing linear is searched with --parts def"),
        ({"model": 3}, r"model 3: give what `tfreg.load_run` returns"),
        ({"initial_transform": np.eye(3)}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": np.diag([1.0, 1, 0, 1])}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": np.full((4, 4), np.nan)}, r"initial_transform: give an invertible 4x4 affine"),
        ({"initial_transform": "rigid.tfm"}, r"initial_transform: give an invertible 4x4 affine"),
        (
            {"initial_transform": np.eye(4), "init": "centre"},
            r"init 'centre' and initial_transform: give one of the two",
        ),
        (
            {"initial_transform": np.eye(4), "init": "rigid.tfm"},
            r"init rigid.tfm and initial_transform: give one of the two",
        ),
        ({"fixed_mask": np.ones((3, 4, 5))}, r"fixed mask: is no Volume; read it with `tfreg.read_volume`"),
        ({"fixed_points": [[0, 0]], "moving_points": [[0, 0]]}, r"fixed points: give \(n, 3\) finite numbers"),
        ({"fixed_points": np.zeros((0, 3)), "moving_points": np.zeros((0, 3))}, r"fixed points: give \(n, 3\) finite"),
    ],
)
def test_an_option_that_means_nothing_is_one_line(pair, options, text):
    """Nothing is taken for a default in silence."""
    with pytest.raises(UserError, match=text) as caught:
        register(*pair, **options)
    assert "\n" not in str(caught.value)


def test_what_is_no_volume_is_one_line(pair):
    for fixed, moving in ((pair[0].array, pair[1]), (3, pair[1]), (None, pair[1])):
        with pytest.raises(UserError, match=r"^fixed: is no Volume; read it with `tfreg\.read_volume`"):
            register(fixed, moving)


def test_an_empty_mask_is_refused(pair):
    assert "fixed mask: empty mask" in refused(*pair, fixed_mask=Volume(np.zeros(pair[0].shape), pair[0].affine))


def test_a_part_that_the_network_lacks_is_refused(pair, tools):
    """Else only the initial alignment would be applied, without a word."""
    run = tools.ChosenRun(model={"transform": "linear"})
    assert "the model predicts the linear part alone" in refused(*pair, model=run, parts="deformable")


def test_a_transform_that_is_not_finite_is_no_result(pair, monkeypatch):
    whole = register_module.certify

    def exploded(*arguments, **options):
        transform, displacement_mm, certificate = whole(*arguments, **options)
        displacement_mm[2, 3, 4] = np.nan
        return transform, displacement_mm, certificate

    monkeypatch.setattr(register_module, "certify", exploded)
    with pytest.raises(WorkError, match="the transform found is not finite"):
        register(*pair, model="none", refine=False)


def test_landmarks_must_be_pairs(pair):
    points = np.zeros((3, 3))
    assert "3 points" in refused(*pair, fixed_points=points[:2], moving_points=points)
    assert refused(*pair, fixed_points=points).startswith("fixed points: the moving points are missing")
    assert refused(*pair, moving_points=points).startswith("moving points: the fixed points are missing")


def test_volumes_apart_are_refused(pair, tools):
    fixed, moving = pair
    far = np.array(moving.affine)
    far[:3, 3] += 1000
    far = Volume(moving.array, far)
    assert "--init centre" in refused(fixed, far, model=tools.ChosenRun())
    register(fixed, far, model=tools.ChosenRun(), init="centre")


def test_a_mask_without_contents_is_refused_for_moments(pair):
    fixed, moving = pair
    dark = Volume((moving.array <= moving.array.min()).astype(np.uint8), moving.affine)
    assert "mask" in refused(fixed, moving, init="moments", moving_mask=dark)
