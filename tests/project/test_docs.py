"""The documentation says what the code does: all there is stands in a page, links lead somewhere, blocks run.

The command line is frozen by `cli_surface.txt`: after a change that is meant, run
`KDRECIPES_UPDATE_GOLDEN=1 pytest tests/test_docs.py` and read the diff. Nothing here needs mkdocs.
"""

from __future__ import annotations

import html
import importlib
import json
import logging
import os
import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import kdrecipes
from kdrecipes import errors, losses
from kdrecipes.cli.main import app
from kdrecipes.components import hookspecs
from kdrecipes.components.contract import PASSED_BY_RUN
from kdrecipes.components.losses import TERMS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COMMAND = get_command(app)
SURFACE = Path(__file__).with_name("cli_surface.txt")
ON_LOGITS = [name for name, cls in TERMS.items() if not hasattr(getattr(losses, cls), "student_layers")]
WRITTEN = ["README.md", *sorted(str(file.relative_to(ROOT)) for file in DOCS.rglob("*.md"))]
# Their blocks are run by tests of their own: test_readme.py, test_plugin_guide.py, test_deploy.py.
RUN_ELSEWHERE = ("README.md", "docs/plugins.md", "docs/guide/deploy.md")

sys.path.insert(0, str(DOCS))  # as mkdocs does for a hook
generate, loss_figures, schema_tables = map(importlib.import_module, ("generate", "loss_figures", "schema_tables"))


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def generated():
    """Generated pages by their path from the repository's root, like the written ones."""
    return {f"docs/{path}": text for path, text in generate.pages().items()}


@cache
def all_pages():
    return {page: text_of(page) for page in WRITTEN} | generated()


def blocks(page, language):
    """(title, text) of each fenced block of a written page."""
    fence = rf'^```{language}(?: title="([^"]*)")?\n(.*?)^```$'
    return re.findall(fence, text_of(page), re.DOTALL | re.MULTILINE)


