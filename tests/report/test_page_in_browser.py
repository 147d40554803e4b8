"""The page in a real browser, offline: what the canvases show is what the volumes hold."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from reports import report_with

from tfreg.report.pair_page import pair_page

SHAPE = (14, 10, 12)
PLANES = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}  # axis, across, up
REPORT = report_with()

# Sets controls by id or mode, waits until the page has drawn.
SET = """
const [changes, done] = arguments;
for (const [id, value] of Object.entries(changes)) {
  const input = id === "mode" ? document.querySelector(`input[value=${value}]`) : document.getElementById(id);
  if (id === "mode") input.checked = true;
  else if (input.type === "checkbox") input.checked = value;
  else input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}
requestAnimationFrame(() => requestAnimationFrame(() => done(true)));
"""
# The red, green and blue of a canvas at places given as shares of its width and height.
PIXELS = """
const [id, places] = arguments, canvas = document.getElementById(id);
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return places.map(([x, y]) => {
  const at = 4 * (Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width));
  return [data[at], data[at + 1], data[at + 2]];
});
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, pair_of):
    """A page with labels and a deformation, and one without, of an oblique and a straight pair."""
    folder = tmp_path_factory.mktemp("pages")
    pair, still = pair_of("LPS", True, SHAPE), pair_of("RAS", False, SHAPE, False)
    still.displacement_mm = np.zeros_like(still.displacement_mm) + np.float32(6.7)  # no line on an edge
    for name, content in (("pair", pair), ("still", still)):
        html = pair_page(REPORT, content.views, content.displacement_mm, content.log_jacobian)
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return SimpleNamespace(pair=folder / "pair.html", still=folder / "still.html", volumes=pair.upright)


def opened(driver, path):
    driver.get(path.as_uri())
    support = pytest.importorskip("selenium.webdriver.support.wait")
    support.WebDriverWait(driver, 20, 0.05).until(
        lambda driver: driver.execute_script("return document.body.dataset.viewer") == "ready"
    )
    change(driver, smooth=False, crosshair=False)


@pytest.fixture
def page(driver, pages):
    """The page with labels, without smoothing and cross-hair, the middle slices' indices in it."""
    opened(driver, pages.pair)
    return SimpleNamespace(driver=driver, volumes=pages.volumes)


def change(driver, **changes):
    driver.execute_async_script(SET, {name.replace("_", "-"): value for name, value in changes.items()})


def slices(driver):
    return {
        name: int(driver.execute_script(f"return document.getElementById('slice-{name}').value")) for name in PLANES
    }


def pixels_of(driver, plane):
    """`(rows, columns, 3)`, the colours in the middle of every voxel of a slice."""
    _, across, up = PLANES[plane]
    rows, columns = SHAPE[up], SHAPE[across]
    places = [[(c + 0.5) / columns, (r + 0.5) / rows] for r in range(rows) for c in range(columns)]
    return np.array(driver.execute_script(PIXELS, plane, places)).reshape(rows, columns, 3)


def whole(driver, plane):
    """`(rows, columns, 3)`, a canvas's own pixels."""
    uri = driver.execute_script("return document.getElementById(arguments[0]).toDataURL()", plane)
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return np.array(picture)[..., :3].astype(int)


def upright(volume, plane, index):
    """A slice as it should lie: from the high end of either axis on."""
    axis, _, _ = PLANES[plane]
    return volume.take(index, axis)[::-1, ::-1].T


def greys(codes):
    colours = np.repeat(np.rint((codes.astype(float) - 1) * 255 / 254)[..., None], 3, axis=-1)
    colours[codes == 0] = (44, 58, 71)
    return colours


# Letters stand in the middle of the edges, the divider's handle in the middle of a column.
def without_letters(picture):
    return picture[2:-2, 1:-1]


@pytest.mark.parametrize("mode", ["fixed", "moving", "warped"])
def test_every_voxel_is_where_a_radiologist_expects_it(page, mode):
    change(page.driver, mode=mode)
    for plane, index in slices(page.driver).items():
        expected = greys(upright(page.volumes[mode], plane, index))
        canvas = pixels_of(page.driver, plane)
        np.testing.assert_allclose(without_letters(canvas), without_letters(expected), atol=1)
        width, height = page.driver.execute_script(
            "const c = document.getElementById(arguments[0]); return [c.clientWidth, c.clientHeight]", plane
        )
        _, across, up = PLANES[plane]
        spacing = (2.0, 3.0, 2.5)
        assert height / width == pytest.approx(SHAPE[up] * spacing[up] / (SHAPE[across] * spacing[across]), rel=0.02)


