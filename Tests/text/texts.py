"""Lines of text to compare tokenizers on: real ones of the Debian archive, and adversarial ones made by chance."""

import random
import unicodedata

POOLS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "accents": "àáâãäåçèéêëìíîïñòóôõöùúûüýÿæœßøłđħıİŸŠŽȺȾẞﬁﬃǅǆǄ",
    "marks": "".join(map(chr, [*range(0x300, 0x370), 0x345, 0x483, 0x591, 0x5B0, 0x64B, 0x670, 0x93C, 0x94D, 0xE38])),
    "rare_marks": "".join(map(chr, [0x302E, 0x302F, 0x1D165, 0x1D16D, 0x8D3, 0x897, 0x1AB0, 0x1ABF, 0x1DFA, 0x16FF0])),
    "greek": "αβγδεζηθικλμνξοπρσςτυφχψωΆΈΉΊΐΰΑΒΓΔᾼῼᾳὰ",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВЁЙІїґ",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويءآأؤإئىةﷺﷲ٠١٢٣۴۵،؛؟",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשתךםןףץשׁבּ",
    "devanagari": "कखगघङचछजझञटठडढणतथदधनऩपफबभमयरऱलवशषसह़ािीुूृेैोौ्क़।१२३",
    "thai": "กขคงจฉชซดตถทธนบปผพฟภมยรลวศสหอะาำิีึืุูเแโใไ็่้๊๋์๑๒๓",
    "cjk": "中文字符漢語日本東京大阪北京上海你好世界一二三四五六七八九十㐀㑀豈更車𠀀𪜀𫝀𫠠丽",
    "kana": "あいうえおかきくけこがぎぱアイウエオカガパヴｱｲｳﾞ゛゜ー々〆",
    "hangul": "한국어가각갂힣서울부산각ᄒ",
    "emoji": "😀😂👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇯🇵❤️☺️1️⃣🧑🏿‍🚀",
    "controls": "\x00\x01\x07\x08\x0b\x0c\x0e\x1b\x1c\x1f\x7f\x80\x85\x90\x9f\xad"
    "\u200b\u200c\u200d\u200e\u202e\u2060\ufeff\ufffd",
    "spaces": " \t\n\r\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡§«¶·»¿‐–—‘’“”…‹›、。「」！，：；？｡・",
    "symbols": "€£¥¢©®™°±×÷√∞≈≠≤≥←→■□▲★♠♥♪½¼²³¹ⅠⅡⅢ①②㈱㎏℃Å℡…",
    "digits": "0123456789٠१๑０１２Ⅷ½",
    "private": "\ue000\uf8ff\U000f0000\U0010fffd\U000e0001\U000e0041\ufffe\uffff\U0001ffff\u0378\u0e5f",
}
SPECIALS = ["[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "<mask>", "<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>"]
FORMS = [
    "'s",
    "'t",
    "'re",
    "'ve",
    "'LL",
    "'d",
    "  ",
    "   ",
    "\n\n",
    " \n ",
    "...",
    "--",
    "C++",
    "a.b",
    "x_y",
    "##ing",
    "▁",
]


def word(chance, words):
    """One word or a few characters of one kind."""
    kind = chance.random()
    if kind < 0.30:
        chosen = chance.choice(words)
        return chosen if chance.random() < 0.7 else chance.choice([chosen.upper(), chosen.title(), chosen.swapcase()])
    if kind < 0.70:
        pool = POOLS[chance.choice(list(POOLS))]
        return "".join(chance.choices(pool, k=chance.randint(1, 8)))
    if kind < 0.80:
        letter = chance.choice(POOLS["latin"] + POOLS["accents"] + POOLS["cjk"] + POOLS["hangul"] + POOLS["greek"])
        return letter + "".join(chance.choices(POOLS["marks"] + POOLS["rare_marks"], k=chance.randint(1, 6)))
    if kind < 0.88:
        special = chance.choice(SPECIALS)
        return chance.choice([special, special.lower(), special[:-1], special[1:], special * 2, " " + special + "  "])
    if kind < 0.94:
        return chance.choice(FORMS)
    return chr(chance.choice([*range(0xD800), *range(0xE000, 0x20000)]))


def adversarial(seed, count, words):
    """Lines of every kind of character, of special tokens, of long words and of bytes that happen to be UTF-8."""
    chance = random.Random(seed)
    for _ in range(count):
        kind = chance.random()
        if kind < 0.75:
            yield chance.choice(["", "", " "]).join(word(chance, words) for _ in range(chance.randint(0, 12)))
        elif kind < 0.83:
            yield "".join(
                chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))) for _ in range(12)
            )
        elif kind < 0.91:
            yield chance.randbytes(chance.randint(1, 60)).decode("utf-8", "ignore")
        elif kind < 0.96:
            yield " ".join(word(chance, words) for _ in range(chance.randint(10, 60)))
        else:
            letter = chance.choice("aéи中x\u0301각😀-")
            yield "the " + letter * chance.randint(95, 105) + chance.choice(["", " end", "."])


def all_characters():
    """A line around each character that Unicode 14 has assigned, and each of a few it has not."""
    for code in range(0x110000):
        if 0xD800 <= code <= 0xDFFF or (
            code > 0x32000 and code % 97 and unicodedata.category(chr(code)) in ("Cn", "Co")
        ):
            continue
        yield f"A{chr(code)}b {chr(code)}e\u0323{chr(code)}\u0301 1{chr(code)}[MASK]"
