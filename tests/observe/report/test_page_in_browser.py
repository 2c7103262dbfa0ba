"""The report's page in a real browser: drawn without a complaint, and it does as it is told."""

import json
import re

import pytest
from browser import CHROMIUM, Browser
from run_folders import RunFolder

from distgrad.observe.durations import spell_seconds
from distgrad.observe.report import write_report
from distgrad.observe.run import read_run

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"
)


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    runs = [
        RunFolder(name, rate=rate, seed=seed, steps=900, epoch=300 + 50 * seed).write(folder / name)
        for seed, (name, rate) in enumerate({"low": 3e-4, "mid": 1e-3, "high": 3e-3}.items())
    ]
    write_report(runs, folder / "report.html", "1.2.3")
    return folder / "report.html"


def opened(browser, path, width=1200, *, dark=False):
    browser.complaints.clear()
    browser.requests.clear()
    browser.resize(width, 900)
    browser.prefer(dark=dark)
    browser.open(path)
    assert browser.run("document.documentElement.dataset.drawn") == ""
    return browser


def count(browser, selector):
    return browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")


def click(browser, selector, number=0):
    browser.run(f"document.querySelectorAll({json.dumps(selector)})[{number}].click()")


def middle(browser, selector):
    """Return the box of a figure's frame in the window, after scrolling to it."""
    return browser.run(
        f"(e => (e.scrollIntoView({{block: 'center'}}), (b => [b.x, b.y, b.width, b.height])"
        f"(e.getBoundingClientRect())))(document.querySelector({json.dumps(selector)}))"
    )


def settled(browser):
    """Wait until a change of size has been drawn."""
    browser.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")


LOSS = "figure.wide[data-kind=curves]"


@pytest.mark.parametrize("which", ["long", "three"])
@pytest.mark.parametrize(("width", "dark"), [(400, False), (1200, True), (1600, False)])
def test_every_figure_is_drawn_without_a_complaint(browser, request, which, width, dark):
    path = request.getfixturevalue(which)
    opened(browser, path, width, dark=dark)
    assert browser.complaints == []
    figures = count(browser, "figure[data-kind]")
    assert figures == count(browser, "figure .box > svg .frame") > 5
    assert count(browser, "figure[data-kind=curves] path.line") >= 6
    assert count(browser, "figure[data-kind=heatmap] image") >= 1
    assert count(browser, "figure[data-kind=stretches] path.stretch") >= 5
    # No part of the page sticks out of the window.
    root = "document.documentElement"
    assert browser.run(f"{root}.scrollWidth <= {root}.clientWidth")


def test_the_page_asks_for_nothing_but_itself(browser, long):
    opened(browser, long)
    outside = [url for url in browser.requests if not url.startswith("data:")]
    assert outside == [long.as_uri()]


def test_dark_and_light_are_the_readers_choice(browser, three):
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = [opened(browser, three, dark=dark).run(ground) for dark in (False, True)]
    assert seen == ["rgb(255, 255, 255)", "rgb(15, 19, 24)"]


def test_the_one_spike_of_100_000_steps_can_be_seen_and_read(browser, long):
    opened(browser, long)
    top = browser.run(
        f"(n => Math.max(...n))([...document.querySelectorAll('{LOSS} .tick')]"
        f".map(t => Number(t.textContent)).filter(v => v < 100))"
    )
    assert top == 8  # the axis goes up to the spike of 9.5
    x, y, width, height = middle(browser, f"{LOSS} .frame")
    browser.mouse("mouseMoved", x + width * 31_415 / 100_000, y + height / 2)
    tip = browser.run(f"document.querySelector('{LOSS} .tip').innerText")
    assert "step 31," in tip
    assert "9.5)" in tip
    band = browser.run(f"document.querySelector('{LOSS} path.band').getAttribute('d')")
    heights = [float(point.split()[1]) for point in re.findall(r"[\d.]+ [\d.]+", band)]
    frame = browser.run(f"Number(document.querySelector('{LOSS} .frame').getAttribute('y'))")
    assert min(heights) < frame + 0.1 * height
    assert count(browser, f"{LOSS} path.broken") == 1


