"""Recipes: each is a valid study, what it would take is worked out by hand, offline, and folders of recipes grow."""

import json
import math
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import pliant
from pliant.api import Results
from pliant.cli import app
from pliant.cli.outcome import conclude
from pliant.data.hub_text import HubText
from pliant.data.task_setting import TaskDataset, TaskSetting, task_source
from pliant.execution.table import Table
from pliant.modifications.finetune import FineTune
from pliant.records.numerics import Numerics
from pliant.studies.expectations import REGISTERED, Expectation
from pliant.studies.modification_spec import ModificationSpec, NoiseSpec
from pliant.studies.recipes import claims, registry
from pliant.studies.recipes.accelerators import ACCELERATORS
from pliant.studies.recipes.claims import judge_claims, recipe_notes, recipes_of
from pliant.studies.recipes.estimate import estimate
from pliant.studies.recipes.opening import grown
from pliant.studies.recipes.recipe import Default, StudyRecipe
from pliant.studies.recipes.registry import RECIPES, find_recipe
from pliant.studies.recipes.springer_controlled import FIXED, NOISE, STUDY, TUNED
from pliant.studies.recipes.workload import Work
from pliant.studies.settling import planned
from pliant.studies.spec import SpecError, StudySpec
from pliant.studies.study_file import parse_study, to_yaml
from tiny_studies import is_one_line, tiny

