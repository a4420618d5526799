"""The viewer in a real browser: open, sort, filter, point, switch, compare, keys; also with odd and large input."""

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from browser import needs_browser, opened
from credit.credit_log import ALTERNATIVES, write_token_credit
from credit.viewer import inspect
from viewer_rows import rollout

pytestmark = needs_browser
LABELS = {"S": "S", "G": "G", "r": "r", "R": "R", "log p": "logp_student", "log p_T": "logp_teacher"}
NAN = float("nan")


def make(tmp_path, rows, name="step_000010.parquet"):
    write_token_credit(tmp_path / name, rows)
    return inspect(tmp_path / name)[0]


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer")
    return make(folder, [rollout(seed) for seed in range(6)]), pq.read_table(folder / "step_000010.parquet").to_pylist()


def shown(value, digits=4, told=True):
    """A float32 as the page writes it."""
    small = told and value != 0 and abs(value) < 0.5 * 10**-digits
    text = f"{value:.1e}".replace("e-0", "e-") if small else f"{value:.{digits}f}"
    return text.replace("-", "−")


def table_of(page, place):
    rows = page.locator(f"#detail table >> nth={place} >> tbody tr").all()
    return [[cell.inner_text() for cell in row.locator("td, th").all()] for row in rows]


def press(page, key):
    page.keyboard.press(key)
    expect(page.locator("#main[aria-busy]")).to_have_count(0)  # a response is opened


def test_every_number_of_a_token_equals_the_file(six):
    path, rows = six
    with opened(path) as page:
        page.locator(".item").nth(3).click()
        expect(page.locator("#head")).to_contain_text("row 4")
        page.locator(".tokens span").nth(5).hover()
        numbers = dict(table_of(page, 0))
        for label, column in LABELS.items():
            assert numbers[label] == shown(rows[3][column][5])
        assert numbers["log p_T under x'"] == shown(rows[3]["logp_contrast"][5][0])
        assert numbers["R − E R"] == shown(rows[3]["R"][5] - rows[3]["baseline"][5])
        for a, (word, *values) in enumerate(table_of(page, 1)):
            assert word == rows[3]["alt_tokens"][5][a]
            assert values == [shown(rows[3][name][5][a], 2, told=False) for name in ALTERNATIVES]
        exact = page.locator("#detail td[title]").first.get_attribute("title")
        assert float(exact) == rows[3]["S"][5]  # float32, as JavaScript holds it


def test_colours_follow_the_quantity_and_the_scale_is_that_of_the_page(six):
    path, rows = six
    with opened(path) as page:
        for key, column in (("1", "S"), ("4", "R"), ("6", "logp_student")):
            press(page, key)
            tones = [span.get_attribute("class") for span in page.locator(".tokens span").all()]
            two = column != "logp_student"
            assert tones == [("up" if v >= 0 else "down") if two else "one" for v in rows[0][column]]
            limit = page.locator("#legend .ramp span").first.inner_text()
            sizes = [min(1, abs(v) / abs(float(limit.replace("−", "-")))) for v in rows[0][column]]
            drawn = page.locator(".tokens span").evaluate_all("all => all.map(s => +s.style.getPropertyValue('--s'))")
            assert drawn == pytest.approx(sizes, abs=1e-3)


def test_sort_and_filter(six):
    path, rows = six
    with opened(path) as page:
        page.select_option("#sort", "pMI, high first")
        ranked = sorted(range(6), key=lambda i: -sum(rows[i]["r"]))
        places = [item.get_attribute("data-r") for item in page.locator(".item").all()]
        assert places == [str(i) for i in ranked]
        page.select_option("#family", "route")
        page.select_option("#kind", "successes")
        assert page.locator("#count").inner_text() == "1 of 6 responses"
        assert page.locator(".item").get_attribute("data-r") == "3"
        assert "question 3" in page.locator("#context").inner_text()
        page.select_option("#kind", "all")
        page.select_option("#family", "")
        page.fill("#search", "feedback 5")
        expect(page.locator(".item")).to_have_count(1)
        assert page.locator("#context").inner_text().count("feedback 5") == 1
        page.fill("#search", "nothing like it")
        expect(page.locator(".item")).to_have_count(0)
        assert "Loosen the filters" in page.locator("#head").inner_text()


def test_keyboard_alone(six):
    path, rows = six
    with opened(path) as page:
        press(page, "j")
        assert page.locator(".item[aria-selected=true]").get_attribute("data-r") == "1"
        for _ in range(3):
            press(page, "ArrowRight")
        assert page.locator(".tokens .at").inner_text() == rows[1]["tokens"][2]
        assert page.locator(".tokens").get_attribute("aria-activedescendant") == "t1-2"
        press(page, "End")
        assert "token 12 of 12" in page.locator("#detail").inner_text()
        press(page, "Escape")
        assert page.locator(".tokens .at").count() == 0
        press(page, "/")
        page.keyboard.type("question 4")
        expect(page.locator(".item")).to_have_count(1)
        press(page, "Escape")
        press(page, "?")
        assert page.locator("#keys").is_visible()
        press(page, "Escape")
        press(page, "o")
        assert page.locator("#overview").is_visible()
        assert page.url.endswith("#5/S")


