"""Where the suite's time goes: `--durations-file` keeps the seconds of each test and of each file."""

import csv
from collections import Counter
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--durations-file", type=Path, help="CSV for the seconds of each file and test")


def pytest_configure(config):
    path = config.getoption("--durations-file")
    if path and not hasattr(config, "workerinput"):  # xdist's workers hand their reports to the main process
        config.pluginmanager.register(Durations(path))


class Durations:
    """Adds up set-up, test and tear-down."""

    def __init__(self, path):
        self.path = path
        self.seconds = Counter()

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self):
        files = Counter()
        for test, seconds in self.seconds.items():
            files[test.partition("::")[0]] += seconds
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["kind", "name", "seconds"])
            for kind, counted in (("suite", {"": sum(files.values())}), ("file", files), ("test", self.seconds)):
                for name, seconds in sorted(counted.items(), key=lambda entry: -entry[1]):
                    writer.writerow([kind, name, f"{seconds:.2f}"])
