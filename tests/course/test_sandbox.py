"""What crosses between grader and student, and the limits of the student's process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minivit.course.sandbox import remote as sandbox
from minivit.course.sandbox import watching, wire
from minivit.course.sandbox.remote import Remote, Terms
from minivit.course.student.trial import Engine, NotAnswered, Own, Wrong

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")


def there_and_back(value):
    message = wire.encode(value)
    skeleton = wire.frame(message[:16])[0]
    return wire.decode(message[16 : 16 + skeleton], message[16 + skeleton :])


def remote(text: str, **options) -> Remote:
    seconds = options.pop("seconds", 10.0)
    return Remote(Terms({"adapters.py": f"import numpy as np\n{text}".encode()}, seconds, 512), **options)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2**70, -0.0, 1 / 3, float("inf"), "h\u00e9 \ud800", [1, (2, [])], {"b": 1, "a": [2.0]},
        slice(None, 3, -1), Ellipsis, 2j, np.float64(2), np.int64(3), np.bool_(True), np.uint8(7),
    ],
)  # fmt: skip
def test_values_cross_with_their_types(value):
    back = there_and_back(value)
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "u1", "?", "c16", ">f8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_cross_bit_for_bit(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = there_and_back(array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.shape == shape
    assert np.array_equal(back, array)
    assert back.flags.c_contiguous


def test_an_array_in_two_places_stays_one_and_scalars_do_not_mix():
    x = np.ones(2)
    a, (b, c), d, e = there_and_back((x, [x, x.copy()], np.int64(3), np.bool_(False)))
    assert a is b
    assert a is not c
    assert (d, e) == (3, False)


@pytest.mark.parametrize(
    ("head", "blobs"),
    [
        ('{"tree": ["a", 0], "arrays": [["O", [1]]]}', b"12345678"),
        ('{"tree": ["a", 0], "arrays": [["<f8", [2]]]}', b"12345678"),
        ('{"tree": ["a", 0], "arrays": [["<f8", [-1]]]}', b""),
        ('{"tree": ["a", 0], "arrays": [["<f8", [4611686018427387904, 4]]]}', b"12345678"),
        ('{"tree": ["a", 3], "arrays": []}', b""),
        ('{"tree": ["a", 0], "arrays": [["<f8", [1]]]}', b"1234567890"),
        ('{"tree": {"a": 1}, "arrays": []}', b""),
        ('{"tree": ["o", [1073741824]], "arrays": []}', b""),
        ('{"tree": ["d", [["l"], 1]], "arrays": []}', b""),
        ('{"tree": ["engine", 0], "arrays": []}', b""),
        ("[" * 5000, b""),
        ('{"tree": ["a", 0], "arrays": [["<f8", [1099511627776, 0]]]}', b""),
        ('{"tree": ["o", [1099511627776, 0]], "arrays": []}', b""),
        ('{"tree": ["o", ["x", 1000000]], "arrays": []}', b""),
        ('{"tree": ["l", ["o", [2000000]], ["o", [2000000]]], "arrays": []}', b""),
        ("null", b""),
        ('{"tree": [], "arrays": []}', b""),
    ],
)
def test_a_forged_message_is_refused(head, blobs):
    with pytest.raises(wire.BadValue):
        wire.decode(head.encode(), blobs)


def test_calls_in_one_process_share_its_state_and_processes_do_not():
    text = "n = []\ndef count():\n    n.append(1)\n    return len(n)\n"
    with remote(text) as call:
        assert [call("count", ()), call("count", ())] == [1, 2]
    with remote(text) as call:
        assert call("count", ()) == 1


def test_arguments_keep_their_identity_and_must_stay_as_they_are():
    with remote("def same(a, b):\n    return a is b\ndef write(a):\n    a[0] = 7\n    return 1\n") as call:
        x = np.zeros(2)
        assert call("same", (x, x)) is True
        assert call("same", (x, x.copy())) is False
        with pytest.raises(Wrong, match=r"write changes a\[0\], an argument"):
            call("write", ([x],))
        assert x[0] == 0


def test_a_students_own_adapter_may_be_an_argument():
    with remote("def inc(x):\n    return x + 1\ndef apply(f, x):\n    return f(x)\n") as call:
        assert call("apply", (Own("inc"), 2)) == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise NotImplementedError", "not answered"),
        ("return None", "returns None"),
        ("return undefined", "raises NameError: name 'undefined' is not defined, in adapters.py line 3"),
        ("return {1.5: 2}", "keys that are not text"),
        ("return np.array(['a'])", "expected numbers"),
        ("return (i for i in ())", "object of type generator"),
        ("return np.ones(3 << 20)", "more than 16 MiB"),
        ("import ctypes", "importing ctypes is not allowed"),
    ],
)
def test_what_goes_wrong_is_one_sentence(body, words):
    with remote(f"def f():\n    {body}\n") as call, pytest.raises(Wrong, match=words):
        call("f", ())


def test_an_adapter_that_is_missing_is_not_answered():
    with remote("") as call, pytest.raises(NotAnswered, match=r"adapters.py has no f"):
        call("f", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", r"raises SyntaxError: .*, in adapters.py line 2"),
        ("import missing_one\n", "No module named 'missing_one'"),
        ("raise NotImplementedError\n", "leave the error inside the function"),
        ("import os\nos._exit(5)\n", "ends the process"),
    ],
)
def test_a_submission_that_cannot_be_imported_is_told_so(text, words):
    with remote(text) as call:
        for _ in range(2):
            with pytest.raises(Wrong, match=words):
                call("f", ())
        assert call.unloaded


def test_no_adapters_at_all():
    with Remote(Terms({"other.py": b""})) as call, pytest.raises(Wrong, match="No module named 'adapters'"):
        call("f", ())


def test_cpu_time_is_limited_and_sleep_by_the_clock():
    with (
        remote("def f():\n    while True:\n        pass\n", seconds=0.3) as call,
        pytest.raises(Wrong, match=r"f takes more than 0.3 seconds"),
    ):
        call("f", ())
    text = "import time\ndef f():\n    time.sleep(60)\n"
    with remote(text, seconds=0.3) as call, pytest.raises(Wrong, match="does not come back within"):
        call("f", ())
    assert call.slow


def test_a_reply_in_small_pieces_is_a_late_reply():
    text = """