TINY_PARAMETERS = (4 * 8 * 8 + 3 * 8 * 8) + 2 * 8 + 2 * 64 * 8 + 8  # block, gains, embeddings in and out, last gain
FULL = [name for name in RECIPES if not name.endswith("-mini") and name.startswith("springer2025")]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("a recipe's estimate asked the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


def refusal(*arguments: str) -> str:
    with pytest.raises(ValueError) as caught:
        run(*arguments)
    assert is_one_line(str(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_study_that_comes_back_from_its_yaml(name: str):
    recipe = RECIPES[name]
    spec = recipe.study()
    assert recipe.name == name
    assert parse_study(to_yaml(spec), name) == spec
    assert {claim.study for claim in recipe.claims} <= {spec.study}
    assert recipe.defaults or recipe.notes


def test_the_papers_recipes_are_there():
    assert {
        f"springer2025-{base}-{set_}" for base in ("olmo-1b", "olmo-2-7b", "amber-7b") for set_ in ("hh", "tulu")
    } | {f"springer2025-fig{number}" for number in (3, 4, 6)} == set(FULL)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(SpecError, match=r"no recipe 'springer2025-fig33'; did you mean springer2025-fig3\?"):
        find_recipe("springer2025-fig33")
    with pytest.raises(
        SpecError, match=r"no recipe 'zzz'; known are springer2025-olmo-1b-hh, .* `pliant recipes` lists"
    ):
        find_recipe("zzz")


def test_a_small_study_is_estimated_as_by_hand():
    found = estimate(tiny())
    (workload,) = found.trajectories
    assert workload.size.parameters == TINY_PARAMETERS == 1496
    assert workload.checkpoints == 2
    assert workload.cells == {"none": 2, "noise": 2, "fine-tune": 4}
    # a trunk of 12 steps of 64 tokens, decays of 2 and 4 steps; 2 checkpoints x 2 rates x 4 steps x 4 rows of 16
    trained = {"pre-training": (12 + 2 + 4) * 64, "fine-tuning": 2 * 2 * 4 * 4 * 16}
    # a checkpoint: 512 held-out tokens for each theta' (1, 2 x 2 draws, 2 rates), 2 x 16 rows of the task for 1 + 2
    read = 2 * (512 * (1 + 4 + 2) + 2 * 16 * 16 * (1 + 2))
    assert {work.phase: work.tokens for work in found.work} == {**trained, "evaluation": read}
    assert found.flop == 1496 * (6 * sum(trained.values()) + 2 * read)
    # two annealed members and the trunk at steps 6 and 12, which keeps its optimiser
    assert found.ladder_disk == 1496 * (4 * 4 + 2 * 8)
    assert found.memory_bytes == 1496 * (16 + 4) + 68 * 64 * 8 + 3 * 4 * 64 * 64
    assert (found.weights_download, found.text_download, found.text_disk) == (0, 0, 0)
    assert not found.at_most
    assert found.size_class == "laptop"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trajectories.0.ladder.seeds": [1, 2], "trajectories.0.ladder.members": ["annealed", "trunk"]},
        {"modifications": [{"interpolate": {"with": "last"}}, {"prune": {"shares": [0.1, 0.2]}}]},
        {"modifications": [{"noise": {"strengths": [0.1, 0.2], "blocks": 2}}, {"noise": {"strengths": [0.1]}}]},
    ],
)
def test_cells_are_counted_as_the_plan_has_them(tmp_path: Path, changes: dict[str, object]):
    spec = tiny(changes)
    cells = planned(spec, tmp_path / "study").cells()
    kinds = [str(cell.labels["modification"]) for cell in cells]
    (workload,) = estimate(spec).trajectories
    assert dict(workload.cells) == {kind: kinds.count(kind) for kind in kinds}


def test_merged_trajectories_count_their_windows():
    spec = tiny({"trajectories.0.ladder.budgets": [512, 1024, 2048, 4096]})
    merged = {"name": "merged", "merge": {"of": "main", "window": 3}}
    both = StudySpec.model_validate({**spec.model_dump(by_alias=True), "trajectories": [*spec.trajectories, merged]})
    main, merges = estimate(both).trajectories
    assert (main.checkpoints, merges.checkpoints) == (4, 2)
    assert not merges.fetched
    assert "pre-training" not in {work.phase for work in merges.work}


def test_thirty_million_parameters_on_128b_tokens_take_eighteen_h100_hours():
    """Derived elsewhere from 6 N D at 40 % of an H100: 2.6e19 FLOP, about 18 h."""
    work = Work(phase="pre-training", precision="bfloat16", tokens=128 * 10**9, parameters=34_100_000)
    h100 = next(a for a in ACCELERATORS if a.name.startswith("H100"))
    assert work.flop == pytest.approx(2.6e19, rel=0.01)
    assert h100.hours([work]) == pytest.approx(18.4, abs=0.1)


def test_layers_computed_again_cost_a_third_more():
    work = Work(phase="fine-tuning", precision="bfloat16", tokens=10, parameters=7)
    assert replace(work, recomputed=True).flop / work.flop == pytest.approx(4 / 3)


def test_choosing_every_so_many_tokens_bounds_the_checkpoints():
    (workload,) = estimate(find_recipe("springer2025-olmo-1b-hh").study()).trajectories
    multiples = [k * 250 for k in range(1, 13)]  # in billions, up to 3.1T; and the last one there is
    assert workload.checkpoints == len(multiples) + 1
    assert workload.at_most


def test_downloads_and_the_cap():
    spec = find_recipe("springer2025-olmo-1b-hh").study()
    free, capped = estimate(spec), estimate(spec, cache_cap=5 * 10**9)
    assert free.weights_download == 13 * 4_710_000_000
    assert free.weights_at_once == 2 * 4_710_000_000
    assert capped.weights_at_once == 5 * 10**9
    with pytest.raises(SpecError, match=r"--cache-cap is 4.00 GB, and one checkpoint takes 4.71 GB; give a larger"):
        estimate(spec, cache_cap=4 * 10**9)


def test_full_memory_of_a_7b_model():
    (memory,) = estimate(find_recipe("springer2025-olmo-2-7b-hh").study()).memory
    n, tokens = 7_298_617_344, 2048
    assert memory.weights + memory.gradients + memory.optimiser == 16 * n
    assert memory.activations == 34 * tokens * 4096 * 32
    assert memory.logits == 12 * tokens * 100_352
    assert 80e9 < memory.total < 141e9


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokenizer": "org/unknown"}, "the size of the tokenizer org/unknown is not known without the Hub"),
        (
            {"trajectories": [{"name": "theirs", "checkpoints": "org/unknown"}]},
            "theirs: the table of public runs has no size for org/unknown",
        ),
        (
            {"trajectories": [{"name": "amber", "checkpoints": "LLM360/Amber"}]},
            "amber: how many checkpoints are chosen is not known without listing; choose count, or every and to",
        ),
        ({"modifications.1.fine_tune": {"task": "skip", "learning_rates": [1e-3], "epochs": 2}}, "how long epochs are"),
    ],
)
def test_what_only_the_hub_knows_is_said(changes: dict[str, object], says: str):
    with pytest.raises(SpecError) as caught:
        estimate(tiny(changes))
    assert says in str(caught.value)
    assert is_one_line(str(caught.value))


