"""Submissions that cheat gain nothing and harm nobody; submissions that are noisy, slow or unusual lose nothing."""

import os
import signal
import sys
from pathlib import Path

import pytest

from minivit.course.assignment import Assignment
from minivit.course.grading import grade
from minivit.course.sandbox import processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="grading needs a system with fork")
KEY = b"a key of this test"

FILES = {
    "assignment.toml": """\
id = "toy"
title = "Toy"
memory_mib = 512
given = []
[[questions]]
id = "q1"
points = 90
title = "Double"
adapters = ["double"]
seconds = { v_one = 2, h_two = 2 }
""",
    "master/adapters.py": "def double(x):\n    # BEGIN SOLUTION q1\n    return 2 * x\n    # END SOLUTION\n",
    "oracle.py": "import minivit\n\n\ndef double(x):\n    return x + x\n",
    "visible.py": "def q1_v_one(t):\n    t.agree('double', t.rng.normal(size=3))\n",
    "hidden.py": "def q1_h_two(t):\n    t.agree('double', t.rng.normal(size=(2, 2)))\n",
    "wrong.toml": "",
}

HEAD = "import numpy as np\nimport os, sys\n"
# Each gives a wrong result unless its trick works; {wrong} stands for one.
CHEATS = {
    "testing": "np.testing.assert_allclose = np.allclose = np.array_equal = lambda *a, **k: True\nWRONG",
    "asarray": "np.asarray = np.array = np.load = lambda *a, **k: np.zeros(3)\nWRONG",
    "json": "import json\njson.dumps = lambda *a, **k: '{}'\njson.loads = lambda *a, **k: {}\nWRONG",
    "builtins": "import builtins\nbuiltins.any = builtins.all = builtins.isinstance = lambda *a: True\nWRONG",
    "descriptors": """
def double(x):
    for d in range(64):
        try:
            os.write(d, b'{"tree": ["t", "ok"], "arrays": []}' * 9)
        except OSError:
            pass
    return x
""",
    "empty frame": """
def double(x):
    for d in range(3, 64):
        try:
            os.write(d, bytes(16))
        except OSError:
            pass
    return x
""",
    "huge frame": """
def double(x):
    for d in range(3, 64):
        try:
            os.write(d, b'\\xff' * 16)
        except OSError:
            pass
    return x
""",
    "closes all": "os.closerange(0, 256)\nWRONG",
    "stdout": "print('passed', flush=True)\nprint('{\"total\": 100}', file=sys.stderr)\nWRONG",
    "result file": "open('results.json', 'w').write('{\"total\": 100}')\nWRONG",
    "sys.exit": "def double(x):\n    sys.exit(0)\n",
    "sys.exit on import": "sys.exit(0)\n",
    "os._exit": "def double(x):\n    os._exit(0)\n",
    "os.abort": "def double(x):\n    os.abort()\n",
    "kills itself": "import signal\n\n\ndef double(x):\n    signal.raise_signal(signal.SIGKILL)\n",
    "endless": "def double(x):\n    while True:\n        pass\n",
    "fork loop": "def double(x):\n    while True:\n        os.fork()\n",
    "thread loop": """
import threading, time
def double(x):
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
    "memory": "def double(x):\n    hog = []\n    while True:\n        hog.append(np.ones(1 << 24))\n",
    "recursion": "def double(x):\n    return double(x)\n",
    "lying subclass": """
class Lie(np.ndarray):
    def __eq__(self, other): return True
    def __sub__(self, other): return np.zeros(3)
    __rsub__ = __ne__ = __le__ = __lt__ = __array_ufunc__ = __abs__ = lambda *a, **k: np.zeros(3)
def double(x):
    return x.view(Lie)
""",
    "lying float": """
class Lie(float):
    __eq__ = __le__ = __lt__ = __ge__ = __gt__ = lambda a, b: True
    __sub__ = __rsub__ = __abs__ = __float__ = lambda *a: 0.0
def double(x):
    return Lie(3.0)
""",
    "__array__": "class A:\n    def __array__(self, *a, **k): return np.zeros(3)\ndef double(x):\n    return A()\n",
    "8 GiB view": "def double(x):\n    return np.broadcast_to(x[:1], (1 << 30,) + x.shape)\n",
    "cycle": "def double(x):\n    a = []\n    a.append(a)\n    return a\n",
    "million keys": "def double(x):\n    return dict.fromkeys(range(10**6))\n",
    "long text": "def double(x):\n    return 'x' * (1 << 28)\n",
    "objects": "def double(x):\n    return np.array([object()] * 3)\n",
    "nan": "def double(x):\n    return x * np.nan\n",
    "frames": """
def double(x):
    f = sys._getframe()
    while f:
        for v in [*f.f_locals.values(), *f.f_globals.values()]:
            if hasattr(v, 'rng') or hasattr(v, 'oracle'):
                return v.oracle.double(x)
        f = f.f_back
    return x
""",
    "proc": "def double(x):\n    open(f'/proc/{os.getppid()}/environ').read()\n    return 2 * x\n",
    "glob": "import glob\n\n\ndef double(x):\n    return 2 * x if glob.glob('/tmp/*') else x\n",
    "listing": "def double(x):\n    os.listdir('/')\n    return 2 * x\n",
    "outside by dots": "def double(x):\n    open('../../etc/passwd').read()\n    return 2 * x\n",
    "symlink": "def double(x):\n    os.symlink('/', 'all')\n    os.listdir('all/etc')\n    return 2 * x\n",
    "environment": "def double(x):\n    return 2 * x if 'COURSE_SECRET' in os.environ else x\n",
    "argv": "def double(x):\n    return 2 * x if len(sys.argv) > 1 else x\n",
    "hard-coded": "SEEN = {(3,): np.array([2.0, 4.0, 6.0])}\n\n\ndef double(x):\n    return SEEN.get(x.shape, x)\n",
    "minivit": "import minivit\n\n\ndef double(x):\n    return 2 * x\n",
    "importlib": "import importlib\nm = importlib.import_module('minivit')\n\n\ndef double(x):\n    return 2 * x\n",
    "__import__": "m = __import__('torch')\n\n\ndef double(x):\n    return 2 * x\n",
    "exec import": "exec('im' + 'port scipy')\n\n\ndef double(x):\n    return 2 * x\n",
    "meta_path": "sys.meta_path.clear()\nimport minivit\n\n\ndef double(x):\n    return 2 * x\n",
    "by path": """
import importlib.util
spec = importlib.util.spec_from_file_location('ops', MINIVIT)
m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)
def double(x):
    return 2 * x