def test_dragging_zooms_all_figures_and_a_button_shows_all(browser, long):
    opened(browser, long)
    ticks = f"[...document.querySelectorAll('{LOSS} .tick')].map(t => t.textContent).join(' ')"
    whole = browser.run(ticks)
    x, y, width, height = middle(browser, f"{LOSS} .frame")
    browser.mouse("mousePressed", x + 0.2 * width, y + height / 2)
    browser.mouse("mouseMoved", x + 0.25 * width, y + height / 2)
    browser.mouse("mouseMoved", x + 0.3 * width, y + height / 2)
    browser.mouse("mouseReleased", x + 0.3 * width, y + height / 2)
    assert "25,000" in browser.run(ticks)
    assert "22,000" in browser.run(ticks)
    other = "figure[data-kind=heatmap]"
    assert "22,000" in browser.run(f"document.querySelector('{other} svg').textContent")
    click(browser, "#reset")
    assert browser.run(ticks) == whole


def test_a_logarithmic_axis_is_one_button_away(browser, three):
    opened(browser, three)
    line = f"document.querySelector('{LOSS} path.line').getAttribute('d')"
    before = browser.run(line)
    click(browser, f"{LOSS} .tools button")
    assert browser.run(line) != before
    pressed = f"document.querySelector('{LOSS} .tools button').getAttribute('aria-pressed')"
    assert browser.run(pressed) == "true"
    click(browser, f"{LOSS} .tools button")
    assert browser.run(line) == before


def test_a_run_and_a_curve_can_be_hidden(browser, three):
    opened(browser, three)
    assert count(browser, f"{LOSS} path.line") == 6
    click(browser, f"{LOSS} .legend button")
    assert count(browser, f"{LOSS} path.line") == 5
    click(browser, "#runs button", 2)
    assert count(browser, f"{LOSS} path.line") == 3
    hidden = "[...document.querySelectorAll('figure[data-kind=heatmap]')].map(f => f.hidden)"
    assert browser.run(hidden) == [False, False, True]
    click(browser, "#runs button", 2)
    assert count(browser, f"{LOSS} path.line") == 5


def test_of_many_runs_the_legend_has_an_entry_a_kind(browser, tmp_path):
    runs = [RunFolder(f"r{i}", steps=200).write(tmp_path / f"r{i}") for i in range(5)]
    write_report(runs, tmp_path / "report.html", "1")
    opened(browser, tmp_path / "report.html")
    assert count(browser, "#runs button") == 5
    assert count(browser, f"{LOSS} .legend button") == 2
    assert count(browser, f"{LOSS} path.line") == 10
    click(browser, f"{LOSS} .legend button")
    assert (
        count(browser, f"{LOSS} path.line.validation") == count(browser, f"{LOSS} path.line") == 5
    )


def test_smoothing_leaves_what_was_measured_visible_and_validations_alone(browser, three):
    def slide(to):
        browser.run(
            f"(s => (s.value = {to}, s.dispatchEvent(new Event('input'))))"
            f"(document.getElementById('smoothing'))"
        )
        said = browser.run("document.getElementById('smoothing-said').textContent")
        lines = f"[...document.querySelectorAll('{LOSS} path.line')].map(p => p.getAttribute('d'))"
        return said, browser.run(lines), count(browser, f"{LOSS} path.raw")

    opened(browser, three)
    said, rough, raw = slide("0")
    assert (said, raw) == ("off", 0)
    said, smooth, raw = slide("s.max")
    assert (said, raw) == ("mean of 100 steps", 3)
    assert [a == b for a, b in zip(rough, smooth, strict=True)] == [False, True] * 3


@pytest.mark.parametrize(("axis", "title"), [("epoch", "epochs done"), ("time", "training time")])
def test_the_x_axis_is_steps_epochs_or_time(browser, three, axis, title):
    opened(browser, three)
    titles = f"document.querySelector('{LOSS} text.title').textContent"
    assert browser.run(titles) == "step"
    click(browser, f"input[value={axis}]")
    assert browser.run(titles) == title
    assert count(browser, f"{LOSS} path.line") == 6
    assert browser.complaints == []


def test_the_keyboard_reads_values_and_zooms(browser, three):
    opened(browser, three)
    browser.run(f"document.querySelector('{LOSS} svg').focus()")
    browser.key("End")
    spoken = "document.getElementById('spoken').textContent"
    assert browser.run(spoken).startswith("step 900, low: training ")
    browser.key("ArrowLeft")
    assert browser.run(spoken).startswith("step 89")
    browser.key("+")
    assert browser.run("document.getElementById('reset').disabled") is False
    browser.key("0")
    assert browser.run("document.getElementById('reset').disabled") is True


