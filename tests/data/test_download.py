"""Downloads: whole, resumed, restarted, refused; and what each leaves on the disk."""

import base64
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minivit.data.download import check_md5, download
from minivit.errors import CheckpointError

CONTENT = bytes(range(256)) * 9000  # more than two chunks
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BASE64 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()


@pytest.fixture
def target(tmp_path, server):
    server.files["file.bin"] = CONTENT
    return tmp_path / "new" / "folder" / "file.bin"


def part_of(target):
    return target.with_name("file.bin.part")


def leave_part(target, content):
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(content)


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_creates_the_folder_and_leaves_only_the_file(target, server, tmp_path):
    download(server.url + "file.bin", target, MD5)
    assert target.read_bytes() == CONTENT
    assert files_in(tmp_path) == ["file.bin"]
    assert server.ranges == [None]


def test_progress_grows_to_the_total(target, server):
    calls = []
    download(server.url + "file.bin", target, MD5, lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    assert len(calls) > 1
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)
    assert {call[1] for call in calls} == {len(CONTENT)}


def test_a_part_is_resumed_with_a_range_request(target, server, tmp_path):
    leave_part(target, CONTENT[:1_000_000])
    calls = []
    download(server.url + "file.bin", target, MD5, lambda done, total: calls.append((done, total)))
    assert server.ranges == ["bytes=1000000-"]
    assert calls[0][0] > 1_000_000
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert files_in(tmp_path) == ["file.bin"]


def test_a_server_without_ranges_sends_everything_again(target, server):
    server.honour_ranges = False
    leave_part(target, b"something else")
    download(server.url + "file.bin", target, MD5)
    assert target.read_bytes() == CONTENT


def test_a_complete_part_only_gets_its_name(target, server):
    leave_part(target, CONTENT)
    download(server.url + "file.bin", target, MD5)  # the server answers 416, nothing left to send
    assert target.read_bytes() == CONTENT


def test_a_broken_connection_keeps_the_part_for_the_next_try(target, server, refused):
    server.cut_after = 500_000
    with refused("cannot download", "file.bin", "500,000", "try again", str(target.parent)):
        download(server.url + "file.bin", target, MD5)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:500_000]
    server.cut_after = None
    download(server.url + "file.bin", target, MD5)
    assert server.ranges == [None, "bytes=500000-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True])
def test_a_wrong_checksum_leaves_nothing(target, server, refused, tmp_path, resumed):
    if resumed:
        leave_part(target, b"x" * 1000)
    with refused("wrong checksum", server.url):
        download(server.url + "file.bin", target, MD5 if resumed else "0" * 32)
    assert files_in(tmp_path) == []


def test_a_missing_page_and_a_missing_server_are_one_line(target, server, refused, tmp_path):
    with refused("nothing.bin", "Not Found"):
        download(server.url + "nothing.bin", target, MD5)
    with refused("cannot download http://127.0.0.1:9/", "put file.bin into"):
        download("http://127.0.0.1:9/file.bin", target, MD5)  # port 9, discard: nobody listens
    assert files_in(tmp_path) == []


def test_an_interrupted_download_keeps_its_part(target, server):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url + "file.bin", target, MD5, interrupt)
    assert files_in(target.parent) == ["file.bin.part"]
    assert 0 < part_of(target).stat().st_size < len(CONTENT)
    download(server.url + "file.bin", target, MD5)
    assert server.ranges[1] is not None
    assert files_in(target.parent) == ["file.bin"]


def test_the_longest_part_is_resumed_and_a_longer_one_never_lost(target, server, refused):
    leave_part(target, CONTENT[:1000])
    target.with_name("file.bin.0123456789ab.part").write_bytes(CONTENT[:600_000])  # of a call that was killed
    server.cut_after = 0
    with refused("try again"):
        download(server.url + "file.bin", target, MD5)
    assert server.ranges == ["bytes=600000-"]
    assert part_of(target).read_bytes() == CONTENT[:600_000]
    server.honour_ranges = False
    with refused("try again"):
        download(server.url + "file.bin", target, MD5)
    assert part_of(target).read_bytes() == CONTENT[:600_000]
    server.cut_after, server.honour_ranges = None, True
    download(server.url + "file.bin", target, MD5)
    assert files_in(target.parent) == ["file.bin"]


