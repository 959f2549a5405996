"""The pages of the book in a browser: of a small book always, of the real one when `make book` has built it."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from browser import chromium, watched
from small_book import ADDRESS, builder, small_book

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WIDGET = "application/vnd.jupyter.widget-view+json"
RAW_FORMULAS = (
    "() => [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
)
SHOWN = """area => [...area.querySelectorAll('img, .widget-html-content')]
    .filter(e => e.offsetParent).map(e => e.src || e.innerHTML).join()"""

STYLES = """() => [...[...document.querySelectorAll('table.dataframe')].at(-1).querySelectorAll('tbody :is(th, td)')]
    .map(cell => [getComputedStyle(cell).textAlign, getComputedStyle(cell).whiteSpace])"""
SIZE = "place => parseFloat(getComputedStyle(place).fontSize)"
HEADS = "() => [...document.querySelectorAll('table.dataframe')].at(-1).tHead.innerText.trim().split(/\\s+/)"
LINES = "place => place.getClientRects().length"
HINTED = "place => place.previousElementSibling?.className == 'scroll-hint'"
LIGHT = """(place, name) => getComputedStyle(place)[name].match(/[\\d.]+/g).slice(0, 3)
    .reduce((sum, part) => sum + part / 765, 0)"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="module", params=["small", "real"])
def html(request, browser):
    if request.param == "small":
        return request.getfixturevalue("small")
    html = builder().HTML
    if not (html / "index.html").is_file():
        pytest.skip("the book is not built (make book)")
    return html


def pages(html):
    """The pages of the book as paths below `html`; index.html only leads to the first."""
    return [str(path.relative_to(html)) for path in sorted(html.glob("[!_]*/**/*.html"))]


