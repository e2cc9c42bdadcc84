"""Writes the images beside this file: PNG of every kind of pixel, JPEG of flat blocks; and archives of NumPy arrays."""

import numpy
import struct
import zlib

def chunk(t, d): return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
def png(name, depth, kind, rows, w, extra=b""):
    raw = b"".join(b"\0" + r for r in rows)
    open(name, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, len(rows), depth, kind, 0, 0, 0)) + extra
        + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))
B = bytes
png("grey.png", 8, 0, [B([0, 51, 102]), B([153, 204, 255])], 3)
png("bit.png", 1, 0, [B([0b10100000]), B([0b01000000])], 3)
png("grey_alpha.png", 8, 4, [B([0, 9, 51, 9, 102, 9]), B([153, 0, 204, 9, 255, 9])], 3)
png("colour.png", 8, 2, [B([1, 2, 3, 4, 5, 6, 7, 8, 9]), B([10, 20, 30, 40, 50, 60, 70, 80, 90])], 3)
png("alpha.png", 8, 6, [B([1, 2, 3, 0, 4, 5, 6, 9, 7, 8, 9, 9]), B([10, 20, 30, 9, 40, 50, 60, 9, 70, 80, 90, 9])], 3)
png("sixteen.png", 16, 2, [B([1, 99, 2, 99, 3, 99, 4, 0, 5, 0, 6, 0, 7, 1, 8, 1, 9, 1]), B(sum(([v, 128] for v in (10, 20, 30, 40, 50, 60, 70, 80, 90)), []))], 3)
png("palette.png", 8, 3, [B([0, 1, 2]), B([2, 1, 0])], 3, chunk(b"PLTE", B([1, 2, 3, 4, 5, 6, 7, 8, 9])))
png("small.png", 8, 0, [B([7])], 1)
def jpeg(name, blocks, w):
    # One row of 8 by 8 blocks, each flat: the DC coefficient is 8 times the value less 128, all tables are 1, and the codes are our own.
    n = len(blocks[0]); bits = ""; last = [0] * n
    for block in blocks:
        for c, value in enumerate(block):
            dc = 8 * (value - 128); d = dc - last[c]; last[c] = dc
            size = abs(d).bit_length()
            bits += format(size, "04b") + (format(d if d > 0 else d + (1 << size) - 1, f"0{size}b") if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    data = B(int(bits[i:i+8], 2) for i in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    seg = lambda m, d: b"\xff" + B([m]) + struct.pack(">H", len(d) + 2) + d
    open(name, "wb").write(b"\xff\xd8" + seg(0xe0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + seg(0xdb, b"\0" + b"\1" * 64)
        + seg(0xc0, struct.pack(">BHHB", 8, 8, w, n) + b"".join(B([c + 1, 0x11, 0]) for c in range(n)))
        + seg(0xc4, b"\0" + B([0, 0, 0, 12] + [0] * 12) + B(range(12))) + seg(0xc4, b"\x10" + B([1] + [0] * 15) + b"\0")
        + seg(0xda, B([n]) + b"".join(B([c + 1, 0]) for c in range(n)) + B([0, 63, 0])) + data + b"\xff\xd9")
jpeg("grey.jpg", [(10,), (200,)], 16)
jpeg("colour.jpg", [(76, 85, 255), (150, 44, 21), (29, 255, 107)], 24)
arrays = dict(x=numpy.arange(6, dtype="<f4").reshape(2, 3), y=numpy.asfortranarray(numpy.arange(4, dtype=">i8").reshape(2, 2)))
numpy.savez("stored.npz", **arrays)
numpy.savez_compressed("deflated.npz", **arrays)