""",
    "runpy": "import runpy\nrunpy.run_path(MINIVIT)\n\n\ndef double(x):\n    return 2 * x\n",
    "exec of source": "exec(open(MINIVIT).read())\n\n\ndef double(x):\n    return 2 * x\n",
    "os.open of source": "os.open(MINIVIT, os.O_RDONLY)\n\n\ndef double(x):\n    return 2 * x\n",
    "open_code": "import io\nio.open_code(MINIVIT)\n\n\ndef double(x):\n    return 2 * x\n",
    "zipimport": "import zipimport\nzipimport.zipimporter(MINIVIT)\n\n\ndef double(x):\n    return 2 * x\n",
    "ctypes": "import ctypes\nctypes.CDLL(None)\n\n\ndef double(x):\n    return 2 * x\n",
    "numpy's ctypes": "import numpy.ctypeslib as c\nc.ctypes.CDLL(None)\n\n\ndef double(x):\n    return 2 * x\n",
    "subprocess": "import subprocess\nsubprocess.run(['true'])\n\n\ndef double(x):\n    return 2 * x\n",
    "fork_exec": """
import _posixsubprocess
_posixsubprocess.fork_exec([b'true'], [b'/bin/true'], True, (), None, None, *[-1] * 6, 1, 2, True, False, -1,
                           *[None] * 3, -1, None, True)
def double(x):
    return 2 * x
