"""What report.json says in words, whatever it lacks."""

import pytest

from tfreg.report import pair_tables as tables

ERRORS = {"count": 3, "mean_mm": 7.6, "sd_mm": 1.0, "median_mm": 7.0, "p95_mm": 9.0, "max_mm": 12.0, "dx_mm": -0.5}
REPORT = {
    "versions": {"tfreg": "9.9", "keras": "3"},
    "model": {"name": "chest", "sha256": "ab" * 32},
    "config": {"seed": 1},
    "transform": "both",
    "background": -1000.0,
    "network_grid": {"shape": [4, 5, 6], "affine": [[1, 0, 0, 0]] * 4},
    "init": [[1.0, 0.0, 0.0, 12.5]] * 4,
    "refinement": {"settings": {"similarity": "lncc", "steps": [40, 6]}, "levels": [{"steps": 40}]},
    "metrics": {
        "before": {"correlation": 0.4, "outside_fraction": 0.155, "dice": {"1": 0.7, "12": None}, "mean_dice": 0.7},
        "after_init": {"correlation": 0.8, "landmarks": ERRORS},
        "after": {"correlation": None, "mean_dice": 0.9, "dice": {"1": 0.9}, "landmarks": ERRORS | {"mean_mm": 1.5}},
    },
    "trust": {"local_correlation": 0.99, "outside_fraction": 0.028, "inverse_consistency_mm": {"mean": 0.5}},
    "log_jacobian": {
        "all": {"mean": -0.1, "volume_ml": 1234.56},
        "labels": {"mean": 0.1},
        "7": {"mean": 0.2, "new_figure": 3.0, "volume_change_percent": 17.94},
    },
    "seconds": {"total": 40.3},
    "paths": {"fixed": "/data/a.nii.gz"},
    "seed": 0,
}


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


def test_every_figure_of_a_region_is_shown():
    table = tables.jacobian_table(REPORT)
    assert table.columns == ("mean", "volume (ml)", "new figure", "change of volume (%)")
    assert dict(table.rows) == {
        "whole field of view": ("−0.100", "1234.6", "–", "–"),
        "all labels": ("0.100", "–", "–", "–"),
        "label 7": ("0.200", "–", "3.000", "17.9"),
    }


def test_trust_and_provenance():
    rows = dict(tables.trust_table(REPORT).rows)
    assert rows["Local correlation, registered"] == ("0.990",)
    assert rows["Structure mapped outside the moving image"] == ("2.80 %",)
    assert rows["Inverse consistency, mean (mm)"] == ("0.50",)
    short, long = (dict(pairs) for pairs in tables.provenance(REPORT))
    assert short["Model"] == "chest"
    assert short["Model SHA-256"] == "ab" * 32
    assert short["Refinement"] == "similarity lncc, steps [40, 6]"
    assert short["Network grid"] == "4 × 5 × 6 voxels"
    assert short["Seed"] == "0"
    assert short["File: fixed"] == "/data/a.nii.gz"
    assert "12.500000" in long["Initial alignment, fixed to moving world (RAS mm)"]
    assert '"seed": 1' in long["Config of the model"]
    assert "Preprocessing" not in long


@pytest.mark.parametrize(
    ("certificate", "title", "state", "said"),
    [
        ({"certified": True, "damping": 1.0, "folding_fraction": 0.0}, "Certified: no fold", "good", "as sampled"),
        ({"certified": True, "damping": 0.75, "folding_fraction": 0.01}, "Certified, damped", "fair", "0.750, because"),
        ({"certified": False, "damping": 0.0, "folding_fraction": 0.02}, "Not certified", "bad", "2.00%"),
        ({"certified": True, "smoothing_rounds": 2}, "Certified: no fold", "good", "near its folds, 2 times. All"),
        ({"certified": False}, "Not certified", "bad", "somewhere"),
        ({}, "No certificate", "fair", "does not say"),
        (None, "No certificate", "fair", "does not say"),
    ],
)
def test_certificate(certificate, title, state, said):
    words = tables.certificate_words({"certificate": certificate})
    assert words[:2] == (title, state)
    assert said in words[2]


@pytest.mark.parametrize("value", [None, [], "text", {}, 3])
def test_nothing_is_needed(value):
    for report in ({}, dict.fromkeys(REPORT, value)):
        assert not tables.agreement_table(report).rows
        assert not tables.label_table(report).rows
        assert not tables.trust_table(report).rows
        assert not tables.jacobian_table(report).rows
        assert not tables.headline(report)
        assert tables.words(report, "reasons") == []
        assert all(isinstance(text, str) for pairs in tables.provenance(report) for _, text in pairs)
