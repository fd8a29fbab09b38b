#!/usr/bin/env python3
"""The Autobahn|Testsuite (PyPI autobahntestsuite, Python 2 code) made to run on Python 3.

`wstest3.py build`                      fetch the three PyPI sdists, convert them into target/autobahn/suite
`wstest3.py fuzzingclient SPEC.json`    as `wstest -m fuzzingclient -s SPEC.json`
`wstest3.py fuzzingserver SPEC.json`    as `wstest -m fuzzingserver -s SPEC.json`

Idea of the conversion: Python 2 byte strings become Python 3 str holding one code point per byte (the
sources are read as latin-1, so literals keep their bytes), and are turned into bytes only where the
suite hands them to the WebSocket engine (autobahn 0.10.9, the very version the suite pins).  So every
case sends exactly the octets it sent under Python 2.  Reports: JSON only.
"""
import os, re, subprocess, sys, tarfile, glob, shutil

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "target", "autobahn", "suite")
PINS = ("autobahntestsuite==25.10.1", "autobahn==0.10.9", "txaio==2.1.0")


def build():
    stamp = os.path.join(ROOT, "ok")
    if os.path.exists(stamp):
        return
    shutil.rmtree(ROOT, ignore_errors=True)
    dl = os.path.join(ROOT, "dl")
    os.makedirs(dl)
    subprocess.check_call([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "download", "--no-deps", "--no-binary", ":all:", "-d", dl, *PINS])
    for t in glob.glob(dl + "/*.tar.gz"):
        with tarfile.open(t) as f:
            f.extractall(dl)
    for name in ("autobahntestsuite", "autobahn", "txaio"):
        src = glob.glob(dl + "/" + name + "-*/" + name)[0]
        shutil.copytree(src, os.path.join(ROOT, name))
    shutil.rmtree(dl)
    ts = os.path.join(ROOT, "autobahntestsuite")
    keep = {"__init__.py", "_version.py", "caseset.py", "fuzzing.py", "case", "testdata"}
    for e in os.listdir(ts):
        if e not in keep:
            p = os.path.join(ts, e)
            shutil.rmtree(p) if os.path.isdir(p) else os.unlink(p)
    files = [os.path.join(ts, "caseset.py"), os.path.join(ts, "fuzzing.py")] + glob.glob(ts + "/case/*.py")
    for p in files:
        s = open(p, encoding="latin-1", newline="").read().replace("\r\n", "\n")
        s = re.sub(r"^# coding=.*\n", "", s)
        s = s.replace("(object, Case, )", "(Case, )")
        s = s.replace("import binascii", "from autobahntestsuite import py2binascii as binascii").replace(
            "from autobahntestsuite import py2binascii as binascii, array", "import array\nfrom autobahntestsuite import py2binascii as binascii")
        s = s.replace("import os, json, binascii, time, textwrap, pkg_resources", "import os, json, time, textwrap\nfrom autobahntestsuite import py2binascii as binascii")
        s = s.replace("import copy, os, pkg_resources, hashlib, binascii", "import copy, os, hashlib\nfrom autobahntestsuite import py2binascii as binascii")
        s = re.sub(r'pkg_resources\.resource_filename\("autobahntestsuite", ', "autobahntestsuite_file(", s)
        s = s.replace("from autobahn.websocket.utf8validator import Utf8Validator", "from autobahntestsuite.py2binascii import Utf8Validator")
        s = s.replace("from zope.interface import implements\n", "def implements(*a): pass\n")
        s = s.replace("len(self.payload) / self.p.autoFragmentSize", "len(self.payload) // self.p.autoFragmentSize")
        s = s.replace(".tostring()", ".tobytes().decode('latin-1')")
        if "autobahntestsuite_file(" in s:
            s = "from autobahntestsuite.py2binascii import autobahntestsuite_file\n" + s
        if p.endswith("fuzzing.py"):
            s = patch_fuzzing(s)
        open(p, "w", encoding="utf-8", newline="").write(s)
    open(os.path.join(ts, "__init__.py"), "w").write("from ._version import __version__\nversion = __version__\n")
    open(os.path.join(ts, "py2binascii.py"), "w").write(SHIM)
    import logging, warnings
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from fissix.refactor import RefactoringTool
    fixers = ["fissix.fixes.fix_" + f for f in ("print", "has_key", "xrange", "except", "raise", "import", "unicode", "ne", "repr", "dict", "exec", "basestring", "long")]
    rt = RefactoringTool(fixers)
    rt.refactor(files, write=True)
    # autobahn 0.10.9 on a current Python / Twisted
    for p in glob.glob(ROOT + "/autobahn/**/*.py", recursive=True):
        s = open(p, encoding="utf-8").read()
        o = s
        s = s.replace("range(payload_len / len(payload))", "range(payload_len // len(payload))")
        s = s.replace("inspect.getargspec", "inspect.getfullargspec").replace("collections.Mapping", "collections.abc.Mapping")
        s = re.sub(r"^(\s*)async\b(?=\s*=|\()", r"\1async_", s, flags=re.M)
        if s != o:
            open(p, "w", encoding="utf-8").write(s)
    shutil.rmtree(os.path.join(ROOT, "autobahn", "asyncio"), ignore_errors=True)
    shutil.rmtree(os.path.join(ROOT, "autobahn", "wamp", "test"), ignore_errors=True)
    # only the WebSocket part of autobahn.twisted is wanted
    open(os.path.join(ROOT, "autobahn", "twisted", "__init__.py"), "w").write("import txaio\ntxaio.use_twisted()\n")
    open(stamp, "w").write("ok")


