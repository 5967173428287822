"""Where a model runs, by name."""

import sys

import pytest
import torch

from vla_tutorial.cli import main
from vla_tutorial.errors import TutorialError
from vla_tutorial.policies import model
from vla_tutorial.policies.device import choose_device, default_dtype
from vla_tutorial.policies.model import load_model_policy


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have so many CUDA GPUs, or an Apple GPU, on which every sum works."""

    def pretend(gpus=0, apple=False, fault=None):
        def ones(*shape, device):
            if fault:
                raise RuntimeError(fault)
            return torch.zeros(*shape)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        monkeypatch.setattr(torch, "ones", ones)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return pretend


NONSENSE = [
    "gpu",
    "CPU",
    "cuda:",
    "cuda:x",
    "cuda:-1",
    "cuda:01",
    "cuda:1.0",
    "cuda0",
    "cuda:0,1",
    "cuda:" + "9" * 5000,
    "cpu:0",
    "mps:0",
    "meta",
    "xpu",
    "",
    " cpu",
    "cpu\n",
    "0",
    "[red]",
]


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize("name", NONSENSE)
def test_another_name_is_one_sentence(machine, name, gpus):
    machine(gpus)
    with pytest.raises(TutorialError, match="expected cpu, cuda or cuda:N") as error:
        choose_device(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("gpus", "asked", "found"),
    [
        (0, None, "cpu"),
        (0, "cpu", "cpu"),
        (2, None, "cuda"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda"),
        (2, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
        (12, "cuda:10", "cuda:10"),
    ],
)
def test_names_are_understood(machine, gpus, asked, found):
    machine(gpus)
    assert choose_device(asked) == found


@pytest.mark.parametrize("name", ["cuda:2", "cuda:7", "cuda:9999"])
def test_a_gpu_that_is_not_there(machine, name):
    machine(gpus=2)
    with pytest.raises(TutorialError, match=rf"{name}.*finds 2 \(cuda:0 … cuda:1\)"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_no_gpu_at_all(machine, name):
    machine(gpus=0)
    with pytest.raises(TutorialError, match=f"'{name}'.*no CUDA GPU.*Use cpu"):
        choose_device(name)


def test_the_variable_that_hides_gpus_is_named(machine, monkeypatch):
    machine(gpus=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(TutorialError, match="CUDA_VISIBLE_DEVICES='3'"):
        choose_device("cuda:1")


def test_an_apple_gpu_only_where_pytorch_has_one(machine):
    machine(apple=False)
    with pytest.raises(TutorialError, match=r"'mps'.*no Apple GPU; expected cpu, cuda or cuda:N"):
        choose_device("mps")
    machine(apple=True)
    assert choose_device("mps") == "mps"
    with pytest.raises(TutorialError, match="expected cpu, cuda, cuda:N or mps"):
        choose_device("gpu")


@pytest.mark.parametrize("asked", [None, "cuda", "cuda:1", "mps"])
def test_a_gpu_that_cannot_compute_is_one_sentence(machine, asked):
    fault = "CUDA error: no kernel image is available for execution on the device\nmore lines"
    machine(gpus=2, apple=True, fault=fault)
    with pytest.raises(TutorialError, match="no kernel image") as error:
        choose_device(asked)
    assert "more lines" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "capability", "dtype"),
    [
        ("cpu", None, torch.float32),
        ("mps", None, torch.float16),
        ("cuda", (9, 0), torch.bfloat16),
        ("cuda:1", (8, 0), torch.bfloat16),
        ("cuda", (7, 5), torch.float16),
        ("cuda:1", (7, 0), torch.float16),
    ],
)
def test_a_device_decides_the_type_of_the_weights(monkeypatch, device, capability, dtype):
    """A T4 has compute capability 7.5 and no bfloat16."""
    asked = []

    def capability_of(name):
        asked.append(name)
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", capability_of)
    assert default_dtype(device) is dtype
    assert asked == ([device] if capability else [])


@pytest.mark.parametrize(
    ("device", "capability", "said"),
    [
        ("cuda", (7, 5), r"Tesla T4 \(cuda\) has compute capability 7\.5, and fp8 needs 8\.9"),
        ("cuda:1", (8, 6), r"Tesla T4 \(cuda:1\) has compute capability 8\.6"),
        ("mps", None, "An Apple GPU has no numbers of 8-bit floats"),
    ],
)
def test_a_gpu_without_fp8_is_named_with_what_it_can(monkeypatch, device, capability, said):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: "Tesla T4")
    monkeypatch.setattr(model, "choose_device", lambda asked: asked)
    instead = r"It can hold the weights as bf16, int8, int4\."
    with pytest.raises(TutorialError, match=f"{said}.*{instead}"):
        load_model_policy("mini", "/no/such/folder", device=device, weights="fp8")
    with pytest.raises(TutorialError, match=r"'int3' are not known; expected bf16, int8, int4\."):
        load_model_policy("mini", "/no/such/folder", device=device, weights="int3")


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0), (12, 0)])
def test_newer_gpus_and_a_cpu_have_every_kind_of_weights(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
    for device in ("cpu", "cuda:0"):
        assert model.weights_on(device) == ("bf16", "int8", "fp8", "int4")


def test_a_wrong_device_is_said_before_the_checkpoint_is_looked_for():
    with pytest.raises(TutorialError, match="Unknown device 'gpu'"):
        load_model_policy("mini", "/no/such/folder", device="gpu")


@pytest.mark.parametrize(
    "command",
    [
        ["rollout", "--suite", "libero_object", "--task", "0", "--init", "0"],
        ["sweep", "--suite", "libero_object", "--tasks", "0", "--inits", "0"],
        ["train", "evaluate", "--checkpoint", "x"],
        ["train", "dagger"],
    ],
)
def test_commands_refuse_another_name_and_write_nothing(monkeypatch, capsys, tmp_path, command):
    folder = tmp_path / "out"
    words = ["vla-tutorial", *command, "--out", str(folder), "--device", "gpu:0"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Unknown device 'gpu:0'; expected cpu, cuda or cuda:N" in capsys.readouterr().err
    assert not folder.exists()
