"""The page of an evaluation: what it says, and how it works in a real browser, offline."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tfreg.evaluation.page import cohort_page
from tfreg.evaluation.row import Row
from tfreg.evaluation.summarise import summarise
from tfreg.evaluation.summary import EvaluationSummary
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.quality import LabelQuality, Quality
from tfreg.report.page import render

METHODS = ("initial", "ours", "theirs")
PAIRS = [f"p{number:02}" for number in range(20)]


def dice_of(pair, method):
    return {"initial": 0.3, "ours": 0.7, "theirs": 0.6}[method] + 0.01 * ((7 * int(pair[1:])) % 20)


@pytest.fixture(scope="module")
def html():
    """Twenty pairs by three methods; one failed, one asks for a review, one has an odd name in its error."""
    rows = []
    for pair in PAIRS:
        for method in METHODS:
            values = {"error": "<script>alert(1)</script> & more"}
            if (pair, method) != ("p03", "theirs"):
                values = {"quality": Quality({"1": LabelQuality(dice_of(pair, method))}, folding_fraction=0.0)}
            if method == "ours":
                values |= {"verdict": "review" if pair == "p05" else "pass", "certified": True, "damping": 1.0}
                values["reasons"] = ("too odd",) if pair == "p05" else ()
            rows.append(Row(experiment="lungs", pair=pair, method=method, digest="0", seconds=1.0, **values))
    pairs = [PairFiles(name, None, None, fixed_subject=name, moving_subject=name) for name in PAIRS]
    summary = EvaluationSummary(
        experiments={"lungs": summarise(rows, pairs, dict.fromkeys(METHODS), "ours")},
        reference="ours",
        init="centre",
        workers=2,
        threads=1,
        methods={name: f"settings of {name}" for name in METHODS},
        versions={"tfreg": "0.1.0"},
    )

    def picture(pair):
        if pair == "p11":
            return None
        stream = io.BytesIO()
        Image.fromarray(np.full((8, 24, 3), 10 * int(pair[1:]), np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    return cohort_page(summary, {"lungs": rows}, picture)


def test_what_failed_is_told_and_escaped(html):
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html
    assert "20 of 20 pairs registered" in html
    assert "1 to review" in html
    assert "review: too odd" in html


def test_nothing_comes_from_elsewhere(html):
    assert "http" not in html.replace("http-equiv", "")


def test_a_name_that_is_missing_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        render("cohort.html", title="x")


@pytest.fixture
def page(driver, html, tmp_path):
    (tmp_path / "cohort.html").write_text(html, encoding="utf-8")
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get((tmp_path / "cohort.html").as_uri())
    return driver


def column(page, number):
    """The texts of a column of the pairs' table, of the rows that are shown."""
    script = """return [...document.querySelectorAll("table.sortable tbody tr")].filter(row => !row.hidden)
      .map(row => row.cells[arguments[0]].textContent)"""
    return page.execute_script(script, number)


def test_the_pictures_are_there_the_worst_first(page):
    sizes = page.execute_script(
        "return [...document.images].map(image => { image.loading = 'eager'; return image.decode().then(() => "
        "[image.naturalWidth, image.naturalHeight]); }).reduce(async (all, one) => [...await all, await one], [])"
    )
    assert all(width > 20 and height > 7 for width, height in sizes)
    shown = page.execute_script("return [...document.querySelectorAll('.gallery strong')].map(e => e.textContent)")
    ranked = sorted(PAIRS, key=lambda pair: dice_of(pair, "ours"))
    assert shown[:11] == [pair for pair in ranked[:12] if pair != "p11"][:11]
    assert len(shown) in (15, 16)


def test_heads_sort_and_names_filter(page):
    page.execute_script("document.querySelector('details.pairs').open = true")
    assert column(page, 0) == PAIRS
    heads = page.find_elements("css selector", "table.sortable th button")
    heads[2].click()
    assert [float(text) for text in column(page, 2)] == pytest.approx(sorted(100 * dice_of(p, "ours") for p in PAIRS))
    heads[3].click()
    texts = column(page, 3)
    assert texts[-1] == "failed"
    values = [float(text) for text in texts[:-1]]
    assert values == sorted(values)
    heads[3].click()
    texts = column(page, 3)
    assert texts[-1] == "failed"
    assert [float(text) for text in texts[:-1]] == values[::-1]
    page.find_element("css selector", ".filter").send_keys("P1")
    assert sorted(column(page, 0)) == [pair for pair in PAIRS if "p1" in pair]


def test_no_error_and_no_request(page):
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    addresses = [
        event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
    ]
    assert all(address.startswith(("file:", "data:")) for address in addresses)
    assert any(address.endswith("cohort.html") for address in addresses)