def test_each_figure_has_a_name_and_a_table_behind_it(browser, three):
    opened(browser, three)
    names = browser.run(
        "[...document.querySelectorAll('figure .box svg')].map(s => s.getAttribute('aria-label'))"
    )
    assert all(len(name) > 40 for name in names)
    figures = count(browser, "figure[data-kind]")
    browser.run("document.querySelectorAll('details.numbers').forEach(d => d.open = true)")
    settled(browser)
    assert count(browser, "details.numbers tbody tr:first-child") == figures
    last = browser.run(
        f"document.querySelector('{LOSS} details.numbers tbody tr:last-child th').textContent"
    )
    assert last == "900"


def test_the_time_of_a_single_rank_can_be_chosen(browser, long):
    opened(browser, long)
    time = "figure[data-kind=stretches]"
    waits = f"document.querySelector('{time} path.waiting').getAttribute('d')"
    mean = browser.run(waits)
    browser.run(
        f"(s => (s.value = '1', s.dispatchEvent(new Event('change'))))"
        f"(document.querySelector('{time} select'))"
    )
    assert browser.run(waits) != mean
    options = f"[...document.querySelectorAll('{time} option')].map(o => o.textContent)"
    assert browser.run(options)[:2] == ["mean of the ranks", "rank 0 (node-a)"]


def test_only_settings_that_differ_are_shown_if_that_is_asked_for(browser, three):
    opened(browser, three)
    shown = (
        "[...document.querySelectorAll('#configuration tbody tr')]"
        ".filter(r => r.offsetHeight).map(r => r.cells[1].textContent)"
    )
    assert browser.run(shown) == ["0.0003", "0", "128", "3"]
    click(browser, "input.differences")
    assert browser.run(shown) == ["0.0003", "0"]


def test_the_result_that_is_kept_as_the_best_has_a_ring(browser, tmp_path):
    best = {"trainer": {"best": {"name": "accuracy", "mode": "max"}}}
    folder = RunFolder(configuration=best, evaluate_every=50).write(tmp_path / "a")
    write_report([folder], tmp_path / "report.html", "1")
    opened(browser, tmp_path / "report.html")
    assert count(browser, "circle.best") == 1
    steps, values = read_run(folder).series("validation/accuracy")
    title = browser.run("document.querySelector('circle.best title').textContent")
    assert title.endswith(f" at step {steps[values.argmax()]}")


def test_the_page_spells_lengths_of_time_as_everybody_does(browser, three):
    opened(browser, three)
    times = [0.0, 1e-9, 9.996e-4, 0.0237, 0.9996, 59.96, 83.4, 3599.6, 7384, 172_799, 3e5, 1e9]
    said = browser.run(f"{json.dumps(times)}.map(spellSeconds)")
    assert said == [spell_seconds(seconds) for seconds in times]


def test_a_hostile_name_runs_no_script(browser, tmp_path):
    name = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    folder = RunFolder(name=name, hosts=(name,), layers=(name, "2", "4"), steps=300)
    path = tmp_path / "report.html"
    write_report([folder.write(tmp_path / "a"), RunFolder().write(tmp_path / "b")], path, "1")
    opened(browser, path)
    x, y, width, height = middle(browser, f"{LOSS} .frame")
    browser.mouse("mouseMoved", x + width / 2, y + height / 2)
    assert browser.run("window.hit") is None
    assert name in browser.run(f"document.querySelector('{LOSS} .tip').textContent")
    assert browser.complaints == []


def test_a_run_of_which_nothing_is_known_yet_has_a_page_too(browser, tmp_path):
    folder = RunFolder(steps=0, ended=False).write(tmp_path / "a")
    for file in ("metrics.jsonl", "time.jsonl", "health.jsonl"):
        (folder / file).unlink()
    write_report([folder], folder / "report.html", "1")
    opened(browser, folder / "report.html")
    assert browser.complaints == []
    assert "Nothing has been measured yet." in browser.run("document.body.innerText")


def test_what_is_printed_is_light_and_has_the_figures(browser, three, tmp_path):
    opened(browser, three, dark=True)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert browser.complaints == []
