"""What a class sends, as learning systems and people name and pack it."""

import io
import os
import stat
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest

from minivit.course.assignment import CourseError
from minivit.course.classroom.gathering import Wanted, defined, gather
from minivit.course.classroom.people import file_names
from minivit.course.classroom.submissions import collect
from minivit.course.classroom.unpacking import OUTSIDE, Entry
from minivit.course.student.packing import imported

WANTED = Wanted(["*.py", "answers.md"], {"softmax", "mean"}, {"a3", "a3_attention"})
CODE = b"def softmax(x):\n    return x\n"


def zipped(files: dict, **options) -> bytes:
    """A zip of these: name or ZipInfo -> bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for number, (name, data) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (1.6e9 + 60 * number,) * 2)
    return root


def of(root: Path, wanted=WANTED) -> dict:
    return {one.student: one for one in collect(root, wanted)[0]}


def only(root: Path, files: dict[str, bytes]):
    (one,) = collect(put(root, files), WANTED)[0]
    return one


def test_folders_zips_and_files_in_any_mixture(tmp_path):
    root = put(
        tmp_path,
        {
            "alice/adapters.py": CODE,
            "bob.zip": zipped({"adapters.py": CODE, "engine.py": b"x = 1"}),
            "carl.py": CODE,
            "dora_adapters.py": CODE,
            "Émile Zola.zip": zipped({"a3/adapters.py": CODE, "a3/answers.md": b"w1"}),
            "README.txt": b"mine",
        },
    )
    found = of(root)
    assert list(found) == ["alice", "bob", "carl", "dora", "Émile Zola"]
    assert [set(one.files) for one in found.values()] == [
        {"adapters.py"},
        {"adapters.py", "engine.py"},
        {"adapters.py"},
        {"adapters.py"},
        {"adapters.py", "answers.md"},
    ]
    assert not any(one.remarks for one in found.values())
    assert collect(root, WANTED)[1] == ["README.txt"]
    everything = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for folder in ("", "submissions/"):
        packed = tmp_path.parent / f"{tmp_path.name}.zip"
        packed.write_bytes(zipped({f"{folder}{name}": data for name, data in everything.items()}))
        assert list(of(packed)) == list(found)


@pytest.mark.parametrize(
    ("name", "student", "number"),
    [
        ("Ann Lee_123456_assignsubmission_file_/submission-a3.zip", "Ann Lee", "123456"),
        ("Ann_Marie Lee_1_assignsubmission_file/submission-a3.zip", "Ann_Marie Lee", "1"),
        ("Ann Lee_123456_assignsubmission_file_submission-a3.zip", "Ann Lee", "123456"),
        ("leeann_12345_678901_submission-a3.zip", "leeann", "12345"),
        ("leeann_LATE_12345_678901_submission-a3.zip", "leeann", "12345"),
        ("leeann_12345_678901_submission-a3-2.zip", "leeann", "12345"),
        ("A3_ann.lee_attempt_2026-10-01-12-00-00_submission-a3.zip", "ann.lee", ""),
        ("Ann (Lee).zip", "Ann (Lee)", ""),
        ("x+y=z.zip", "x+y=z", ""),
    ],
)
def test_names_of_learning_systems(tmp_path, name, student, number):
    one = only(tmp_path, {name: zipped({"adapters.py": CODE})})
    assert (one.student, one.id, one.files) == (student, number, {"adapters.py": CODE})
    assert ("It is marked as late." in one.remarks) == ("LATE" in name)


def test_single_files_of_one_student_belong_together(tmp_path):
    names = ["leeann_12345_1_adapters.py", "leeann_12345_2_attention-1.py", "leeann_12345_3_answers.md"]
    one = only(tmp_path, {name: name.encode() for name in names})
    assert {name: data.decode() for name, data in one.files.items()} == {
        "adapters.py": names[0],
        "attention.py": names[1],
        "answers.md": names[2],
    }


@pytest.mark.parametrize(
    "names",
    [
        ["leeann_1_3_s.zip", "leeann_1_5_s-1.zip", "leeann_1_4_s-10.zip"],
        ["A3_ann_attempt_2026-09-30-23-59-59_s.zip", "A3_ann_attempt_2026-10-01-00-00-00_s.zip"],
        ["ann.zip", "ann/adapters.py"],
        ["ann/adapters.py", "ann.py"],
    ],
)
def test_the_last_submission_counts_and_it_is_said_which(tmp_path, names):
    files = {name: b"# %d" % i for i, name in enumerate(names)}
    one = only(tmp_path, {n: zipped({"adapters.py": d}) if n.endswith(".zip") else d for n, d in files.items()})
    assert one.files["adapters.py"] == b"# %d" % (len(names) - 1)
    assert f"There are {len(names)} submissions: the last, {names[-1].partition('/')[0]}, counts" in one.remarks[0]


def test_users_of_blackboard_are_what_the_names_do_not_share(tmp_path):
    date = "_attempt_2026-10-01-12-00-00"
    names = [f"A 3_x_{user}{date}" for user in ("b_lee", "c_lee", "ann")]
    root = put(tmp_path, {f"{name}_adapters.py": CODE for name in names} | {f"{name}.txt": b"note" for name in names})
    assert list(of(root)) == ["ann", "b_lee", "c_lee"]
    assert all(one.files for one in of(root).values())


def test_an_export_of_gradescope_names_who_handed_in(tmp_path):
    about = """---