def test_the_slices_start_in_the_labels_and_follow_their_sliders(page):
    middle = np.argwhere(page.volumes["labels"]).mean(axis=0)
    for plane, index in slices(page.driver).items():
        assert index == pytest.approx(middle[PLANES[plane][0]], abs=0.51)
    change(page.driver, mode="warped")
    before = {plane: pixels_of(page.driver, plane) for plane in PLANES}
    change(page.driver, slice_coronal=2)
    np.testing.assert_allclose(
        without_letters(pixels_of(page.driver, "coronal")),
        without_letters(greys(upright(page.volumes["warped"], "coronal", 2))),
        atol=1,
    )
    for plane in ("axial", "sagittal"):
        np.testing.assert_array_equal(pixels_of(page.driver, plane), before[plane])
    assert page.driver.find_element("id", "place-coronal").text == "3 / 10"


def test_the_keyboard_moves_a_slice(page):
    at = slices(page.driver)["axial"]
    page.driver.find_element("id", "slice-axial").send_keys("\ue014")  # arrow right
    change(page.driver)
    assert slices(page.driver)["axial"] == at + 1


@pytest.mark.parametrize("share", [25, 75])
def test_left_of_the_divider_is_fixed_and_right_of_it_warped(page, share):
    change(page.driver, mode="swipe", divider=share)
    for plane, index in slices(page.driver).items():
        canvas = pixels_of(page.driver, plane)
        fixed, warped = (greys(upright(page.volumes[name], plane, index)) for name in ("fixed", "warped"))
        columns = (np.arange(canvas.shape[1]) + 0.5) / canvas.shape[1]
        for side, expected in ((columns < share / 100 - 0.06, fixed), (columns > share / 100 + 0.06, warped)):
            assert side.sum() > 1
            np.testing.assert_allclose(
                without_letters(canvas * side[:, None]), without_letters(expected * side[:, None]), atol=1
            )
        assert np.abs(fixed - warped)[2:-2].max() > 100


def test_the_checkerboard_alternates(page):
    change(page.driver, mode="checkerboard", tile=4)
    index = slices(page.driver)["axial"]
    canvas, fixed, warped = (
        pixels_of(page.driver, "axial"),
        *(greys(upright(page.volumes[name], "axial", index)) for name in ("fixed", "warped")),
    )
    # Voxels of 2 x 3 mm in tiles of 4 mm.
    rows, columns = np.indices(canvas.shape[:2])
    tile = np.floor((rows + 0.5) * 3 / 4) + np.floor((columns + 0.5) * 2 / 4)
    expected = np.where((tile % 2 == 0)[..., None], fixed, warped)
    clear = np.abs(((rows + 0.5) * 3) % 4 - 2) < 1.5
    np.testing.assert_allclose(
        without_letters(canvas * clear[..., None]), without_letters(expected * clear[..., None]), atol=1
    )


@pytest.mark.parametrize(("mode", "other"), [("before", "moving"), ("after", "warped")])
def test_differences_are_red_where_fixed_is_brighter(page, mode, other):
    change(page.driver, mode=mode)
    index = slices(page.driver)["sagittal"]
    canvas = pixels_of(page.driver, "sagittal")
    fixed, compared = (upright(page.volumes[name], "sagittal", index).astype(int) for name in ("fixed", other))
    difference = np.where((fixed > 0) & (compared > 0), fixed - compared, 0)
    redness = canvas[..., 0] - canvas[..., 2]
    inside = np.zeros(difference.shape, bool)
    inside[2:-2, 1:-1] = True
    assert (redness[inside & (difference > 20)] > 0).all()
    assert (redness[inside & (difference < -20)] < 0).all()
    outside = inside & (compared == 0)
    assert (canvas[outside] == (44, 58, 71)).all()
    assert page.driver.find_element("id", "difference-words").text == f"fixed − {other}"


@pytest.mark.parametrize("overlay", ["grid", "jacobian", "outlines", "crosshair"])
def test_overlays_come_and_go(page, overlay):
    change(page.driver, mode="fixed")
    legends = {"grid", "jacobian", "outlines"}
    plain = {plane: whole(page.driver, plane) for plane in PLANES}
    change(page.driver, **{overlay: True}, opacity=1)
    for plane in PLANES:
        assert (whole(page.driver, plane) != plain[plane]).any(axis=-1).mean() > 0.005
    for name in legends:
        assert page.driver.find_element("id", f"legend-{name}").is_displayed() == (name == overlay)
    if overlay != "crosshair":
        change(page.driver, opacity=0)
        for plane in PLANES:
            np.testing.assert_array_equal(whole(page.driver, plane), plain[plane])
    change(page.driver, **{overlay: False})
    for plane in PLANES:
        np.testing.assert_array_equal(whole(page.driver, plane), plain[plane])


