"""Which EGL device renders, on made-up machines."""

import contextlib
import ctypes
import itertools
import os
import subprocess
import sys

import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.sim import libero
from vla_tutorial.sim.egl import CUDA_DEVICES, RENDER_DEVICE, EglDevice, choose
from vla_tutorial.sim.egl.choice import named_gpus

UUIDS = [f"GPU-{k}8932f93-d72c-4106-c12f-20bd9faed9f6" for k in range(8)]
MIG = "MIG-4c1b6a9e-2f6d-5d0c-9b63-0a3d0a6f6f5e"


def gpu(index, uuid="", cuda=None):
    return EglDevice(index, f"NVIDIA {index}", uuid=uuid, cuda=cuda)


def llvmpipe(index):
    return EglDevice(index, "llvmpipe", software=True)


def machine(order, uuids=True, cuda=False):
    """EGL's devices where EGL's k-th is CUDA's order[k]-th, and llvmpipe comes last."""
    found = []
    for index, number in enumerate(order):
        found.append(gpu(index, UUIDS[number] if uuids else "", number if cuda else None))
    return [*found, llvmpipe(len(order))]


def cuda_of(environment, present=8):
    """What CUDA would show a process on a machine whose GPUs have `UUIDS`."""
    text = environment.get(CUDA_DEVICES)
    if text is None:
        return [frozenset([uuid]) for uuid in UUIDS[:present]]
    shown = []
    for entry in text.split(","):
        if entry.isdigit() and int(entry) < present:
            shown.append(UUIDS[int(entry)])
            continue
        found = [uuid for uuid in UUIDS[:present] if entry and uuid.startswith(entry)]
        if len(found) != 1:
            break
        shown += found
    return [frozenset([uuid]) for uuid in shown]


def decide(devices, *, dead=(), present=8, cuda=None, render=None, visible=None):
    """`choose`, where the devices numbered `dead` cannot be initialised."""
    given = {RENDER_DEVICE: render, CUDA_DEVICES: visible}
    environment = {name: value for name, value in given.items() if value is not None}
    answer = cuda or (lambda: cuda_of(environment, present))
    return choose(devices, environment, lambda device: device.index not in dead, answer)


# --- one renderer ---------------------------------------------------------------------------------

VALUES = [None, "", "-1", "0", "3", "0,1", "NoDevFiles", "none", "abc", " ", ",", UUIDS[0], MIG]


@pytest.mark.parametrize("visible", VALUES)
def test_a_cpu_renders_whatever_cuda_may_see(visible):
    choice = decide([llvmpipe(0)], visible=visible, cuda=lambda: None)
    assert (choice.device.index, choice.doubt) == (0, "")


@pytest.mark.parametrize("visible", VALUES)
def test_one_gpu_renders_beside_llvmpipe(visible):
    choice = decide(machine([0]), visible=visible, present=1)
    assert choice.device.index == 0


@pytest.mark.parametrize("visible", ["1", "3", "GPU-ffff", MIG])
def test_a_name_that_the_only_gpu_does_not_have_is_doubtful(visible):
    """A container that got the host's GPU 3 and the host's variable has one GPU, number 0."""
    choice = decide(machine([0]), visible=visible, present=1)
    assert f"{CUDA_DEVICES}={visible}" in choice.doubt


@pytest.mark.parametrize("visible", [None, "", "-1", "0", UUIDS[0], UUIDS[0][:8], UUIDS[0].lower()])
def test_the_only_gpu_by_its_name_is_not_doubtful(visible):
    assert decide(machine([0]), visible=visible, present=1).doubt == ""


def test_cuda_is_not_asked_about_one_gpu():
    def asked():
        raise AssertionError

    assert decide(machine([0]), visible="0", cuda=asked).device.index == 0


# --- several GPUs ---------------------------------------------------------------------------------