def section(text, heading):
    """What stands under a heading, down to the next of its rank or above; its own subsections are left out."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no heading {heading}"
    return found[2]


# The reference holds all there is. What it should hold is asked of other sources than the generator does.


def test_every_command_and_flag_stands_in_the_reference():
    page = generated()["docs/reference/cli.md"]
    todo, seen = [["kdrecipes"]], []
    while todo:
        words = todo.pop()
        shown = CliRunner().invoke(app, [*words[1:], "--help"], terminal_width=200).output
        under = section(page, f"`{' '.join(words)}`")
        for flag in re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE):
            assert flag == "--help" or f"`{flag}" in under, (words, flag)
        _, _, listed = shown.partition("Commands:\n")
        verbs = re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE)
        todo += [[*words, verb] for verb in verbs]
        seen.append(words)
    assert ["kdrecipes", "run"] in seen and ["kdrecipes", "cache", "clear"] in seen


def test_the_command_line_is_the_one_that_was_agreed_on():
    text = generate.surface()
    if os.environ.get("KDRECIPES_UPDATE_GOLDEN"):
        SURFACE.write_text(text, encoding="utf-8")
    assert text == SURFACE.read_text(encoding="utf-8")
    assert "kdrecipes run  --device <str>  auto\n" in text and "kdrecipes validate  PATH…  required\n" in text


def described(schema):
    """(key, description) of every property in a schema."""
    if isinstance(schema, dict):
        table = schema.get("properties")
        for key, part in table.items() if isinstance(table, dict) else ():
            yield key, part.get("description", "")
        for part in schema.values():
            yield from described(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from described(part)


@pytest.mark.parametrize("page, schema", [("recipe", "structure"), ("report", "report")])
def test_every_key_of_a_schema_stands_in_the_reference_with_its_description(page, schema):
    text = generated()[f"docs/reference/{page}.md"]
    found = list(described(json.loads(text_of(f"schemas/{schema}.schema.json"))))
    assert len(found) > 40
    for key, description in found:
        rows = [line for line in text.splitlines() if line.startswith(f"| `{key}` |")]
        assert rows, key
        assert any(schema_tables.prose(description).replace("|", "\\|") in row for row in rows), (key, description)


def test_every_table_of_a_recipe_has_its_section():
    text = generated()["docs/reference/recipe.md"]
    for heading in ("[dataset.views.random_erasing]", "[teacher.train]", "[[loss.terms]]", "[[callbacks]]"):
        assert "| key | type | default |" in section(text, f"`{heading}`")
    rows = section(text, "`[train]`") + section(text, "`[dataset.views]`") + section(text, "`[loss]`")
    rows = rows.replace("\N{NO-BREAK SPACE}", " ")
    assert "| `epochs` | a whole number ≥ 1 | required |" in rows
    assert "| `rotation` | a number above 0 to 180 |  |" in rows
    assert "| `label_smoothing` | a number from 0 to below 1 | `0.0` |" in rows
    for name in ("adamw", "sgd", "one_cycle", "bit_hyperrule"):
        assert section(text, f'`name = "{name}"`').strip()


def test_every_component_stands_in_the_reference_with_its_options():
    """As the committed schema for editors has them: the built-ins and the packages under plugins/."""
    text = generated()["docs/reference/components.md"]
    definitions = json.loads(text_of("schemas/recipe.schema.json"))["definitions"]
    structure = json.loads(text_of("schemas/structure.schema.json"))["definitions"]
    names = []
    for table in ("dataset", "student", "term", "callback"):
        for branch in definitions[table]["oneOf"]:
            if "name" not in branch.get("required", ()):
                continue  # what completes a table of another recipe
            rows = section(text, f"`{branch['title']}`")
            names.append(branch["title"])
            for option in set(branch["properties"]) - set(structure[table]["properties"]):
                assert f"| `{option}` |" in rows, (branch["title"], option)
    assert {"cnn", "efficientnet_lite", "folder", "kd", "csv_log"} <= set(names)


def test_every_public_name_stands_in_the_python_reference():
    text = generated()["docs/reference/python.md"]
    for name in kdrecipes.__all__:
        assert f"kdrecipes.{name}" in text, name
    assert "## More" not in text, "a new public name wants its place in docs/generate.py"


def test_every_hook_stands_in_a_page():
    hooks = [name for name in vars(hookspecs) if name.startswith("kdrecipes_")]
    assert hooks
    assert all(any(hook in text for text in all_pages().values()) for hook in hooks)


# The guide names what it must.


def test_every_exit_code_has_its_line_and_no_other():
    kinds = [errors.KDRecipesError, errors.Preempted]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {0, 130} | {kind.exit_code for kind in kinds}
    rows = re.findall(r"^\| (\d+) \| \w", section(text_of("docs/guide/running.md"), "Exit codes"), re.MULTILINE)
    assert [int(code) for code in rows] == sorted(codes)


def test_every_variable_of_the_environment_has_its_line_and_no_other():
    code = "\n".join(file.read_text() for part in ("kdrecipes", "plugins") for file in (ROOT / part).rglob("*.py"))
    read = set(re.findall(r"""(?:environ\.get\(|environ\[|getenv\()["'](KDRECIPES_[A-Z_]+)""", code))
    assert "KDRECIPES_HOME" in read
    named = {variable for text in all_pages().values() for variable in re.findall(r"KDRECIPES_[A-Z_]+", text)}
    in_table = set(re.findall(r"^\| `(KDRECIPES_[A-Z_]+)` \|", text_of("docs/guide/running.md"), re.MULTILINE))
    assert read == in_table and named <= in_table


def test_every_file_of_a_run_folder_is_named():
    from kdrecipes.runs.folder import _ENTRIES

    text = section(text_of("docs/guide/running.md"), "The run folder")
    assert [name for name in _ENTRIES if not re.search(rf"`{re.escape(name)}/?`", text)] == []


def test_every_figure_of_the_report_is_explained_in_the_guide():
    schema = json.loads(text_of("schemas/report.schema.json"))
    figures = {*schema["properties"]["arms"]["items"]["properties"]} - {"arm", "seed", "epochs", "student"}
    figures |= {"kd_minus_baseline", "kd_minus_teacher", *schema["definitions"]["difference"]["properties"]}
    figures -= {"ci95_over", "seeds"}
    text = text_of("docs/guide/running.md")
    assert sorted(figure for figure in figures if f"`{figure}`" not in text) == []


# Links and navigation.


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", all_pages()[page], flags=re.S | re.M), re.M)
    return {generate.slug(heading.replace("`", "")) for heading in headings}


def links(page):
    text = re.sub(r"^```.*?^```$", "", all_pages()[page], flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?<!\[)`[^`\n]*`(?!\])", "", text))
    return [link for link in found if not re.match(r"https?:|mailto:", link)]


@pytest.mark.parametrize("page", [*WRITTEN, *(f"docs/reference/{n}.md" for n in ("cli", "recipe", "components"))])
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = os.path.normpath(Path(page).parent / path) if path else page
        assert target in all_pages() or (ROOT / target).exists(), link
        if page != "README.md":  # mkdocs resolves links inside docs/ alone
            assert target.startswith("docs/"), link
        if anchor and target in all_pages():
            assert anchor in anchors(target), link


def test_the_links_that_are_checked_are_found():
    """The test above is about something."""
    assert "teachers.md#outputs-are-computed-once" in links("docs/guide/recipes.md")
    assert "results/quickstart.json" in links("README.md")


def test_every_page_is_in_the_navigation_and_every_entry_has_its_page():
    def leaves(part):
        if isinstance(part, str):
            return [part]
        return [leaf for item in (part.values() if isinstance(part, dict) else part) for leaf in leaves(item)]

    shown = leaves(yaml.safe_load(text_of("mkdocs.yml"))["nav"])
    assert sorted(f"docs/{page}" for page in shown) == sorted(page for page in all_pages() if page != "README.md")


# The terms of `[loss]`.


@pytest.mark.parametrize("name", TERMS)
def test_every_term_stands_in_the_guide_with_its_options_and_defaults(name):
    term = getattr(losses, TERMS[name])
    component = kdrecipes.component("loss", term.name)
    (row,) = re.findall(rf"^\| `{term.name}` \|.*$", generate.inserted(text_of("docs/guide/losses.md")), re.MULTILINE)
    assert hasattr(term, "student_layers") or schema_tables.prose(component.summary) in row
    for option, schema in component.options["properties"].items():
        if option in PASSED_BY_RUN["loss"]:
            continue
        shown = re.search(rf"`{option}`(?: \(([^)]*)\))?", row)
        assert shown, option
        default = schema.get("default")
        if isinstance(default, list):
            assert [float(one) for one in shown[1].split(", ")] == default
        else:
            assert shown[1] == (
                None if default is None else f"{default:g}" if isinstance(default, float) else str(default)
            )


@pytest.mark.parametrize("name", losses.__all__)
def test_every_class_of_a_term_stands_in_the_reference_with_its_paper(name):
    page = generated()["docs/reference/python.md"]
    assert re.search(rf"^::: kdrecipes\.(losses\.)?{name}$", page, re.MULTILINE)
    assert schema_tables.prose(getattr(losses, name).paper) in page


@pytest.mark.parametrize("name", ON_LOGITS)
def test_the_guide_says_which_terms_on_logits_read_labels(name):
    torch = pytest.importorskip("torch")
    term = getattr(losses, TERMS[name])(**({"epsilon": 1.5} if name == "ofa_logit" else {}))  # with 1 they cancel out
    torch.manual_seed(0)
    student, teacher = (kdrecipes.Outputs(torch.randn(4, 3)) for _ in range(2))
    one, other = (term(labels, student, teacher).detach().sum() for labels in torch.tensor([[0] * 4, [1, 2, 1, 2]]))
    assert bool(one != other) == (name in loss_figures.READ_LABELS)


def test_the_guide_names_the_terms_that_learn():
    section = (
        text_of("docs/guide/losses.md").partition("## Terms that learn")[2].partition(" have weights of their own")
    )
    assert set(re.findall(r"`(\w+)`", section[0])) | {"simkd"} == set(loss_figures.LEARN)


@pytest.mark.parametrize("name", loss_figures.SWEEPS.values())
def test_the_guide_compares_the_terms_by_the_committed_sweeps(name):
    guide = generate.inserted(text_of("docs/guide/losses.md")).replace("<br>", " ").replace(loss_figures.NO_BREAK, " ")
    sweep = json.loads(text_of(f"results/{name}.json"))
    assert sweep["status"] == "done" and len(sweep["seeds"]) == 3 and len(sweep["confirmed"]) == 3
    assert len({json.dumps(one["changes"]["loss"]) for one in sweep["points"]}) >= 20
    for one in [*sweep["points"], *sweep["confirmed"]]:
        gain = one["kd_minus_baseline"]
        low, high = (f"{100 * end:+.2f}".replace("-", "−") for end in gain["ci95"])
        assert f"{100 * gain['mean']:+.2f} ({low} to {high})".replace("-", "−") in guide
    page = f"assets/reports/{name}/sweep.html"
    assert page in guide
    for link in re.findall(r'href="(confirm/[^"]+)"', text_of(f"docs/{page}")):
        assert (DOCS / page).with_name("confirm") / link.removeprefix("confirm/") in (DOCS / page).parent.rglob(
            "*.html"
        )
    assert [one["run"] in text_of(f"docs/{page}") for one in sweep["confirmed"]] == [True] * 3
    assert sweep["recipe_sha256"] == kdrecipes.load_recipe(ROOT / "recipes" / f"{name}.toml").fingerprint


def test_no_term_on_logits_costs_more_than_a_tenth_above_kd():
    rows = [row for row in json.loads(text_of("results/term_costs.json"))["rows"] if row["goal"]]
    assert {row["figures"]["term"] for row in rows} == set(ON_LOGITS) - {"kd"}
    assert all(row["ratio"] <= row["goal"] == 1.1 for row in rows)


def test_a_point_of_a_sweep_costs_at_most_a_third_of_a_run():
    found = json.loads(text_of("results/sweep_cost.json"))
    assert found["points"] == 24 and found["point_to_lone_run"] <= found["goal"] == 0.35
    assert f": {found['point_to_lone_run']:.2f} of it in a grid of 24" in text_of("docs/guide/sweep.md")


# Figures come from results/, and nothing from a network.


def test_figures_are_put_in_from_the_results():
    index = generate.inserted(text_of("docs/index.md"))
    report = json.loads(text_of("results/quickstart.json"))
    assert "<!-- results" not in index and f"{100 * report['teachers'][0]['test_accuracy']:.2f} %" in index
    speed = generate.inserted(text_of("docs/guide/speed.md"))
    for row in json.loads(text_of("results/bench.json"))["rows"]:
        assert f"| {row['name']} | {row['ratio']:.2f}" in speed or f"| {row['name']} | {row['ratio']:.3f}" in speed


@pytest.mark.parametrize(
    "page",
    sorted((DOCS / "assets" / "reports").glob("*.html")),
    ids=lambda page: page.stem,
)
def test_a_committed_page_is_of_the_committed_report(page):
    from kdrecipes.report.verdict import verdict

    report = json.loads(text_of(f"results/{page.stem}.json"))
    assert verdict(report) in html.unescape(page.read_text(encoding="utf-8"))
    assert f"assets/reports/{page.name}" in text_of("docs/guide/when.md") + text_of("docs/index.md")


def test_a_page_that_would_load_from_a_network_is_told(caplog):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    good = '<a href="https://arxiv.org/abs/1503.02531">x</a><script src="assets/a.js"></script>'
    bad = '<script async src="https://cdn.example/a.js"></script><link rel=stylesheet href=//fonts.example/b.css>'
    with caplog.at_level(logging.WARNING):
        assert generate.on_post_page(good, page=page) == good
        assert caplog.messages == []
        generate.on_post_page(bad, page=page)
    assert caplog.messages == [
        "index.md would load https://cdn.example/a.js",
        "index.md would load //fonts.example/b.css",
    ]


# Blocks.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to follow a page in, from which the repository's recipes can be named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    return tmp_path


def test_every_block_is_of_a_kind_that_is_checked():
    for page in WRITTEN[1:]:
        kinds = re.findall(r"^```(\w*)", text_of(page), re.MULTILINE)[::2]
        assert set(kinds) <= {"python", "toml", "bash", "yaml", "text", "html", "javascript"}, page


PYTHON_PAGES = [page for page in WRITTEN if page not in RUN_ELSEWHERE and blocks(page, "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_blocks_run_in_order(page, folder):
    space = {"__name__": "docs"}
    for _, block in blocks(page, "python"):
        exec(compile(block, page, "exec"), space)


TOML_BLOCKS = [
    pytest.param(page, title, block, id=f"{page}-{title or number}")
    for page in WRITTEN
    if page not in RUN_ELSEWHERE
    for number, (title, block) in enumerate(blocks(page, "toml"))
]


def merged(table, fragment):
    """A recipe's tables with a fragment's put over them; a table that names a component takes the other's place."""
    result = dict(table)
    for key, value in fragment.items():
        inner = isinstance(value, dict) and isinstance(table.get(key), dict) and not {"name", "terms"} & set(value)
        result[key] = merged(table[key], value) if inner else value
    return result


@pytest.mark.parametrize("page, title, block", TOML_BLOCKS)
def test_toml_blocks_are_recipes_or_parts_of_one(page, title, block, folder):
    """A block with `schema_version` is a whole recipe; any other completes digits."""
    if "schema_version" in tomllib.loads(block):
        name = title or "recipe.toml"
        Path(name).write_text(block)
        if name.startswith("broken"):
            with pytest.raises(kdrecipes.RecipeError) as error:
                kdrecipes.load_recipe(name)
            assert f"```text\n{error.value}\n```" in text_of(page)
            return
    else:
        name = "fragment.json"
        base = tomllib.loads(text_of("recipes/digits.toml"))
        Path(name).write_text(json.dumps(merged(base, tomllib.loads(block))))
    assert len(kdrecipes.load_recipe(name).fingerprint) == 64


def commands(page):
    """The `kdrecipes …` lines of a page's blocks, as words; variables before the command are left out."""
    shown = "\n".join(re.findall(r"^```[^\n]*\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE))
    lines = re.findall(r"^(?:[A-Z_]+=\S+ )*(?: *- run: )?(kdrecipes .*)$", shown, re.MULTILINE)
    lines += [f"{line} recipes/digits.toml" for line in re.findall(r"^ *entry: (kdrecipes .*)$", shown, re.MULTILINE)]
    return [shlex.split(line, comments=True) for line in lines]


def leaf(words):
    """The command that words call, and what is left for it."""
    command, rest = COMMAND, words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


COMMANDS = [pytest.param(words, id=f"{page}-{' '.join(words[1:])}") for page in WRITTEN for words in commands(page)]


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_in_blocks_are_understood(words):
    command, rest = leaf(words)
    assert not getattr(command, "commands", None), "no such command"
    command.make_context(words[1], rest)  # raises what the command line would say


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_in_sentences_exist(page):
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for span in re.findall(r"`(kdrecipes [^`]+)`", prose):
        command, rest = leaf(span.split())
        assert command is not COMMAND or rest[0].startswith("-"), span
        flags = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= flags, span


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in WRITTEN if page not in RUN_ELSEWHERE and commands(page)])
def test_cheap_commands_run_where_the_page_has_them(page, folder):
    """Where the page has them, with the files that it shows."""
    for title, block in blocks(page, "toml"):
        if title:
            Path(title).write_text(block)
    for words in commands(page):
        if words[1] in ("validate", "list", "schema") and "--dry-run" not in words:
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, (words, done.output, done.exception)


def test_every_make_target_in_the_pages_exists():
    makefile = text_of("Makefile")
    for page in WRITTEN:
        for target in re.findall(r"`make ([a-z-]+)", text_of(page)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)


def test_yaml_blocks_are_what_they_say():
    found = {}
    for page in WRITTEN:
        for title, block in blocks(page, "yaml"):
            found.setdefault(title, []).append(yaml.safe_load(block))
    [workflow] = found.pop(".github/workflows/recipes.yml")
    assert all(step.keys() <= {"uses", "with", "run"} for step in workflow["jobs"]["validate"]["steps"])
    ours = [hook["id"] for hook in yaml.safe_load(text_of(".pre-commit-hooks.yaml"))]
    for config in found.pop(".pre-commit-config.yaml"):
        for repository in config["repos"]:
            for hook in repository["hooks"]:
                assert hook["id"] in ours and (repository["repo"] != "local" or hook["entry"].startswith("kdrecipes "))
    assert not found
