"""The Markdown of a classification: metrics of every method, and which groups are told apart."""

from tfreg.classification.summary import ClassificationSummary
from tfreg.report.table import Table
from tfreg.spelling import some_of


def classification_text(summary: ClassificationSummary) -> str:
    """The whole text.

    Args:
        summary: What is told.

    Returns:
        Markdown.
    """
    methods = summary.methods
    first = next(iter(methods.values()))
    lines = [
        f"{_subjects(first.subjects, summary.failures)}, {first.ill} of them ill; {summary.source}; "
        f"ill from a probability of {summary.threshold:g} on."
        + (" **The groups were shuffled: a control.**" if summary.shuffled else ""),
        "",
        *_metrics(methods).markdown(),
        "",
        "Accuracy: share of all, with Wilson's 95 % interval. AUC: area under the ROC curve, with Newcombe's 95 % "
        "interval; p: of 10,000 permutations of the held-out groups within each fold. Brier: mean squared error of the "
        f"probabilities; telling everyone the share of the ill has {first.brier_of_prevalence:.3f}. Calibration: "
        "slope (1: as sure as it should be) and intercept (above 0: probabilities are too low).",
        "",
        *_against(summary.against_regression),
        "",
        *_groups(summary.groups, next(iter(methods))).markdown(),
    ]
    if summary.seen_in_training:
        lines += ["", f"Left out, because the classifier was trained on them: {summary.seen_in_training} subjects."]
    if summary.seen_by_registration is None:
        lines += ["", "Whether the registration network was trained on any of them is not known: its run does not say."]
    elif summary.seen_by_registration:
        people = summary.seen_by_registration
        lines += ["", f"The registration network had seen {len(people)} of them in its training: {some_of(people)}."]
    if summary.to_review:
        lines += ["", f"Registrations to be reviewed: {len(summary.to_review)} ({', '.join(summary.to_review)})."]
    if summary.failures:
        lines += ["", "Left out, because the registration failed:", ""]
        lines += [f"- {subject}: {error}" for subject, error in summary.failures.items()]
    return "\n".join(lines) + "\n"


def _subjects(count, failures):
    """How many subjects the metrics are of, and of how many where some could not be registered."""
    return f"{count} of {count + len(failures)} subjects" if failures else f"{count} subjects"


def _metrics(methods):
    columns = ("accuracy %", "balanced %", "sensitivity %", "specificity %", "AUC", "p", "Brier", "calibration")
    return Table(columns, tuple((name, _cells(metrics)) for name, metrics in methods.items()), "method")


def _cells(metrics):
    low, high = (100 * value for value in metrics.accuracy_interval)
    slope = "-" if metrics.calibration_slope is None else f"{metrics.calibration_slope:.2f}"
    shares = (metrics.balanced_accuracy, metrics.sensitivity, metrics.specificity)
    return (
        f"{100 * metrics.accuracy:.1f} ({low:.0f} to {high:.0f})",
        *(f"{100 * share:.1f}" for share in shares),
        "{:.3f} ({:.3f} to {:.3f})".format(metrics.auc, *metrics.auc_interval),
        "< 0.001" if metrics.p < 0.001 else f"{metrics.p:.3f}",
        f"{metrics.brier:.3f}",
        f"{slope}, {metrics.calibration_intercept:+.2f}",
    )


def _against(differences):
    """Whether the networks are worth it."""
    for name, area in differences.items():
        low, high = area.interval
        judgement = "beats" if low > 0 else "loses to" if high < 0 else "does not beat"
        difference = f"{area.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        yield f"- {name} {judgement} the logistic regression: AUC {difference}."


def _groups(groups, method):
    rows = tuple(
        (
            name,
            (
                str(group.subjects),
                f"{group.mean_probability:.2f}",
                f"{group.called_ill} ({100 * group.called_ill / group.subjects:.0f} %)",
            ),
        )
        for name, group in groups.items()
    )
    return Table(("subjects", "mean probability", "called ill"), rows, f"group, {method}")
