"""The npm packages of the page: installed by their lock file, copied, fit for a strict CSP.

npm compares each package with the hash in the lock file. Nothing of a package runs here but
meshoptimizer, and no package's install script runs at all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
from importlib import metadata, resources
from pathlib import Path

from vla_tutorial.errors import TutorialError
from vla_tutorial.live.site_files import write_bytes

PAGE = Path(str(resources.files("vla_tutorial").joinpath("live", "page")))
"""The page's own modules, and the lock file of what it takes from npm."""

LOCKED = ("package.json", "package-lock.json")

ONNXRUNTIME_FILES = (
    "ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
    "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
)  # fmt: skip
"""Of onnxruntime-web's dist/: its CPU part, and the one with WebGPU, which is loaded on demand."""

_MUJOCO_NOTE = """\
mujoco-js is MuJoCo, Copyright DeepMind Technologies Limited, under the Apache License 2.0 below.
vla_tutorial/live/vendor.py of vla-tutorial lists what was changed in its JavaScript.

"""

_ONNXRUNTIME_LICENSE = """\
MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def install() -> Path:
    """A folder with `node_modules` of the page's lock file; kept, so that npm runs once.

    Raises:
        TutorialError: npm is missing or fails.
    """
    lock = b"".join((PAGE / name).read_bytes() for name in LOCKED)
    folder = _cache() / hashlib.sha256(lock).hexdigest()[:16]
    done = folder / "installed"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name in LOCKED:
            shutil.copy(PAGE / name, folder / name)
        _npm(folder)
        done.touch()
    return folder


def _cache() -> Path:
    """Where this user's programs keep what they can make again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vla_tutorial" / "live"


def _npm(folder: Path) -> None:
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=600)
    except FileNotFoundError as e:
        raise TutorialError(
            "npm is not installed, and the live page is built from npm packages. "
            "Install Node.js 20 or newer, on Debian: apt-get install nodejs npm"
        ) from e
    except subprocess.TimeoutExpired as e:
        raise TutorialError(f"npm took longer than {e.timeout:.0f} s. Try again.") from e
    except subprocess.CalledProcessError as e:
        reason = " ".join(e.stderr.decode(errors="replace").split())[:500]
        raise TutorialError(
            f"npm could not install the live page's packages: {reason or 'it gave no reason'}. "
            "Check the network and build again."
        ) from e


def export(folder: Path, packages: Path) -> None:
    """Copy MuJoCo and onnxruntime from `packages` (`install`) into `folder`/vendor."""
    modules = packages / "node_modules"
    script = (modules / "mujoco-js/dist/mujoco_wasm.js").read_text(encoding="utf-8")
    script, binary = split_mujoco(script)
    mujoco = folder / "vendor/mujoco"
    write_bytes(mujoco / "mujoco.js", script.encode())
    write_bytes(mujoco / "mujoco.wasm", binary)
    write_bytes(mujoco / "LICENSE.txt", _MUJOCO_NOTE.encode() + _mujoco_license())
    source = modules / "onnxruntime-web"
    for name in ONNXRUNTIME_FILES:
        write_bytes(folder / "vendor/onnxruntime" / name, (source / "dist" / name).read_bytes())
    write_bytes(folder / "vendor/onnxruntime/LICENSE.txt", _ONNXRUNTIME_LICENSE.encode())


def _mujoco_license() -> bytes:
    """MuJoCo's license and those of the code in it, as the Python package has them."""
    texts = []
    for file in metadata.files("mujoco") or []:
        if file.name in ("LICENSE", "LICENSES_THIRD_PARTY.md"):
            texts.append(Path(str(file.locate())).read_bytes())
    if not texts:
        raise TutorialError("The mujoco package has no license text. Install it again with pip.")
    return b"\n".join(texts)


_EMBEDDED = re.compile(r"return base64Decode\('([A-Za-z0-9+/=]{1000,})'\)")

_INVOKER = """\
      let [args, invokerFnBody] = createJsInvoker(argTypes, isClassMethodFunc, returns, isAsync);
      var invokerFn = new Function(...args, invokerFnBody)(...closureArgs);
"""

_INVOKER_WITHOUT_EVAL = """\
      var invokerFn = function (...given) {
        checkArgCount(given.length, minArgs, expectedArgCount, humanName, throwBindingError);
        var destructors = needsDestructorStack ? [] : null;
        var wired = [cppTargetFunc];
        if (isClassMethodFunc) wired.push(argTypes[1].toWireType(destructors, this));
        for (var i = 0; i < expectedArgCount; ++i) {
          wired.push(argTypes[i + 2].toWireType(destructors, given[i]));
        }
        var rv = cppInvokerFunc(...wired);
        if (needsDestructorStack) {
          runDestructors(destructors);
        } else {
          for (var i = isClassMethodFunc ? 1 : 2; i < argCount; ++i) {
            var release = argTypes[i].destructorFunction;
            if (release !== null) release(wired[isClassMethodFunc ? i : i - 1]);
          }
        }
        if (returns) return argTypes[0].fromWireType(rv);
      };
"""

_CALLER = "      var invokerFunction = new Function(...params, functionBody)(...args);\n"

_CALLER_WITHOUT_EVAL = """\
      var invokerFunction = function (obj, func, destructorsRef, packed) {
        var read = [];
        var at = packed;
        for (var i = 0; i < argCount; ++i) {
          read.push(types[i].readValueFromPointer(at));
          at += types[i].argPackAdvance;
        }
        if (kind === 0) read.unshift(obj);
        var made = kind === 1 ? new func(...read) : func.call(...read);
        if (!retType.isVoid) return emval_returnValue(retType, destructorsRef, made);
      };
"""

MUJOCO_CHANGES = ((_INVOKER, _INVOKER_WITHOUT_EVAL), (_CALLER, _CALLER_WITHOUT_EVAL))
"""What stands in mujoco-js 0.0.7, and what replaces it.

Emscripten's bindings compile glue code with `new Function`, which a strict Content-Security-Policy
forbids. Closures do the same.
"""


def split_mujoco(script: str) -> tuple[str, bytes]:
    """mujoco-js without `new Function`, and the WebAssembly that it carries as text.

    Apart, both are smaller by a fourth, also compressed. The loader takes it as `wasmBinary`.

    Raises:
        TutorialError: the script is not that of mujoco-js 0.0.7.
    """
    found = _EMBEDDED.search(script)
    counts = [script.count(before) for before, _ in MUJOCO_CHANGES]
    if found is None or counts != [1, 1]:
        raise TutorialError(
            "mujoco-js is not the version that vla_tutorial/live/vendor.py knows. "
            "Build with the package-lock.json of this repository."
        )
    binary = base64.b64decode(found[1])
    script = script.replace(found[0], "return new Uint8Array(Module['wasmBinary'])")
    for before, after in MUJOCO_CHANGES:
        script = script.replace(before, after)
    return script, binary
