"""The lists of inputs and outputs in ``web/docs/<NodeId>/<language>.md``, made from the schemas.

The rest of a page is written by hand. ``with_lists`` puts fresh lists under two headings of a
page; ``python tests/tools/make_locales.py`` does it for all pages, and a test tells when that
is due.
Lists and not tables: the page shows help in a panel that cuts a table of three columns off.
"""

from __future__ import annotations

import re

WORDS = {
    "en": {
        "inputs": "## Inputs", "outputs": "## Outputs", "none": "None.", "on": "on",
        "off": "off", "text": "text", "range": "{}, from {} to {}",
        "host": "{}, from the host's list", "files": "{} or a file", "join": ", ",
        "row": "- `{}`{} ({}): {}", "either": "{}, optional", "type": {
            "MODEL": "model", "CONDITIONING": "conditioning", "VAE": "VAE", "IMAGE": "image",
            "AUDIO": "audio", "LATENT": "latent", "NOISE": "noise", "VIDEO": "video",
            "INT": "number", "FLOAT": "number", "STRING": "text", "BOOLEAN": "on or off",
            "CLIP": "CLIP",
        },
    },
    "zh": {
        "inputs": "## 输入", "outputs": "## 输出", "none": "无。", "on": "开", "off": "关",
        "text": "文本", "range": "{}，{} 到 {}",
        "host": "{}，取自 ComfyUI 的列表", "files": "{} 或文件", "join": "、",
        "row": "- `{}`{}（{}）：{}", "either": "{}，可选", "type": {
            "MODEL": "模型", "CONDITIONING": "条件", "VAE": "VAE", "IMAGE": "图像", "AUDIO": "音频",
            "LATENT": "潜空间", "NOISE": "噪波", "VIDEO": "视频", "INT": "数字",
            "FLOAT": "数字", "STRING": "文本", "BOOLEAN": "开或关", "CLIP": "CLIP",
        },
    },
}  # fmt: skip


def with_lists(page: str, node, texts: dict, language: str, types: dict[str, str]) -> str:
    """The page with fresh lists. ``texts``: the node's entry of ``nodeDefs.json``; ``types``: the
    names of the pack's wire types.

    Raises:
        ValueError: when the page lacks one of the two headings.
    """
    words = WORDS[language]
    described = node.GET_NODE_INFO_V1()
    specs = {}
    for section in ("required", "optional"):
        for name, spec in described["input"].get(section, {}).items():
            specs[name] = (spec[0], spec[1] if len(spec) > 1 else {}, section == "optional")
    rows = [
        _row(
            part.id, texts["inputs"][part.id], _value(*specs[part.id], part.id, words, types), words
        )
        for part in node.GET_SCHEMA().inputs
    ]
    page = _under(page, words["inputs"], "\n".join(rows) or words["none"])
    rows = [
        _row(name, texts["outputs"][str(place)], _kind(kind, words, types), words)
        for place, (name, kind) in enumerate(
            zip(described["output_name"], described["output"], strict=True)
        )
    ]
    return _under(page, words["outputs"], "\n".join(rows))


def _row(name: str, text: dict, value: str, words: dict) -> str:
    label = "" if text["name"] in (name, value) else f" {text['name']}"
    meaning = text["tooltip"].replace("<", "&lt;").replace(">", "&gt;")
    return words["row"].format(name, label, value, meaning)


def _kind(kind: str, words: dict, types: dict[str, str]) -> str:
    return types.get(kind) or words["type"].get(kind, kind)


def _value(kind: str, options: dict, optional: bool, name: str, words: dict, types: dict) -> str:
    default = options.get("default")
    if kind == "BOOLEAN":
        return words["on" if default else "off"]
    if kind in ("INT", "FLOAT") and default is not None:
        low, high = (_number(options[key]) for key in ("min", "max"))
        return words["range"].format(_number(default), low, high)
    if kind == "STRING":
        return default or words["text"]
    if kind == "COMBO":
        if name in ("sampler_name", "scheduler"):
            return words["host"].format(default)
        if any(word in name for word in ("file", "lora", "name")):
            return words["files"].format(default)
        rest = [str(value) for value in options["options"] if value != default]
        return words["join"].join([f"**{default}**", *rest])
    found = _kind(kind, words, types)
    return words["either"].format(found) if optional else found


def _number(value: float) -> str:
    return "2^64 - 1" if value == 2**64 - 1 else f"{value:g}" if abs(value) < 1e5 else str(value)


def _under(page: str, heading: str, rows: str) -> str:
    pattern = rf"(^{re.escape(heading)}\n)(.*?)(?=^## |\Z)"
    page, count = re.subn(
        pattern, lambda m: f"{m[1]}\n{rows}\n\n", page, count=1, flags=re.DOTALL | re.MULTILINE
    )
    if not count:
        raise ValueError(f"the page has no heading {heading!r}")
    return page.rstrip("\n") + "\n"
