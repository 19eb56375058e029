"""The page in a real browser, on the real server: what a reader sees, what is asked for."""

import contextlib
import io
import os
import re
import shutil
import threading
from math import log
from urllib.parse import parse_qs, urlsplit

import pytest
from demo_trainings import Sleeper

from tfinit.demo.run import Engine

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CURVES = ("step", "train_cost", "train_accuracy", "test_cost", "test_accuracy")
CHROMIUM = os.environ.get("TFINIT_CHROMIUM") or shutil.which("chromium", path="/usr/bin:/bin")
CHROMIUM = CHROMIUM or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="needs chromium: apt install chromium, or set TFINIT_CHROMIUM"
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
FOUR_STARTS = "pane=zeros&pane=normal:0.01&pane=he&pane=normal:2"
PAIR = "?seed=1&steps=60&depth=3&pane=normal:2&pane=he"
SMALL = "?seed=1&steps=60&depth=3&width=8&pane=he"


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Reader:
    """A page, everything that it asked for, and everything that it complained about."""

    def __init__(self, browser, port, **options):
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        self.page = self.context.new_page()
        self.port, self.requests, self.complaints = port, [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, query=""):
        self.page.goto(f"http://127.0.0.1:{self.port}/{query}")
        self.wait("paused")
        sync_api.expect(self.page.locator(".pane[data-predicts]")).to_have_count(
            self.page.locator(".pane").count()
        )
        return self

    # Selectors only: waiting for a JavaScript expression needs `eval`, which the page forbids.
    def wait(self, state, more=""):
        self.page.wait_for_selector(f"body[data-state={state}]{more}", timeout=60_000)

    def train(self):
        self.page.click("#start")
        self.wait("done")
        return self

    def panes(self):
        return self.page.eval_on_selector_all(".pane", "all => all.map(one => ({...one.dataset}))")

    def curves(self):
        return self.page.evaluate("window.tfinitDemo.curves")

    def overflow(self):
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def violations(self):
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        found = axe.Axe().run(self.page).response["violations"]
        return [
            (one["id"], node["html"][:120], node["failureSummary"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


@pytest.fixture
def reader(chromium, server):
    """reader(**options of the browser's context) on the server that users get."""
    readers = []

    def make(port=server.port, **options):
        readers.append(Reader(chromium, port, **options))
        return readers[-1]

    yield make
    for one in readers:
        one.context.close()


def test_zeros_and_too_small_stay_where_they_are_he_learns_too_large_diverges(reader):
    clipboard = ["clipboard-read", "clipboard-write"]
    ours = reader(permissions=clipboard).open(f"?steps=300&seed=1&{FOUR_STARTS}")
    ours.page.keyboard.press("Space")
    ours.wait("done")
    zeros, small, he, large = ours.panes()

    for pane in (zeros, small):
        assert float(pane["trainCost"]) == pytest.approx(log(2), abs=0.01)
        assert (pane["predicts"], pane["outcome"], pane["cameTrue"]) == ("fails", "stuck", "true")
    assert float(he["trainAccuracy"]) >= 0.95
    assert (he["predicts"], he["outcome"], he["cameTrue"]) == ("learns", "learned", "true")
    assert large["status"] == "diverged" or float(large["trainCost"]) > 2 * float(he["trainCost"])
    if large["status"] == "diverged":
        words = f"Diverged at step {large['divergedAt']}"
        assert (
            ours.page.locator(".pane")
            .nth(3)
            .locator(".diverged")
            .get_by_text(words)
            .first.is_visible()
        )
    assert [pane["step"] for pane in (zeros, small, he)] == ["300"] * 3

    # Twins stay twins; the layers of He never were.
    units = ours.page.locator(".inside .units")
    sync_api.expect(units.nth(0)).to_contain_text("1 distinct unit of 16")
    sync_api.expect(units.nth(2)).to_contain_text("16 distinct units of 16")
    sync_api.expect(ours.page.locator(".pane canvas").nth(2)).to_have_attribute(
        "aria-label", re.compile("He, step 300: train cost .*, train accuracy (9|100)")
    )

    insight = ours.page.locator("#insight")
    sync_api.expect(insight).to_contain_text("A (Zeros) and B (Normal 0.01) are stuck")
    sync_api.expect(insight).to_contain_text("C (He) learned;")

    # Why, and the cure, with its code.
    first = ours.page.locator(".pane").first
    first.get_by_text("Why, and the cure").click()
    assert "same weights get the same gradient" in first.locator(".why").inner_text()
    first.get_by_label("Copy the cure of twins").click()
    sync_api.expect(first.get_by_text("Copied")).to_be_visible()
    copied = ours.page.evaluate("navigator.clipboard.readText()")
    assert copied == first.locator(".code code").first.inner_text()
    assert copied == 'tfinit.initialize(model, "he")'
    first.get_by_text("What is Zeros?").click()
    assert "twins" in first.locator(".about").inner_text()
    source = ours.page.locator(".pane").nth(2).locator(".about a")
    assert source.get_attribute("href") == "https://arxiv.org/abs/1502.01852"

    # Four tables beside each other are whole.
    ours.page.locator(".inside summary").first.click()
    cut = ours.page.locator(".inside .scroll").first.evaluate("s => s.scrollWidth - s.clientWidth")
    assert cut <= 0

    hosts = {urlsplit(url).netloc for url in ours.requests if not url.startswith("data:")}
    assert hosts == {f"127.0.0.1:{ours.port}"}
    assert ours.complaints == []


def test_a_link_opened_twice_gives_the_same_curves_at_any_speed(reader):
    link = "?dataset=moons&depth=3&width=8&activation=tanh&optimizer=adam&learning_rate=0.02"
    link += "&batch_size=16&seed=5&steps=150&pane=he&pane=normal:0.5&layer=2"
    one = reader().open(link + "&speed=7").train()
    other = reader().open(link + "&speed=61").train()

    assert one.curves() == other.curves()
    assert len(one.curves()[0]["step"]) == 21 + 13
    shown = parse_qs(urlsplit(one.page.url).query)
    assert shown == parse_qs(link[1:] + "&speed=7")


def test_what_a_link_gets_wrong_is_said_and_has_its_default(reader):
    ours = reader().open("?dataset=cats&depth=31&seed=1.5&pane=normal:11&pane=nothing&pane=he&x=1")
    settings = ours.page.evaluate("window.tfinitDemo.settings")

    assert (settings["dataset"], settings["depth"], settings["seed"]) == ("circles", 5, 1)
    assert [pane["initialization"] for pane in settings["panes"]] == ["zeros", "normal", "he"]
    note = ours.page.locator("[data-notice=link]").inner_text()
    for wrong in ("cats", "31", "1.5", "normal:11", "nothing", "x=1"):
        assert wrong in note
    assert ours.complaints == []


def test_the_copied_python_ends_with_the_same_cost(reader):
    ours = reader(permissions=["clipboard-read", "clipboard-write"]).open(SMALL).train()
    ours.page.click(".copy-python")
    sync_api.expect(ours.page.locator(".copy-python")).to_have_text("Copied")
    code = ours.page.evaluate("navigator.clipboard.readText()")

    # Here and not in a process of its own, which would load TensorFlow again.
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"__name__": "__main__"})
    printed = printed.getvalue().split("train cost ")[1].split(",")[0]
    assert float(printed) == pytest.approx(float(ours.panes()[0]["trainCost"]), rel=1e-4)


def test_without_a_clipboard_the_text_is_there_to_be_copied_by_hand(reader):
    ours = reader()
    ours.page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    ours.open(SMALL)
    ours.page.click(".copy-python")
    area = ours.page.locator("#text-area")
    sync_api.expect(area).to_be_focused()
    chosen = area.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)")
    assert chosen.startswith("import keras")