SHIM = r'''
import binascii as _b, os
from autobahn.websocket.utf8validator import Utf8Validator as _U
def _by(s): return s.encode("latin-1") if isinstance(s, str) else s
def b2a_hex(s): return _b.b2a_hex(_by(s)).decode()
hexlify = b2a_hex
def a2b_hex(s): return _b.a2b_hex(s).decode("latin-1")
unhexlify = a2b_hex
class Utf8Validator(_U):
    def validate(self, ba): return _U.validate(self, _by(ba))
def autobahntestsuite_file(p): return os.path.join(os.path.dirname(os.path.abspath(__file__)), p)
class BytesIO_:
    """mixin: str (one code point per octet) in, bytes out, on every sending call of the engine"""
    def sendFrame(self, opcode, payload=b"", *a, **k): return super().sendFrame(opcode, _by(payload), *a, **k)
    def sendMessage(self, payload, *a, **k): return super().sendMessage(_by(payload), *a, **k)
    def sendPing(self, payload=None): return super().sendPing(_by(payload) if payload is not None else None)
    def sendPong(self, payload=None): return super().sendPong(_by(payload) if payload is not None else None)
    def sendMessageFrameData(self, payload, sync=False): return super().sendMessageFrameData(_by(payload), sync)
    def sendMessageFrame(self, payload, sync=False): return super().sendMessageFrame(_by(payload), sync)
    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        return super().sendCloseFrame(code=code, reasonUtf8=_by(reasonUtf8) if reasonUtf8 is not None else None, isReply=isReply)
    def sendData(self, data, sync=False, chopsize=None): return super().sendData(_by(data), sync, chopsize)
    def sendPreparedMessage(self, m): return super().sendPreparedMessage(m)
'''


def patch_fuzzing(s):
    def sub(a, b, n=1):
        nonlocal s
        assert s.count(a) >= 1, "wstest3: %r not found" % a
        s = s.replace(a, b)
    sub("from autobahn.util import utcnow", "from autobahn.util import utcnow\nfrom autobahntestsuite.py2binascii import BytesIO_")
    i, j = s.index("from report import"), s.index("def binLogData")
    s = s[:i] + "\n\n" + s[j:]
    sub("dd = data\n      return dd.decode('utf8', errors = 'replace' if replace else 'strict')",
        "dd = data\n      if isinstance(dd, str):\n         return dd\n      return dd.decode('utf8', errors = 'replace' if replace else 'strict')")
    sub("dd = data[:maxlen] + ellipses", "dd = data[:maxlen] + (ellipses if isinstance(data, str) else ellipses.encode())")
    sub("p = ''.join(payload)", "p = b''.join(payload)")
    sub("self.runCase.onMessage(msg, binary)", "self.runCase.onMessage(msg if self.runCase.__class__.__name__.startswith(('Case12', 'Case13')) else msg.decode('latin-1'), binary)")
    sub("self.runCase.onPong(payload)", "self.runCase.onPong(payload.decode('latin-1'))")
    sub("class FuzzingProtocol:", "class FuzzingProtocol(BytesIO_):")
    sub("def onPong(self, payload):", "def onPing(self, payload):\n      super().onPing(payload)\n\n   def onPong(self, payload):")
    sub("def createReports(self, produceHtml = True, produceJson = True):", "def createReports(self, produceHtml = False, produceJson = True):")
    sub("f.write(json.dumps(case, sort_keys = True, indent = 3, separators = (',', ': ')))", "f.write(json.dumps(case, sort_keys = False, default = repr, indent = 1))")
    sub("self.sendMessage(json.dumps(len(self.factory.specCases)))", "self.sendMessage(json.dumps(len(self.factory.specCases)).encode())")
    s = s.replace("from autobahn.twisted.websocket import connectWS, listenWS", "from autobahn.twisted.websocket import connectWS, listenWS")
    s = s.replace("from twisted.internet import reactor, ssl", "from twisted.internet import reactor\nclass ssl:\n   ClientContextFactory = staticmethod(lambda: None)")
    s = s.replace("from twisted.python import log, usage", "from twisted.python import log")
    return s


def main():
    mode = sys.argv[1]
    build()
    if mode == "build":
        return
    import json, warnings
    warnings.simplefilter("ignore")
    sys.path.insert(0, ROOT)
    import txaio
    txaio.use_twisted()
    from twisted.internet import reactor
    from autobahntestsuite import fuzzing
    spec = json.load(open(sys.argv[2]))
    if mode == "fuzzingclient":
        fuzzing.startClient(spec)
    else:
        fuzzing.startServer(spec, 0)
    reactor.run()


if __name__ == "__main__":
    main()
