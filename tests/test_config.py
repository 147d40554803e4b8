"""The schema: what is filled in, and the one line for what does not fit."""

from pathlib import Path

import pytest
import yaml

from tfreg.config import Classification, Config, config_with, dump_config, load_config, parse_config, parse_section
from tfreg.errors import UserError
from tfreg.training.run_folder import check_run

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def refused(content=None, path=None, overrides=()):
    with pytest.raises(UserError) as caught:
        parse_config(content, "a.yaml") if path is None else load_config(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_that_come_with_tfreg(path):
    section = Classification if path.name.startswith("classify") else Config
    config = load_config(path, section=section)
    assert parse_section(section, config.model_dump(mode="json"), path) == config


def test_defaults_are_the_designs():
    config = Config()
    assert config.model.encoder_filters == (32, 64, 128, 32, 32)
    assert config.model.encoder_dilations == (1, 1, 2, 3, 5)
    assert config.model.decoder_filters == (128, 64, 32, 32, 32)
    assert (config.model.integration, config.model.anchor, config.model.stride) == ("composed", "centre", 2)
    assert (config.training.learning_rate, config.training.learning_rate_patience) == (1e-3, 50)
    assert (config.training.steps_per_epoch, config.training.batch_size, config.training.stop_patience) == (100, 2, 100)
    assert config.preprocessing.intensity.percentiles == (0.5, 99.5)


def test_dumped_and_loaded(tmp_path):
    config = parse_config(
        {
            "preprocessing": {"network_grid": {"orientation": "pir", "spacing": [1, 2.5, 3], "shape": [4, 5, 6]}},
            "pairs": {"moving": "ED", "fixed": "ES"},
            "augmentation": {"flip_axes": [0, 2]},
        }
    )
    assert config.preprocessing.network_grid.orientation == "PIR"
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_predicted_displacements_have_an_anchor_of_their_own(tmp_path):
    """Which a config that was written down says, and one that was not may leave out."""
    config = parse_config({"model": {"head": "displacement"}})
    assert (config.model.anchor, config.model.integration) == ("mean", "composed")
    assert config.model.deformation_array == "control"
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert "anchor: mean" in (tmp_path / "config.yaml").read_text()
    assert load_config(tmp_path / "config.yaml") == config
    back = config_with(config, {"model.head": "gradients"}, "trial")
    assert (back.model.anchor, back.model.deformation_array) == ("centre", "logits")
    assert config_with(back, {"model.head": "displacement"}, "trial") == config


def test_a_config_from_before_the_heads_means_gradients():
    written = parse_config({}).model_dump(mode="json")
    del written["model"]["head"]
    assert parse_config(written).model.head == "gradients"


def test_a_config_from_before_the_passes_means_one_pass(tmp_path):
    written = parse_config({}).model_dump(mode="json")
    del written["prediction"], written["preprocessing"]["network_grid"]["voxels"]
    config = parse_config(written)
    assert (config.prediction.passes, config.prediction.coarser) == (1, ())
    # A training that such a version began goes on.
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    check_run(tmp_path, config)
    with pytest.raises(UserError, match="another config"):
        check_run(tmp_path, parse_config({"prediction": {"passes": 2}}))


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "a.yaml") == Config()


