"""Where `make demo` takes torch from: `tools/install_torch.py` against an index on this machine."""

import http.server
import importlib.util
import subprocess
import sys
import threading
import time
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "install_torch.py"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WHEEL = "torch-9.9.9+cpu-py3-none-any.whl"


@pytest.fixture
def script(monkeypatch):
    """The script as a module, on a Linux computer without a GPU."""
    spec = importlib.util.spec_from_file_location("install_torch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    return module


@pytest.fixture
def index(tmp_path):
    """A package index that has one wheel of torch; `asked` lists the paths that were asked for."""
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        info = "torch-9.9.9+cpu.dist-info"
        wheel.writestr("torch/__init__.py", "CUDA = False\n")
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9+cpu\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{WHEEL.replace("+", "%2B")}">{WHEEL}</a>')
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder.parent))

        def log_message(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
        server.shutdown()


@pytest.fixture
def target(tmp_path, monkeypatch):
    """An empty environment into which pip installs, and no settings of this machine's pip."""
    folder = tmp_path / "environment"
    venv.create(folder)
    python = folder / "bin" / "python"
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_PYTHON", str(python))
    return python


def constraints(folder, version="9.9.9"):
    path = folder / "constraints.txt"
    path.write_text(f"torch=={version}\n")
    return path


def torch_of(python):
    asked = "from importlib.metadata import version; print(version('torch'))"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def test_without_a_gpu_torch_comes_from_the_index_without_cuda(
    script, index, target, tmp_path, capfd
):
    script.main([index.url, str(constraints(tmp_path))])
    assert torch_of(target) == "9.9.9+cpu"
    assert index.url in capfd.readouterr().out
    # The installation that follows finds the pinned version already there and fetches nothing.
    follow = [sys.executable, "-m", "pip", "install", "--no-index", "--constraint"]
    subprocess.run([*follow, str(constraints(tmp_path)), "torch"], check=True)
    assert torch_of(target) == "9.9.9+cpu"


def test_with_a_gpu_the_index_is_not_asked(script, index, target, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: True)
    script.main([index.url, str(constraints(tmp_path))])
    assert index.asked == []
    assert torch_of(target) is None
    assert "NVIDIA GPU" in capfd.readouterr().out


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_other_computers_take_what_pip_finds(script, index, monkeypatch, system, machine):
    monkeypatch.setattr(script.platform, "system", lambda: system)
    monkeypatch.setattr(script.platform, "machine", lambda: machine)
    reason = script.reason_for_pypi(index.url)
    assert system in reason and machine in reason
    assert index.asked == []


def test_an_empty_index_means_what_pip_finds(script):
    assert "TORCH_INDEX" in script.reason_for_pypi("")


def test_an_index_that_is_away_costs_little_time(script, tmp_path, capfd):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), None) as server:
        away = f"http://127.0.0.1:{server.server_port}"  # nobody listens once it is closed
    begin = time.monotonic()
    script.main([away, str(constraints(tmp_path))])
    assert time.monotonic() - begin < 60
    assert f"{away} does not answer" in capfd.readouterr().out


def test_an_index_that_is_silent_is_not_waited_for(script):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), None) as server:  # accepts, says nothing
        begin = time.monotonic()
        assert not script.answers(f"http://127.0.0.1:{server.server_port}", seconds=0.3)
        assert time.monotonic() - begin < 30


def test_a_version_that_the_index_lacks_is_left_to_pypi(script, index, target, tmp_path, capfd):
    script.main([index.url, str(constraints(tmp_path, "9.9.8"))])
    assert torch_of(target) is None
    assert "pinned version" in capfd.readouterr().out


def test_nvidia_s_tool_or_driver_tells_of_a_gpu(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("install_torch", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(module, "WSL_TOOL", tmp_path / "wsl")
    assert not module.has_nvidia_gpu()
    tool = tmp_path / "nvidia-smi"
    tool.touch(mode=0o755)
    assert module.has_nvidia_gpu()
    tool.unlink()
    module.DRIVER.touch()
    assert module.has_nvidia_gpu()


def test_make_and_binder_name_the_same_index():
    makefile = (ROOT / "Makefile").read_text()
    assert f"TORCH_INDEX ?= {CPU_INDEX}\n" in makefile
    assert "tools/install_torch.py" in makefile
    for name in ("binder/requirements.txt", "environment.yml"):
        assert CPU_INDEX in (ROOT / name).read_text(), name
