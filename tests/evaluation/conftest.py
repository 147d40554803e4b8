"""People with two phases each, and an evaluation of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tfreg.config import EvaluationOptions, dump_config, parse_config
from tfreg.evaluation.evaluate import evaluate
from tfreg.io.formats import write_points, write_volume
from tfreg.runtime.resources import Resources
from tfreg.training.build_model import build_model
from tfreg.volumes.volume import Volume

SHAPE = (24, 28, 20)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Six people with two phases each: a blob that lies and beats differently, labels, and two readers' points."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(1)
    affine = np.diag([-2.0, 1.5, 2.5, 1.0])
    places = np.stack(np.indices(SHAPE), axis=-1)
    rows = ["id,subject,image,labels,core,points,points_second,phase,split"]
    for number in range(6):
        centre = np.array(SHAPE) / 2 + rng.uniform(-2.5, 2.5, 3)
        texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 3)
        for phase, size in (("ED", 7.0), ("ES", 5.5)):
            name = f"p{number}_{phase}"
            radius = np.linalg.norm((places - centre) / [1.0, 1.2, 0.9], axis=-1)
            image = np.clip(size + 1 - radius, 0, 3) + 0.05 * texture / texture.std() + 0.02 * places[..., 0]
            labels = np.select([radius < size / 2, radius < size], [4, 1], 0).astype(np.uint8)
            write_volume(folder / f"{name}.nii.gz", Volume(image.astype(np.float32), affine))
            write_volume(folder / f"{name}_labels.nii.gz", Volume(labels, affine))
            write_volume(folder / f"{name}_core.nii.gz", Volume(np.where(labels == 4, 1, 0).astype(np.uint8), affine))
            corners = centre + size * np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 0, 0]])
            points = Volume(labels, affine).lattice.to_world(corners)
            write_points(folder / f"{name}.csv", points)
            write_points(folder / f"{name}_2.csv", points + np.array([1.0, -2.0, 2.0]))
            rows.append(
                f"{name},p{number},{name}.nii.gz,{name}_labels.nii.gz,{name}_core.nii.gz,{name}.csv,{name}_2.csv,{phase},"
                f"{'train' if number == 0 else 'validation'}"
            )
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def evaluated(people, tmp_path_factory):
    """An evaluation of two experiments with a network, the refinement and a classical tool, one file cut short."""
    folder = tmp_path_factory.mktemp("evaluated")
    config = parse_config({"model": {"encoder_filters": [3], "encoder_dilations": [1], "decoder_filters": [4]}})
    (folder / "tiny").mkdir()
    build_model(config).save(folder / "tiny" / "model.keras")
    (folder / "tiny" / "config.yaml").write_text(dump_config(config))
    broken = people / "p3_ED.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    try:
        summary = evaluate(
            people / "subjects.csv",
            folder / "out",
            EvaluationOptions(
                models=[folder / "tiny"],
                refine=True,
                preset=("fast",),
                parts=("linear", "both"),
                baselines=("demons",),
                pairs=("ED:ES", "all:ED"),
                split="validation",
                count=4,
            ),
            Resources(threads=1, workers=2),
        )
    finally:
        broken.write_bytes(whole)
    return folder / "out", summary


@pytest.fixture
def demons_command(people):
    """A function from the folder of an evaluation, and more options, to a command of two processes."""

    def command(out, *more):
        words = [str(Path(sys.executable).with_name("tfreg")), "evaluate", "--data", str(people / "subjects.csv")]
        words += ["--pairs", "all:ED", "--baselines", "demons", "--workers", "2", "--threads", "1", "--out", str(out)]
        return [*words, *more]

    return command