def test_overrides_win(tmp_path):
    (tmp_path / "a.yaml").write_text("loss: {beta: 1.0e-4}\n")
    config = load_config(
        tmp_path / "a.yaml",
        ["loss.beta=1e-7", "model.encoder_filters=[4, 8]", "model.encoder_dilations=[1, 2]", "phase=ED", "seed=3"],
    )
    assert config.loss.beta == 1e-7  # YAML calls 1e-7 a text
    assert config.model.encoder_filters == (4, 8)
    assert (config.phase, config.seed) == ("ED", 3)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"los": {}}, "los"),
        ({"loss": {"gamma": 1}}, "loss.gamma"),
        ({"loss": {"beta": "small"}}, "loss.beta"),
        ({"loss": {"beta": -1}}, "loss.beta"),
        ({"loss": {"beta": float("inf")}}, "loss.beta"),
        ({"loss": {"beta": float("nan")}}, "loss.beta"),
        ({"loss": {"similarity": "ssim"}}, "loss.similarity"),
        ({"loss": {"similarity": "lncc+ssim"}}, "loss.similarity"),
        ({"loss": {"similarity": "0*lncc"}}, "loss.similarity"),
        ({"loss": {"similarity": "x*lncc"}}, "loss.similarity"),
        ({"loss": {"similarity": "*lncc"}}, "loss.similarity"),
        ({"loss": {"similarity": "inf*lncc"}}, "loss.similarity"),
        ({"loss": {"window": 8}}, "loss.window"),
        ({"loss": None}, "loss"),
        ({"model": {"stride": 0}}, "model.stride"),
        ({"model": {"stride": 1.5}}, "model.stride"),
        ({"model": {"encoder_filters": 32}}, "model.encoder_filters"),
        ({"model": {"encoder_filters": [], "encoder_dilations": []}}, "model.encoder_filters"),
        ({"model": {"encoder_filters": [4, 8]}}, "model"),
        ({"model": {"transform": "rigid"}}, "model.transform"),
        ({"model": {"head": "logits"}}, "model.head"),
        (
            {"model": {"head": "displacement", "integration": "axiswise"}},
            "model`: Value error, `head: displacement`",
        ),
        ({"model": {"head": "displacement", "anchor": "start"}}, "model`: Value error, `anchor: mean`"),
        ({"model": {"anchor": "mean"}}, "model`: Value error, `anchor: mean`"),
        ({"preprocessing": {"init": "FILE"}}, "preprocessing.init"),
        ({"preprocessing": {"network_grid": {"orientation": "RAR"}}}, "preprocessing.network_grid.orientation"),
        ({"preprocessing": {"network_grid": {"orientation": "RA"}}}, "preprocessing.network_grid.orientation"),
        ({"preprocessing": {"network_grid": {"orientation": "XYZ"}}}, "preprocessing.network_grid.orientation"),
        ({"preprocessing": {"network_grid": {"spacing": [1, 2]}}}, "preprocessing.network_grid.spacing"),
        ({"preprocessing": {"network_grid": {"spacing": 0}}}, "preprocessing.network_grid.spacing"),
        ({"preprocessing": {"network_grid": {"shape": [4, 5]}}}, "preprocessing.network_grid.shape"),
        ({"preprocessing": {"intensity": {"window": [3, 3]}}}, "preprocessing.intensity"),
        ({"preprocessing": {"intensity": {"percentiles": [-1, 99]}}}, "preprocessing.intensity"),
        ({"preprocessing": {"intensity": {"window": [0, 1], "percentiles": [1, 99]}}}, "preprocessing.intensity"),
        ({"pairs": "some"}, "pairs"),
        ({"pairs": {"moving": "ED"}}, "pairs.fixed`"),
        ({"pairs": {"moving": "ED", "fixed": "ED"}}, "pairs`"),
        ({"pairs": {"moving": "ED", "fixed": "ES"}, "phase": "ED"}, "config"),
        ({"augmentation": {"flip_axes": [3]}}, "augmentation.flip_axes"),
        ({"training": {"batch_size": True}}, "training.batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"augmentation": {"scale": False}}, "augmentation.scale"),
        ({"augmentation": {"flip_axes": [True]}}, "augmentation.flip_axes"),
        ({"training": {"learning_rate_factor": True}}, "training.learning_rate_factor"),
        ({"preprocessing": {"intensity": {"window": [False, True]}}}, "preprocessing.intensity.window"),
        ({3: 4}, "3"),
    ],
)
def test_what_does_not_fit_is_named(content, key):
    text = refused(content)
    assert text.startswith("a.yaml: ")
    assert f"`{key}" in text


def test_an_unknown_key_says_where_to_look():
    assert refused({"loss": {"gamma": 1}}).startswith("a.yaml: unknown key `loss.gamma`; see the keys in")


