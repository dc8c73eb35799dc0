"""What `datasets` raises, as one message that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kdrecipes import EnvironmentProblem, KDRecipesError, RunError

ON_THE_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")  # owner/name; all else is a folder
_MEANT = 'If a folder is meant: data = "./{}"'
# Classes of httpx and of huggingface_hub, by name: which package they come from changes with the version.
_UNREACHABLE = {"NetworkError", "TimeoutException", "ProxyError", "LocalEntryNotFoundError", "OfflineModeIsEnabled"}


@contextmanager
def telling(data: str, config: str | None, revision: str | None) -> Iterator[None]:
    """Turn whatever `datasets` raises into an error for people; the arguments are those of `load`."""
    try:
        yield
    except KDRecipesError:
        raise
    except Exception as error:  # it raises all kinds for what is missing, damaged or foreign
        raise _told(error, data, config, revision) from error


def out_of_reach(data: str, revision: str | None, more: str = "") -> EnvironmentProblem:
    """The error where the Hub would have to be asked and can't be, with how to bring the data here.

    Args:
        data: owner/name.
        revision: branch, tag or commit; None: the newest.
        more: what is added to the fact that it can't be reached.
    """
    from huggingface_hub import is_offline_mode

    folder, which = data.partition("/")[2], f" --revision {revision}" if revision else ""
    reason = ", since HF_HUB_OFFLINE is set" if is_offline_mode() else ""
    name = f"{data} at revision {revision}" if revision else data
    return EnvironmentProblem(
        f"{name} is not on this machine, and the Hub can't be reached{reason}{more}. Where there is a network: "
        f"`hf download {data} --repo-type dataset{which} --local-dir {folder}`. Bring that folder here, and write "
        f'data = "./{folder}". {_MEANT.format(data)}'
    ).at("dataset.data")


def _told(error: Exception, data: str, config: str | None, revision: str | None) -> KDRecipesError:
    """The error for people behind one of `datasets`."""
    from datasets.exceptions import DatasetNotFoundError

    on_the_hub, text = bool(ON_THE_HUB.fullmatch(data)), " ".join(str(error).split())[:400].removesuffix(".")
    if script := re.search(r"scripts are no longer supported, but found (\S+)", text):
        return _needs_code(data, script[1], on_the_hub)
    if on_the_hub and _is_unreachable(error):
        return out_of_reach(data, revision)
    if isinstance(error, DatasetNotFoundError):
        return EnvironmentProblem(
            f"{text}. If it is private, or asks for consent: `hf auth login`. {_MEANT.format(data)}"
        ).at("dataset.data")
    if type(error).__name__ in ("DataFilesNotFoundError", "EmptyDatasetError"):
        return RunError(
            f"{data} holds no file that datasets reads, such as Parquet files, or images in folders named by class"
        ).at("dataset.data")
    if isinstance(error, ValueError) and re.search("pick one among|BuilderConfig .* not found|Available configs", text):
        return _which_config(text, data, config)
    kind = EnvironmentProblem if isinstance(error, OSError) else RunError
    return kind(f"Hugging Face's datasets can't read {data}: {type(error).__name__}: {text}").at("dataset.data")


def _needs_code(data: str, script: str, on_the_hub: bool) -> RunError:
    """The error where a data set is made by a script."""
    instead = "Write the data once as Parquet files, or by save_to_disk"
    if on_the_hub:
        instead = 'Many such data sets have a copy in Parquet files: try revision = "refs/convert/parquet"'
    text = f"{data} needs code of its own, {script}, and no code of a data set is run. {instead}"
    return RunError(text).at("dataset.data")


def _is_unreachable(error: BaseException) -> bool:
    """Whether an error comes from a network that is not there."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        kinds = {kind.__name__ for kind in type(one).__mro__}
        if isinstance(one, ConnectionError) or kinds & _UNREACHABLE:
            return True
        seen.append(one)
        one = one.__cause__ or one.__context__
    return False


def _which_config(text: str, data: str, config: str | None) -> RunError:
    """The error where a data set has several configurations, or not the one that is named."""
    listed = re.search(r"\[(.*?)\]", text)
    names = ", ".join(re.findall(r"'[^']*'", listed[1])) if listed else ""
    wrong = f"no configuration {config!r}" if config else "several configurations"
    return RunError(f"{data} has {wrong}; name one of {names}").at("dataset.config")
