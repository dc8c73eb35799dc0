"""Secrets of the environment: which values are some, and text that may be kept because none of them is in it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

# One of the words of a variable's name: HF_TOKEN, WANDB_API_KEY, AWS_SECRET_ACCESS_KEY, KAGGLE_KEY.
_SAYS_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|KEY|APIKEY|AUTH)(?:_|$)"
    r"|(?:PASSWORD|SECRET|TOKEN|APIKEY)$",
    re.IGNORECASE,
)
_SAYS_PLACE = re.compile(r"_(?:FILE|PATH|DIR|SOCK)$", re.IGNORECASE)  # where a secret lies, not which it is
SHORTEST = 8  # characters: what is shorter stands in any text by chance
_LOGIN = re.compile(r"(?<=//)[^/@\s]*@")
_PASSWORD = re.compile(r"//[^/:@\s]*:([^/@\s]+)@")


def secrets() -> dict[str, str]:
    """Each secret value of the environment and the name of its variable, the longest first.

    A value counts from 8 characters on where its variable's name says that it is secret, such as `HF_TOKEN` or
    `MLFLOW_TRACKING_PASSWORD`, and it is no path of something that is there; of an address, the password in it.
    """
    found: dict[str, str] = {}
    for name, value in os.environ.items():
        parts = _PASSWORD.findall(value)
        if _SAYS_SECRET.search(name) and not _SAYS_PLACE.search(name) and not _is_path(value):
            parts += [value, *value.splitlines()]  # a key of several lines may be told on one
        found |= {part.strip(): name for part in parts if len(part.strip()) >= SHORTEST}
    return dict(sorted(found.items(), key=lambda one: -len(one[0])))


def without_secrets(text: str) -> str:
    """`text` with `<HF_TOKEN>` in place of that variable's value, and `//…@` in place of an address's login."""
    for value, name in secrets().items():
        text = text.replace(value, f"<{name}>")
    return _LOGIN.sub("…@", text)


def secret_in(text: str, known: Mapping[str, str]) -> str:
    """What secret a text holds, in words; empty where it holds none. `known`: from `secrets`."""
    for value, name in known.items():
        if value in text:
            return f"the secret of the variable {name}"
    return "a password in an address" if _PASSWORD.search(text) else ""


def _is_path(value: str) -> bool:
    return os.path.isabs(value) and os.path.lexists(value)
