"""A Unigram model trained by SentencePiece on lines of text, read from its protobuf without the library's help."""

import io
import struct

import sentencepiece


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """Number and content of each field of a message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def trained(lines, size, **options):
    """Pieces with their scores, and the precompiled character map."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, model_type="unigram", minloglevel=2,
        num_threads=1, hard_vocab_limit=False, **options,
    )  # fmt: skip
    pieces, charsmap = [], b""
    for number, content in fields(model.getvalue()):
        if number == 1:
            piece = dict(fields(content))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0]))
        elif number == 3:
            charsmap = dict(fields(content)).get(2, b"")
    return pieces, charsmap
