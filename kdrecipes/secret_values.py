"""Secrets of the environment: which values are some, and text that may be kept because none of them is in it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping

# Words of a variable's name: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, AWS_ACCESS_KEY_ID, KAGGLE_KEY, API_KEY_2.
# Three of them say it only at its end: DATASET_AUTH_MODE, SORT_KEY_ORDER and PASS_THROUGH say something else.
_SAYS_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY)(?:_|$)"
    r"|(?:^|_)(?:AUTH|PASS|KEY|KEY_ID)(?:_?[0-9]+)?$"
    r"|(?:PASSWORD|SECRET|TOKEN|APIKEY)$",
    re.IGNORECASE,
)
_SAYS_OTHER = re.compile(r"_(?:FILE|PATH|DIR|SOCK|URL|NAME|TYPE|MODE)$", re.IGNORECASE)  # where it lies or what it is
SHORTEST = 8  # characters: what is shorter stands in any text by chance
_WORD = re.compile(r"[a-z]{1,15}")  # such as "training", which texts are full of; passwords of services have 16 letters
_LOGIN = re.compile(r"(?<=://)(?!git@)[^/@\s]+@")  # without a password it may be a token; `git` is everybody's
_PASSWORD = re.compile(r"://[^/:@\s]*:([^/@\s]+)@")


def secrets() -> Mapping[str, str]:
    """Each secret value of the environment and the name of its variable, the longest first.

    A value counts from 8 characters on where its variable's name says that it is secret, such as `HF_TOKEN` or
    `MLFLOW_TRACKING_PASSWORD`; of an address, the password in it. A path of something that is there is none, and
    neither is a word: up to 15 lower-case letters and nothing else.
    """
    return _secrets_of(tuple(os.environ.items()))


@functools.lru_cache(maxsize=1)  # thousands of problems are told one after the other
def _secrets_of(variables: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in variables:
        parts = _PASSWORD.findall(value)
        if _SAYS_SECRET.search(name) and not _SAYS_OTHER.search(name) and not os.path.lexists(value):
            parts += [value, *value.splitlines()]  # a key of several lines may be told on one
        stripped = [part.strip() for part in parts]
        found |= {part: name for part in stripped if len(part) >= SHORTEST and not _WORD.fullmatch(part)}
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def without_secrets(text: str, known: Mapping[str, str] | None = None) -> str:
    """`text` with `<HF_TOKEN>` in place of that variable's value, and `://…@` in place of an address's login.

    The login `git`, which is no secret, stays. `known`: from `secrets`, by whoever asks for many texts; default: anew.
    """
    for value, name in (secrets() if known is None else known).items():
        text = text.replace(value, f"<{name}>")
    return _LOGIN.sub("…@", text)


def secret_in(text: str, known: Mapping[str, str]) -> str:
    """What secret a text holds, in words; empty where it holds none. `known`: from `secrets`."""
    for value, name in known.items():
        if value in text:
            return f"the secret of the variable {name}"
    return "a password in an address" if _PASSWORD.search(text) else ""
