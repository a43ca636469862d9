"""Tests of `metatui explain`."""

from __future__ import annotations

import json

import pytest

from metatui.cli import main
from metatui.config.settings import Settings
from metatui.learning.explanations import explanation


def test_explanation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "reptile", "--set", "algorithm.inner_lr=0.02", "--set", "algorithm.inner_steps=5"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("Reptile ")
    assert "repeat 5 times: θ' ← θ' − 0.02 ∇L(D; θ')" in out
    assert "regression: algorithm.inner_lr=0.01, algorithm.inner_steps=5, algorithm.outer_lr=0.1 - class" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "maml", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["gradients"] == explanation(Settings(), "maml").gradients
    assert report["code"] == list(explanation(Settings(), "maml").code)
    assert report["usual"]["regression"]["algorithm.inner_steps"] == 1


def test_settings_of_the_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--set", "imaml.cg_steps=7", "--set", "algorithm.inner_optimizer=adam")
    assert main(["explain", "imaml", *arguments]) == 0
    out, err = capsys.readouterr()
    lines = " ".join(out.split())
    assert "- imaml.regularization=2: Strength λ of the proximal term" in lines
    assert "(4 tasks x (7 CG steps + 1 for the first residual))" in lines
    assert "inner_optimizer" not in out
    assert err == "note: algorithm.inner_optimizer has no effect with algorithm.name=imaml\n"
    assert main(["explain", "imaml", *arguments, "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["imaml.cg_steps"] == 7
    assert "algorithm.inner_optimizer" not in settings


def test_settings_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "maml", "--preset", "omniglot-5way-1shot-finn"]) == 0
    assert "classes" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["protonet", "proto_maml"])
def test_algorithm_for_classification_only(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["explain", name]) == 0
    out, err = capsys.readouterr()
    lines = " ".join(out.split())
    assert "L: mean cross-entropy" in lines
    assert "D ← 10 support images of each of 5 classes; D' ← 10 query images of each class" in lines
    assert err.endswith(" does not support the tasks of task.source=sinusoid: task.source=glyphs is used\n")
    assert main(["explain", name, "--preset", "omniglot-5way-1shot-finn"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"), [(["adam"], "adam"), (["maml", "--preset", "nonsense"], "'nonsense'")]
)
def test_bad_input(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["explain", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("word", "path"),
    [("lambda", "imaml.regularization"), ("λ", "imaml.regularization"), ("Alpha", "algorithm.inner_lr"),
     ("epsilon", "algorithm.outer_lr")],
)  # fmt: skip
def test_greek_letters_are_found_by_name(word: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", word, "--json"]) == 0
    assert path in [setting["setting"] for setting in json.loads(capsys.readouterr().out)["settings"]]
