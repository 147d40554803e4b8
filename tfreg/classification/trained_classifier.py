"""A trained classifier: its networks, the regression beside them, and the folder that holds it."""

import json
from dataclasses import dataclass
from pathlib import Path

from tfreg.classification.classifiers import Ensemble, JacobianRegression, fit_ensemble, fit_regression
from tfreg.config import Classification, dump_config, load_written_config
from tfreg.errors import UserError
from tfreg.io.folders.result_folder import Kind
from tfreg.runtime.keras_settings import own_keras_settings

CONFIG, REPORT, REGRESSION_FILE = "config.yaml", "classifier.json", "regression.json"
CLASSIFIER = Kind("a classifier", REPORT, (r"config\.yaml|regression\.json", r"(displacement|log_jacobian)/\d+\.keras"))
REGRESSION = "logistic regression"
NETWORKS = {"displacement": "network, displacement", "log_jacobian": "network, log Jacobian"}


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """Ways of telling healthy from ill that were trained on one cohort.

    Args:
        config: A `tfreg.config.Classification`.
        ensembles: Dictionary of input, "displacement" or "log_jacobian", to `Ensemble`.
        regression: A `JacobianRegression`.
    """

    config: Classification
    ensembles: dict[str, Ensemble]
    regression: JacobianRegression

    def probabilities(self, deformations):
        """The probability of being ill by each method.

        Args:
            deformations: `tfreg.classification.features.Deformations`.

        Returns:
            Dictionary of method to `(n,)`; the first is the one that predicts.
        """
        found = {
            NETWORKS[kind]: ensemble.predict(deformations.inputs[kind]) for kind, ensemble in self.ensembles.items()
        }
        return found | {REGRESSION: self.regression.predict(deformations.features)}


def fit_classifier(deformations, targets, config, seed, on_network=lambda: None):
    """Trains all methods on one cohort.

    Args:
        deformations: `tfreg.classification.features.Deformations`.
        targets: `(n,)`, 0 healthy and 1 ill.
        config: A `tfreg.config.Classification`.
        seed: Of everything random.
        on_network: Called after each network.

    Returns:
        A `TrainedClassifier`.
    """
    ensembles = {
        kind: fit_ensemble(deformations.inputs[kind], targets, config.network, config.folds, seed, on_network)
        for kind in config.inputs
    }
    regression = fit_regression(deformations.features, targets, deformations.names, config.network.balanced)
    return TrainedClassifier(config, ensembles, regression)


def save_classifier(folder, classifier, report):
    """Writes a classifier into a folder that is there.

    Args:
        folder: A `Path`.
        classifier: A `TrainedClassifier`.
        report: What classifier.json shall say, a dictionary.
    """
    (folder / CONFIG).write_text(dump_config(classifier.config), encoding="utf-8")
    for kind, ensemble in classifier.ensembles.items():
        (folder / kind).mkdir()
        for number, network in enumerate(ensemble.networks, 1):
            network.save(folder / kind / f"{number}.keras")
    classifier.regression.save(folder / REGRESSION_FILE)
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_report(folder):
    """What a classifier's classifier.json says, and its config, without loading Keras.

    Args:
        folder: That `tfreg classify train` wrote.

    Returns:
        A dictionary and a `tfreg.config.Classification`.

    Raises:
        UserError: If the folder holds no classifier, or is damaged.
    """
    folder = Path(folder)
    if not (folder / REPORT).is_file():
        raise UserError(f"{folder}: holds no classifier; give a folder that `tfreg classify train` wrote")
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / REPORT}: is damaged; train the classifier again") from error
    return report, load_written_config(folder / CONFIG, Classification)


@own_keras_settings()
def load_classifier(folder):
    """Loads a classifier.

    Args:
        folder: That `tfreg classify train` wrote.

    Returns:
        A `TrainedClassifier`.

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
        regression = JacobianRegression.load(folder / REGRESSION_FILE)
    # Whatever a damaged file makes Keras raise, the file is what is wrong.
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: cannot be loaded as a classifier ({reason}); train it again") from error
    return TrainedClassifier(config, ensembles, regression)