ORDERS = [[0, 1, 2, 3], [2, 1, 0, 3], [3, 0, 1, 2]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("form", ["index", "uuid", "start", "list"])
def test_the_gpu_that_cuda_calls_0_renders_in_any_order_of_egl(order, number, form):
    other = UUIDS[(number + 1) % 4]
    visible = {
        "index": f"{number}",
        "uuid": UUIDS[number],
        "start": UUIDS[number][:7],
        "list": f"{UUIDS[number]},{other}",
    }[form]
    choice = decide(machine(order), visible=visible, present=4)
    assert (choice.device.uuid, choice.doubt) == (UUIDS[number], "")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("relative", [True, False])
def test_without_uuids_cudas_numbers_tell(order, number, relative):
    """EGL_NV_device_cuda counts the GPUs shown, or all: drivers differ."""
    devices = machine(order, uuids=False, cuda=not relative)
    if relative:
        devices = [
            gpu(one.index, cuda=0 if order[one.index] == number else None)
            for one in devices
            if not one.software
        ]
    choice = decide(devices, visible=str(number), cuda=lambda: None)
    assert order[choice.device.index] == number


@pytest.mark.parametrize("number", range(4))
def test_without_any_identity_egls_order_is_taken_for_cudas(number):
    choice = decide(machine(range(4), uuids=False), visible=str(number), cuda=lambda: None)
    assert choice.device.index == number


def test_without_cudas_driver_uuids_are_still_read():
    choice = decide(machine([2, 0, 1]), visible=UUIDS[1][:12], cuda=lambda: None)
    assert choice.device.uuid == UUIDS[1]


@pytest.mark.parametrize("order", ORDERS)
def test_without_a_variable_the_policys_gpu_renders(order):
    choice = decide(machine(order), present=4)
    assert order[choice.device.index] == 0


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles", "none", "abc", " ", ",0"])
def test_hiding_gpus_from_cuda_leaves_the_first_of_egl(visible):
    choice = decide(machine([2, 1, 0]), visible=visible, cuda=lambda: [])
    assert (choice.device.index, choice.doubt) == (0, "")


@pytest.mark.parametrize("visible", ["9", "9,0", "GPU-ffff"])
def test_a_gpu_that_does_not_exist_is_doubtful(visible):
    choice = decide(machine([0, 1]), visible=visible, present=2)
    assert choice.device.index == 0
    assert f"{CUDA_DEVICES}={visible}" in choice.doubt


def test_an_integrated_gpu_before_the_one_of_cuda():
    devices = [EglDevice(0, "Intel UHD"), gpu(1, UUIDS[0]), llvmpipe(2)]
    assert decide(devices, visible="0", present=1).device.index == 1
    assert decide(devices, present=1).device.index == 1


# --- GPUs that cannot render ----------------------------------------------------------------------


def test_a_mig_instance_is_of_its_gpu():
    both = [frozenset([UUIDS[1], f"GPU-{MIG[4:]}"])]
    choice = decide(machine([0, 1]), visible=MIG, cuda=lambda: both)
    assert (choice.device.uuid, choice.doubt) == (UUIDS[1], "")


def test_an_old_name_of_a_mig_instance_holds_its_gpus():
    choice = decide(machine([1, 0]), visible=f"MIG-{UUIDS[0]}/1/0", cuda=lambda: None)
    assert choice.device.uuid == UUIDS[0]


def test_two_mig_instances_of_one_gpu():
    shown = [frozenset([UUIDS[1]])] * 2
    choice = decide(machine([0, 1]), visible=f"{MIG},{MIG}", cuda=lambda: shown)
    assert choice.device.uuid == UUIDS[1]


@pytest.mark.parametrize("dead", [(1,), ()])
def test_the_cpu_renders_rather_than_somebody_elses_gpu(dead):
    """GPU 1 is in MIG mode: EGL lists it and it fails, or EGL does not list it at all."""
    devices = machine([0, 1]) if dead else [gpu(0, UUIDS[0]), llvmpipe(1)]
    devices.insert(2, gpu(2, UUIDS[2]))
    devices = [EglDevice(k, one.name, one.software, one.uuid) for k, one in enumerate(devices)]
    choice = decide(devices, dead=dead, visible="1", present=3)
    assert choice.device.software
    assert "cannot render" in choice.doubt


def test_another_gpu_of_the_same_job_comes_before_the_cpu():
    choice = decide(machine([0, 1, 2, 3]), dead=(2,), visible="2,3")
    assert choice.device.index == 3


def test_without_a_variable_any_gpu_comes_before_the_cpu():
    choice = decide(machine([0, 1]), dead=(0,), present=2)
    assert choice.device.index == 1


def test_a_gpu_without_a_driver_for_rendering():
    """Mesa lists a card that it has no driver for; robosuite takes number 0 and stops."""
    devices = [EglDevice(0, "/dev/dri/renderD128"), llvmpipe(1)]
    choice = decide(devices, dead=(0,), cuda=lambda: None)
    assert choice.device.index == 1
    assert "None of the GPUs" in choice.doubt


@pytest.mark.parametrize("visible", VALUES)
@pytest.mark.parametrize("devices", [[], machine([0]), machine([0, 1])])
def test_nothing_that_works_is_one_sentence(visible, devices):
    with pytest.raises(TutorialError, match="no EGL device can be initialised"):
        decide(devices, dead=range(9), visible=visible)


# --- MUJOCO_EGL_DEVICE_ID -------------------------------------------------------------------------


@pytest.mark.parametrize("visible", VALUES)
@pytest.mark.parametrize("render", ["0", "1", "2", " 1 ", "01"])
def test_mujocos_variable_decides(render, visible):
    choice = decide(machine([1, 0]), render=render, visible=visible)
    assert choice.device.index == int(render)
    assert RENDER_DEVICE in choice.reason


@pytest.mark.parametrize("render", ["", "  "])
def test_mujocos_variable_may_be_empty(render):
    assert decide(machine([1, 0]), render=render, visible="0").device.index == 1


@pytest.mark.parametrize("render", ["7", "-1", "abc", "1.0", "0,1", "+1", "²", "1e3", "9" * 5000])
def test_a_number_that_egl_lacks_is_one_sentence(render):
    with pytest.raises(TutorialError, match=rf"{RENDER_DEVICE} .*0 NVIDIA 0.*1 llvmpipe"):
        decide(machine([0]), render=render)


def test_a_device_that_was_asked_for_and_fails_is_one_sentence():
    with pytest.raises(TutorialError, match=f"{RENDER_DEVICE}=0 .* cannot be initialised"):
        decide(machine([0]), dead=(0,), render="0")


def test_more_devices_than_mujoco_counts():
    """Eight GPUs, each listed by NVIDIA's driver and by Mesa, then llvmpipe."""
    devices = [gpu(k, UUIDS[k]) for k in range(8)]
    devices += [EglDevice(k, f"/dev/dri/renderD{120 + k}") for k in range(8, 16)]
    devices.append(llvmpipe(16))
    assert decide(devices, render="16").device.software
    assert decide(devices, dead=range(16)).device.index == 16
    assert decide(devices, visible="5").device.index == 5


@pytest.mark.parametrize("count", range(4))
def test_any_environment_ends_in_a_device_or_a_sentence(count):
    """Every combination of values, identities and failures: no other error."""
    order = list(range(count))[::-1]
    kinds = [machine(order), machine(order, uuids=False), machine(order, False, cuda=True)]
    answers = [lambda: None, lambda: [], lambda: [frozenset()], lambda: [frozenset([UUIDS[1]])]]
    deaths = [(), (0,), range(9)]
    for devices, answer, visible, render, dead in itertools.product(
        kinds, answers, VALUES, [None, "", "0", "2", "x"], deaths
    ):
        with contextlib.suppress(TutorialError):
            choice = decide(devices, cuda=answer, visible=visible, render=render, dead=dead)
            assert choice.device in devices
            assert choice.device.index not in dead


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        (" 1 , 0", ("1", "0")),
        ("NoDevFiles", ()),
        ("GPU-8932F937,MIG-GPU-8932f937/1/0", ("GPU-8932F937", "MIG-GPU-8932f937/1/0")),
        ("GPU-", ()),
        ("0;1", ()),
    ],
)
def test_cudas_variable_is_read_as_cuda_does(text, names):
    assert named_gpus(text) == names