def test_the_jacobian_is_red_where_the_moving_image_is_larger_and_only_in_labels(page):
    change(page.driver, mode="fixed", jacobian=True, opacity=1)
    for plane, index in slices(page.driver).items():
        canvas = pixels_of(page.driver, plane)
        logarithm, labels = (upright(page.volumes[name], plane, index) for name in ("log_jacobian", "labels"))
        redness = canvas[..., 0] - canvas[..., 2]
        inside = labels > 0
        assert (np.abs(logarithm[inside]) > 0.05).sum() > 5
        assert (redness[inside & (logarithm > 0.05)] > 0).all()
        assert (redness[inside & (logarithm < -0.05)] < 0).all()
        outside = ~inside
        outside[:2] = outside[-2:] = outside[:, :1] = outside[:, -1:] = False
        assert (redness[outside] == 0).all()


def test_the_grid_is_straight_where_nothing_deforms(driver, pages):
    opened(driver, pages.still)
    change(driver, mode="fixed", contrast=1)
    plain = {plane: whole(driver, plane) for plane in PLANES}
    change(driver, grid=True, opacity=1)
    for plane in PLANES:
        drawn = (whole(driver, plane) != plain[plane]).any(axis=-1)
        # A straight line fills its row or column; apart from lines that way there is nothing.
        columns, rows = drawn.mean(axis=0) > 0.95, drawn.mean(axis=1) > 0.95
        assert columns.sum() > 5
        assert rows.sum() > 5
        assert not drawn[~rows][:, ~columns].any()
    assert not driver.find_elements("id", "outlines")


def test_wheel_click_and_reset(page):
    driver = page.driver
    change(driver, crosshair=True, mode="fixed", contrast=3)
    before = slices(driver)
    driver.execute_script(
        "document.getElementById('axial').dispatchEvent(new WheelEvent('wheel', {deltaY: -40, cancelable: true}))"
    )
    change(driver)
    assert slices(driver)["axial"] == before["axial"] + 1
    canvas = driver.find_element("id", "axial")
    actions = pytest.importorskip("selenium.webdriver").ActionChains(driver)
    actions.move_to_element_with_offset(
        canvas, -canvas.size["width"] // 4, canvas.size["height"] // 4
    ).click().perform()
    change(driver)
    after = slices(driver)
    # A quarter from the left is on the patient's right, a quarter from the bottom at the back.
    assert after["sagittal"] == pytest.approx(0.75 * SHAPE[0] - 0.5, abs=1)
    assert after["coronal"] == pytest.approx(0.25 * SHAPE[1] - 0.5, abs=1)
    value = page.volumes["fixed"][after["sagittal"], after["coronal"], after["axial"]]
    said = driver.find_element("id", "readout").text
    assert f"fixed ≈ {-1000 + (int(value) - 1) / 254 * 1500:.0f}".replace("-", "−") in said
    driver.find_element("id", "reset").click()
    assert driver.execute_script("return document.getElementById('contrast').value") == "1"


def test_nothing_is_asked_of_the_network_and_nothing_fails(driver, pages):
    driver.get_log("performance")
    driver.get_log("browser")
    opened(driver, pages.pair)
    for mode in ("fixed", "moving", "warped", "swipe", "checkerboard", "before", "after"):
        change(driver, mode=mode, grid=True, jacobian=True, outlines=True, crosshair=True, smooth=True)
    driver.set_window_size(480, 900)
    change(driver)
    driver.set_window_size(1400, 1000)
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert pages.pair.as_uri() in asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    assert not driver.find_element("id", "altered").is_displayed()


def test_a_narrow_window_stacks_the_planes(driver, pages):
    driver.set_window_size(500, 900)
    opened(driver, pages.pair)
    boxes = [driver.find_element("id", plane).rect for plane in PLANES]
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    driver.set_window_size(1400, 1000)


def test_without_javascript_the_picture_and_the_tables_are_there(driver, pages):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    driver.get(pages.pair.as_uri())
    try:
        assert driver.find_element("class name", "picture").is_displayed()
        assert not driver.find_element("id", "viewer").is_displayed()
        assert "needs JavaScript" in driver.find_element("tag name", "noscript").text
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