def test_several_downloads_of_one_file_all_end_with_it(target, server):
    """Each is met at a point of its own by others that begin and others that end."""
    leave_part(target, CONTENT[:300_000])
    together = threading.Barrier(4, timeout=60)

    def fetch(number):
        together.wait()
        download(server.url + "file.bin", target, MD5, lambda done, total: time.sleep(0.02 * number))
        return target.read_bytes() == CONTENT

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, range(4))) == [True] * 4
    assert files_in(target.parent) == ["file.bin"]


@pytest.mark.parametrize("fails", [False, True])
def test_who_comes_second_keeps_the_file_of_the_first(target, server, fails):
    def overtaken(done, total):
        if not target.exists():
            download(server.url + "file.bin", target, MD5)
            assert files_in(target.parent) == ["file.bin"]
            if fails:
                raise ConnectionResetError("reset")

    download(server.url + "file.bin", target, MD5, overtaken)
    assert target.read_bytes() == CONTENT
    assert files_in(target.parent) == ["file.bin"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, server, refused):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with refused(f"cannot write {tmp_path / 'taken'}", "--data-root", "MINIVIT_DATA"):
        download(server.url + "file.bin", tmp_path / "taken" / "file.bin", MD5)


def test_check_md5(tmp_path, refused):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    check_md5(file, MD5)
    with refused(str(file), MD5, "0" * 32, "delete it"):
        check_md5(file, "0" * 32)


# Without a checksum of one's own: what the server states


def state(server, kind, right=True):
    """Have the server state a checksum: as Google's storage does, or as Hugging Face on the way to the file."""
    if kind == "MD5":
        digest = BASE64 if right else BASE64[::-1].replace("=", "") + "=="
        server.headers["file.bin"] = {"x-goog-hash": f"crc32c=AAAAAA==,md5={digest}"}
    elif kind == "SHA-256":
        server.files["elsewhere"] = server.files["file.bin"]
        server.moved["file.bin"] = "elsewhere"
        server.headers["file.bin"] = {"X-Linked-ETag": f'"{SHA256 if right else SHA256[::-1]}"', "X-Linked-Size": "9"}


@pytest.mark.parametrize("kind", ["MD5", "SHA-256"])
@pytest.mark.parametrize("begun", [0, 1_000_000, len(CONTENT)])
def test_what_the_server_states_is_compared(target, server, refused, tmp_path, kind, begun):
    state(server, kind)
    if begun:
        leave_part(target, CONTENT[:begun])
    assert download(server.url + "file.bin", target) == kind
    assert server.ranges == [f"bytes={begun}-" if begun else None]
    assert target.read_bytes() == CONTENT
    target.unlink()
    state(server, kind, right=False)
    if begun:
        part_of(target).write_bytes(CONTENT[:begun])
    with refused("wrong checksum and was deleted", server.url):
        download(server.url + "file.bin", target)
    assert files_in(tmp_path) == []


def test_ones_own_checksum_counts_more_than_what_is_stated(target, server):
    state(server, "MD5", right=False)
    assert download(server.url + "file.bin", target, MD5) == "MD5"


@pytest.mark.parametrize("begun", [0, 1_000_000, len(CONTENT), len(CONTENT) + 5])
@pytest.mark.parametrize("header", [{}, {"X-Linked-ETag": '"0123456789abcdef"'}, {"X-Goog-Hash": "md5=?"}])
def test_where_nothing_is_stated_no_pieces_are_put_together(target, server, header, begun):
    server.headers["file.bin"] = header
    if begun:
        leave_part(target, b"x" * begun)  # of an older file, perhaps
    assert download(server.url + "file.bin", target) is None
    assert server.ranges[-1] is None
    assert target.read_bytes() == CONTENT
    assert files_in(target.parent) == ["file.bin"]


def test_what_is_not_the_file_is_deleted(target, server, refused, tmp_path):
    def check(path):
        assert path.read_bytes() == CONTENT
        raise CheckpointError(f"{path} is a web page, not weights")

    with refused(f"{server.url}file.bin: the server sent a different file", "(it is a web page, not weights)"):
        download(server.url + "file.bin", target, check=check)
    assert files_in(tmp_path) == []