@contextmanager
def served(html, folder):
    """The address of the pages on a server, below another path; `folder`: an empty one."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    (folder / "x").mkdir()
    (folder / "x" / "y").symlink_to(html)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x/y"
    server.shutdown()
    server.server_close()


def visit(page, address):
    """Open a page and wait until its formulas are set and its widgets are shown."""
    page.goto(address)
    page.evaluate("() => window.MathJax?.startup?.promise")
    for area in range(page.locator(f'script[type="{WIDGET}"]').count()):
        page.locator(".widget-subarea").nth(area).wait_for()


def problems(browser, html, address, viewport):
    """Visit every page below `address`: what it complained about, asked others for, did not set or left too wide."""
    found = []
    with watched(browser, viewport=viewport) as (page, log):
        for name in pages(html):
            visit(page, f"{address}/{name}")
            found += [f"{name}: {line}" for line in log.errors + log.remote]
            if formulas := page.evaluate(RAW_FORMULAS) + page.locator("mjx-merror").count():
                found.append(f"{name}: {formulas} formulas are not set")
            width = page.evaluate("document.scrollingElement.scrollWidth")
            if width > viewport["width"]:
                found.append(f"{name}: {width} pixels wide, the screen {viewport['width']}")
            log.clear()
    return found


def visit_front(page, html):
    page.goto((html / "index.html").as_uri())
    page.locator("article h1").wait_for()


def test_every_page_from_the_file_system_on_a_telephone(browser, html):
    assert not problems(browser, html, html.as_uri(), NARROW)


def test_every_page_from_a_server_below_a_path(browser, html, tmp_path):
    with served(html, tmp_path) as address:
        assert not problems(browser, html, address, WIDE)


def test_links_lead_somewhere(html):
    assert not builder().checks.broken_links(html)


def test_search_finds_a_word(browser, html):
    with watched(browser, viewport=WIDE) as (page, log):
        visit_front(page, html)
        page.locator("button.search-button-field").first.click()
        page.locator("dialog input[type=search]").fill("superclass")
        page.keyboard.press("Enter")
        result = page.locator("#search-results li a").first
        result.wait_for()
        result.click()
        page.wait_for_url("**/book/**")
        assert page.locator("article").inner_text().lower().count("superclass")
        assert not log.errors and not log.remote


def test_the_theme_can_be_switched(browser, html):
    with watched(browser, viewport=WIDE, color_scheme="light") as (page, log):
        visit_front(page, html)
        colors = set()
        for _ in range(3):
            page.locator("button.theme-switch-button").first.click()
            colors.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(colors) == 2
        assert not log.errors


def test_sliders_and_buttons_change_what_is_shown(browser, html):
    with watched(browser, viewport=WIDE) as (page, log):
        for name in pages(html):
            if WIDGET not in (html / name).read_text():
                continue
            visit(page, (html / name).as_uri())
            for area in page.locator(".widget-subarea").all():
                handle, buttons = area.locator(".noUi-handle").first, area.locator("button")
                slides = handle.count()
                handle.press("Home") if slides else buttons.first.click()
                first = area.evaluate(SHOWN)
                handle.press("End") if slides else buttons.last.click()
                page.wait_for_function(
                    f"([area, first]) => ({SHOWN})(area) != first", arg=[area.element_handle(), first]
                )
        assert not log.errors and not log.remote


def test_tables_align_words_to_the_left_and_numbers_to_the_right_and_keep_intervals_whole(browser, small):
    with watched(browser, viewport=NARROW) as (page, log):
        visit(page, (small / "notebooks" / "widgets.html").as_uri())
        page.locator("table.dataframe td.number").first.wait_for()
        styles = page.evaluate(STYLES)
        assert [style[0] for style in styles] == ["left", "left", "right"] * 2
        assert styles[2][1] == "nowrap"
        assert page.evaluate(HEADS) == ["option", "command", "score"]
        assert not log.errors


def test_what_is_wider_than_the_screen_says_that_it_scrolls_and_equations_are_fitted(browser, small):
    with watched(browser, viewport=NARROW) as (page, _):
        visit(page, (small / "notebooks" / "widgets.html").as_uri())
        page.locator(".scroll-hint").wait_for()
        wide, fits = page.locator("table.dataframe").all()
        assert wide.evaluate(HINTED) and not fits.evaluate(HINTED)
        visit(page, (small / "book" / "words.html").as_uri())
        page.locator(".scroll-hint").first.wait_for()
        display, inline = (
            page.locator(f"mjx-container{which}").first.evaluate(SIZE)
            for which in ("[display=true]", ":not([display])")
        )
        assert display / inline == pytest.approx(0.7, abs=0.01)
        assert not page.locator("div.math .scroll-hint").count()


def test_a_figure_that_is_touched_on_a_telephone_is_enlarged(browser, small):
    address = (small / "book" / "words.html").as_uri()
    with watched(browser, viewport=NARROW) as (page, _):
        visit(page, address)
        page.get_by_text("Touch a figure to enlarge it").wait_for()
        image = page.get_by_alt_text("WIDE")
        for large in (True, False, True):
            image.click()
            assert (image.bounding_box()["width"] > 600) == large
            assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]
    with watched(browser, viewport=WIDE) as (page, _):
        visit(page, address)
        assert not page.get_by_text("Touch a figure").count()


def test_paper_shows_no_controls_but_the_parameters(browser, small):
    with watched(browser, viewport=WIDE) as (page, _):
        visit(page, (small / "notebooks" / "widgets.html").as_uri())
        parameters = page.locator(".tag_parameters pre")
        assert not parameters.is_visible()
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert parameters.is_visible()
        fading = "place => place.closest('details').getAnimations({subtree: true}).length"
        assert parameters.evaluate(fading) == 0
        assert not page.locator("summary:visible, button:visible, .widget-slider:visible").count()
        assert page.locator(".widget-subarea img:visible").count() == 1


def test_words_in_widgets_are_legible_in_the_dark(browser, small):
    with watched(browser, viewport=WIDE, color_scheme="dark") as (page, _):
        visit(page, (small / "notebooks" / "widgets.html").as_uri())
        area = page.locator(".widget-subarea")
        paper = area.evaluate(LIGHT, "backgroundColor")
        for words in ("figcaption", "code", ".widget-label", ".widget-html-content"):
            assert abs(area.locator(words).first.evaluate(LIGHT, "color") - paper) > 0.6, words


def test_widgets_keep_only_the_state_they_need(small):
    page = (small / "notebooks" / "widgets.html").read_text()
    assert page.count('"model_name": "ImageModel"') == 3
    assert "FloatProgressModel" not in page


def test_pages_without_widgets_load_no_widget_scripts(small):
    assert "embed-amd.js" in (small / "notebooks" / "widgets.html").read_text()
    assert "embed-amd.js" not in (small / "book" / "words.html").read_text()


def test_buttons_lead_to_the_page_in_the_repository(small):
    links = builder().checks.Anchors(small / "notebooks" / "widgets.html").addresses
    path = "blob/main/notebooks/widgets.ipynb"
    assert f"{ADDRESS}/{path}" in links
    repository = ADDRESS.partition(".com/")[2]
    assert f"https://colab.research.google.com/github/{repository}/{path}" in links
    start = f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree"
    assert f"{start}/notebooks/widgets.ipynb" in links


def test_without_an_address_no_page_has_a_button_to_colab_or_binder(html, small):
    known = html == small or builder().address.repository()
    for name in pages(html):
        links = " ".join(builder().checks.Anchors(html / name).addresses)
        assert known or not any(host in links for host in ("colab.research", "mybinder.org"))


def test_short_code_stays_whole_and_a_path_breaks_between_its_parts(browser, small):
    with watched(browser, viewport=NARROW) as (page, _):
        visit(page, (small / "book" / "words.html").as_uri())
        page.locator("code .pre wbr").first.wait_for(state="attached")
        (cell, *_) = page.locator("td code .pre").all()
        assert cell.inner_text() == "persongen_lib.sampling.strategies.masked"
        options = page.locator("p code .pre", has_text="--seeds").all()
        assert len(options) == 3 and all(option.evaluate(LINES) == 1 for option in options)