def test_keys_steer_but_not_while_a_field_has_the_focus(reader):
    ours = reader().open(SMALL)
    ours.page.keyboard.press("s")
    ours.page.wait_for_selector(".pane[data-step='1']")
    ours.page.focus("#seed")
    ours.page.keyboard.press("s")
    ours.page.keyboard.press("Space")
    ours.page.focus("#start")
    ours.page.keyboard.press("Enter")
    ours.wait("done")
    assert ours.panes()[0]["step"] == "60"
    ours.page.keyboard.press("r")
    ours.page.wait_for_selector(".pane[data-step='0'][data-points='1']")
    assert "2000" not in ours.page.locator("#where").inner_text()


def test_a_new_seed_is_another_run_and_a_pane_can_come_and_go(reader):
    ours = reader().open(SMALL)
    before = ours.panes()[0]["trainCost"]
    ours.page.click("#new-seed")
    ours.page.wait_for_selector(f".pane[data-status=ready]:not([data-train-cost='{before}'])")
    assert "seed=1&" not in ours.page.url

    ours.page.click("#add-pane")
    ours.page.select_option("#pane-1-initialization", "normal")
    ours.page.fill("#pane-1-value", "0.5")
    ours.page.keyboard.press("Enter")
    ours.page.wait_for_selector(".pane[data-pane='1'][data-status=ready]")
    assert ours.page.url.endswith("pane=he&pane=normal:0.5")
    ours.page.fill("#pane-1-value", "11")
    ours.page.keyboard.press("Enter")
    assert ours.page.url.endswith("pane=he&pane=normal:0.5")
    ours.page.click("[aria-label='Remove pane A']")
    ours.page.wait_for_selector(".pane[data-status=ready]")
    assert ours.page.url.endswith("&pane=normal:0.5")
    assert ours.complaints == []


