"""What a command takes its rows from, looked at before anything runs."""

from credit.cli.display import show_unknown_words
from credit.sources import load_model, unknown_words
from credit.tasks import get_task, rows_of
from local_models import make_tokenizer


def test_words_a_tokenizer_does_not_know_are_named(capsys):
    tokenizer = make_tokenizer()
    assert unknown_words([{"prompt": "w1 w2"}, {"prompt": [{"role": "user", "content": "w3"}]}], tokenizer) is None
    rows = [{"prompt": [{"role": "user", "content": "w1 [photosynthesis] w2 w2"}]}]
    said = unknown_words(rows, tokenizer)
    assert said.startswith(
        "25% of the words in the prompts are unknown to the tokenizer (for example '[photosynthesis]')"
    )
    assert unknown_words([{"prompt": "w1 " * 99 + "once"}], tokenizer) is None
    show_unknown_words(rows, tokenizer)
    assert "[photosynthesis]" in capsys.readouterr().out  # and not taken for a colour


def test_a_tokenizer_that_spells_knows_all_words():
    tokenizer = make_tokenizer()
    tokenizer.unk_token = None
    assert unknown_words([{"prompt": "photosynthesis"}], tokenizer) is None


def test_the_embedded_model_knows_the_embedded_world():
    assert unknown_words(rows_of(get_task("tiny"), "train", 100), load_model("tiny")[1]) is None