@pytest.mark.parametrize("name", FULL)
def test_every_full_recipe_prints_its_dry_run_without_a_network(
    name: str, offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    text = run("run", "--recipe", name, "--dry-run")
    for word in ("cells", "download", "disk", "memory", "compute", "H100 80 GB", "Nothing was asked of the Hub"):
        assert word in text
    answer = json.loads(run("run", "--recipe", name, "--dry-run", "--json"))
    spec = RECIPES[name].study()
    assert (answer["recipe"], answer["study"]) == (name, spec.study)
    assert answer["cells"] == estimate(spec).cells > 50
    assert answer["accelerator_hours"]["A100 80 GB"] > answer["accelerator_hours"]["H100 80 GB"] > 10
    assert answer["memory_bytes"] > 1e10
    assert list(tmp_path.iterdir()) == []


def test_recipes_are_listed(offline: None):
    rows = json.loads(run("recipes", "--json"))
    assert [row["name"] for row in rows] == list(RECIPES)
    assert all(row["title"] and row["place"] and row["size_class"] for row in rows)
    table = run("recipes")
    assert all(name in table for name in RECIPES)


def test_one_recipe_is_shown_in_full(offline: None):
    text = run("recipes", "springer2025-fig3")
    assert f"study: {STUDY}" in text
    for default in NOISE.defaults:
        assert default.setting in text
    shown = json.loads(run("recipes", "springer2025-fig3", "--json"))
    assert [d["setting"] for d in shown["defaults"]] == [d.setting for d in NOISE.defaults]
    assert shown["spec"]["study"] == STUDY


@pytest.mark.parametrize("arguments", [("recipes", "springer2025-fig3", "--write"), ()])
def test_the_study_of_a_recipe_is_written_to_adapt(arguments: tuple[str, ...], tmp_path: Path):
    file = tmp_path / "mine.yaml"
    command = arguments or ("run", "--recipe", "springer2025-fig3", "--write-study")
    assert f"wrote {file}" in run(*command, str(file))
    assert parse_study(file.read_text(encoding="utf-8"), str(file)) == NOISE.study()
    assert refusal(*command, str(file)) == f"{file} exists already; give a new name"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run"], "give STUDY (a YAML file, a study folder or module:function) or --recipe NAME"),
        (["run", "a.yaml", "--recipe", "x"], "give STUDY (a.yaml) or --recipe x, not both"),
        (["run", "a.yaml", "--write-study", "b.yaml"], "--write-study has an effect with --recipe only"),
        (["run", "--recipe", "springer2025-fig3", "--write-study", "b", "--dry-run"], "give one of them"),
        (["run", "--recipe", "springer2025-fig3", "--dry-run", "--extend-grids"], "--extend-grids has no effect"),
        (["run", "--recipe", "springer2025-fig3", "--dry-run", "--batch-tokens", "9"], "--batch-tokens has no effect"),
        (["run", "--recipe", "springer2025-fig5", "--dry-run"], "no recipe 'springer2025-fig5'; did you mean"),
        (["recipes", "--write", "b.yaml"], "--write needs the name of a recipe"),
        (["recipes", "springer"], "no recipe 'springer'"),
    ],
)
def test_refused_command_lines(arguments: list[str], says: str):
    assert says in refusal(*arguments)


def at_a_commit(task: TaskSetting) -> TaskSetting:
    source = task_source(task)
    assert isinstance(source, TaskDataset)
    return replace(source, revision="1" * 40)


def begun(folder: Path, spec: StudySpec) -> Path:
    """A folder as a run leaves it: numerics, and the commits of text and tasks, settled."""
    assert isinstance(spec.corpus, HubText)
    pinned = {"corpus": replace(spec.corpus, revision="0" * 40), "numerics": Numerics(device="cuda")}
    entries = tuple(entry.with_task(at_a_commit) for entry in spec.modifications)
    settled = spec.model_copy(update={**pinned, "modifications": entries})
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(to_yaml(settled), encoding="utf-8")
    return folder


def test_a_second_recipe_grows_the_study_of_the_first(tmp_path: Path):
    folder = begun(tmp_path / "controlled", NOISE.study())
    both = grown(TUNED, folder)
    assert both.modifications == (*NOISE.study().modifications, *TUNED.study().modifications)
    assert both.trajectories == NOISE.study().trajectories
    assert "numerics" not in both.model_fields_set
    settled = parse_study((begun(folder, both) / "study.yaml").read_text(encoding="utf-8"), "study.yaml")
    assert len(settled.modifications) == 1 + 6
    assert [grown(recipe, folder).modifications for recipe in (NOISE, FIXED, TUNED)] == [settled.modifications] * 3
    assert recipes_of(table(settled)) == (NOISE, FIXED, TUNED)


def test_draws_added_to_a_folder_do_not_make_its_entry_another(tmp_path: Path):
    spec = NOISE.study()
    noise = NoiseSpec(strengths=spec.modifications[0].noise.strengths, added_blocks=2)  # type: ignore[union-attr]
    more = spec.model_copy(update={"modifications": (ModificationSpec(noise=noise),)})
    assert grown(NOISE, begun(tmp_path / "more", more)).modifications == more.modifications