def test_two_levels_of_the_lottery_show_density_and_masks(reader):
    ours = reader().open(SMALL + "&tab=lottery&levels=2&prune_fraction=0.5")
    ours.page.click("#lottery-start")  # before any training
    assert "not trained yet" in ours.page.locator("[data-notice=control]").inner_text()
    ours.train()
    ours.page.click("#lottery-start")
    ours.page.wait_for_selector("body[data-levels='3']:not([data-state=lottery])", timeout=60_000)

    rows = ours.page.eval_on_selector_all(
        "#levels-table tbody tr", "all => all.map(row => Number(row.dataset.density))"
    )
    assert rows == pytest.approx([1, 0.5, 0.25], abs=0.01)  # 2·8 + 8·8 + 8·2 = 96 weights
    sync_api.expect(ours.page.locator("#ticket-text")).to_contain_text("density 25 %")
    kept = [label.split()[0] for label in ours.page.locator("#masks .unit").all_inner_texts()]
    assert sum(map(int, kept)) == 24
    pixels = ours.page.locator("#masks canvas").evaluate_all(
        "all => all.map(c => c.width * c.height)"
    )
    assert pixels == [16, 64, 16]
    ours.page.select_option("#level", "0")
    kept = [label.split()[0] for label in ours.page.locator("#masks .unit").all_inner_texts()]
    assert sum(map(int, kept)) == 96
    assert "50 %: " in ours.page.locator("#chart-density [role=img]").get_attribute("aria-label")
    assert ours.violations() == []
    ours.page.set_viewport_size({"width": 360, "height": 740})
    assert ours.overflow() <= 0
    assert all(not text.startswith("Failed") or "409" in text for text in ours.complaints)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_and_a_phone_is_wide_enough(reader, scheme):
    ours = reader(color_scheme=scheme, reduced_motion="reduce").open(PAIR)
    ours.page.click("#step")
    ours.page.wait_for_selector(".pane[data-step='1']")
    for part in (".inside", ".about", ".why"):
        ours.page.locator(f"{part} summary").first.click()
    network = ours.page.locator("#network svg")
    said = "2 inputs, 2 hidden layers of 16 ReLU units, 2 outputs"
    assert said in network.get_attribute("aria-label")
    assert ours.violations() == []
    ours.page.set_viewport_size({"width": 360, "height": 740})
    assert ours.overflow() <= 0
    # The settings are folded, and the first pane begins on the first screen.
    assert not network.is_visible()
    assert ours.page.locator(".pane").first.bounding_box()["y"] < 600
    assert "Circles, 3 × 16 ReLU" in ours.page.locator("#settings summary").inner_text()
    ours.page.click("#help-open")
    assert ours.violations() == []


