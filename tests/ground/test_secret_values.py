"""Secrets of the environment: which values count as some, and text without them."""

from __future__ import annotations

import pytest

from kdrecipes.errors import Problem, RunError, one_line
from kdrecipes.secret_values import secret_in, secrets, without_secrets

VALUE = "s3cr3t-value"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """An environment of nothing but what a test puts there."""
    monkeypatch.setattr("os.environ", environment := {})
    return environment


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "WANDB_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "KAGGLE_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "PGPASSWORD",
        "db_password",
        "SSH_PASSPHRASE",
        "NPM_AUTH",
        "CLIENT_SECRET",
    ],
)
def test_a_name_that_says_secret_makes_its_value_one(clean, name):
    clean[name] = VALUE
    assert without_secrets(f"401 for {VALUE}, {VALUE}!") == f"401 for <{name}>, <{name}>!"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "/home/someone"),
        ("TOKENIZERS_PARALLELISM", "false-or-so"),
        ("KEYBOARD", "qwerty-long"),
        ("BYPASS_CACHE", "yes-please"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/file"),
        ("SSH_AUTH_SOCK", "/no/such/socket"),
        ("GOOGLE_APPLICATION_CREDENTIALS", __file__),
        ("HF_TOKEN", "short"),
        ("HF_TOKEN", ""),
    ],
)
def test_another_name_a_path_and_a_short_value_are_none(clean, name, value):
    clean[name] = value
    assert secrets() == {} and without_secrets(f"about {value}.") == f"about {value}."


def test_the_longest_is_taken_first_and_a_key_of_several_lines_line_by_line(clean):
    clean |= {"A_TOKEN": "abcdefgh", "B_TOKEN": "abcdefghij", "C_KEY": "-----BEGIN-----\nMIIEvQIB\n"}
    assert without_secrets("abcdefghij abcdefgh MIIEvQIB") == "<B_TOKEN> <A_TOKEN> <C_KEY>"


def test_a_login_of_an_address_is_left_out_wherever_it_came_from(clean):
    assert without_secrets("git clone https://ann:hush@h/x, ssh://git@h") == "git clone https://…@h/x, ssh://…@h"
    clean["HTTPS_PROXY"] = "http://ann:correct-horse@proxy:3128"
    assert without_secrets("password correct-horse") == "password <HTTPS_PROXY>"


def test_what_is_in_a_text_is_told_by_the_variable_and_not_by_the_value(clean):
    clean["HF_TOKEN"] = VALUE
    assert secret_in(f"token={VALUE}", secrets()) == "the secret of the variable HF_TOKEN"
    assert secret_in("https://ann:x@h", secrets()) == "a password in an address"
    assert secret_in("https://example.org/a:b@c and git@host:x", secrets()) == ""


def test_no_error_s_text_holds_one(clean):
    clean["HF_TOKEN"] = VALUE
    problem = Problem(f"--set a={VALUE}", 0, 0, VALUE, "no", VALUE, VALUE, code="failed")
    told = [str(RunError(f"no {VALUE}").at(VALUE)), one_line(OSError(VALUE)), str(problem), str(problem.asdict())]
    assert all("<HF_TOKEN>" in text and VALUE not in text for text in told), told
