"""Records ``hpsv3.json`` and ``storymem/models/hpsv3_tokens.json`` with the ``hpsv3`` package
itself.

The package pins ``transformers==4.45.2``, which ComfyUI cannot use: run this in an environment of
its own, never in ComfyUI's.

    python -m venv hps && . hps/bin/activate
    pip install torch torchvision "transformers==4.45.2" "peft==0.13.2" "trl==0.8.6" \
        "accelerate==1.0.1" "huggingface_hub<1" "datasets<3" "numpy<2.3" pandas matplotlib \
        tensorboard omegaconf pyyaml fire requests
    pip install --no-deps hpsv3==1.0.0
    python tests/tools/make_hpsv3.py <folder with Qwen2's vocab.json and merges.txt>

The tokenizer's files are the ones that ComfyUI ships in ``comfy/text_encoders/qwen25_tokenizer``:
Qwen2-VL has the same words; its special tokens are added here in Qwen2-VL's own order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from hpsv3.inference import HPSv3RewardInferencer
from hpsv3.model.qwen2vl_trainer import Qwen2VLRewardModelBT
from PIL import Image
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLImageProcessor, Qwen2VLProcessor

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden"
sys.path.insert(0, str(TESTS))
from helpers import hpsv3_case as case  # noqa: E402

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|{part}_{end}|>" for part in ("object_ref", "box", "quad") for end in ("start", "end")),
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
IMAGE_PAD = 151655
CHAT_TEMPLATE = (  # Qwen2-VL's, for one user message that holds an image and then text
    "{% for message in messages %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def make_processor(folder: str) -> Qwen2VLProcessor:
    tokenizer = Qwen2Tokenizer(
        f"{folder}/vocab.json", f"{folder}/merges.txt", pad_token="<|endoftext|>"
    )
    tokenizer.padding_side = "right"
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[1:]})
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == list(range(151643, 151657))
    tokenizer.add_special_tokens({"additional_special_tokens": [*SPECIAL[1:], "<|Reward|>"]})
    assert tokenizer.convert_tokens_to_ids("<|Reward|>") == case.REWARD_TOKEN
    images = Qwen2VLImageProcessor(min_pixels=3136, max_pixels=12845056)
    return Qwen2VLProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)


def make_model() -> Qwen2VLRewardModelBT:
    config = Qwen2VLConfig(
        vocab_size=case.VOCABULARY,
        rope_theta=1_000_000.0,  # these two as in the published configuration
        rms_norm_eps=1e-6,
        rope_scaling={"type": "mrope", "mrope_section": case.MROPE_SECTION},
        vision_config=case.VISION,
        image_token_id=IMAGE_PAD,
        attn_implementation="sdpa",
        use_cache=False,
        **case.TEXT,
    )
    model = Qwen2VLRewardModelBT(
        config,
        output_dim=2,
        reward_token="special",
        special_token_ids=[case.REWARD_TOKEN],
        rm_head_type="ranknet",
    ).eval()
    state = {
        key: torch.from_numpy(case.weight(key, tuple(value.shape)))
        for key, value in model.state_dict().items()
        if not key.startswith("lm_head")
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert missing == ["lm_head.weight"]
    assert not unexpected
    model.config.pad_token_id = 151643
    model.to(torch.bfloat16)  # as the package does: this rounds the rotary frequencies, too
    model.rm_head.to(torch.float32)
    model.rm_head.load_state_dict(
        {k.removeprefix("rm_head."): v for k, v in state.items() if k.startswith("rm_head.")}
    )
    # On CUDA the package's autocast hands the head float32; without CUDA it is switched off.
    model.rm_head.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))
    return model


def main() -> None:
    inferencer = object.__new__(HPSv3RewardInferencer)  # its __init__ downloads the weights
    inferencer.device = "cpu"
    inferencer.use_special_tokens = True
    inferencer.processor = make_processor(sys.argv[1])
    inferencer.model = make_model()
    images = [Image.fromarray(case.image(*parameters)) for parameters in case.IMAGES]

    def scores() -> list[list[float]]:
        with torch.no_grad():
            return [inferencer.reward([picture], [""])[0].tolist() for picture in images]

    bf16 = scores()
    inferencer.model.float()  # the rounded frequencies stay rounded
    fp32 = scores()
    with torch.no_grad():
        together = inferencer.reward([images[0], images[1]], ["", ""]).tolist()
    batch = inferencer.prepare_batch([images[0]], [""])
    ids = batch["input_ids"][0].tolist()
    first, pads = ids.index(IMAGE_PAD), ids.count(IMAGE_PAD)
    tokens = {
        "source": "hpsv3 1.0.0 (MIT, Copyright (c) 2024 HPSv3 Team): the tokens of its instruction "
        "with an empty prompt, before and after the image, up to the reward token",
        "before": ids[:first],
        "after": ids[first + pads : ids.index(case.REWARD_TOKEN) + 1],
    }
    recorded = {
        "made_with": {
            "hpsv3": "1.0.0",
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        },
        "grids": [
            inferencer.prepare_batch([picture], [""])["image_grid_thw"][0].tolist()
            for picture in images
        ],
        "pixels": [
            [float(values.double().sum()), float(values.double().abs().sum())]
            for picture in images
            for values in [inferencer.prepare_batch([picture], [""])["pixel_values"]]
        ],
        "fp32": fp32,
        "bf16": bf16,
        "together": together,
    }
    (GOLDEN / "hpsv3.json").write_text(json.dumps(recorded, indent=1) + "\n")
    target = TESTS.parent / "storymem" / "hpsv3_tokens.json"
    target.write_text(json.dumps(tokens) + "\n")
    print(json.dumps(recorded, indent=1))  # noqa: T201


main()
