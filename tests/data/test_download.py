"""Downloads: whole, resumed, restarted, refused; and what each leaves on the disk."""

import hashlib

import pytest

from minivit.data.download import check_md5, download

CONTENT = bytes(range(256)) * 9000  # more than two chunks
MD5 = hashlib.md5(CONTENT).hexdigest()


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


def test_check_md5(tmp_path, refused):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    check_md5(file, MD5)
    with refused(str(file), MD5, "0" * 32, "delete it"):
        check_md5(file, "0" * 32)