def test_a_folder_with_another_ladder_is_not_grown(tmp_path: Path):
    adapted = NOISE.study().model_copy(update={"trajectories": NOISE.study().trajectories[:1]})
    folder = begun(tmp_path / "adapted", adapted)
    with pytest.raises(
        SpecError, match=rf"{folder} holds {STUDY} with another trajectories than the recipe {TUNED.name}"
    ):
        grown(TUNED, folder)


def test_the_python_facade_opens_a_recipe(tmp_path: Path):
    study = pliant.recipe("springer2025-fig6", out=tmp_path / "new")
    assert study.spec == TUNED.study()
    assert pliant.recipe("springer2025-fig3").folder == Path("runs") / STUDY
    rates = [m.strength for e in study.spec.modifications if e.fine_tune for m in e.fine_tune.modifications(1)]
    assert min(rates) == 4e-6
    assert {round(math.log2(rate / 4e-6), 6) for rate in rates} == set(range(9))
    assert all(isinstance(m, FineTune) for e in study.spec.modifications for m in e.fine_tune.modifications(1))  # type: ignore[union-attr]


def table(spec: StudySpec) -> Table:
    return Table(
        folder=Path(spec.study), study=spec.study, rows=(), planned=0, missing=0, failed=(), settings=to_yaml(spec)
    )


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> StudyRecipe:
    """The only recipe: the tiny study, with one claim, one stand-in default and a note."""
    claim = Expectation(text="It agrees", study="tiny", judge=lambda found: ("agrees", "seen", "evidence"))
    recipe = StudyRecipe(
        name="tiny-recipe",
        title="tiny",
        place="nowhere",
        study=tiny,
        defaults=(Default(setting="seeds", stands_in="one", reason="unknown"),),
        claims=(claim,),
        notes=("A note.",),
    )
    monkeypatch.setattr(registry, "RECIPES", {"tiny-recipe": recipe})
    monkeypatch.setattr(claims, "STUDIES", {"tiny"})
    return recipe


def test_claims_are_found_by_the_name_of_the_study(claimed: StudyRecipe):
    (result,) = judge_claims([table(tiny())])
    assert (result.text, result.study, result.agrees) == ("It agrees", "tiny", "agrees")
    assert recipe_notes([table(tiny()), table(tiny())]) == ("A note.", "Stands in: seeds: one (unknown).")
    assert judge_claims([table(tiny({"study": "other"}))]) == ()
    assert recipe_notes([table(tiny({"study": "other"}))]) == ()


def test_a_recipe_none_of_whose_modifications_are_there_claims_nothing(claimed: StudyRecipe):
    adapted = tiny({"modifications": [{"noise": {"strengths": [0.3], "draws": 2}}]})
    assert recipes_of(table(adapted)) == ()
    grown_further = tiny({"modifications.0.noise.added_blocks": 3, "modifications.1.fine_tune.learning_rates": [0.5]})
    assert recipes_of(table(grown_further)) == (claimed,)


def test_the_studies_of_recipes_are_known_by_name():
    assert {recipe.study().study for recipe in RECIPES.values()} == claims.STUDIES


def test_the_demos_signs_are_judged_as_before():
    spec = tiny({"study": "english"})
    assert [r.text for r in judge_claims([table(spec)])] == [e.text for e in REGISTERED if e.study == "english"]


def test_a_report_from_python_is_given_claims_and_stand_ins(
    claimed: StudyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given: dict[str, Any] = {}

    def written(tables: Any, out: Path, **settings: Any) -> Path:
        given.update(settings)
        return out

    monkeypatch.setattr("pliant.api.write_report", written)
    Results(tables=(table(tiny()),)).report(tmp_path / "report.html", notes=["Mine."])
    assert given["notes"] == ("Mine.", "A note.", "Stands in: seeds: one (unknown).")
    assert [result.text for result in given["expectations"]] == ["It agrees"]


@pytest.mark.slow
def test_the_page_of_a_recipes_study_tells_claims_and_stand_ins(claimed: StudyRecipe, tmp_path: Path):
    done = pliant.study(tiny(), out=tmp_path / "study").run(workers=0)
    conclude(list(done.tables), [], report=tmp_path / "report.html", title="tiny")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("It agrees", "A note.", "Stands in: seeds: one (unknown)."):
        assert words in page


@pytest.mark.slow
def test_a_recipe_runs_from_the_command_line(claimed: StudyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "RECIPES", {claimed.name: claimed})
    out = tmp_path / "study"
    text = run("run", "--recipe", claimed.name, "--out", str(out), "--workers", "0", "--log", "none")
    assert "It agrees: agrees (seen)" in text
    settled = parse_study((out / "study.yaml").read_text(encoding="utf-8"), "study.yaml")
    assert settled == tiny().model_copy(update={"numerics": settled.numerics})
    assert json.loads(run("run", str(out), "--dry-run", "--json"))["cells_missing"] == 0