""",
    "posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})\n\n\ndef double(x):\n    return 2 * x\n",
    "system": "os.system('true')\n\n\ndef double(x):\n    return 2 * x\n",
    "socket": "import socket\nsocket.socket()\n\n\ndef double(x):\n    return 2 * x\n",
    "kills its parent": "os.kill(os.getppid(), 9)\n\n\ndef double(x):\n    return 2 * x\n",
    "kills its group": "os.killpg(0, 9)\n\n\ndef double(x):\n    return 2 * x\n",
    "gc": "import gc\ngc.get_objects()\n\n\ndef double(x):\n    return 2 * x\n",
    "the hook's frame": """
def double(x):
    for _ in range(3):
        try:
            open('/etc/passwd')
        except PermissionError as error:
            t = error.__traceback__
            while t:
                for key in list(t.tb_frame.f_globals):
                    if not key.startswith('__') and t.tb_frame.f_globals is not globals():
                        t.tb_frame.f_globals[key] = lambda *a, **k: None
                t = t.tb_next
    return 2 * x if open('/etc/passwd').read() else x
""",
    "sys.modules": """
import types
fake = types.ModuleType('adapters')
fake.double = lambda x: x
sys.modules['adapters'] = fake
""",
    "server's memory": """
def double(x):
    main = sys.modules['__main__']
    for name in list(vars(main)):
        if not name.startswith('__'):
            setattr(main, name, lambda *a, **k: True)
    return x
""",
    "bytes whose methods lie": """
class B(bytes):
    def decode(self, *args): return os.devnull
os.open(B(b'/etc/passwd'), os.O_RDONLY)
def double(x):
    return 2 * x
""",
    "an event of its own": """
class Mode(str):
    def __contains__(self, letter):
        try:
            1 / 0
        except ZeroDivisionError as error:
            frame = error.__traceback__.tb_frame.f_back
        while frame:
            for value in list(frame.f_locals.values()):
                if getattr(value, '__name__', '') == 'rule':
                    code = (lambda event, args: None).__code__
                    value.__code__ = code.replace(co_freevars=value.__code__.co_freevars)
            frame = frame.f_back
        return False
try:
    sys.audit('open', 'x', Mode(), 0)
except OSError:
    pass
open('/etc/passwd')
def double(x):
    return 2 * x
""",
    "beside a descriptor": """
os.makedirs('a/b/c/d/e/f/g/h')
os.chdir('a/b/c/d/e/f/g/h')
os.open('../../../../etc/passwd', os.O_RDONLY, dir_fd=os.open('/', os.O_RDONLY | os.O_PATH))
def double(x):
    return 2 * x
""",
    "a folder of the library": """
os.open('site-packages', os.O_RDONLY, dir_fd=os.open(os.path.dirname(os.__file__), os.O_RDONLY))
def double(x):
    return 2 * x
""",
    "up from its own descriptor": """
own = os.open('.', os.O_RDONLY)
os.makedirs('a/b/c')
os.chdir('a/b/c')
os.open('../../etc/passwd', os.O_RDONLY, dir_fd=own)
def double(x):
    return 2 * x
""",
    "machine code": """
with open('tricks.so', 'wb') as file:
    file.write(bytes(100))
try:
    import tricks
except ImportError as error:
    if 'not allowed' in str(error):
        raise
def double(x):
    return 2 * x
""",
    "ctypes by another name": """
import importlib.machinery, importlib.util, glob
path = importlib.util.find_spec('_ctypes').origin
loader = importlib.machinery.ExtensionFileLoader('a._ctypes', path)
importlib.util.module_from_spec(importlib.util.spec_from_file_location('a._ctypes', path, loader=loader))
def double(x):
    return 2 * x
""",
    "readline": "import readline\nreadline.read_history_file('/etc/passwd')\n\n\ndef double(x):\n    return 2 * x\n",
    "says passed": """
def double(x):
    sys._getframe(1).f_locals['self'].reply('wrong', 'passed')
""",
    "one array in a thousand places": """
import json
def double(x):
    line = sys._getframe(1).f_locals['self'].line
    tree = ['t', 'ok', ['l', *[['a', 0]] * 1000], ['l']]
    head = json.dumps({'tree': tree, 'arrays': [['<f8', [1 << 20]]]}).encode()
    line.send(len(head).to_bytes(8, 'little') + (8 << 20).to_bytes(8, 'little') + head + bytes(8 << 20))
    os._exit(0)