submission_11:
  :submitters:
  - :name: Ann Lee
    :sid: '777'
    :email: ann@x.org
  - :name: Bo Li
    :sid:
    :email: bo@x.org
  :created_at: 2026-10-01 12:00:00.1 Z
  :history:
  - :id: 3
submission_12:
  :submitters:
  - :name: Cy
    :email: cy@x.org
"""
    export = {"submission_metadata.yml": about.encode()}
    export |= {f"submission_{n}/adapters.py": b"# %d" % n for n in (11, 12, 13)}
    found = {one.student: (one.id, one.files["adapters.py"]) for one in collect(put(tmp_path, export), WANTED)[0]}
    assert found == {
        "Ann Lee": ("777", b"# 11"),
        "Bo Li": ("bo@x.org", b"# 11"),
        "Cy": ("cy@x.org", b"# 12"),
        "submission_13": ("", b"# 13"),
    }


def test_a_name_has_one_form_however_its_accents_are_written(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    if len({*os.listdir(put(tmp_path, {f"{apart}.py": b"1", f"{composed}.zip": zipped({"adapters.py": b"2"})}))}) == 2:
        (one,) = collect(tmp_path, WANTED)[0]
        assert (one.student, one.name) == (composed, composed)
        assert one.files == {"adapters.py": b"2"}


def test_names_of_files_are_all_different_and_fit_for_every_system():
    people = [
        ("a:b", ""),
        ("a?b", ""),
        ("Ann", "1"),
        ("ann", "2"),
        ("ann_1", ""),
        ("CON", ""),
        ("..", ""),
        ("x" * 300, ""),
    ]
    names = file_names(people)
    assert len({name.casefold() for name in names.values()}) == len(people)
    assert names["Ann", "1"] != "ann_1"
    assert all(0 < len(name) < 130 and not set(name) & set('<>:"/\\|?*') for name in names.values())
    assert names["CON", ""] != "CON"
    assert not names["..", ""].startswith(".")
    assert names == file_names(reversed(people))


def test_two_students_of_one_name_stay_two(tmp_path):
    files = {f"Ann Lee_{n}_assignsubmission_file_/adapters.py": b"# %d" % n for n in (1, 2)}
    found = collect(put(tmp_path, files), WANTED)[0]
    assert [(one.id, one.name, one.key) for one in found] == [
        ("1", "Ann Lee_1", "Ann Lee 1"),
        ("2", "Ann Lee_2", "Ann Lee 2"),
    ]


def test_what_the_grader_has_of_its_own_is_not_taken(tmp_path):
    files = dict.fromkeys(("check.py", "test_visible.py", "given/__init__.py", "_course/trial.py", "notes.txt"), b"x")
    junk = dict.fromkeys(("__MACOSX/a3/._adapters.py", "._adapters.py", ".DS_Store", "__pycache__/a.pyc"), b"x")
    one = only(tmp_path, {"ann.zip": zipped({"adapters.py": CODE, "my.py": b"y", **files, **junk})})
    assert one.files == {"adapters.py": CODE, "my.py": b"y"}
    assert one.remarks == ()


@pytest.mark.parametrize(
    ("inside", "taken", "said"),
    [
        ({"deep/er/a3/adapters.py": CODE, "deep/er/a3/m.py": b"", "deep/n.py": b""}, ["adapters.py", "m.py"], ""),
        ({"o/b/adapters.py": b"", "x/adapters.py": CODE}, ["adapters.py"], "x/adapters.py counts, not o/b/"),
        ({"a2/adapters.py": b"", "a3/adapters.py": CODE}, ["adapters.py"], "a3/adapters.py counts, not a2/"),
        ({"a3\\adapters.py": CODE, "a3\\m.py": b""}, ["adapters.py", "m.py"], ""),
        ({"Adapters.PY": CODE}, ["adapters.py"], "Adapters.PY is taken as adapters.py."),
        ({"adapters.py.txt": CODE}, ["adapters.py"], "adapters.py.txt is taken as adapters.py."),
        ({"adapters (1).py": CODE}, ["adapters.py"], "adapters (1).py is taken as adapters.py."),
        ({"mine.py": CODE}, ["adapters.py"], "mine.py is taken as adapters.py."),
        ({"mine.py": b"x = 1"}, [], "There is no adapters.py, only mine.py."),
        ({"a3.ipynb": b"{}"}, [], "There is a notebook, a3.ipynb, but no adapters.py"),
        ({"a3.rar": b"Rar!"}, [], "a3.rar cannot be opened here"),
        ({"../../adapters.py": CODE}, [], "../../adapters.py leads out of the folder: ignored."),
        ({"/adapters.py": CODE}, [], "/adapters.py leads out of the folder: ignored."),
        ({"C:\\adapters.py": CODE}, [], "C:/adapters.py leads out of the folder: ignored."),
        ({"adapters.py": CODE, "big.py": b"#" * (5 << 20) + b"#"}, ["adapters.py"], "big.py is larger than 5 MiB"),
        ({"adapters.py": b"#" * (6 << 20)}, [], "adapters.py is larger than 5 MiB: not taken."),
        ({"in.zip": zipped({"adapters.py": CODE})}, ["adapters.py"], ""),
        ({"in.zip": zipped({"in.zip": zipped({"adapters.py": CODE})})}, ["adapters.py"], ""),
        ({"in.zip": b"PK\x03\x04 damaged"}, [], "in.zip cannot be opened as a zip file"),
        ({}, [], "ann.zip is an empty zip file."),
    ],
)  # fmt: skip
def test_what_students_pack(tmp_path, inside, taken, said):
    one = only(tmp_path, {"ann.zip": zipped(inside)})
    assert list(one.files) == taken
    assert said in " ".join(one.remarks)
    assert one.files.get("adapters.py", CODE) == CODE
    assert said or not one.remarks


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ann.zip is an empty file."),
        (b"no zip", "ann.zip cannot be opened as a zip file"),
        (zipped({"adapters.py": CODE})[:-30], "ann.zip cannot be opened as a zip file"),
        (
            zipped({"adapters.py": CODE * 9}).replace(b"def", b"fed").replace(b"\x4b\x49", b"\x00\x00", 1),
            "is damaged in its zip",
        ),
    ],
)
def test_a_damaged_zip_is_a_sentence(tmp_path, data, said):
    one = only(tmp_path, {"ann.zip": data})
    assert one.files == {}
    assert said in " ".join(one.remarks)


def test_an_encrypted_zip_and_links_are_sentences(tmp_path):
    data = bytearray(zipped({"adapters.py": CODE}))
    data[6] |= 1  # of the local header, and below of the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "is encrypted" in " ".join(only(tmp_path / "a", {"ann.zip": bytes(data)}).remarks)
    link = zipfile.ZipInfo("adapters.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    one = only(tmp_path / "b", {"ann.zip": zipped({link: b"/etc/passwd"})})
    assert (one.files, one.remarks) == (
        {},
        ("adapters.py is a link, not a file.", "There is no adapters.py: nothing was handed in."),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there, and there are no pipes")
def test_links_and_pipes_in_folders_are_not_followed(tmp_path):
    secret = tmp_path / "secret.py"
    secret.write_bytes(CODE)
    root = put(tmp_path / "all", {"bob/adapters.py": CODE, "ann/notes.txt": b""})
    (root / "ann/adapters.py").symlink_to(secret)
    (root / "bob/loop").symlink_to(root)
    (root / "carl").mkdir()
    os.mkfifo(root / "carl/adapters.py")
    found = of(root)
    assert found["ann"].files == {}
    assert "adapters.py is a link, not a file." in found["ann"].remarks
    assert "adapters.py is a pipe or a device, not a file." in found["carl"].remarks
    assert found["bob"].files == {"adapters.py": CODE}


def test_a_bomb_is_not_unpacked(tmp_path):
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("adapters.py", "w", force_zip64=True) as f,
    ):
        for _ in range(200):
            f.write(bytes(1 << 20))
    lying = bytearray(made.getvalue())
    place = lying.index(b"PK\x01\x02") + 24
    lying[place : place + 4] = (100).to_bytes(4, "little")
    for number, data in enumerate((made.getvalue(), bytes(lying))):
        one = only(tmp_path / str(number), {"ann.zip": data})
        assert len(one.files.get("adapters.py", b"")) <= 100
        assert one.remarks or one.files


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_texts_of_other_editors_are_read(tmp_path, coding):
    text = "def softmax(x):  # é\r\n    return x\r\n"
    one = only(tmp_path, {"ann.py": text.encode(coding)})
    assert one.files["adapters.py"].decode("utf-8") == text
    assert ("UTF-16" in " ".join(one.remarks)) == coding.startswith("utf-16")


def test_one_unpacked_submission_is_one_student(tmp_path):
    root = put(tmp_path / "ann", {"adapters.py": CODE, "engine.py": b"", "check.py": b""})
    assert of(root)["ann"].files == {"adapters.py": CODE, "engine.py": b""}
    assert list(of(root / "adapters.py")) == ["ann"]


@pytest.mark.parametrize(
    ("names", "students"),
    [
        (["sent/alice/adapters.py", "sent/bob/adapters.py"], ["alice", "bob"]),
        (["sent/alice.py", "sent/bob.py"], ["alice", "bob"]),
        (["sent/alice.zip", "sent/bob/adapters.py"], ["alice", "bob"]),
        (["alice/src/adapters.py", "alice/tests/test_it.py"], ["alice"]),
        (["alice/a3/adapters.py", "alice/mine/b.py"], ["alice"]),
        (["alice/adapters.py", "alice/b/b.py"], ["alice"]),
    ],
)
def test_a_folder_around_all_is_seen_through(tmp_path, names, students):
    code = {".zip": zipped({"adapters.py": CODE}), "s.py": CODE, "e.py": CODE, "b.py": CODE}
    files = {name: code.get(name[-4:], b"x = 1") for name in names}
    assert list(of(put(tmp_path / "class", files))) == students
    (tmp_path / "all.zip").write_bytes(zipped(files))
    assert list(of(tmp_path / "all.zip")) == students


def test_one_file_is_read_without_its_neighbours(tmp_path):
    root = put(tmp_path, {"alice.py": CODE, "bob.py": CODE, "deep/er/x.py": CODE})
    assert list(of(root / "alice.py")) == ["alice"]


def test_an_empty_folder_is_a_student_who_handed_in_nothing(tmp_path):
    root = put(tmp_path / "class", {"ann/adapters.py": CODE})
    (root / "bob/x").mkdir(parents=True)
    (root / "carl").mkdir()
    (tmp_path / "all.zip").write_bytes(zipped({"ann/adapters.py": CODE, "bob/x/": b"", "carl/": b"", "__MACOSX/": b""}))
    for source in (root, tmp_path / "all.zip"):
        found = of(source)
        assert list(found) == ["ann", "bob", "carl"]
        assert found["carl"].remarks == found["bob"].remarks == ("There is no adapters.py: nothing was handed in.",)


def test_what_is_no_class_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.zip").write_bytes(b"no")
    (tmp_path / "class.rar").write_bytes(b"Rar!")
    for name in ("empty", "no.zip", "none"):
        with pytest.raises(CourseError) as error:
            collect(tmp_path / name, WANTED)
        assert "\n" not in str(error.value)


def test_earlier_parts_are_taken_where_they_count(tmp_path):
    files = {
        "ann/adapters.py": CODE,
        "ann/given.py": b"",
        "ann/earlier/a2/adapters.py": b"2",
        "ann/earlier/a2/x.txt": b"",
    }
    own = Wanted(WANTED.patterns, WANTED.adapters, WANTED.words, earlier=True)
    assert list(of(put(tmp_path, files), own)["ann"].files) == ["adapters.py", "earlier/a2/adapters.py"]
    assert list(of(tmp_path)["ann"].files) == ["adapters.py"]


def test_a_flood_of_files_is_cut_and_adapters_is_kept():
    read = []

    def entry(path, time="1"):
        return Entry(path, 2, time, lambda most: read.append(path) or b"x\n")

    flood = [entry(f"m{i}.py") for i in range(1000)] + [entry("n" * 300 + ".py", "0"), entry("a\x1b[2J.py", "0")]
    outside = [Entry(f"../{i}", 0, "", lambda most: b"", OUTSIDE) for i in range(1000)]
    files, remarks = gather([*flood, *outside, entry("adapters.py", "9")], Wanted(["*.py"], ["f"], ["a3"]))
    assert "adapters.py" in files
    assert len(files) == 200
    assert len(read) < 450
    assert len(remarks) <= 31
    assert all(remark.isprintable() for remark in remarks)


def test_folders_of_modules_that_are_imported_go_to_the_grader(tmp_path):
    code = b"from layers.dense import Dense\n" + CODE
    files = {"me/a3/adapters.py": code, "me/a3/layers/dense.py": b"import deep", "me/a3/deep/er.py": b""}
    files |= {"me/a3/drafts/old.py": b"", "me/a3/layers/notes.txt": b"", "me/a3/_course/trial.py": b"", "me/x.py": b""}
    one = only(tmp_path, files)
    assert set(one.files) == {"adapters.py", "layers/dense.py", "deep/er.py"}


def test_what_python_warns_of_in_a_source_does_not_hide_its_imports():
    source = b"import rows\n\npattern = '\\d'\n"  # a warning of syntax, here an error
    assert imported({"adapters.py": source}) == {"rows"}
    assert defined(source) == {"rows", "pattern"}
