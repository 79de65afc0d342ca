"""Texts that tokenizers read differently when they differ at all."""

from __future__ import annotations

import random
from collections.abc import Iterator

TEXTS = [
    "",
    " \t\n ",
    "Mara laughs.",
    "Mara’s “laugh” — don't, I'll, they've, it's, I'M, we'd, you're",
    "海边的红灯笼，渔村。镜头缓慢推进。",
    "日本語カタカナ ｱｲｳ 한국어",
    "&amp;lt;b&gt; caf&eacute; &#8217;",
    "<i> &amp;lt;p&amp;gt; &amp;amp;",  # twice, where ftfy leaves entities alone
    "caf\u00e9 cafe\u0301 naïve ÉCOLE İstanbul ǅ ß",
    "schÃ¶n, itâ€™s mojibake",
    "ﬁne ﬂow ½ ² 1234 3.14 Ⅷ ٣",
    "👩‍🚀🚀 emoji 🏳️‍🌈",
    "a\u200bb \u0085 \x1c z \ufeff \u00a0x",
    "__under_score__ @#$% ... !!! ?!",
    "<start_of_text> a <end_of_text>b <|endoftext|>",
    "<b>bold</b> &nbsp; \x1b[31mred",
    "word " * 200,
    "x" * 500,
    "aaaaaaaaaaaaabbbbbbbbbbabababab",
]


def random_texts(count: int, source: random.Random) -> Iterator[str]:
    """Texts of 0 to 40 characters, half of them from ASCII, the rest from all over Unicode."""
    ranges = ((32, 127, 5), (0xA0, 0x500, 2), (0x500, 0xD800, 2), (0x10000, 0x30000, 1))
    weights = [weight for *_, weight in ranges]
    for _ in range(count):
        parts = source.choices(ranges, weights, k=source.randrange(41))
        yield "".join(chr(source.randrange(low, high)) for low, high, _ in parts)