""",
    "a hundred million lists": """
def double(x):
    line = sys._getframe(1).f_locals['self'].line
    line.send((1 << 27).to_bytes(8, 'little') + bytes(8) + b'[')
    while True:
        line.send(b'[],' * 100000)
""",
    "2**40 empty rows": "def double(x):\n    return np.empty((1 << 40, 0))\n",
    "memory without an address": "os.memfd_create('hog')\n\n\ndef double(x):\n    return 2 * x\n",
    "floods its folder": """
def double(x):
    for i in range(10**9):
        open(f'{i}', 'w').close()
""",
    "keys for a terminal": "def double(x):\n    raise KeyError('\\x1b[2J\\u202e\\n')\n",
    "changes its argument": "def double(x):\n    x *= 2\n    return x\n",
}  # fmt: skip

HONEST = {
    "warnings": "import warnings\nwarnings.warn('old')\n\n\ndef double(x):\n    np.log(-1.0)\n    return 2 * x\n",
    "prints": "print('hello')\n\n\ndef double(x):\n    print('x' * 3_000_000)\n    return 2 * x\n",
    "stderr": "def double(x):\n    sys.stderr.write('oh no\\n')\n    return 2 * x\n",
    "closed stdout": "sys.stdout.close()\nsys.stderr.close()\n\n\ndef double(x):\n    return 2 * x\n",
    "slow import": "import time\ntime.sleep(2)\n\n\ndef double(x):\n    return 2 * x\n",
    "slow and sleeping": "import time\n\n\ndef double(x):\n    time.sleep(2.5)\n    return 2 * x\n",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
def double(x):
    with ThreadPoolExecutor(8) as pool:
        return np.array(list(pool.map(lambda row: 2 * row, x)))
""",
    "daemon thread": """
import threading, time, atexit
atexit.register(print, 'bye')
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
def double(x):
    return 2 * x
""",
    "own file": "np.save('two.npy', 2.0)\nTWO = np.load('two.npy')\n\n\ndef double(x):\n    return TWO * x\n",
    "tempfile": """
import tempfile
def double(x):
    with tempfile.TemporaryFile() as file:
        np.save(file, 2 * x)
        file.seek(0)
        return np.load(file)
""",
    "memmap": """
def double(x):
    m = np.memmap('m', float, 'w+', shape=x.shape)
    m[...] = 2 * x
    return m
""",
    "view": "def double(x):\n    return np.repeat(2 * x, 2, axis=-1)[..., ::2]\n",
    "fortran": "def double(x):\n    return np.asfortranarray(2 * x)\n",
    "readonly": "def double(x):\n    y = 2 * x\n    y.flags.writeable = False\n    return y\n",
    "lists": "def double(x):\n    return (2 * x).tolist()\n",
    "numpy scalars": "def double(x):\n    return [list(row) if row.ndim else row for row in 2 * x]\n",
    "masked": "def double(x):\n    return np.ma.masked_array(2 * x)\n",
    "big-endian": "def double(x):\n    return (2 * x).astype('>f8')\n",
    "optional import": "try:\n    import numba\nexcept ImportError:\n    pass\n\n\ndef double(x):\n    return 2 * x\n",
    "mention": "# import torch\nNOTE = 'import minivit'\n\n\ndef double(x):\n    return 2 * x\n",
    "lazy modules": """
import dataclasses, inspect, random, typing, decimal, unittest, csv, pprint, difflib, argparse, uuid, zipfile, logging
def double(x):
    assert 'def double' in inspect.getsource(double)
    np.linalg.svd(np.eye(2)), np.fft.fft(np.ones(4)), np.random.default_rng(), np.polynomial.Polynomial([1, 2])(3)
    return 2 * x
""",
    "libraries": "import subprocess, socket, multiprocessing, platform\n\n\ndef double(x):\n    return 2 * x\n",
    "paths": """
from pathlib import Path
import json, logging
os.makedirs('pkg', exist_ok=True)
Path(__file__).with_name('d.json').write_text('2')
logging.basicConfig(filename='log.txt')
def double(x):
    a = json.load(open('pkg/../d.json'))
    assert a == json.loads((Path(__file__).parent / 'pkg' / '..' / 'd.json').read_text()), os.listdir('.')
    return a * x
""",
    "late modules": """
import asyncio, bz2, hashlib, lzma, multiprocessing, doctest, platform, tomllib, urllib.request, zlib, signal
def double(x):
    import ssl, statistics, zoneinfo, concurrent.futures.process, numpy.f2py, xml.etree.ElementTree
    hashlib.sha256(b'').hexdigest(), lzma.compress(b''), platform.platform(), os.cpu_count()
    signal.signal(signal.SIGALRM, print)
    return 2 * x
""",
    "limits of its own": "sys.setrecursionlimit(5000)\nnp.seterr(all='raise')\n\n\ndef double(x):\n    return 2 * x\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    folder = tmp_path_factory.mktemp("assignments") / "toy"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Assignment(folder)


