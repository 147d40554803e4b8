"""Transforms that ITK and ANTs write and read."""

from concurrent.futures import ThreadPoolExecutor

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.io.itk_images import read_itk, write_itk
from tfreg.io.itk_transforms import read_linear, write_composite, write_displacement, write_linear

FLIP = np.array([-1, -1, 1])


def affine_transform():
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([1.1, 0.2, -0.1, -0.15, 0.9, 0.05, 0.1, -0.2, 1.05])
    transform.SetCenter((10.0, -250.0, 31.0))
    transform.SetTranslation((-12.0, 300.5, 7.25))
    return transform


def versor():
    return sitk.VersorRigid3DTransform((0.1, -0.2, 0.15, 0.9), (5.0, -700.0, 3.0), (10.0, 20.0, -130.0))


def euler():
    return sitk.Euler3DTransform((300.0, -180.0, 1210.0), 0.1, -0.2, 0.15, (12.0, -340.0, 55.5))


def similarity():
    transform = sitk.Similarity3DTransform()
    transform.SetParameters((0.1, -0.2, 0.15, 5.0, -700.0, 3.0, 1.25))
    return transform


LINEAR = {
    "euler": euler,
    "versor": versor,
    "similarity": similarity,
    "affine": affine_transform,
    "translation": lambda: sitk.TranslationTransform(3, (1.0, -2.0, 300.0)),
    "composite": lambda: sitk.CompositeTransform([affine_transform(), euler(), versor()]),
}


def agrees(matrix, transform, rng):
    points_world = rng.uniform(-300, 300, (20, 3))
    theirs = [np.array(transform.TransformPoint((p * FLIP).tolist())) * FLIP for p in points_world]
    np.testing.assert_allclose(points_world @ matrix[:3, :3].T + matrix[:3, 3], theirs, rtol=0, atol=1e-8)


@pytest.mark.parametrize("extension", [".tfm", ".txt", ".h5"])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_transforms_of_itk(tmp_path, rng, name, extension):
    transform = LINEAR[name]()
    path = tmp_path / f"init{extension}"
    sitk.WriteTransform(transform, str(path))
    agrees(read_linear(path), transform, rng)


@pytest.mark.parametrize("kind", ["AffineTransform", "MatrixOffsetTransformBase"])
@pytest.mark.parametrize("precision", ["double", "float"])
def test_a_matlab_file_of_ants(tmp_path, rng, kind, precision):
    transform = affine_transform()
    path = tmp_path / "0GenericAffine.mat"
    dtype = {"double": np.float64, "float": np.float32}[precision]
    content = {
        f"{kind}_{precision}_3_3": np.array(transform.GetParameters(), dtype)[:, None],
        "fixed": np.array(transform.GetFixedParameters(), dtype)[:, None],
    }
    savemat(path, content, format="4")
    matrix = read_linear(path)
    if precision == "double":
        agrees(matrix, transform, rng)
    else:
        np.testing.assert_allclose(matrix @ [10, 20, 30, 1], _moved(transform, [10, 20, 30]), atol=1e-3)


def _moved(transform, point_world):
    return [*np.array(transform.TransformPoint((point_world * FLIP).tolist())) * FLIP, 1]


def test_a_file_that_ants_wrote(tmp_path):
    ants = pytest.importorskip("ants", reason="antspyx is not installed")
    transform = affine_transform()
    theirs = ants.create_ants_transform(
        dimension=3,
        transform_type="AffineTransform",
        matrix=np.reshape(transform.GetMatrix(), (3, 3)),
        translation=transform.GetTranslation(),
        center=transform.GetCenter(),
    )
    ants.write_transform(theirs, str(tmp_path / "affine.mat"))
    matrix = read_linear(tmp_path / "affine.mat")
    for point_world in ([10.0, 20, 30], [-100.0, 200, 5]):
        moved = np.array(theirs.apply_to_point((point_world * FLIP).tolist())) * FLIP
        np.testing.assert_allclose((matrix @ [*point_world, 1])[:3], moved, atol=1e-3)  # it holds float32


def test_written_linear_transforms_are_read_by_itk(tmp_path, rng):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [10, 20, -30], degrees=True).as_matrix() * 1.2
    matrix[:3, 3] = [300, -20.5, 1 / 3]
    write_linear(tmp_path / "linear.tfm", matrix)
    agrees(matrix, sitk.ReadTransform(str(tmp_path / "linear.tfm")), rng)
    np.testing.assert_allclose(read_linear(tmp_path / "linear.tfm"), matrix, atol=1e-9)


