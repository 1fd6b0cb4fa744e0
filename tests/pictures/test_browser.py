"""What only a browser can tell: where text really is, which colours hold, and that nothing is asked of a network."""

import pytest

from benchmarks.picture_cases import CASES, judged
from canary_judge.pictures import verdict_svg

pytestmark = pytest.mark.slow

FINDINGS = """
const out=[];
for(const d of document.querySelectorAll('div[data-f]')){
  const s=d.querySelector('svg'), box=s.viewBox.baseVal;
  const t=[...s.querySelectorAll('text')].filter(e=>e.textContent).map(e=>[e.textContent,e.getBBox()]);
  for(const [x,b] of t) if(b.x<3||b.x+b.width>box.width-3||b.y+b.height>box.height) out.push([d.dataset.f,'outside',x]);
  t.forEach(([x,a],i)=>t.slice(i+1).forEach(([y,b])=>{
    const across=Math.min(a.x+a.width,b.x+b.width)-Math.max(a.x,b.x), down=Math.min(a.y+a.height,b.y+b.height)-Math.max(a.y,b.y);
    if(across>0.5&&down>4.5) out.push([d.dataset.f,'overlap',x+' | '+y]);
  }));
}
return [document.querySelectorAll('div[data-f]').length, out];
"""


@pytest.mark.parametrize("font", ["DejaVu Sans", "Liberation Sans"])
def test_no_text_lies_on_another_or_outside(browser, font):
    pictures = "".join(
        f"<div data-f='{name} {width}'>{verdict_svg(judged(name), width=width)}</div>"
        for name in CASES
        for width in (700, 360)
    )
    style = f"<meta charset=utf-8><style>svg{{font-family:'{font}'!important}}</style>"
    assert browser.asked(style + pictures, FINDINGS) == [2 * len(CASES), []]


COLOURS = """
return [...document.querySelectorAll('svg')].map(s=>{
  const word=[...s.querySelectorAll('text')].find(t=>['FAIL','HOLD','PASS'].includes(t.textContent));
  return [getComputedStyle(word).fill, getComputedStyle(s.querySelector('rect')).fill, word.getBBox().width>9];
});
"""
LIGHT_FAIL, DARK_FAIL = "rgb(154, 47, 0)", "rgb(255, 176, 133)"
WHITE, BLACK = "rgb(255, 255, 255)", "rgb(15, 20, 25)"


def test_two_pictures_on_one_page_keep_their_colours_and_words(browser):
    page = "<meta charset=utf-8><style>.b,.fb,.i{display:none}text{fill:red}</style>" + "".join(
        verdict_svg(judged("fail"), theme=theme) for theme in ("light", "dark")
    )
    assert browser.asked(page, COLOURS) == [[LIGHT_FAIL, WHITE, True], [DARK_FAIL, BLACK, True]]


@pytest.mark.parametrize(
    ("page", "flags", "colours"),
    [
        ("", (), [LIGHT_FAIL, WHITE, True]),
        ("<div data-theme=dark>", (), [DARK_FAIL, BLACK, True]),
        ("<div data-jp-theme-light=false>", (), [DARK_FAIL, BLACK, True]),
        ("", ("--force-dark-mode", "--blink-settings=preferredColorScheme=0"), [DARK_FAIL, BLACK, True]),
        ("<div data-theme=light>", ("--blink-settings=preferredColorScheme=0",), [LIGHT_FAIL, WHITE, True]),
    ],
)
def test_a_picture_follows_the_page_around_it(browser, page, flags, colours):
    shown = browser.asked("<meta charset=utf-8>" + page + verdict_svg(judged("fail")), COLOURS, flags=flags)
    assert shown == [colours]


REPORT = """
const shown=[...document.querySelectorAll('svg')].filter(s=>s.getBoundingClientRect().width>0);
const wide=document.documentElement.scrollWidth-document.documentElement.clientWidth;
return [shown.map(s=>s.viewBox.baseVal.width), performance.getEntriesByType('resource').length, Math.max(wide,0)];
"""


@pytest.mark.parametrize(("width", "shown"), [(1400, 700), (520, 360)])
def test_a_report_shows_the_picture_that_fits_and_asks_for_nothing(browser, width, shown):
    page = judged("twenty undecided").to_html(whole_page=True)
    # the page forbids scripts; the question is one
    assert "default-src 'none'" in page
    page = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    assert browser.asked(page, REPORT, width=width) == [[shown], 0, 0]