def test_the_address_leads_back(six):
    path, _ = six
    with opened(path, fragment="#3/R") as page:
        assert page.locator(".item[aria-selected=true]").get_attribute("data-r") == "2"
        assert page.locator("#choices input:checked").get_attribute("value") == "R"


def test_the_same_prompt_across_steps(tmp_path):
    prompt = rollout(0)["prompt"]
    run = tmp_path / "run"
    for step in (20, 0):
        rows = [rollout(step + 1, step=step, prompt=prompt), rollout(step + 2, step=step)]
        write_token_credit(run / "credit" / f"step_{step:06d}.parquet", rows)
    (run / "config.yaml").write_text("method: credit\n")
    with opened(inspect(run)[0]) as page:
        assert page.locator("#compare").inner_text().startswith("2 responses to this prompt")
        press(page, "c")
        page.wait_for_selector(".alone")
        heads = page.locator(".alone h2").all_inner_texts()
        assert [head.split(" ·")[0] for head in heads] == ["step 0", "step 20"]
        assert page.locator(".tokens").count() == 2
        page.locator(".tokens").nth(1).locator("span").nth(2).hover()
        assert "token 3 of 12" in page.locator("#detail").inner_text()


def test_overview_lists_words_and_leads_to_their_responses(six):
    path, _ = six
    with opened(path) as page:
        press(page, "o")
        assert page.locator("#overview h2").all_inner_texts() == [
            "Most specific tokens", "Most generic tokens", "All measures"
        ]  # fmt: skip
        page.locator("#overview [data-word]").first.click()
        assert page.locator("#responses").is_visible()
        assert page.locator("#search").input_value().startswith("w")


ARABIC = ["الجواب", "هو", "سبعة"]


def test_odd_responses(tmp_path):
    hostile = '<img src=x onerror="document.title=1"></script>'
    rows = [
        rollout(0, size=0, words=[], completion=""),
        rollout(1, size=1),
        rollout(2, size=3, words=ARABIC),
        rollout(3, size=2, words=[hostile, "b"], feedback=hostile),
        rollout(4, S=[NAN, *[0.5] * 11]),
        rollout(5, own=[True] * 6 + [False] * 6),
        rollout(6, tokens=None, token_ids=None),
    ]
    with opened(make(tmp_path, rows)) as page:
        assert page.locator("#shown").inner_text() == "The response is empty."
        press(page, "j")
        assert page.locator(".tokens span").count() == 1
        press(page, "j")
        assert page.locator(".tokens").evaluate("e => getComputedStyle(e).direction") == "rtl"
        press(page, "j")
        assert page.locator(".tokens span").first.inner_text() == hostile
        assert page.locator("img").count() == 0
        press(page, "j")
        assert page.locator(".tokens .gap").count() == 1
        page.locator(".tokens .gap").hover()
        assert dict(table_of(page, 0))["S"] == "–"
        press(page, "j")
        assert page.locator(".tokens .tool").count() == 6
        assert "6 own of 12" in page.locator("#head").inner_text()
        press(page, "j")
        assert "Tokens were not recorded" in page.locator("#shown").inner_text()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_sideways(six, width):
    path, _ = six
    with opened(path, width=width, height=844, has_touch=True) as page:
        for keys in ("", "o"):
            if keys:
                press(page, keys)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width
        press(page, "o")
        page.locator(".tokens span").nth(4).tap()
        assert "token 5 of 12" in page.locator("#detail").inner_text()
        if width == 390:  # a sheet at the bottom, which can be put away
            assert page.locator("#detail").bounding_box()["y"] > 400
            page.locator(".release").tap()
        page.locator("#show-overview").tap()
        assert page.locator("#overview").is_visible()


def test_two_thousand_responses_without_lag(tmp_path):
    path = make(tmp_path, [rollout(seed, size=40, step=seed // 500) for seed in range(2000)])
    with opened(path) as page:
        assert page.locator(".item").count() < 30  # only what is looked at is drawn
        script = """async () => {
            const took = async (act) => { const start = performance.now(); await act();
              await new Promise(requestAnimationFrame); return performance.now() - start; };
            const sort = document.getElementById('sort');
            return { next: await took(() => document.dispatchEvent(new KeyboardEvent('keydown', { key: 'j' }))),
              sorted: await took(() => { sort.value = 'pMI, low first'; sort.dispatchEvent(new Event('change')); }),
              scrolled: await took(() => document.getElementById('list').scrollTo(0, 50000)) };
        }"""
        took = page.evaluate(script)
        assert max(took.values()) < 2000, took  # a guard against a hang, not a measurement
        expect(page.locator("[aria-posinset='866']")).to_be_visible()


def test_twenty_thousand_tokens(tmp_path):
    path = make(tmp_path, [rollout(0, size=20_000)])
    with opened(path) as page:
        expect(page.locator(".tokens span")).to_have_count(20_000)
        press(page, "End")
        assert "token 20000 of 20000" in page.locator("#detail").inner_text()
        press(page, "4")
        assert page.locator(".tokens .up, .tokens .down").count() == 20_000
