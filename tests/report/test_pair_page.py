"""The page: every volume is where it says, whatever the text it is safe, and it needs nothing else."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from reports import REGION, report_with

from tfreg.report.pair_page import jacobian_codes, pair_page
from tfreg.transforms.certificate import Certificate

ODD = """<script>alert("1")</script> & 'quotes' {{ braces }} é"""
REPORT = report_with(
    verdict="review",
    reasons=[ODD],
    warnings=["a warning of " + ODD],
    model={"name": ODD, "sha256": "0" * 64},
    config={"a": "</pre>" + ODD},
    metrics={"after": {"correlation": 0.987, "dice": {"</td><b>": 0.5}}},
    log_jacobian={"all": REGION | {"mean": 0.123}},
    paths={"fixed": "/secret/<i>fixed.nii.gz", "moving": "/secret/moving.nii.gz"},
)


class Page(HTMLParser):
    """The page's images by id, its data for the viewer, its text, and every tag."""

    def __init__(self, html):
        super().__init__()
        self.images, self.tags, self.data, self.text, self.inside = {}, [], None, [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.inside = attributes.get("id", tag) if tag in ("script", "style") else None
        if tag == "img":
            source = attributes["src"]
            assert source.startswith("data:image/png;base64,")
            picture = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
            self.images[attributes.get("id", "picture")] = np.array(picture)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside == "viewer-data":
            self.data = json.loads(text)
        elif self.inside is None:
            self.text.append(text)


def page_of(pair, report=REPORT):
    return pair_page(report, pair.views, pair.displacement_mm, pair.log_jacobian)


def decoded(page, name, shape):
    """A volume from its mosaic, as the page's script reads it."""
    x, y, z = np.indices(shape)
    columns = page.data["mosaics"][name]["columns"]
    return page.images[f"mosaic-{name}"][z // columns * shape[1] + y, z % columns * shape[0] + x]


@pytest.mark.parametrize(
    ("orientation", "turned"), [("RAS", False), ("LPS", False), ("SLA", False), ("PIR", True), ("LPS", True)]
)
def test_voxels_lie_upright(pair_of, orientation, turned):
    pair = pair_of(orientation, turned)
    page = Page(page_of(pair))
    shape = (14, 10, 12)
    assert page.data["shape"] == list(shape)
    np.testing.assert_allclose(page.data["spacing"], [2.0, 3.0, 2.5])
    for name in ("fixed", "moving", "warped", "labels"):
        array = decoded(page, name, shape)
        np.testing.assert_array_equal(array, pair.upright[name])
        assert page.data["mosaics"][name]["checksum"] == array.sum()
    jacobian, limit = decoded(page, "jacobian", shape).astype(float), page.data["jacobianLimit"]
    inside = pair.upright["labels"] > 0
    expected = np.clip(pair.upright["log_jacobian"], -limit, limit)
    np.testing.assert_allclose(((jacobian - 128) / 127 * limit)[inside], expected[inside], atol=limit / 127)
    assert not jacobian[~inside].any()
    assert [label["value"] for label in page.data["labels"]] == [3, 41]
    upright = pair.views.fixed.reoriented("RAS").affine
    np.testing.assert_allclose(page.data["affine"], upright)
    assert decoded(page, "field", tuple(page.data["field"]["shape"])).shape == (*page.data["field"]["shape"], 3)


def test_the_page_needs_nothing_else(pair_of):
    html = page_of(pair_of())
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert tag != "script" or "src" not in attributes
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", re.sub(r"base64,[^\"]*", "", html))
    assert "default-src 'none'" in html
    text = " ".join(page.text)
    assert "not a medical device" in text
    assert "0.987" in text
    assert "0.123" in text
    assert page.images["picture"].shape[2] == 4
    assert "noscript" in [tag for tag, _ in page.tags]


def test_odd_text_stays_text(pair_of):
    html = page_of(pair_of())
    page = Page(html)
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2
    assert "b" not in [tag for tag, _ in page.tags]
    text = "".join(page.text)
    assert text.count("""<script>alert("1")</script> & 'quotes' {{ braces }} é""") == 3
    assert "Dice, label </td><b>" in text
    assert "moving.nii.gz → <i>fixed.nii.gz" in " ".join(text.split())


@pytest.mark.parametrize("labelled", [True, False])
def test_a_bare_report_and_no_labels(pair_of, labelled):
    pair = pair_of(labelled=labelled)
    page = Page(page_of(pair, report_with(verdict="review", certificate=Certificate(0.02, False, 0.0))))
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert ("outlines" in ids) == labelled
    assert ("mosaic-labels" in ids) == labelled
    text = " ".join(" ".join(page.text).split())
    assert "moving → fixed" in text
    assert "! Review" in text
    assert "Not certified" in text
    if not labelled:
        assert decoded(page, "jacobian", (14, 10, 12)).all()


def test_every_control_has_a_name(pair_of):
    tags = Page(page_of(pair_of())).tags
    depth, controls = 0, 0
    html = re.sub(r"base64,[^\"]*", "", page_of(pair_of()))
    for part in re.findall(r"<label|</label|<input[^>]*>", html):
        depth += {"<label": 1, "</label": -1}.get(part, 0)
        if part.startswith("<input"):
            controls += 1
            assert depth == 1, part
    assert controls > 15
    assert all(attributes.get("aria-label") for tag, attributes in tags if tag == "canvas")


def test_the_jacobians_range_is_symmetrical():
    logarithm = np.linspace(-0.3, 0.73, 24, dtype=np.float32).reshape(2, 3, 4)
    codes, limit = jacobian_codes(logarithm, None)
    assert limit == pytest.approx(0.8)
    np.testing.assert_allclose((codes.astype(float) - 128) / 127 * limit, logarithm, atol=limit / 254 + 1e-6)
    codes, limit = jacobian_codes(np.zeros((2, 3, 4)), np.ones((2, 3, 4)))
    assert limit == 0.1
    assert (codes == 128).all()
    logarithm[0, 0, 0] = np.nan
    labels = np.ones((2, 3, 4), np.uint8)
    labels[1, 2, 3] = 0
    codes, _ = jacobian_codes(logarithm, labels)
    assert list(np.flatnonzero(codes == 0)) == [0, 23]
    assert jacobian_codes(logarithm, np.zeros((2, 3, 4)))[1] == 0.1