# --- what the drivers tell ------------------------------------------------------------------------

H100 = bytes.fromhex("8932f937d72c4106c12f20bd9faed9f6")
H100_UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"


class FakeEgl:
    """EGL's device extensions, as NVIDIA's driver has them; `extensions` by device."""

    def __init__(self, extensions, names=("", ""), uuid=H100, number=0):
        self.extensions = extensions
        self.names = names
        self.uuid = uuid
        self.number = number

    def function(self, name, *_, result=None):
        return getattr(self, name, None)

    def eglQueryDeviceStringEXT(self, handle, name):
        if name == 0x3055:
            return self.extensions[handle].encode()
        return {0x335F: self.names[handle].encode()}.get(name)

    def eglQueryDeviceBinaryEXT(self, handle, name, room, value, size):
        assert (name, room) == (0x335C, 16)
        value.raw = self.uuid[:16].ljust(16, b"\0")
        size.value = len(self.uuid)
        return 1

    def eglQueryDeviceAttribEXT(self, handle, name, value):
        assert name == 0x323A
        if self.number is None:
            return 0
        value.value = self.number
        return 1


NVIDIA = (
    "EGL_NV_device_cuda EGL_EXT_device_drm EGL_EXT_device_persistent_id EGL_EXT_device_query_name"
)
MESA = "EGL_MESA_device_software EGL_EXT_device_drm_render_node"