def graded(toy: Assignment, body: str) -> dict:
    source = Path(processes.__file__).parents[1] / "ops" / "shape.py"
    text = HEAD + f"MINIVIT = {str(source)!r}\n" + body.replace("WRONG", "\n\ndef double(x):\n    return x\n")
    return grade(toy, {"adapters.py": text.encode()}, "s", KEY)


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_gains_nothing_and_harms_nobody(toy, name, monkeypatch):
    monkeypatch.setenv("COURSE_SECRET", "yes")
    result = graded(toy, CHEATS[name])
    assert result["total"] == 0, result
    words = result["questions"]["q1"]["checks"].values()
    assert all(text.isprintable() and text not in ("", "passed") and "Traceback" not in text for text in words)
    assert graded(toy, "def double(x):\n    return 2 * x\n")["total"] == 100


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_lose_nothing(toy, name):
    result = graded(toy, HONEST[name])
    assert result["total"] == 100, result


def test_output_is_shown_and_bounded(toy):
    shown = graded(toy, HONEST["prints"])["output"]
    assert next(iter(shown.values())).startswith("hello\nxxx")
    assert all(len(text) <= 2000 for text in shown.values())


def test_a_banned_import_is_explained_with_its_line(toy):
    result = graded(toy, "import torch\n\n\ndef double(x):\n    return 2 * x\n")
    assert result["notes"] == ["adapters.py line 4 imports torch, which is not allowed"]
    assert "importing torch is not allowed in a submission" in result["questions"]["q1"]["checks"]["v_one"]
    assert graded(toy, HONEST["mention"])["notes"] == []


def test_a_file_of_the_student_may_have_the_name_of_a_library(toy):
    files = {
        "adapters.py": b"from autograd import two\nfrom random import three\n\n\ndef double(x):\n    return two * x\n"
    }
    files |= {"autograd.py": b"two = 2\n", "random.py": b"three = 3\n"}
    assert grade(toy, files, "s", KEY)["total"] == 100


def test_names_that_no_file_can_have_harm_nobody(toy):
    files = dict.fromkeys(["n" * 300 + ".py", "a.py", "a.py/b.py", "\ud800.py", "a\0.py"], b"")
    files |= dict.fromkeys([90 * "\u00e9" + f"{i}.py" for i in range(200)], b"")  # a job of more than 64 KiB
    assert grade(toy, {**files, "adapters.py": b"def double(x):\n    return 2 * x\n"}, "s", KEY)["total"] == 100


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals here")
def test_a_server_that_was_killed_is_replaced(toy):
    graded(toy, HONEST["view"])
    assert processes._server is not None
    processes._server.process.kill()
    processes._server.process.wait()
    assert graded(toy, HONEST["view"])["total"] == 100


@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")
def test_nothing_goes_on_after_the_grade(toy):
    def running() -> int:
        server = str(processes._server.process.pid)  # type: ignore[union-attr]
        fields = [
            path.read_text(encoding="utf-8").rsplit(")", 1)[1].split() for path in Path("/proc").glob("[0-9]*/stat")
        ]
        return sum(field[1] == server for field in fields)

    graded(toy, HONEST["daemon thread"])
    assert running() == 0
