"""Headers of tar archives: what Python's own tarfile writes in every format is found at its place."""

import io
import tarfile

import pytest
from archives import tar_of

from minivit.data.tars import CutError, Window, check_start, members

LONG = f"{'folder' * 12}/{'inner' * 12}/{'name' * 30}.JPEG"
FILES = [("a.jpg", b"a" * 10), (LONG, b"b" * 1025), ("./ä.jpg", b""), ("d/c.jpg", b"c" * 512), ("e.jpg", b"e" * 9000)]


def found(content: bytes, start: int = 0, end: int | None = None) -> list[tuple[str, bytes]]:
    """Name and content of every member, by the places that are found."""
    window = Window(io.BytesIO(content))
    listed = members(window, start, len(content) if end is None else end)
    return [(name, content[at : at + size]) for name, at, size in listed]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_every_member_is_found_at_its_place(form):
    assert found(tar_of(FILES, form)) == [(name.removeprefix("./"), content) for name, content in FILES]


def test_names_of_ustar_have_two_parts():
    name = f"{'folder' * 15}/{'name' * 20}.JPEG"
    assert found(tar_of([(name, b"x")], tarfile.USTAR_FORMAT)) == [(name, b"x")]


def test_a_tar_within_a_tar_is_read_where_it_lies():
    inner = tar_of(FILES[:2])
    outer = tar_of([("before.txt", b"..."), ("inner.tar", inner), ("after.txt", b"...")])
    _, (name, start, size), _ = list(members(Window(io.BytesIO(outer)), 0, len(outer)))
    assert (name, outer[start : start + size]) == ("inner.tar", inner)
    assert found(outer, start, start + size) == FILES[:2]


def test_folders_are_left_out_and_links_have_no_content():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind, name in ((tarfile.DIRTYPE, "d"), (tarfile.LNKTYPE, "hard.jpg"), (tarfile.SYMTYPE, "soft.jpg")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "a.jpg", 10 if kind == tarfile.LNKTYPE else 0
            archive.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    content = file.getvalue()
    listed = list(members(Window(io.BytesIO(content)), 0, len(content)))
    assert [(name, size) for name, _, size in listed] == [("hard.jpg", -1), ("soft.jpg", -1), ("a.jpg", 3)]
    assert content[listed[2].start :][:3] == b"abc"


def sized(content: bytes, field: bytes) -> bytes:
    """The archive with another text as the size of its first member, and the sum of the header to go with it."""
    header = bytearray(content[:512])
    header[124:136], header[148:156] = field, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def test_sizes_over_8_gigabytes():
    content = tar_of(FILES[:1], tarfile.GNU_FORMAT)
    large = sized(content, bytes([0x80, *(9 * 2**30).to_bytes(11, "big")]))
    member = next(members(Window(io.BytesIO(large)), 0, 10 * 2**30))
    assert (member.start, member.size) == (512, 9 * 2**30)
    info = tarfile.TarInfo("a.jpg")
    info.size = 9 * 2**30
    header = info.tobuf(tarfile.PAX_FORMAT)
    listed = members(Window(io.BytesIO(header)), 0, 10 * 2**30)
    assert next(listed) == ("a.jpg", len(header), 9 * 2**30)


def test_a_sum_of_signed_bytes_counts_too():
    content = bytearray(tar_of([("ä.jpg", b"x")], tarfile.GNU_FORMAT))
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in content[:512])
    assert found(bytes(content)) == [("ä.jpg", b"x")]


@pytest.mark.parametrize(
    ("spoil", "complete", "reason"),
    [
        (lambda content: content[:1700], 1, "ends within b.jpg"),
        (lambda content: content[:1100], 1, "ends within the header of a member"),
        (lambda content: content[:1024], 1, "ends without the mark of its end, so that members may be missing"),
        (lambda content: content[:900], 1, "ends without the mark of its end, so that members may be missing"),
        (lambda content: content[:3072], 2, ""),  # one block of zeros of many
        (lambda content: content[:1030] + b"#" + content[1031:], 1, "is damaged at byte 1,024"),
        (lambda content: content[:1024] + bytes(3 * 2**20), 1, "has nothing in it after byte 1,024 of 3,146,752"),
        (lambda content: content[:1024] + sized(content[1024:], b"00000000zz\0 "), 1, "is damaged at byte 1,024"),
        (lambda content: content[:1024] + sized(content[1024:], b"-0000000001 "), 1, "is damaged at byte 1,024"),
    ],
    ids=["member", "header", "no mark", "padding", "mark", "sum", "zeros", "size", "negative"],
)
def test_members_before_a_fault_are_found(spoil, complete, reason):
    content = spoil(tar_of([("a.jpg", b"a"), ("b.jpg", b"b" * 600)]))
    window, listed, fault = Window(io.BytesIO(content)), [], ""
    try:
        for member in members(window, 0, len(content)):
            listed.append(member)
    except CutError as error:
        fault = str(error)
    assert (len(listed), fault) == (complete, reason)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.parametrize("end", [520, 700, 1030])
def test_a_cut_within_a_long_name(form, end):
    with pytest.raises(CutError, match="ends within the header of a member"):
        found(tar_of([(LONG, b"x")], form)[:end])


def test_broken_pax_records_are_damage():
    content = tar_of([(LONG, b"x")])
    for text in (b"999 path=x\n", b"x path=y\n", b"0 path=y\n"):
        spoilt = content[:512] + text.ljust(512, b"\0") + content[1024:]
        with pytest.raises(CutError, match="damaged at byte 0"):
            found(spoilt)


def test_a_sparse_file_is_refused_by_name():
    content = bytearray(tar_of(FILES[:1], tarfile.GNU_FORMAT))
    content[156:157] = b"S"
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    with pytest.raises(CutError, match=r"stores a\.jpg with holes"):
        found(bytes(content))


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"\x1f\x8b\x08" + bytes(600), "gunzip"),
        (b"BZh9" + bytes(600), "bunzip2"),
        (b"\xfd7zXZ" + bytes(600), "unxz"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "unzstd"),
        (b"PK\x03\x04" + bytes(600), "zip file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4", "git lfs pull"),
    ],
)
def test_what_is_not_an_archive_is_named(content, advice, refused):
    with refused("here.tar: ", advice):
        check_start("here.tar", Window(io.BytesIO(content)))


def test_what_may_have_been_an_archive_is_damaged():
    for content, reason in ((b"", "is empty"), (b"<!DOCTYPE html>" + b" " * 600, "is none"), (b"short", "is none")):
        with pytest.raises(CutError, match=reason):
            check_start("here.tar", Window(io.BytesIO(content)))
    check_start("here.tar", Window(io.BytesIO(bytes(10_240))))  # an archive of nothing


def test_a_window_reads_any_place_in_any_order():
    content = bytes(range(256)) * 80

    class Slow(io.BytesIO):
        def read(self, size=-1):  # as a pipe or a network drive may give
            return super().read(min(size, 700))

    window = Window(Slow(content))
    for start, size in ((0, 10), (5000, 5000), (4990, 20), (20_000, 1000), (20_479, 5), (3, 4)):
        assert window.read(start, size) == content[start : start + size]