@pytest.mark.parametrize(
    ("content", "key", "near"),
    [
        ({"los": {}}, "los", "loss"),
        ({"Loss": {}}, "Loss", "loss"),
        ({"loss": {"bta": 1}}, "loss.bta", "beta"),
        ({"beta": 1}, "beta", "loss.beta"),
        ({"preprocessing": {"shape": [4, 5, 6]}}, "preprocessing.shape", "preprocessing.network_grid.shape"),
        ({"preprocessing": {"network_grid": {"spacings": 1}}}, "preprocessing.network_grid.spacings", "spacing"),
        ({"pairs": {"movin": "ED", "fixed": "ES"}}, "pairs.movin", "moving"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(content, key, near):
    assert refused(content).startswith(f"a.yaml: unknown key `{key}` (is `{near}` meant?); see")


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("y", "y"),
        ("Off", "Off"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("'7'", "7"),
        ("'1e5'", "1e5"),
        ("'true'", "true"),
    ],
)
def test_words_stay_words(tmp_path, text, phase):
    """YAML 1.2's core schema, section 10.3.2, where YAML 1.1 has truth values, base eight, base sixty and dates."""
    (tmp_path / "a.yaml").write_text(f"phase: {text}\n")
    config = load_config(tmp_path / "a.yaml")
    assert config.phase == phase
    assert load_config(tmp_path / "a.yaml", [f"phase={text}"]) == config
    (tmp_path / "b.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "b.yaml") == config
    assert yaml.safe_load(dump_config(config))["phase"] == phase  # readers of YAML 1.1 see the same


def test_numbers_are_numbers(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "loss: {beta: 1e-5, alpha: 2.5E-3}\nseed: 012\nsearch: {loss.beta: [1e-6, .5, 1.]}"
    )
    config = load_config(tmp_path / "a.yaml")
    assert (config.loss.beta, config.loss.alpha, config.seed) == (1e-5, 2.5e-3, 12)
    assert config.search["loss.beta"] == (1e-6, 0.5, 1.0)


@pytest.mark.parametrize("text", ["7", "1e5", "true"])
def test_a_word_that_looks_like_a_number_wants_quotes(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"phase: {text}\n")
    assert refused(path=tmp_path / "a.yaml").endswith("put a text that looks like a number in quotes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"seed: 1\nloss: {beta: 1}\nseed: 2\n", "key 'seed' stands on line 1 and on line 3"),
        (b"loss:\n  beta: 1\n  beta: 2\n", "key 'beta' stands on line 2 and on line 3"),
        (b"seed: 1\n---\nseed: 2\n", "is not YAML (expected a single document"),
        (b"loss:\n\tbeta: 1\n", "is not YAML"),
        (b"[]\n", "must hold keys and values"),
        (b"0\n", "must hold keys and values"),
        (b"loss: &a {more: *a}\n", "unknown key `loss.more`"),
        (b"loss: {beta: 1", "is not YAML"),
        (b"- 1\n- 2\n", "must hold keys and values"),
        (b"just text", "must hold keys and values"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"loss: !!python/object:os.system {}", "is not YAML"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, words):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    text = refused(path=path)
    assert text.startswith(f"{path}: ")
    assert words in text


def test_a_missing_file(tmp_path):
    assert refused(path=tmp_path / "a.yaml").startswith(f"{tmp_path / 'a.yaml'}: cannot be read")
    assert "cannot be read" in refused(path=tmp_path)


def test_a_key_is_overridden_once(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    text = refused(path=tmp_path / "a.yaml", overrides=["loss.beta=1e-5", "seed=4", "loss.beta=1e-6"])
    assert text == "'loss.beta=1e-5': loss.beta is given 2 times; keep one of them"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loss.beta", "is key=value"),
        ("=3", "is key=value"),
        ("loss.beta=[", "not YAML"),
        ("seed.more=3", "`seed` is not a block"),
        ("loss.gamma=3", "unknown key `loss.gamma`"),
        ("loss.beta=many", "`loss.beta`"),
        ("loss=3", "`loss`"),
    ],
)
def test_bad_overrides(tmp_path, override, words):
    path = tmp_path / "a.yaml"
    path.write_text("seed: 3\n")
    assert words in refused(path=path, overrides=[override])
