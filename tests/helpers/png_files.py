"""PNG files written by hand, of kinds that no library writes."""

import struct
import zlib


def png(width, height, depth, kind, rows=None, key=None, palette=None, exif=None):
    """A PNG of `depth` bits and colour type `kind` (0 grey, 2 colour, 3 palette, 4 and 6 with alpha), its rows given as
    bytes; without them its pixels cannot be decoded. key: what of it is transparent. exif: the chunk of that name."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows)) if rows else b""
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", key), (b"eXIf", exif)]
    chunks += [(b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks if body is not None)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
