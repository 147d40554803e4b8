"""The client without a server: its options, its certificates, and answers that are not what they should be."""

import json

import keras
import numpy as np
import pytest
from exports import answer

from tfreg.config import RequestOptions, checked
from tfreg.errors import UserError

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)


from tfreg.preprocessing.aligned_pair import prepare_pair
from tfreg.serving.client.channel import credentials_of
from tfreg.serving.client.client import Client
from tfreg.serving.client.served_model import ServedModel
from tfreg.volumes.volume import Volume

# What an export of a model with the default config says of itself.
MANIFEST = {
    "model": {"name": "m", "sha256": "0", "version": 3},
    "config": {},
    "versions": {},
    "signatures": ["serving_default", "int16", "config"],
    "max_voxels": 1000,
    "portable": True,
    "warm_up_shapes": [],
    "metrics": None,
}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{}", "does not say how it was trained; serve what"),
        ("", "does not say how it was trained; serve what"),
        (json.dumps(MANIFEST | {"model": {"name": "m"}}), "does not say how it was trained; serve what"),
        (json.dumps(MANIFEST | {"config": {"seeds": 1}}), "unknown key `seeds`.*is `seed` meant"),
        (json.dumps(MANIFEST), "gives no logits for this pair"),
        (json.dumps(MANIFEST | {"config": {"model": {"head": "displacement"}}}), "gives no control for this pair"),
    ],
)
def test_a_server_that_tells_half_is_no_identity(rng, monkeypatch, said, words):
    """It answers with the linear part alone, and says of itself what is given here."""

    def predict(client, inputs, signature="serving_default", outputs=(), version=None):
        both = {"config": np.array([said.encode()]), "linear": np.eye(3, 4, dtype=np.float32)[None]}
        return {name: both[name] for name in (("config",) if signature == "config" else ("linear",))}, 3

    image = Volume(rng.random((12, 10, 8)).astype(np.float32), np.diag([2.0, 3, 4, 1]))
    monkeypatch.setattr(Client, "predict", predict)
    monkeypatch.setattr(Client, "signatures", lambda client: dict.fromkeys(("serving_default", "int16", "config")))
    with Client("127.0.0.1:9") as client, pytest.raises(UserError, match=words) as caught:
        client.register(image, image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["both", "displacement"])
def test_the_outputs_asked_for_make_the_runs_transform(rng, monkeypatch, exported, name):
    """Of either head, in either encoding; nothing larger than control points travels."""
    run, _, manifest, signatures = exported[name]

    def predict(client, inputs, signature="serving_default", outputs=(), version=None):
        found = answer(signatures[signature], **inputs)
        assert max(found[output].size for output in outputs) < inputs["fixed"].size
        return {output: found[output] for output in outputs}, 1

    monkeypatch.setattr(Client, "predict", predict)
    fixed, moving = (Volume(rng.random((12, 10, 8)).astype(np.float32), np.diag([2.0, 3, 4, 1])) for _ in range(2))
    pair = prepare_pair(fixed, moving, run.config.preprocessing)
    points = pair.lattice.points()
    expected = run.predict(pair)
    for encoding, tolerance in (("float32", 1e-3), ("int16", 0.05)):
        with Client("127.0.0.1:9", RequestOptions(encoding=encoding)) as client:
            transform = ServedModel(client, manifest, 1).predict(pair)
        assert type(transform.deformation) is type(expected.deformation)
        np.testing.assert_allclose(transform(points), expected(points), atol=tolerance)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: checked(RequestOptions, encoding="int8"),
            "--encoding int8: choose float32 or int16 .is `int16` meant",
        ),
        (lambda: checked(RequestOptions, max_message_mb=4096), "--max-message-mb 4096: give a number of at most 2047"),
        (lambda: checked(RequestOptions, max_message_mb="big"), "--max-message-mb big: give a whole number"),
        (lambda: Client(8500), "--address 8500: give HOST:PORT"),
        (lambda: checked(RequestOptions, timeout=0), "--timeout 0: give a positive number"),
        (lambda: checked(RequestOptions, timeout=np.nan), "--timeout nan: give a finite number"),
        (lambda: checked(RequestOptions, retries=-1), "--retries -1: give a number of at least 0"),
        (lambda: checked(RequestOptions, retries=1.5), r"--retries 1\.5: give a whole number"),
    ],
)
def test_options_of_a_client(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_certificates_are_pairs(tmp_path):
    assert credentials_of(RequestOptions()) is None
    (tmp_path / "ca.pem").write_text("no certificate")
    assert credentials_of(RequestOptions(tls_ca=tmp_path / "ca.pem")) is not None
