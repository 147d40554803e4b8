"""The ways of registering a pair that `tfreg evaluate` compares."""

import importlib.metadata
import re
from dataclasses import asdict, dataclass

from tfreg.config import RegistrationOptions, checked
from tfreg.errors import UserError
from tfreg.evaluation.baselines import BASELINES, check_baselines
from tfreg.io.folders.input_digests import file_digest
from tfreg.registration.trained_run import find_run

INITIAL, READERS, REFINED = "initial", "inter-observer", "refined"


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Args:
        name: What tables and files call it.
        kind: "initial", "tfreg", "baseline", or "readers" for the distance between two readers' landmarks.
        model: The model's file, or None.
        model_sha256, model_config: Of that file and of the config beside it, or None.
        refine: Whether the transform is optimised for each pair.
        preset, similarity, smoothness: Of the refinement, or None.
        transform: "linear", "deformable" or "both", of tfreg's own.
        version: Of a baseline's package, or None.
    """

    name: str
    kind: str
    model: str | None = None
    model_sha256: str | None = None
    model_config: str | None = None
    refine: bool = False
    preset: str | None = None
    similarity: str | None = None
    smoothness: float | None = None
    transform: str = "both"
    version: str | None = None

    def definition(self):
        """What must be the same for two results to be of one method, a dictionary; where the model lies is not."""
        return {name: value for name, value in asdict(self).items() if name not in ("name", "model")}

    def settings(self):
        """One line for people."""
        if self.kind == "baseline":
            return f"{BASELINES[self.name].settings} ({BASELINES[self.name].package} {self.version})"
        if self.kind == "initial":
            return "the initial alignment alone"
        if self.kind == "readers":
            return "distance between the moving landmarks of two readers"
        parts = [{"linear": "linear part only", "deformable": "deformable part only"}.get(self.transform, "both parts")]
        if self.model is not None:
            parts.append(f"network {self.model_sha256[:12]}")
        if self.refine:
            start = "from nothing" if self.model is None else "from the network's prediction"
            parts.append(f"refined {start}, preset {self.preset}")
            parts += [f"similarity {self.similarity}"] if self.similarity else []
            parts += [f"smoothness {self.smoothness:g}"] if self.smoothness is not None else []
        return ", ".join(parts)


def plan_methods(
    models=(), refine=False, refine_models=False, transforms=("both",), baselines=(), preset="quality", **refinement
):
    """The methods that are asked for, the initial alignment first.

    Args:
        models: Run folders or .keras files; each gives a method named after its run's folder.
        refine: Adds the refinement from nothing.
        refine_models: Adds the refinement from each model's prediction.
        transforms: Which parts are used, each a method of its own.
        baselines: Names in `tfreg.evaluation.baselines.BASELINES`.
        preset: Of the refinement; `refinement` may hold its `similarity` and `smoothness`.

    Returns:
        A list of `Method`.

    Raises:
        UserError: If a model cannot be found, an option is not valid, a name occurs twice, or a baseline is missing.
    """
    for transform in transforms:
        checked(RegistrationOptions, transform=transform, preset=preset, **refinement)
    if not transforms:
        raise UserError("--transforms: choose some of linear, deformable, both")
    if not (refine or (refine_models and models)) and any(value is not None for value in refinement.values()):
        name = next(name for name, value in refinement.items() if value is not None)
        raise UserError(f"--{name}: is of the refinement, which is not asked for; add --refine, or leave it out")
    check_baselines(baselines)
    optimised = {"refine": True, "preset": preset, **refinement}
    found = [Method(INITIAL, "initial")]
    for model in models:
        file, _ = find_run(model)
        name = file.absolute().parent.name
        network = {"model": str(file.absolute()), "model_sha256": file_digest(file)}
        network["model_config"] = file_digest(file.with_name("config.yaml"))
        found += _each_part(name, transforms, **network)
        if refine_models:
            found += _each_part(f"{name}-{REFINED}", transforms, **network, **optimised)
    if refine:
        found += _each_part(REFINED, transforms, **optimised)
    for name in baselines:
        version = importlib.metadata.version(BASELINES[name].package)
        found.append(Method(name, "baseline", version=version))
    names = [method.name for method in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: names two methods; rename a run's folder")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"{name}: methods name files; give the run's folder a name of letters, digits, -, _ and .")
    if len(found) == 1:
        raise UserError("nothing to evaluate; give --model RUN, --refine or --baselines syn,greedy")
    return found


def reference_of(methods, name=None):
    """The method that the others are compared with: the one named, else the refinement, else the first network.

    Raises:
        UserError: If there is none of that name.
    """
    names = [method.name for method in methods]
    if name is not None and name not in names:
        raise UserError(f"--reference {name}: choose {', '.join(names)}")
    if name is not None:
        return name
    return REFINED if REFINED in names else names[1]


def _each_part(name, transforms, **options):
    """One method for each of the parts; that of both has the bare name."""
    for transform in transforms:
        yield Method(name if transform == "both" else f"{name}-{transform}", "tfreg", transform=transform, **options)