import os, sys, time
def f():
    descriptor = sys._getframe(1).f_locals['self'].line.descriptor
    os.write(descriptor, (1 << 20).to_bytes(8, 'little') + bytes(8))
    while True:
        os.write(descriptor, b' ')
        time.sleep(0.05)
"""
    with remote(text, seconds=0.3) as call, pytest.raises(Wrong, match="does not come back within"):
        call("f", ())


def test_the_time_of_a_check_is_for_all_its_calls():
    def often(call):
        for _ in range(9):
            call("f", ())

    with remote("import time\ndef f():\n    time.sleep(0.4)\n    return 1\n", seconds=0.5) as call:
        assert call("f", ()) == 1
        with pytest.raises(Wrong, match="does not come back within"):
            often(call)


def test_no_folder_is_left_though_it_is_deep_or_closed(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.chdir(folder)
    os.mkdir("closed")
    os.mkdir("closed/inner")
    os.chmod("closed", 0)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    monkeypatch.chdir(tmp_path)
    watching.remove(str(folder))
    assert not folder.exists()


ENGINES = {"right": "def run(x):\n    return 2 * x\n", "wrong": "def run(x):\n    raise ValueError('the secret')\n"}


def engines(name: str) -> Terms:
    return Terms({"adapters.py": ENGINES[name].encode()})


def test_an_engine_is_a_proxy_whose_errors_say_nothing():
    text = """
calls = []
def find(run):
    calls.append(1)
    try:
        return bool(run(np.ones(2)).sum() != 4)
    except Exception as error:
        return [str(error), len(calls), run.__name__]
"""
    with remote(text, engines=engines) as call:
        assert call("find", (Engine("right", "run"),)) is False
        assert call("find", (Engine("wrong", "run"),)) == ["the function failed", 1, "function"]


def test_calls_of_an_engine_are_counted():
    text = "def find(run):\n    for _ in range(20):\n        run(1.0)\n    return True\n"
    with remote(text, engines=engines, calls=20) as call:
        assert call("find", (Engine("right", "run"),)) is True
    with remote(text, engines=engines, calls=19) as call, pytest.raises(Wrong, match="more than 19 times"):
        call("find", (Engine("right", "run"),))


def test_random_numbers_without_a_seed_differ_by_check_and_not_by_run():
    text = b"import numpy as np, random\ndef f():\n    return [np.random.rand(), random.random()]\n"
    found = []
    for seed in (1, 1, 2):
        with Remote(Terms({"adapters.py": text}, seed=seed)) as call:
            found.append(call("f", ()))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_the_kernel_refuses_what_the_hook_would_miss():
    code = """
import os, sys
sys.path[:0] = [r"HERE"]
from minivit.course.sandbox.limits import Limits
limits = Limits()
limits.apply(512, 5)
print(limits.filter())
for f in (os.fork, lambda: os.kill(os.getppid(), 0), lambda: os.execv("/bin/true", ["true"]), os.setsid):
    try:
        f()
        print("done")
    except PermissionError:
        print("refused")
import threading
thread = threading.Thread(target=print, args=("thread",))
thread.start(); thread.join()
"""
    code = code.replace("HERE", str(Path(sandbox.__file__).parents[2]))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "False":
        pytest.skip("no filter of system calls for this machine")
    assert told[1:] == ["refused"] * 4 + ["thread"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_the_kernel_keeps_a_process_to_its_folder_and_the_library(tmp_path):
    code = """
import os, sys
sys.path[:0] = [r"HERE"]
from minivit.course.sandbox.limits import Limits
limits = Limits()
os.chdir(r"OWN")
print(limits.folders(os.getcwd()))
minivit = sys.modules["minivit"].__file__
for path, mode in (("a", "w"), ("a", "r"), (os.__file__, "r"), (os.devnull, "w"), (r"OWN/../b", "r"),
                   (r"OWN/../c", "w"), (minivit, "r"), ("/proc/self/status", "r"), ("/etc/passwd", "r")):
    try:
        open(path, mode).close()
        print("done")
    except PermissionError:
        print("refused")
import lzma, decimal
"""
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "b").touch()
    code = code.replace("HERE", str(Path(sandbox.__file__).parents[3])).replace("OWN", str(own))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "False":
        pytest.skip("this kernel keeps no process to folders")
    assert told[1:] == ["done"] * 4 + ["refused"] * 5
