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
        "SYSTEM_ACCESSTOKEN",
        "CI_REGISTRY_PASSWORD",
        "SECRET_KEY_BASE",
        "MYSQL_PASS",
        "OPENAI_API_KEY_2",
        "API_KEY_PRODUCTION",
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
        ("DATASET_AUTH_MODE", "anonymous-v2"),
        ("AUTH_BACKEND", "ldap-server"),
        ("SORT_KEY_ORDER", "name-then-date"),
        ("PASS_THROUGH", "all-of-them"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://example.org/token"),
        ("AWS_SECRET_NAME", "the-one-of-training"),
        ("POSTGRES_PASSWORD", "training"),
        ("HF_TOKEN", "short"),
        ("HF_TOKEN", ""),
    ],
)
def test_another_name_a_path_and_a_short_value_are_none(clean, name, value):
    clean[name] = value
    assert secrets() == {} and without_secrets(f"about {value}.") == f"about {value}."


def test_a_path_of_something_that_is_there_is_none_seen_from_here(clean, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.json").touch()
    clean |= {"GOOGLE_APPLICATION_CREDENTIALS": "key.json", "OTHER_CREDENTIALS": "gone.json"}
    assert secrets() == {"gone.json": "OTHER_CREDENTIALS"}


@pytest.mark.parametrize("value", ["abcdefghijklmnop", "Training", "training1", "new-training"])
def test_more_than_a_word_of_at_most_fifteen_lower_case_letters_is_one(clean, value):
    clean["POSTGRES_PASSWORD"] = value
    assert secrets() == {value: "POSTGRES_PASSWORD"}


def test_the_longest_is_taken_first_and_a_key_of_several_lines_line_by_line(clean):
    clean |= {"A_TOKEN": "abcdefg1", "B_TOKEN": "abcdefg123", "C_KEY": "-----BEGIN-----\nMIIEvQIB\n"}
    assert without_secrets("abcdefg123 abcdefg1 MIIEvQIB") == "<B_TOKEN> <A_TOKEN> <C_KEY>"


def test_a_login_of_an_address_is_left_out_wherever_it_came_from(clean):
    told = without_secrets("git clone https://ann:hush@h/x, https://t0ken@h, ssh://git:hush@h")
    assert told == "git clone https://…@h/x, https://…@h, ssh://…@h"
    clean["HTTPS_PROXY"] = "http://ann:correct-horse@proxy:3128"
    assert without_secrets("password correct-horse") == "password <HTTPS_PROXY>"


@pytest.mark.parametrize(
    "text", ["/data//img@2x.png", "# //:noon@12", "git+ssh://git@github.com/a/b", "https://@h", "https://h/a:b@c"]
)
def test_what_is_no_login_of_an_address_stays(clean, text):
    assert without_secrets(text) == text and secret_in(text, secrets()) == ""


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


def test_of_thousands_of_problems_the_environment_is_searched_once_and_read_once_each(clean, monkeypatch):
    class Environment(dict):
        read = 0

        def items(self):
            self.read += 1
            return super().items()

    asked = []
    monkeypatch.setattr("os.path.lexists", asked.append)
    monkeypatch.setattr("os.environ", variables := Environment(HF_TOKEN="another-s3cr3t"))
    problem = Problem("a.toml", 1, 1, "a.b", "unknown key", "another-s3cr3t", "c", code="unknown-key")
    assert {str(problem.asdict()["received"]) for _ in range(100)} == {"<HF_TOKEN>"}
    assert asked == ["another-s3cr3t"] and variables.read == 100
    variables["HF_TOKEN"] = "a-new-s3cr3t"
    assert without_secrets("a-new-s3cr3t another-s3cr3t") == "<HF_TOKEN> another-s3cr3t"
