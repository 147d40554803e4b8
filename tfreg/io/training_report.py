"""What the report.json of a finished training says."""

from typing import ClassVar

from tfreg.io.json_files import Measured, Record

REPORT = "report.json"  # in the run's folder


class TrainingReport(Record):
    """How a run was trained, and with what result.

    Args:
        versions: Of tfreg and the packages that the result depends on.
        seed: Of everything random.
        parameters: How many weights the network has.
        epochs: How many were trained.
        best: The best epoch's columns of history.csv, with `epoch` from 0 on.
        model_sha256: Of model.keras.
        training_pairs, validation_pairs: How many.
        seconds: Since the last resume.
        cpu_seconds: Of the process, since the last resume.
        peak_memory_gib: Of the process.
        resumed_after_epoch: How many epochs were done before the last resume, or None.
        warnings: One line each.
        finished: False where `training.seconds` were over before the last epoch; no such report is written.
    """

    CURE: ClassVar[str] = "delete it, and the end of the training is done again"

    versions: dict[str, str]
    seed: int
    parameters: int
    epochs: int
    best: dict[str, Measured]
    model_sha256: str
    training_pairs: int
    validation_pairs: int
    seconds: float
    cpu_seconds: float
    peak_memory_gib: float
    resumed_after_epoch: int | None
    warnings: tuple[str, ...]
    finished: bool = True