@pytest.fixture
def driver():
    """`egl.driver`, which imports MuJoCo and so needs EGL."""
    if libero.choose_backend() != "egl":
        pytest.skip("EGL does not render here")
    from vla_tutorial.sim.egl import driver

    return driver


def devices_of(driver, fake, monkeypatch):
    monkeypatch.setattr(driver, "_handles", lambda: list(range(len(fake.extensions))))
    monkeypatch.setattr(driver, "_function", fake.function)
    monkeypatch.setattr(driver, "nvidia_models", dict)
    return driver.devices()


def test_devices_are_described(driver, monkeypatch):
    fake = FakeEgl([NVIDIA, MESA], names=["NVIDIA H100", "ignored"])
    h100, software = devices_of(driver, fake, monkeypatch)
    assert h100 == EglDevice(0, "NVIDIA H100", uuid=H100_UUID, cuda=0)
    assert software.software
    assert (software.uuid, software.cuda) == ("", None)


def test_a_driver_that_answers_nothing(driver, monkeypatch):
    fake = FakeEgl([NVIDIA], names=[""], uuid=b"short", number=None)
    assert devices_of(driver, fake, monkeypatch) == [EglDevice(0, "GPU")]


def test_a_model_comes_from_nvidias_own_files(driver, monkeypatch, tmp_path):
    file = tmp_path / "0000:19:00.0" / "information"
    file.parent.mkdir()
    file.write_text(
        f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 123\nGPU UUID: \t {H100_UUID}\n"
        "Bus Location: \t 0000:19:00.0\nGPU Excluded:\t No\n"
    )
    monkeypatch.setattr(driver, "_NVIDIA_GPUS", tmp_path)
    assert driver.nvidia_models.__wrapped__() == {H100_UUID: "NVIDIA H100 80GB HBM3"}


class FakeCuda:
    """libcuda, for one MIG instance."""

    def __init__(self, broken=False):
        self.broken = broken

    def cuInit(self, flags):
        return 100 if self.broken else 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = number
        return 0

    def cuDeviceGetUuid(self, value, device):
        value.raw = H100
        return 0

    def cuDeviceGetUuid_v2(self, value, device):
        value.raw = bytes(16)
        return 0


@pytest.mark.parametrize("library", [FakeCuda(), FakeCuda(broken=True), None])
def test_cuda_tells_uuids_or_nothing(driver, monkeypatch, library):
    def open_library(name):
        if library is None:
            raise OSError(name)
        return library

    monkeypatch.setattr(ctypes, "CDLL", open_library)
    found = driver.cuda_gpus.__wrapped__()
    if library is None or library.broken:
        assert found is None
    else:
        assert found == [{H100_UUID, "GPU-00000000-0000-0000-0000-000000000000"}]


# --- this machine ---------------------------------------------------------------------------------

RENDER = """
from vla_tutorial.errors import TutorialError
from vla_tutorial.sim import Simulator
try:
    with Simulator("libero_object", 0, camera_size=32) as simulator:
        print(simulator.reset(0).image.mean() > 50)
except TutorialError as e:
    print(e)
"""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({CUDA_DEVICES: "3", RENDER_DEVICE: "0"}, "True"),
        ({CUDA_DEVICES: "NoDevFiles", RENDER_DEVICE: "99"}, f"{RENDER_DEVICE} is '99'"),
        ({"MUJOCO_GL": "osmesa"}, ""),
    ],
)
def test_a_process_renders_or_says_one_sentence(variables, said):
    """A process of its own, since LIBERO reads the environment once."""
    environment = os.environ | variables
    words = [sys.executable, "-c", RENDER]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert said in result.stdout
