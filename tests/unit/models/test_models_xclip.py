"""A tiny X-CLIP whose tokenizer knows letters."""

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from kinoray.errors import CheckpointError, ConfigError
from kinoray.models.weights import load_weights
from kinoray.models.xclip import XCLIP, XCLIPConfig

transformers = pytest.importorskip("transformers")

NAMES = ("run", "jump", "swim")
LETTERS = [*ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
VOCABULARY = {word: number for number, word in enumerate(["<|startoftext|>", "<|endoftext|>", *LETTERS])}
SMALL: dict[str, Any] = {
    "projection_dim": 16,
    "prompt_layers": 1,
    "prompt_num_attention_heads": 2,
    "text_config": {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    },
    "vision_config": {
        "image_size": 32,
        "num_frames": 4,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mit_hidden_size": 16,
        "mit_intermediate_size": 32,
        "mit_num_attention_heads": 2,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xclip")
    torch.manual_seed(1)
    transformers.XCLIPModel(transformers.XCLIPConfig(**SMALL)).save_pretrained(folder)
    transformers.CLIPTokenizer(vocab=VOCABULARY, merges=[]).save_pretrained(folder)
    return folder


def build(folder: Path, **settings: object) -> XCLIP:
    values = {"num_classes": 3, "pretrained": str(folder), "class_names": NAMES, **settings}
    return XCLIPConfig.model_validate(values).build()


def video(num_frames: int = 4) -> Tensor:
    shape = (2, 2, 3, num_frames, 32, 32)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_scores_are_those_of_transformers(folder: Path) -> None:
    model = build(folder, template="i {}").eval()
    theirs = transformers.XCLIPModel.from_pretrained(folder).eval()
    tokens = transformers.CLIPTokenizer.from_pretrained(folder)(
        [f"i {name}" for name in NAMES], padding=True, return_tensors="pt"
    )
    clips = model.normalize(video().flatten(0, 1)).transpose(1, 2)
    with torch.inference_mode():
        expected = theirs(pixel_values=clips, **tokens).logits_per_video
        torch.testing.assert_close(model(video()).flatten(0, 1), expected, atol=1e-5, rtol=1e-5)
    assert model.weights_report is not None
    assert model.weights_report.fresh == {}
    assert expected.std(dim=1).min() > 1e-3  # the texts differ


def test_the_text_encoder_is_gone_and_the_rest_learns(folder: Path) -> None:
    model = build(folder).train()
    model(video()).square().sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    assert not any("text_model" in name for name in model.state_dict())
    assert model.parts_by_depth()


def test_a_checkpoint_carries_the_texts(folder: Path) -> None:
    model = build(folder).eval()
    config = XCLIPConfig(num_classes=3, pretrained=str(folder), class_names=NAMES).without_pretrained()
    other = config.build()
    load_weights(other, model.state_dict(), where="checkpoint")
    with torch.inference_mode():
        assert torch.equal(other.eval()(video()), model(video()))


def test_names_come_from_a_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n".join(NAMES) + "\n")
    assert torch.equal(build(folder, class_names=str(file)).fc.embeddings, build(folder).fc.embeddings)
    file.write_text("run\n")
    with pytest.raises(ConfigError, match=r"model\.class_names: .*labels\.txt: 1 lines, num_classes is 3"):
        build(folder, class_names=str(file))
    with pytest.raises(ConfigError, match=r"model\.class_names: .*gone\.txt: cannot be read"):
        build(folder, class_names=str(tmp_path / "gone.txt"))


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    transformers.XCLIPModel(transformers.XCLIPConfig(**SMALL)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.pretrained: .*: its tokenizer knows \d words, the network 54"):
        build(tmp_path)


def test_views_of_another_length_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="positions for views of 4x32x32, got 8x32x32"):
        build(folder)(video(8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrained": "some/where"}, "class_names: they are the texts"),
        ({"class_names": NAMES[:2]}, "class_names: got 2, num_classes is 3"),
        ({"template": "a video"}, "template"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        XCLIPConfig.model_validate({"num_classes": 3, **settings})
