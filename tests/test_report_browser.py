"""Reports in a real browser: sizes, colours, print, keyboard."""

import json
from itertools import pairwise

import pytest

pytest.importorskip("playwright")

import report_runs
from browser import needs_browser, opened
from credit.cli import main
from credit.report import write_report

pytestmark = needs_browser
SIZES = {"desk": (1280, 800), "phone": (390, 844)}

CONTRAST = """() => {
  const parse = c => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const base = parse(getComputedStyle(document.body).backgroundColor);
  const ground = e => e === document.body ? base
    : over(parse(getComputedStyle(e).backgroundColor), ground(e.parentElement));
  const faint = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
    if (e.tagName === 'title') continue;
    const svg = e.closest('svg'), style = getComputedStyle(e);
    const under = ground(svg ? svg.parentElement : e), ink = over(parse(svg ? style.fill : style.color), under);
    const [a, b] = [light(ink), light(under)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) faint.push([e.tagName, e.textContent.trim().slice(0, 30), ratio]);
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Pages that share the style: a full run, one with hostile texts, the pages of verify and diagnose."""
    folder = tmp_path_factory.mktemp("pages")
    full = report_runs.write_run(folder / "full")
    texts = dict.fromkeys(("model", "command", "note", "dataset", "status", "error"), report_runs.HOSTILE)
    evil = report_runs.write_run(
        folder / "evil",
        rollouts=[report_runs.rollout(["w" * 300, report_runs.HOSTILE], prompt="x" * 400, feedback="y" * 400)],
        run={**texts, "origins": {"lam": "flag"}, "idle_warnings": [report_runs.HOSTILE]},
        config={"lam": 0.1, "form": "w" * 200, report_runs.HOSTILE: report_runs.HOSTILE},
    )
    assert main(["verify", "--out", str(folder / "verify"), "--json"]) == 0
    assert main(["diagnose", str(full), "--recorded", "--out", str(folder / "diagnose")]) == 0
    return {
        "run": write_report(full),
        "hostile": write_report(evil),
        "verify": folder / "verify" / "verify.html",
        "diagnose": folder / "diagnose" / "diagnostics.html",
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["run", "hostile", "verify", "diagnose"])
def test_pages_fit_and_can_be_read_in_light_and_dark(places, name, size):
    width, height = SIZES[size]
    with opened(places[name], width, height) as page:
        page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
        for scheme, ground in (("light", "rgb(253, 253, 252)"), ("dark", "rgb(20, 23, 26)")):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
            assert page.evaluate(CONTRAST) == []


def test_smoothing_is_switched_off_with_the_keyboard(places):
    with opened(places["run"]) as page:
        smooth, raw = page.locator(".smooth").first, page.locator("g.raw").first
        assert smooth.is_visible()
        assert float(raw.evaluate("e => getComputedStyle(e).opacity")) < 0.5
        box = page.get_by_label("Smoothed")
        for _ in range(40):
            page.keyboard.press("Tab")
            if box.evaluate("e => e === document.activeElement"):
                break
        assert box.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
        page.keyboard.press("Space")
        assert not smooth.is_visible()
        assert raw.evaluate("e => getComputedStyle(e).opacity") == "1"


def test_every_figure_and_control_has_a_name_and_every_table_its_headers(places):
    for path in places.values():
        with opened(path) as page:
            figures = page.locator("svg")
            names = [figures.nth(i).get_attribute("aria-label") for i in range(figures.count())]
            assert all(names)
            assert len(set(names)) == len(names)
            assert {figures.nth(i).get_attribute("role") for i in range(figures.count())} <= {"img"}
            assert page.evaluate("[...document.querySelectorAll('input')].every(e => e.labels.length === 1)")
            assert page.evaluate("[...document.querySelectorAll('th')].every(e => e.scope)")
            levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
            assert levels.count(1) == 1
            assert all(b - a <= 1 for a, b in pairwise(levels))
            assert page.evaluate("document.documentElement.lang") == "en"


def test_links_lead_to_sections(places):
    with opened(places["run"]) as page:
        links = page.get_by_role("navigation").get_by_role("link")
        assert links.count() == 8
        links.last.click()
        assert page.locator("#reproduce").evaluate("e => e.getBoundingClientRect().top < innerHeight")
        assert page.url.endswith("report.html#reproduce")


def test_print_shows_what_is_folded_but_not_every_option_of_trl(places):
    with opened(places["run"]) as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.get_by_text("Coefficient lambda of the input-generic part").is_visible()
        assert not page.get_by_role("navigation").is_visible()
        assert not page.get_by_label("Smoothed").is_visible()
        assert not page.locator("#ran code", has_text="max_steps").is_visible()
        assert page.pdf()[:4] == b"%PDF"
        assert json.dumps(page.evaluate(CONTRAST)) == "[]"
