"""Secrets are cut out of what is shown, and refused in what MLflow and checkpoints would keep."""

import pytest
import yaml

from kinoray.config.layers import from_values, override
from kinoray.config.secrets import check_no_secrets, without_passwords
from kinoray.errors import ConfigError
from kinoray.recipe import Recipe
from kinoray.site import Site
from kinoray.sweep.file import Sweep

CANARY = "c4narY/+9Zx"
SECRETS = [
    f"s3://KEYID:{CANARY}@bucket/a.mp4",
    f"s3://bucket/a.mp4?access_key=KEYID&secret_key={CANARY}&region=eu-west-1",
    f"https://host/a.mp4?id=7&X-Amz-Credential={CANARY}&X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY}",
    f"https://host/a.mp4?sv=2024&sig={CANARY}",
    f"https://storage.googleapis.com/b/a.mp4?GoogleAccessId=me&Signature={CANARY}",
    f"abfss://:{CANARY}@account.dfs.core.windows.net/a.mp4",
    f"gs://bucket/a.mp4?access_token={CANARY}",
    "postgresql://me:c4narY9Zx@db:5432/runs",
    "postgresql://db/runs?user=me&password=c4narY9Zx",
    "mysql+pymysql://db/runs?user=me&passwd=c4narY9Zx",
    "https://me:c4narY9Zx@mlflow.example.com",
    "https://c4narY9Zx@host/model.safetensors",
    f"s3:/KEYID:{CANARY}@bucket/a.mp4",
    "https:/me:c4narY9Zx@host/a.mp4",
]
HARMLESS = [
    "s3://bucket/folder/a b:c@d.mp4",
    "s3://bucket/a.mp4?endpoint_override=127.0.0.1:9000&scheme=http&region=us-east-1&anonymous=true",
    "https://host/a.mp4?id=7&page=2",
    "abfs://container@account.dfs.core.windows.net/a.mp4",
    "/data/key=1/a.mp4",
    "sqlite:////home/me/mlflow.db",
    "auto",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_is_shown_holds_no_secret(text):
    for shown in (without_passwords(text), without_passwords(f"--set a.b={text} --set c=1")):
        assert "c4nar" not in shown
        assert "***" in shown
    assert without_passwords(f"--set a.b={text} --set c=1").endswith(" --set c=1")


@pytest.mark.parametrize("text", HARMLESS)
def test_all_else_is_shown_as_it_is(text):
    assert without_passwords(text) == text
    check_no_secrets({"a": [text]}, {}, "recipe x", ())


@pytest.mark.parametrize("text", SECRETS)
def test_values_that_are_kept_hold_none(text):
    layered = override(from_values({"data": {"sources": ["fine", text]}}, "x.yaml:3"), [f"model.pretrained={text}"])
    with pytest.raises(ConfigError) as caught:
        check_no_secrets(layered.values, layered.origins, f"recipe {text}", ())
    told = str(caught.value)
    assert "c4nar" not in told
    assert "\n  data.sources.1: holds a secret, got " in told
    assert "  [x.yaml:3]" in told
    assert "\n  model.pretrained: holds a secret" in told
    assert "[--set model.pretrained=" in told
    assert "AWS_SECRET_ACCESS_KEY" in told


def test_a_recipe_holds_none(make_recipe):
    for path in ("training.init_from", "data.train.source", "data.val.source", "name"):
        with pytest.raises(ConfigError, match=f"{path}: holds a secret") as caught:
            make_recipe({path: f"s3://KEY:{CANARY}@bucket/x.csv"})
        assert CANARY not in str(caught.value)


def test_nor_does_one_that_was_kept_before(make_recipe):
    kept = make_recipe().yaml().replace("init_from: null", f"init_from: 's3://KEY:{CANARY}@bucket/x.pth'")
    assert CANARY in kept
    with pytest.raises(ConfigError, match=r"training\.init_from: holds a secret"):
        Recipe.from_mapping(yaml.safe_load(kept), "kept")


def test_of_a_site_the_tracking_uri_alone_may(tmp_path):
    uri = "postgresql://me:c4narY9Zx@db:5432/runs"
    assert Site.load(None, [f"tracking_uri={uri}"]).tracking_uri == uri
    with pytest.raises(ConfigError, match=r"site local: .*\n  storage: holds a secret, got s3://\*\*\*@bucket/runs"):
        Site.load(None, [f"storage=s3://KEY:{CANARY}@bucket/runs"])


def test_nor_a_sweep(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(f"recipe: a.yaml\nsearch: grid\nspace: {{training.init_from: {{grid: ['s3://K:{CANARY}@b/a']}}}}\n")
    with pytest.raises(ConfigError, match=r"space\.training\.init_from\.grid\.0: holds a secret") as caught:
        Sweep.load(file)
    assert f"{file.name}:3" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("part", ["?", "&", "://", ":", "s3://:", "a.", "a://:", "?key", "https://", "@", "s3:/a:b"])
def test_no_text_takes_long(part):
    text = f"s3://{part * 50_000}"
    assert without_passwords(text)[:3] == "s3:"
