"""Resuming a run whose curves were cut or damaged."""

from types import SimpleNamespace

import pytest

from vla_tutorial.errors import TutorialError
from vla_tutorial.training import run_files


@pytest.fixture
def resume(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "read_state", lambda path: {})
    trainer = SimpleNamespace(step=3, load=lambda state: None)

    def resume(text):
        path = tmp_path / "curves.jsonl"
        path.write_text(text)
        run_files.resume_from(trainer, tmp_path, path)
        return path.read_text()

    return resume


def test_lines_after_the_state_and_half_a_line_are_deleted(resume):
    kept = '{"step": 1, "success": null}\n{"step": 3}\n'
    assert resume(kept + '{"step": 4}\n{"step": 5, "succ') == kept
    assert resume("") == ""


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"step": "1"}', "[" * 9999])
def test_a_damaged_line_is_named(resume, line):
    with pytest.raises(TutorialError, match=r"curves\.jsonl, line 2 "):
        resume('{"step": 1}\n' + line + '\n{"step": 3}\n')
