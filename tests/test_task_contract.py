"""The contract of a task: right answers are validated, bad rows left out, tasks of people's own found and checked."""

import json
import re
import sys
from pathlib import Path

import datasets
import pytest

from credit.cli import main
from credit.tasks import TASKS, Grade, get_task, validate
from credit.tasks.loading import Reader, files_of
from credit.tasks.science import Science
from credit.tasks.tooluse import ToolUse
from test_task_fuzz import CODE, LCB, SCIENCE, TOOLS, write

DOCS = Path(__file__).parents[1] / "docs"


def complaint(capsys, *argv):
    assert main(list(argv)) == 2
    err = capsys.readouterr().err.strip()
    assert len(err.splitlines()) == 1, err
    return err


def many(row, count=12, field="prompt"):
    return [{**row, field: f"{i} {row[field]}"} for i in range(count)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, from which modules are imported and forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


# -- science and tool use from files


def test_science_reads_prepared_files_by_subject(tmp_path):
    write(tmp_path / "sciknoweval-physics-train.jsonl", many(SCIENCE, 5))
    write(tmp_path / "sciknoweval-physics-test.jsonl", many(SCIENCE, 3))
    write(tmp_path / "sciknoweval-biology-train.jsonl", many(SCIENCE, 4))
    task = Science(str(tmp_path), "physics")
    assert [len(task.rows(split)) for split in ("train", "test")] == [5, 3]
    row = task.rows("train")[0]
    assert [m["role"] for m in row["prompt"]] == ["system", "user"]
    assert (row["answer"], row["family"]) == ("A", "physics")
    assert task.grade(row, "<answer>a frog</answer>").score == 1.0
    assert task.grade(row, "<answer>B</answer>") == Grade(0.0, None, "wrong_answer")
    assert len(Science(str(tmp_path / "sciknoweval-biology-train.jsonl")).rows("train")) == 3  # one is held out
    for options, said in (
        ({"path": str(tmp_path)}, "needs a subject: one of chemistry, physics, biology, material"),
        ({}, "needs a subject"),
        ({"path": str(tmp_path), "subject": "maths"}, "subject='maths' is unknown"),
        ({"path": str(tmp_path), "subject": "biology"}, "holds 0 files like biology-test.jsonl"),
        ({"path": "nowhere", "subject": "biology"}, "path='nowhere' does not exist"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            Science(**options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "E"}, "row 1: field 'answer' is 'E', none of the options A, B, C, D."),
        ({"answer": 1}, "row 1: field 'answer' is 1, none of the options"),
        ({"prompt": "Which?"}, "row 1: field 'prompt' lists no options."),
    ],
)
def test_bad_rows_of_science_are_named(tmp_path, change, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Science(write(tmp_path / "s.jsonl", [{**SCIENCE, **change}]))


def test_science_from_the_hub_takes_the_official_split(monkeypatch):
    """With a stand-in for the hub's rows: domains, levels and types as stored there."""
    rows = [
        {"question": f"q{i}", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B", "domain": domain,
         "type": kind, "details": {"level": level}}
        for domain, level, kind, count in (("Material", "L3", "mcq-4-choices", 935), ("Material", "L2", "mcq", 9),
                                           ("Material", "L3", "open-ended-qa", 9), ("Physics", "L3", "mcq", 9))
        for i in range(count)
    ]  # fmt: skip
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: datasets.Dataset.from_list(rows))
    datasets.disable_progress_bars()
    task = Science(subject="material")
    train, test = (task.rows(split) for split in ("train", "test"))
    assert (len(train), len(test)) == (841, 94)
    prompts = {row["prompt"][1]["content"] for row in test}
    assert not prompts & {row["prompt"][1]["content"] for row in train}
    assert next(iter(prompts)).endswith("\n\nA: x\nB: y\nPlease reason step by step.")
    assert Science(subject="material").rows("test") == test
    rows[0]["choices"] = {"label": ["A"], "text": []}
    with pytest.raises(ValueError, match=r"SciKnowEval \(\w+\), row \d+: not a question with 'choices'"):
        Science(subject="material")
    assert len(Science(subject="material", skip_bad_rows=True).bad_rows) == 1

    def gone(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", gone)
    with pytest.raises(ValueError, match=r"cannot be had from the hub \(ConnectionError\). Prepare files"):
        Science(subject="material")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("[", "field 'answer': The list of calls is not valid JSON"),
        ("[]", "field 'answer': It must be a list of calls"),
        ("[{}] x", "field 'answer': Something follows the list of calls (character 5)"),
        ('[{"Action": "x"}]', "field 'answer': Call 1 needs 'Action', a name, and 'Action_Input'"),
        ('[{"Action": "x", "Action_Input": "{"}]', "field 'answer': The Action_Input of call 1 is not valid JSON"),
    ],
)
def test_bad_rows_of_tool_use_are_named(tmp_path, answer, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        ToolUse(write(tmp_path / "t.jsonl", [{**TOOLS, "answer": answer}]))
    with pytest.raises(ValueError, match="needs the path of prepared rows"):
        ToolUse()


# -- right answers


def test_every_task_is_listed_and_shown(capsys):
    assert main(["tasks", "list"]) == 0
    listed = capsys.readouterr().out
    for name in TASKS:
        assert re.search(rf"^{name} +\w", listed, flags=re.MULTILINE)
        assert main(["tasks", "show", name]) == 0
    assert main(["tasks", "show", "tooluse"]) == 0
    assert "feedback = 'honest'" in capsys.readouterr().out
    assert "write: credit tasks list | show NAME" in complaint(capsys, "tasks")
    assert "unknown. Use one of tiny, tiny-walk, science" in complaint(capsys, "tasks", "show", "nope")
    assert "name a task, or pass rows" in complaint(capsys, "tasks", "validate")


def test_validate_grades_each_rows_own_right_answer(folder, capsys):
    science, tools = write(folder / "s.jsonl", many(SCIENCE)), write(folder / "t.jsonl", many(TOOLS))
    code = write(folder / "c.jsonl", [{**row, "solution": "print('```'[:0] + '1')"} for row in many(CODE, 4)])
    exact = write(folder / "e.jsonl", many({"prompt": "p", "answer": "1,000"}))
    for name, path in (("science", science), ("tooluse", tools)):
        assert main(["tasks", "validate", name, "--task_options", json.dumps({"path": path})]) == 0
        said = capsys.readouterr().out
        assert f"{name} train: 11 of 11 right answers get the full score" in said
        assert f"{name} test: 1 of 1 right answers" in said
    assert main(["tasks", "validate", "tiny", "--limit", "16"]) == 0
    assert main(["tasks", "validate", "--dataset", code, "--grader", "code", "--split", "train"]) == 0
    assert "code train: 3 of 3" in capsys.readouterr().out
    assert main(["tasks", "validate", "--dataset", exact]) == 0
    assert main(["tasks", "validate", "--dataset", science, "--grader", "choice"]) == 0
    assert "name a task, or pass rows" in complaint(capsys, "tasks", "validate", "tiny", "--dataset", exact)


def test_validate_lists_what_fails_and_says_when_there_is_nothing_to_grade(folder, capsys):
    rows = [{**row, "solution": f"print({1 if i % 2 else 2})"} for i, row in enumerate(many(CODE, 16))]
    del rows[0]["solution"]
    source = ["--dataset", write(folder / "c.jsonl", rows), "--grader", "code", "--split", "train"]
    assert main(["tasks", "validate", *source]) == 1
    said = capsys.readouterr().out
    assert re.search(r"code train: \d of 1\d right answers get the full score", said)
    assert "its right answer scored 0 (wrong_answer): A test gave a wrong answer." in said
    assert "  and " in said
    lcb = write(folder / "lcb.jsonl", [LCB, {**LCB, "question_id": "r", "contest_date": "2025-01-01"}])
    assert main(["tasks", "validate", "livecodebench", "--task_options", json.dumps({"path": lcb})]) == 1
    assert "nothing was validated: no row has a right answer to grade" in capsys.readouterr().out


def test_validate_names_graders_that_break_the_contract():
    class Odd:
        name = "odd"

        def rows(self, split, limit=None):
            return [{"prompt": "p", "n": n, "id": f"r{n}"} for n in range(5)]

        def gold(self, row):
            return 7 if row["n"] == 0 else None if row["n"] == 4 else "x"

        def grade(self, row, completion):
            return {1: 1.0, 2: Grade(0.5, None, "passed"), 3: Grade(1.0, None, "passed")}.get(row["n"]) or 1 / 0

    class Error(Odd):
        def grade(self, row, completion):
            raise KeyError("x")

    result = validate(Odd(), Odd().rows("train"))
    assert (result.rows, result.passed, result.without_gold) == (5, 1, 1)
    assert result.failures == [
        ("r0", "gold returned a int, not text"),
        ("r1", "grade returned a float, not a Grade"),
        ("r2", "its right answer scored 0.5 (passed)"),
    ]
    assert validate(Error(), Odd().rows("train")[1:2]).failures == [("r1", "grade raised KeyError: 'x'")]


# -- bad rows


def test_bad_rows_are_left_out_counted_and_listed(folder, capsys):
    bad = [{**SCIENCE, "answer": "Z"}] * 6 + [{"prompt": "p"}]
    path = write(folder / "s.jsonl", [*many(SCIENCE), *bad])
    with (folder / "s.jsonl").open("a") as lines:
        lines.write('{"prompt": \n')
    options = ["--task_options", json.dumps({"path": path})]
    assert "row 13: field 'answer' is 'Z'" in complaint(capsys, "tasks", "validate", "science", *options)
    assert main(["tasks", "validate", "science", *options, "--skip_bad_rows"]) == 0
    said = capsys.readouterr().out
    assert "8 bad rows left out:" in said
    assert f"{path}, row 13: field 'answer' is 'Z', none of the options A, B, C, D." in said.replace("\n", "")
    assert "row 18" not in said
    assert "and 3 more" in said
    assert "science train: 11 of 11" in said
    assert "skip_bad_rows is idle: task 'tiny'" in complaint(capsys, "tasks", "validate", "tiny", "--skip_bad_rows")
    write(folder / "all.jsonl", bad)
    with pytest.raises(ValueError, match=r"holds no rows that are good; the first: .*row 1: field 'answer'"):
        Reader(skip_bad_rows=True).load("all.jsonl", "train", Science(path, skip_bad_rows=True)._row)
    with pytest.raises(ValueError, match="does not exist"):
        Reader(skip_bad_rows=True).load("missing.jsonl", "train", lambda raw, where: raw)


def test_files_of_a_folder(tmp_path):
    for name in ("train.jsonl", "test.json", "x-y-train.jsonl", "a_y_test.parquet", "untrain.jsonl"):
        (tmp_path / name).touch()
    assert files_of(str(tmp_path)) == (str(tmp_path / "train.jsonl"), str(tmp_path / "test.json"))
    (tmp_path / "train.jsonl").unlink()
    (tmp_path / "test.json").unlink()
    assert [Path(str(p)).name for p in files_of(str(tmp_path), "y")] == ["x-y-train.jsonl", "a_y_test.parquet"]
    (tmp_path / "y-train.jsonl").touch()
    with pytest.raises(ValueError, match=r"holds 2 files like y-train.jsonl, expected one"):
        files_of(str(tmp_path), "y")


# -- tasks of people's own


def test_the_example_of_the_docs_is_a_task(folder, capsys):
    page = (DOCS / "tasks.md").read_text()
    (folder / "sums.py").write_text(re.search(r"```python\n(# sums\.py\n.*?)```", page, flags=re.DOTALL)[1])
    assert main(["tasks", "validate", "sums:Sums"]) == 0
    said = capsys.readouterr().out
    assert "sums train: 512 of 512" in said
    assert "sums test: 64 of 64" in said
    task = get_task("sums:Sums", largest=5)
    with pytest.raises(ValueError, match="split='validation' is unknown"):
        task.rows("validation")
    row = task.rows("train", 1)[0]
    assert task.grade(row, "<answer>99</answer>").feedback == "99 is too large."
    assert task.grade(row, "no idea").outcome == "format_error"
    assert "task 'sums:Sums' has no option 'most'. Use some of largest." in complaint(
        capsys, "tasks", "validate", "sums:Sums", "--task_options", '{"most": 1}'
    )


OWN = """
from credit.tasks import Grade
class Good:
    name = "own"
    def __init__(self, **options): self.options = options
    def rows(self, split, limit=None): return [{"prompt": "p"}]
    def grade(self, row, completion): return Grade(1.0, None, "passed")
class NoName(Good): name = None
class NoRows:
    name = "x"
    grade = Good.grade
class FewArguments(Good):
    def grade(self, completion): return 1.0
class Empty(Good):
    def rows(self, split, limit=None): return []
class NoPrompt(Good):
    def rows(self, split, limit=None): return [{"question": "p"}]
number = 3
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.own:NoName", "task='mine.own:NoName' has no attribute 'name' that is text"),
        ("mine.own:NoRows", "has no method rows(split, limit). See docs/tasks.md."),
        ("mine.own:FewArguments", "grade must take (row, completion)"),
        ("mine.own:Empty", "the train split is empty"),
        ("mine.own:NoPrompt", "task 'own', train row 1: field 'prompt' must be text"),
        ("mine.own:Missing", "module mine.own has no class 'Missing'"),
        ("mine.own:number", "module mine.own has no class 'number'"),
        ("mine.absent:X", "module mine.absent is not found. Run from the folder that holds it, or install it."),
        ("absent.own:X", "module absent.own is not found"),
        ("mine.needy:X", "module mine.needy needs surely_not_here, which is not installed"),
        ("mine.broken:X", "module mine.broken cannot be imported (SyntaxError"),
        ("mine/own.py:Good", "is no dotted path. Write package.module:Name"),
    ],
)
def test_tasks_of_ones_own_are_checked(folder, capsys, name, said):
    (folder / "mine").mkdir()
    for file, text in (("__init__", ""), ("own", OWN), ("needy", "import surely_not_here"), ("broken", "def")):
        (folder / "mine" / f"{file}.py").write_text(text)
    assert said in complaint(capsys, "tasks", "validate", name)
    assert get_task("mine.own:Good", anything=1).options == {"anything": 1}


def test_a_right_answer_that_cannot_be_had_is_named():
    class Raising:
        name = "raising"

        def rows(self, split, limit=None):
            return [{"prompt": "a", "id": "one"}]

        def grade(self, row, completion):
            raise AssertionError

        def gold(self, row):
            return row["nothing"]

    task = Raising()
    found = validate(task, task.rows("train"))
    assert found.failures == [("one", "its right answer could not be had: it raised KeyError: 'nothing'")]
