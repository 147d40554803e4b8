"""The suite in several processes: one thread each, and the long files first."""

import gc
import os

from hypothesis import given, settings, strategies

# The longest, so that no process is left alone with one of them at the end.
LONG = (
    "tests/test_jax_backend.py",
    "tests/training/test_resume.py",
    "tests/refinement/test_refine.py",
    "tests/test_readme.py",
    "tests/serving/test_request.py",
    "tests/training/test_train.py",
    "tests/refinement/test_linear_stage.py",
    "tests/classification/test_classify.py",
    "tests/serving/test_export.py",
    "tests/tuning/test_tune.py",
    "tests/models/test_registration_network.py",
    "tests/refinement/test_two_threads.py",
    "tests/registration/test_verdict.py",
    "tests/evaluation/test_evaluate.py",
    "tests/serving/test_server_load.py",
    "tests/evaluation/test_interruption.py",
)


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        # Before TensorFlow is loaded; processes that tests start inherit it.
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


def pytest_collection_finish(session):
    if hasattr(session.config, "workerinput"):
        _first_example()
        gc.callbacks.append(_keep_what_stayed)
        gc.collect()


@settings(max_examples=1, derandomize=True, database=None)
@given(strategies.none())
def _first_example(nothing):
    """Has Hypothesis make its random generator, whose owner it would not find among what is kept."""


def _keep_what_stayed(phase, info):
    """What outlives a full collection is not looked through again: modules, thousands of tests, traced models."""
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