@pytest.fixture(params=["right-angled", "sheared"])
def field(request):
    """A smooth random displacement in RAS mm and the affine of its lattice."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag([0.8, -1.3, 3.1])
    affine[:3, 3] = [-31.25, 170.5, 1200]
    if request.param == "sheared":
        affine[:3, 2] += 0.3 * affine[:3, 1]
    return np.random.default_rng(1).normal(0, 5, (4, 5, 6, 3)).astype(np.float32), affine


def test_itk_reads_the_composite(tmp_path, field):
    displacement_mm, affine = field
    write_composite(tmp_path / "transform.h5", displacement_mm, affine)
    transform = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    for index in [(0, 0, 0), (3, 4, 5), (1, 3, 2)]:
        point_world = (affine @ [*index, 1])[:3]
        moved = np.array(transform.TransformPoint((point_world * FLIP).tolist())) * FLIP
        np.testing.assert_allclose(moved - point_world, displacement_mm[index], atol=1e-4)


def test_the_written_field_is_a_nifti_vector_image(tmp_path, field):
    displacement_mm, affine = field
    write_displacement(tmp_path / "displacement.nii.gz", displacement_mm, affine, frame=2)
    image = nib.load(tmp_path / "displacement.nii.gz")
    assert image.header["dim"].tolist() == [5, 4, 5, 6, 1, 3, 1, 1]
    assert image.header["intent_code"] == 1007
    assert image.header["sform_code"] == 2
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(image.get_fdata()[:, :, :, 0], displacement_mm * FLIP)


def test_itk_reads_the_field(tmp_path, field, request):
    displacement_mm, affine = field
    write_displacement(tmp_path / "displacement.nii.gz", displacement_mm, affine)
    if "sheared" in request.node.name:  # ITK's NIfTI reader refuses shear rather than misplacing it
        with pytest.raises(RuntimeError, match="orthonormal"):
            sitk.ReadImage(str(tmp_path / "displacement.nii.gz"))
        return
    transform = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    )
    for index in [(0, 0, 0), (3, 4, 5), (1, 3, 2)]:
        point_world = (affine @ [*index, 1])[:3]
        moved = np.array(transform.TransformPoint((point_world * FLIP).tolist())) * FLIP
        np.testing.assert_allclose(moved - point_world, displacement_mm[index], atol=1e-3)


def bspline():
    return sitk.BSplineTransformInitializer(sitk.Image(8, 9, 10, sitk.sitkFloat32), [3, 3, 3])


def displacement_field():
    return sitk.DisplacementFieldTransform(sitk.Image([3, 4, 5], sitk.sitkVectorFloat64, 3))


@pytest.mark.parametrize(
    ("transform", "cause"),
    [
        (bspline(), "not linear"),
        (displacement_field(), "not linear"),
        (sitk.CompositeTransform([euler(), displacement_field()]), "not linear"),
        (sitk.Euler2DTransform(), "2D"),
    ],
    ids=["bspline", "field", "composite", "2D"],
)
def test_other_transforms_are_refused(tmp_path, transform, cause):
    path = tmp_path / "init.h5"
    sitk.WriteTransform(transform, str(path))
    with pytest.raises(UserError, match=cause) as caught:
        read_linear(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["init.tfm", "init.h5", "init.mat", "init.nii.gz", "init.dat"])
def test_other_files_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("not a transform")
    with pytest.raises(UserError, match="cannot be read as an ITK transform; give") as caught:
        read_linear(path)
    assert str(caught.value).startswith(f"{path}: ")


TRANSLATIONS = """#Insight Transform File V1.0
#Transform 0
Transform: TranslationTransform_double_3_3
Parameters: 1 2 3
FixedParameters:
#Transform 1
Transform: TranslationTransform_double_3_3
Parameters: 10 20 30
FixedParameters:
"""


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("flirt.mat", "1 0 0 1\n0 1 0 2\n0 0 1 3\n0 0 0 1\n", "bare 4x4 matrix, as FSL's FLIRT writes"),
        ("t.txt", '// a comment\n(Transform "AffineTransform")\n', "is a parameter file of elastix"),
        ("t.txt", '(Transform "AffineTransform")\n(NumberOfParameters 12)\n', "is a parameter file of elastix"),
        ("t.tfm", TRANSLATIONS.replace("1 2 3", "nan 2 3"), "whose numbers cannot be read"),
        ("t.tfm", TRANSLATIONS[:90], "an ITK transform that is truncated"),
        ("t.xfm", "MNI Transform File\n", "is a MINC transform"),
        ("t.tfm", "", "is empty"),
    ],
)
def test_another_programs_transform_is_named(tmp_path, name, text, cause):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=cause):
        read_linear(tmp_path / name)


def test_images_and_archives_are_no_initial_alignment(tmp_path, field):
    write_displacement(tmp_path / "displacement.nii.gz", *field)
    with pytest.raises(UserError, match=r"is an image \(NIfTI\), perhaps a displacement field.* must be linear"):
        read_linear(tmp_path / "displacement.nii.gz")
    np.savez(tmp_path / "transform.npz", a=1)
    with pytest.raises(UserError, match=r"tfreg's own transform.npz.*give linear.tfm"):
        read_linear(tmp_path / "transform.npz")


def test_transforms_side_by_side_are_refused(tmp_path):
    path = tmp_path / "two.tfm"
    path.write_text(TRANSLATIONS)
    # SimpleITK reads the first, and says nothing.
    assert sitk.ReadTransform(str(path)).TransformPoint((0, 0, 0)) == (1, 2, 3)
    with pytest.raises(UserError, match="holds 2 transforms that are not joined to a composite"):
        read_linear(path)
    joined = TRANSLATIONS.replace("#Transform 1", "#Transform 2").replace("#Transform 0", "#Transform 1")
    path.write_text(joined.replace("V1.0\n", "V1.0\n#Transform 0\nTransform: CompositeTransform_double_3_3\n"))
    np.testing.assert_allclose(read_linear(path)[:3, 3], [-11, -22, 33])


def test_hdf5_transforms_side_by_side_are_refused(tmp_path):
    sitk.WriteTransform(LINEAR["translation"](), str(tmp_path / "one.h5"))
    with h5py.File(tmp_path / "one.h5") as source, h5py.File(tmp_path / "two.h5", "w") as target:
        for name in source:
            source.copy(name, target)
        source.copy("TransformGroup/0", target["TransformGroup"], "1")
    assert sitk.ReadTransform(str(tmp_path / "two.h5")).GetName() == "TranslationTransform"
    with pytest.raises(UserError, match="holds 2 transforms"):
        read_linear(tmp_path / "two.h5")
    np.testing.assert_allclose(read_linear(tmp_path / "one.h5")[:3, 3], [-1, 2, 300])


def test_a_small_scale_is_not_singular(tmp_path):
    transform = sitk.AffineTransform(3)
    transform.Scale(1e-4)  # from micrometres to tenths of a metre
    sitk.WriteTransform(transform, str(tmp_path / "a.tfm"))
    np.testing.assert_allclose(read_linear(tmp_path / "a.tfm"), np.diag([1e-4, 1e-4, 1e-4, 1]))


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "t\udcff.tfm"  # the byte 255, at which ITK would end the process
    path.write_text(TRANSLATIONS)
    with pytest.raises(UserError, match="the name is not UTF-8"):
        read_linear(path)
    with pytest.raises(UserError, match="the name is not UTF-8"):
        write_linear(path, np.eye(4))


def test_a_singular_matrix_is_refused(tmp_path):
    path = tmp_path / "init.tfm"
    sitk.WriteTransform(euler(), str(path))
    text = path.read_text().replace("Euler3DTransform", "AffineTransform")
    lines = [line for line in text.splitlines() if not line.startswith(("Parameters", "FixedParameters"))]
    lines += ["Parameters: 1 0 0 1 0 0 0 0 1 5 6 7", "FixedParameters: 0 0 0"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="not invertible"):
        read_linear(path)


def test_threads_write_and_read_side_by_side(tmp_path, rng):
    """HDF5 looks at every file that SimpleITK reads, and breaks what another thread writes meanwhile."""
    displacement_mm = rng.standard_normal((9, 8, 7, 3))
    matrix = np.eye(4)

    def write_fields():
        for number in range(30):
            write_composite(tmp_path / f"{number}.h5", displacement_mm, np.eye(4))

    def write_matrices():
        for _ in range(30):
            write_linear(tmp_path / "linear.tfm", matrix)

    def write_images():
        for _ in range(30):
            write_itk(tmp_path / "a.mha", displacement_mm[..., 0], np.eye(4))
            read_itk(tmp_path / "a.mha")

    with ThreadPoolExecutor(3) as pool:
        for work in [pool.submit(function) for function in (write_fields, write_matrices, write_images)]:
            work.result()
    for number in range(30):
        transform = sitk.ReadTransform(str(tmp_path / f"{number}.h5"))
        moved = np.array(transform.TransformPoint((-3.0, -4.0, 5.0))) * FLIP - [3, 4, 5]
        np.testing.assert_allclose(moved, displacement_mm[3, 4, 5], rtol=0, atol=1e-9)
