"""A trained classifier: its networks, the regression beside them, and the folder that holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfreg.classification.ensemble import Ensemble, fit_ensemble
from tfreg.classification.features import Deformations
from tfreg.classification.regression import JacobianRegression, fit_regression
from tfreg.classification.summary import ClassifierReport
from tfreg.config import Classification, dump_config, load_written_config
from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.folders.result_folder import Kind
from tfreg.registration.trained_run import find_run
from tfreg.runtime.keras_settings import own_keras_settings

CONFIG, REPORT, REGRESSION_FILE = "config.yaml", "classifier.json", "regression.json"
CLASSIFIER = Kind("a classifier", REPORT, (r"config\.yaml|regression\.json", r"(displacement|log_jacobian)/\d+\.keras"))
REGRESSION = "logistic regression"
NETWORKS = {"displacement": "network, displacement", "log_jacobian": "network, log Jacobian"}


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """Methods of telling healthy from ill that were trained on one cohort.

    Args:
        config: What they were made by.
        ensembles: Input, "displacement" or "log_jacobian", to its networks.
        regression: What the networks must beat.
    """

    config: Classification
    ensembles: dict[str, Ensemble]
    regression: JacobianRegression

    def probabilities(self, deformations: Deformations) -> dict[str, np.ndarray]:
        """The probability of being ill by each method.

        Args:
            deformations: Of `n` subjects.

        Returns:
            Dictionary of method to `(n,)`; the first is the one that predicts.
        """
        networks = {
            NETWORKS[kind]: ensemble.predict(deformations.inputs[kind]) for kind, ensemble in self.ensembles.items()
        }
        return networks | {REGRESSION: self.regression.predict(deformations.features)}


def fit_classifier(
    deformations: Deformations,
    targets: np.ndarray,
    config: Classification,
    seed: int,
    on_network: Callable[[], None] = lambda: None,
) -> TrainedClassifier:
    """Trains all methods on one cohort.

    Args:
        deformations: Of `n` subjects.
        targets: `(n,)`, 0 healthy and 1 ill.
        config: Networks and folds.
        seed: Of everything random.
        on_network: Called after each network.

    Returns:
        What was trained.

    Raises:
        WorkError: If a training diverges.
    """
    ensembles = {
        kind: fit_ensemble(deformations.inputs[kind], targets, config.network, config.folds, seed, on_network)
        for kind in config.inputs
    }
    regression = fit_regression(deformations.features, targets, deformations.names, config.network.balanced)
    return TrainedClassifier(config, ensembles, regression)


def save_classifier(folder: Path, classifier: TrainedClassifier, report: ClassifierReport) -> None:
    """Writes a classifier into a folder that is there.

    Args:
        folder: Of the classifier.
        classifier: What was trained.
        report: What classifier.json shall say.
    """
    (folder / CONFIG).write_text(dump_config(classifier.config), encoding="utf-8")
    for kind, ensemble in classifier.ensembles.items():
        (folder / kind).mkdir()
        for number, network in enumerate(ensemble.networks, 1):
            network.save(folder / kind / f"{number}.keras")
    (folder / REGRESSION_FILE).write_text(classifier.regression.text(), encoding="utf-8")
    (folder / REPORT).write_text(report.text(), encoding="utf-8")


def read_report(folder: str | Path) -> tuple[ClassifierReport, Classification]:
    """What a classifier's classifier.json says, and its config, without loading Keras.

    Args:
        folder: That `tfreg classify train` wrote.

    Returns:
        The report and the config.

    Raises:
        UserError: If the folder holds no classifier, or is damaged.
    """
    folder = Path(folder)
    if not (folder / REPORT).is_file():
        raise UserError(f"{folder}: holds no classifier; give a folder that `tfreg classify train` wrote")
    return ClassifierReport.read(folder / REPORT), load_written_config(folder / CONFIG, Classification)


def trained_with(folder: str | Path, model: str | Path | None = None) -> tuple[ClassifierReport, Classification]:
    """A classifier's report, and its config with the registration network where it lies now.

    Args:
        folder: That `tfreg classify train` wrote.
        model: Where the registration network lies now; None takes where it was.

    Returns:
        The report and the config.

    Raises:
        UserError: If the folder holds no classifier, or the network is not the one that it was trained with.
    """
    report, config = read_report(folder)
    if model is not None:
        registration = config.registration.model_copy(update={"model": str(model)})
        config = config.model_copy(update={"registration": registration})
    if config.registration.model is not None:
        file, _ = find_run(config.registration.model)
        if file_digest(file) != report.registration_model_sha256:
            raise UserError(
                f"{file}: is not the network that the classifier was trained with; name that one by --model"
            )
    return report, config


@own_keras_settings()
def load_classifier(folder: str | Path) -> TrainedClassifier:
    """Loads a classifier.

    Args:
        folder: That `tfreg classify train` wrote.

    Returns:
        The classifier.

    Raises:
        UserError: If the folder holds no classifier, or is damaged.
    """
    import keras

    folder = Path(folder)
    _, config = read_report(folder)
    try:
        ensembles = {
            kind: Ensemble(
                [keras.saving.load_model(folder / kind / f"{number + 1}.keras") for number in range(config.folds)]
            )
            for kind in config.inputs
        }
        regression = JacobianRegression.read(folder / REGRESSION_FILE)
    # Whatever a damaged file makes Keras raise, the file is what is wrong.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: cannot be loaded as a classifier ({reason}); train it again") from error
    return TrainedClassifier(config, ensembles, regression)
