"""What report.json says in words."""

import pytest
from reports import INDICATORS, REGION, report_with

from tfreg.report import pair_tables as tables
from tfreg.transforms.certificate import Certificate

ERRORS = dict.fromkeys(("sd_mm", "median_mm", "p95_mm", "max_mm"), 1.0) | {"count": 3, "mean_mm": 7.6, "dx_mm": -0.5}
REPORT = report_with(
    model={"name": "chest", "sha256": "ab" * 32},
    config={"seed": 1},
    init=[[1.0, 0.0, 0.0, 12.5]] * 4,
    refinement={"settings": {"similarity": "lncc", "steps": [40, 6]}, "seconds": {}},
    metrics={
        "before": {"correlation": 0.4, "outside_fraction": 0.155, "dice": {"1": 0.7, "12": None}, "mean_dice": 0.7},
        "after_init": {"correlation": 0.8, "landmarks": ERRORS},
        "after": {"mean_dice": 0.9, "dice": {"1": 0.9}, "landmarks": ERRORS | {"mean_mm": 1.5}},
    },
    quality_indicators=INDICATORS
    | {
        "local_correlation": 0.99,
        "outside_fraction": 0.028,
        "inverse_consistency_mm": {"mean": 0.5, "median": float("nan"), "p95": 1.0},
        "expected_error_mm": {"mean": 2.5, "median": 1.25, "p95": 4.0},
        "expected_error": 0.0123,
    },
    log_jacobian={
        "all": REGION | {"mean": -0.1, "volume_ml": 1234.56},
        "labels": REGION | {"mean": 0.1},
        "7": REGION | {"mean": 0.2, "sd": 3.0, "volume_change_percent": 17.94},
    },
    seconds={"total": 40.3},
    paths={"fixed": "/data/a.nii.gz"},
    seed=0,
)


def test_agreement():
    table = tables.agreement_table(REPORT)
    assert table.columns == ("by the headers", "initially aligned", "registered")
    rows = dict(table.rows)
    assert rows["Correlation"] == ("0.400", "0.800", "–")
    assert rows["Outside the moving image"] == ("15.5 %", "–", "–")
    assert rows["TRE, mean (mm)"] == ("–", "7.60", "1.50")
    assert rows["mean |dx|, right-left (mm)"] == ("–", "−0.50", "−0.50")
    assert rows["Landmarks"] == ("–", "3", "3")
    assert "mean |dy|, front-back (mm)" not in rows
    assert dict(tables.label_table(REPORT).rows) == {"Dice, label 1": ("0.700", "–", "0.900")}
    assert tables.headline(REPORT) == [("Mean Dice", "–", "0.900"), ("Mean TRE, mm", "7.60", "1.50")]


def test_every_metric_of_a_region_is_shown():
    table = tables.jacobian_table(REPORT)
    assert table.columns == ("mean", "SD", "volume (ml)", "change of volume (%)")
    assert dict(table.rows) == {
        "whole field of view": ("−0.100", "–", "1234.6", "–"),
        "all labels": ("0.100", "–", "–", "–"),
        "label 7": ("0.200", "3.000", "–", "17.9"),
    }


def test_indicators_and_provenance():
    rows = dict(tables.quality_table(REPORT).rows)
    assert rows["Local correlation, registered"] == ("0.990",)
    assert rows["Structure mapped outside the moving image"] == ("2.80 %",)
    assert rows["Inverse consistency, mean (mm)"] == ("0.50",)
    assert rows["Error that the network expects, relative to the field of view"] == ("0.0123",)
    assert rows["Error that the network expects, median (mm)"] == ("1.25",)
    assert rows["Error that the network expects, p95 (mm)"] == ("4.00",)
    short, long = (dict(pairs) for pairs in tables.provenance(REPORT))
    assert short["Model"] == "chest"
    assert short["Model SHA-256"] == "ab" * 32
    assert short["Refinement"] == "similarity lncc, steps [40, 6]"
    assert short["Network grid"] == "4 × 5 × 6 voxels"
    assert short["Seed"] == "0"
    assert short["File: fixed"] == "/data/a.nii.gz"
    assert "12.500000" in long["Initial alignment, fixed to moving world (RAS mm)"]
    assert '"seed": 1' in long["Config of the model"]
    assert "Refinement, level by level" not in long


@pytest.mark.parametrize(
    ("certificate", "title", "state", "said"),
    [
        (Certificate(0.0, True, 1.0), "Certified: no fold", "good", "as sampled"),
        (Certificate(0.01, True, 0.75), "Certified, damped", "fair", "0.750, because 1.00%"),
        (Certificate(0.02, False, 0.0), "Not certified", "bad", "2.00%"),
        (Certificate(0.0, True, 1.0, 2), "Certified: no fold", "good", "near its folds, 2 times. All"),
    ],
)
def test_certificate(certificate, title, state, said):
    words = tables.certificate_words(certificate)
    assert words[:2] == (title, state)
    assert said in words[2]
