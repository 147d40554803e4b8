"""The methods of registering a pair that `tfreg evaluate` compares."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from tfreg.config import EvaluationOptions, RegistrationOptions
from tfreg.config.refinement import OF_REFINEMENT
from tfreg.errors import UserError
from tfreg.evaluation.baselines.registry import BASELINES
from tfreg.evaluation.commands import COMMANDS
from tfreg.io.digests import file_digest
from tfreg.registration.trained_run import find_run

PARTS = {"linear": "linear part only", "deformable": "deformable part only", "both": "both parts"}
TOOLS = BASELINES | COMMANDS
HEADERS, INITIAL, OBSERVERS, REFINED = "headers", "initial", "inter-observer", "refined"


@dataclass(frozen=True)
class Definition:
    """What must be the same for two results to be of one method; where the model lies is not.

    Args:
        kind: "headers", "initial", "tfreg", "baseline", "command" for a whole one, or "observers" for
            the distance between two people's landmarks.
        options: Of tfreg's own, without `init`, which all methods share; else None.
        model_sha256, config_sha256: Of the model's file and of the config beside it, or None.
        version: Of a baseline's package, or None.
    """

    kind: str
    options: RegistrationOptions | None = None
    model_sha256: str | None = None
    config_sha256: str | None = None
    version: str | None = None

    def differences(self, other: "Definition") -> list[str]:
        """Names of what differs between the two."""
        names = [
            f.name for f in fields(self) if f.name != "options" and getattr(self, f.name) != getattr(other, f.name)
        ]
        if self.options is None or other.options is None:
            return names if self.options == other.options else [*names, "options"]
        return names + [name for name, value in self.options if value != getattr(other.options, name)]


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Args:
        name: What tables and files call it.
        kind: See `Definition`.
        options: A `RegistrationOptions`; `init` is from where every method starts, the others are tfreg's own.
        model: The model's file, or None.
        model_sha256, config_sha256: Of that file and of the config beside it, or None.
        version: Of a baseline's package, or None.
    """

    name: str
    kind: str
    options: RegistrationOptions
    model: str | None = None
    model_sha256: str | None = None
    config_sha256: str | None = None
    version: str | None = None

    def definition(self) -> Definition:
        """What results of the method have in common."""
        options = self.options.model_copy(update={"init": None}) if self.kind == "tfreg" else None
        return Definition(self.kind, options, self.model_sha256, self.config_sha256, self.version)

    def settings(self) -> str:
        """One line for people."""
        if self.kind in ("baseline", "command"):
            return f"{TOOLS[self.name].settings} ({TOOLS[self.name].package} {self.version})"
        if self.kind == "headers":
            return "no registration, the scanner coordinates as they are"
        if self.kind == "initial":
            return "the initial alignment alone"
        if self.kind == "observers":
            return "distance between the moving landmarks of two readers"
        options = self.options
        words = [PARTS[options.parts]]
        if self.model is not None:
            words.append(f"network {self.model_sha256[:12]}")
        if options.refine:
            start = "from nothing" if self.model is None else "from the network's prediction"
            words.append(f"refined {start}, preset {options.preset}")
            words += [f"similarity {options.similarity}"] if options.similarity else []
            words += [f"smoothness {options.smoothness:g}"] if options.smoothness is not None else []
            words += [f"search {options.search}"] if options.search != "none" else []
            words += [f"{options.linear} linear stage"] if options.linear != "affine" else []
        return ", ".join(words)


def plan_methods(options: EvaluationOptions) -> list[Method]:
    """The methods that are asked for, the initial alignment first.

    Args:
        options: Says which; a network's method is named after its run's folder.

    Returns:
        A list of `Method`, all with the same `options.init`.

    Raises:
        UserError: If a model is missing, a name occurs twice, or a baseline is not known or not installed.
    """
    tools = [name for name in options.baselines if name != HEADERS]
    check_baselines(tools)
    runs = [find_run(model) for model in options.networks]
    rule = options.init or (runs[0][1].preprocessing.init if runs else "header")
    plain = RegistrationOptions(init=rule, refine=False)
    methods = [Method(HEADERS, "headers", plain)] if HEADERS in options.baselines else []
    methods.append(Method(INITIAL, "initial", plain))
    for file, _ in runs:
        name = file.absolute().parent.name
        network = {"model": str(file.absolute()), "model_sha256": file_digest(file)}
        network["config_sha256"] = file_digest(file.with_name("config.yaml"))
        methods += _each_part(name, plain, options.parts, **network)
        if options.refine_models:
            methods += _refined(f"{name}-{REFINED}", plain, options, **network)
    if options.refines_from_nothing:
        methods += _refined(REFINED, plain, options)
    for name in tools:
        version = importlib.metadata.version(TOOLS[name].package)
        methods.append(Method(name, "command" if name in COMMANDS else "baseline", plain, version=version))
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: names two methods; rename a run's folder")
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"{name}: methods name files; give the run's folder a name of letters, digits, -, _ and .")
    if {HEADERS, INITIAL}.issuperset(names) and not options.models:
        raise UserError("nothing to evaluate; give --model RUN, --refine or --baselines syn,greedy")
    return methods


def check_baselines(names: Iterable[str]) -> None:
    """Refuses names of tools that are not known or not installed.

    Raises:
        UserError: If there is one.
    """
    for name in names:
        if name not in TOOLS:
            raise UserError(f"--baselines {name}: choose {', '.join([*TOOLS, HEADERS])}")
        if importlib.util.find_spec(TOOLS[name].module) is None:
            raise UserError(
                f"--baselines {name}: {TOOLS[name].package} is not installed; try pip install 'tfreg[bench]'"
            )


def reference_of(methods: list[Method], name: str | None = None) -> str:
    """The method that the others are compared with.

    Args:
        methods: A list of `Method`.
        name: Of the one asked for; None takes the first whole refinement from nothing, else the first that registers.

    Raises:
        UserError: If there is none of that name.
    """
    names = [method.name for method in methods]
    if name is not None and name not in names:
        raise UserError(f"--reference {name}: choose {', '.join(names)}")
    if name is not None:
        return name
    whole = [
        method.name
        for method in methods
        if method.kind == "tfreg" and method.model is None and method.options.parts == "both"
    ]
    registering = [method.name for method in methods if method.kind not in ("headers", "initial")]
    return next(iter([*whole, *registering, INITIAL]))


def _refined(name, plain, options, **network):
    """The methods that optimise the transform for each pair: one for each preset and part."""
    same = {"refine": True} | {name: getattr(options, name) for name in OF_REFINEMENT}
    for preset in options.preset:
        own = plain.model_copy(update=same | {"preset": preset})
        yield from _each_part(name if len(options.preset) == 1 else f"{name}-{preset}", own, options.parts, **network)


def _each_part(name, options, parts, **network):
    """One method for each of the parts; that of both has the bare name."""
    for part in parts:
        own = options.model_copy(update={"parts": part})
        yield Method(name if part == "both" else f"{name}-{part}", "tfreg", own, **network)