def test_a_full_server_and_a_lost_stream_are_said(reader, serving):
    from tfinit.demo.limits import Limits

    with serving(Limits(max_runs=1), engine=drawable) as server:
        first = reader(port=server.port).open(SMALL)
        second = reader(port=server.port)
        second.page.goto(f"http://127.0.0.1:{server.port}/{SMALL}")
        notice = second.page.locator("[data-notice=run]")
        sync_api.expect(notice).to_contain_text("1 training is going, as many as")
        first.context.close()
        assert server.waits_for(lambda: len(server.runs) == 0)
        notice.get_by_role("button", name="Try again").click()
        second.wait("paused")

        server.runs.stop(0)
        lost = second.page.locator("[data-notice=lost]")
        sync_api.expect(lost).to_contain_text("broke off")
        assert sum("/events" in url for url in second.requests) == 1  # no silent tries


class Drawable(Sleeper):
    """A training with all that the page draws of one."""

    nap = 0.001

    def __init__(self, settings, pane):
        super().__init__(settings, pane)
        self.curves = {name: [0] for name in CURVES}

    def diagnose(self):
        told = {"verdict": "Healthy.", "predicts": "learns", "findings": [], "terms": {}}
        return {"pane": self.pane, **told}

    def advance(self, steps):
        super().advance(steps)
        for name in CURVES[1:]:
            self.curves[name] += [0.5] * steps

    def frame(self, layer):
        nothing = dict.fromkeys(("diverged_at", "boundary", "layers", "weights"))
        return {"pane": self.pane, "step": self.step, "status": self.status, **nothing}


def drawable():
    from tfinit.demo.plane import opening_event

    return Engine(Drawable, opening_event, None, None)


def test_a_first_visit_starts_by_itself_and_a_tab_that_nobody_sees_gives_its_place_back(
    reader, serving
):
    loaded = threading.Event()

    def engine():
        assert loaded.wait(60)
        return drawable()

    with serving(engine=engine) as server:
        ours = reader(port=server.port)
        ours.page.clock.install()
        ours.page.goto(f"http://127.0.0.1:{server.port}/")
        waiting = ours.page.locator("#loading")
        sync_api.expect(waiting).to_contain_text(re.compile(r"Loading TensorFlow, about \d+ s"))
        loaded.set()
        ours.wait("training")
        sync_api.expect(waiting).to_be_hidden()
        ours.page.click("#start")
        ours.wait("paused")
        steps = [pane["step"] for pane in ours.panes()]

        see = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, "
        see += "configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }"
        ours.page.evaluate(see, True)
        ours.page.clock.fast_forward(30_000)
        ours.page.evaluate(see, False)
        ours.page.evaluate(see, True)
        ours.page.clock.fast_forward(59_000)
        assert len(server.runs) == 1
        ours.page.clock.fast_forward(2_000)
        notice = ours.page.locator("[data-notice=run]")
        sync_api.expect(notice).to_contain_text("Nobody saw this tab for a minute")
        assert server.waits_for(lambda: len(server.runs) == 0)
        assert [pane["step"] for pane in ours.panes()] == steps
        notice.get_by_role("button", name="Run it again").click()
        ours.wait("training")
        assert ours.complaints == []

        ours.page.reload()  # its address is a link by now
        ours.wait("paused")
