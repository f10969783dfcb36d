"""The report: one page that stands alone, says what the run found, and survives odd input."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftproof.backends.torch.kit.report import FORMAT
from driftproof.validation import Statistic, exact, figure, statistical
from driftproof.validation.documents import FORMATS
from driftproof.validation.drawing import svg
from driftproof.validation.engine import Plan, evaluate_claim
from driftproof.validation.outcomes import Run
from driftproof.validation.registry import Registry
from driftproof.validation.reporting import rebuild, write
from driftproof.validation.reporting.figures import Gallery
from driftproof.validation.reporting.latex import rewritten
from driftproof.validation.reporting.mathtext import Typesetter
from driftproof.validation.reporting.page import render


def square(x: Any) -> Any:
    return x * x


def negated(x: Any) -> Any:
    return -x * x


def drawing(*heights: float) -> Any:
    from matplotlib.figure import Figure

    made = Figure()
    axes = made.subplots()
    axes.plot(np.arange(len(heights)), heights, label="$x^2$")
    axes.set_xlabel("time $t$")
    axes.legend()
    return made


def run_of(statement: str = r"f(x) = x^2", wrong: bool = False, **options: Any) -> Run:
    class Toy:
        """Why it matters: <b>bold</b> claims & such."""

        @exact(tolerance=1e-12)
        def equals_table(thing: Any) -> Any:
            return thing(3.0), 9.0

        @statistical(n=100)
        def seems_right(thing: Any, n: int) -> Any:
            return Statistic(0.25, 0.02, 0.001, n)

        @figure
        def parabola(thing: Any) -> Any:
            """The graph of <f>."""
            return drawing(0.0, 1.0, 4.0)

        @figure
        def another(thing: Any) -> Any:
            """Another."""
            return drawing(0.0, 2.0, 1.0)

        mutants = {"sign": (lambda x: -x * x), "shift": (lambda x: x * x + 1)}  # noqa: RUF012

    registry = Registry()
    claim = registry.claim(
        "TOY-1",
        paper="tweedie",
        statement=statement,
        covers={"thing": negated if wrong else square},
        hypotheses=[r"x \ge 0"],
    )
    settled = evaluate_claim(claim(Toy), Plan(figures=True))
    return Run("0.1.0", 7, "quick", (settled,), 1e-6, 1, ("driftproof.theory.f",), {"numpy": "2"}, **options)


class Page(HTMLParser):
    """Collects ids, references and external addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.external: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "use", "path", "input", "link", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name == "href" and value and value.startswith("#"):
                self.references.append(value[1:])
            if name in ("src", "srcset") or (tag == "link" and name == "href"):
                self.external.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


class TestPage:
    def test_stands_alone(self, tmp_path: Path) -> None:
        text = write(run_of(), tmp_path).read_text(encoding="utf-8")
        page = Page(text)
        assert not page.external and "@import" not in text and "url(http" not in text
        assert len(page.ids) == len(set(page.ids)), "ids of several figures collide"
        assert set(page.references) <= set(page.ids), "a reference leads nowhere"
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
        assert not page.open, "every element is closed"
        assert len(text) < 5_000_000

    def test_says_what_the_run_found(self, tmp_path: Path) -> None:
        text = write(run_of(), tmp_path).read_text(encoding="utf-8")
        assert "All 1 claims hold" in text and "2 of 2 planted errors caught" in text
        assert "driftproof verify --quick --seed 7" in text
        assert "driftproof.theory.f" in text, "functions without a claim are listed"
        assert "https://arxiv.org/abs/2605.19391" in text
        assert "&lt;b&gt;bold&lt;/b&gt; claims &amp; such" in text and "<b>bold" not in text
        assert "p = 0.25" in text and "0.02" in text
        assert text.count("<figure>") == 2

    def test_bad_news_come_first(self, tmp_path: Path) -> None:
        text = write(run_of(wrong=True), tmp_path).read_text(encoding="utf-8")
        assert "1 of 1 claims are not as stated" in text
        assert re.search(r'<details class="claim" id="TOY-1" open>', text)
        assert "Interrupted: 1 claims were settled" in render(run_of(interrupted=True).to_json())

    def test_rebuilding_gives_the_same_page(self, tmp_path: Path) -> None:
        first = write(run_of(), tmp_path).read_text(encoding="utf-8")
        assert rebuild(tmp_path).read_text(encoding="utf-8") == first

    def test_an_empty_run(self) -> None:
        assert "All 0 claims hold" in render(Run("0", 0, "quick", (), 1e-6, 0).to_json())


class TestTrainings:
    def training(self, **changed: Any) -> dict[str, Any]:
        return {
            "format": FORMATS["report"],
            "title": "A market",
            "paper": "tweedie",
            "summary": "First.\n\nSecond.",
            "tables": [
                {"caption": "Held out", "columns": ["model", "W1"], "rows": [["CIR", 0.0123], ["VP", None]]}
            ],
            "figures": [{"caption": "Samples", "svg": svg(drawing, 1.0, 2.0)}],
            "meta": {"seed": 0},
            **changed,
        }

    def write(self, directory: Path, training: Any) -> None:
        write(run_of(), directory)
        file = directory / "runs" / "market" / "report.json"
        file.parent.mkdir(parents=True)
        file.write_text(training if isinstance(training, str) else json.dumps(training))

    def test_stand_near_the_top(self, tmp_path: Path) -> None:
        self.write(tmp_path, self.training())
        text = rebuild(tmp_path).read_text(encoding="utf-8")
        assert text.index("A market") < text.index('id="papers"')
        assert "0.0123" in text and "<p>Second.</p>" in text and text.count("<figure>") == 3
        page = Page(text)
        assert len(page.ids) == len(set(page.ids))

    def test_figures_may_be_files(self, tmp_path: Path) -> None:
        self.write(tmp_path, self.training(figures=[{"caption": "Samples", "file": "samples.svg"}]))
        (tmp_path / "runs" / "market" / "samples.svg").write_text(svg(drawing, 1.0, 2.0))
        assert rebuild(tmp_path).read_text(encoding="utf-8").count("<figure>") == 3

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(
        "wrong",
        [
            {"tables": [{"caption": "no rows"}]},
            {"figures": [{"caption": "nowhere", "file": "missing.svg"}]},
            {"figures": [{"caption": "neither"}]},
            {"figures": [{"caption": "no text", "svg": 3}]},
            "{",
            "[]",
        ],
    )
    def test_what_is_no_training_is_named_and_the_page_is_kept(self, tmp_path: Path, wrong: Any) -> None:
        self.write(tmp_path, wrong if isinstance(wrong, str) else self.training(**wrong))
        before = (tmp_path / "index.html").read_text(encoding="utf-8")
        with pytest.raises(ValueError, match=r"report\.json"):
            rebuild(tmp_path)
        assert (tmp_path / "index.html").read_text(encoding="utf-8") == before

    def test_without_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="driftproof verify --html writes it"):
            rebuild(tmp_path)
        (tmp_path / "verify.json").write_text("{}")
        with pytest.raises(ValueError, match="no document of driftproof verify: it lacks claims, budget"):
            rebuild(tmp_path)

    def test_trainings_are_written_in_the_format_that_is_read(self) -> None:
        assert FORMATS["report"] == FORMAT

    def test_a_figure_that_is_more_than_a_drawing_is_not_shown_and_said(self, tmp_path: Path) -> None:
        scripted = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
        self.write(tmp_path, self.training(figures=[{"caption": "Samples", "svg": scripted}]))
        text = rebuild(tmp_path).read_text(encoding="utf-8")
        assert "This figure is not shown: <code>the element &lt;script&gt; is not allowed" in text
        assert "alert" not in text


class TestFormulas:
    @pytest.mark.parametrize(
        "latex",
        [
            r"E[X_0 \mid X_t = x] = e^{\kappa t}\left\{x + (4-\delta)\rho\right\}",
            r"\tfrac12 \le \frac z2 R_\nu \iff \mathbf 1_A",
            r"\nabla_z D_f = -p\,\big(A_c(u) - E_p A_c(u)\big)",
            "a = b,\n  \\quad c = d \\\\ e = f",
            r"w = \begin{cases} x & y > 0 \\[2pt] \tfrac{1}{2} & \text{else} \end{cases} \text{ for all } y",
            r"X \overset d= Y, \quad \sqrt[3]x \stackrel{d}{=} \Bigl[\tfrac\delta2\Bigr]^2",
            r"\lVert x \rVert \xrightarrow{n} 0, \operatorname{Var}[x] < \infty",
            r"x < 1, \text{ a < b}, \texttt{drift} = b",
            r"\tfrac z2 R_\nu(z)\big|_{x_0} = n \ \Rightarrow\ N\,\big(E f(Y) - E f(X)\big) \to \log\frac T\varepsilon",
        ],
    )
    def test_what_authors_write_is_set(self, latex: str) -> None:
        text = Typesetter()(latex)
        assert "<svg" in text and 'class="latex"' not in text
        Page(text)

    def test_what_cannot_be_set_is_shown_as_it_is(self) -> None:
        assert Typesetter()(r"\unknown{<x>}") == r'<code class="latex">\unknown{&lt;x&gt;}</code>'

    def test_outlines_are_drawn_once(self) -> None:
        tex = Typesetter()
        tex("x + x"), tex("x")
        ids = re.findall(r'id="(m\d+)"', tex.outlines())
        assert len(ids) == 2

    def test_long_formulas_may_break(self) -> None:
        tex = Typesetter()
        long = " = ".join(["x + y + z + u + v + w"] * 4)
        assert tex(long).count("<svg") == 4 and tex("x = y").count("<svg") == 1

    @pytest.mark.parametrize(
        ("latex", "want"),
        [
            (r"\frac12", r"\dfrac{1}{2}"),
            (r"x^{\frac12}", r"x^{\frac{1}{2}}"),
            (r"\frac\delta2", r"\dfrac{\delta}{2}"),
            (r"\frac{\tfrac12}3", r"\dfrac{\frac{1}{2}}{3}"),
            (r"\Big(x\Big)", r"\left(x\right)"),
            (r"p\big|_{x}", r"p|_{x}"),
        ],
    )
    def test_rewriting(self, latex: str, want: str) -> None:
        assert rewritten(latex) == want


class TestFigures:
    def test_a_figure_stands_on_the_page(self) -> None:
        picture = (
            '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="10pt" height="5pt">'
            '<rect id="a" fill="#000000"/><text x="1">a &lt; b</text><g clip-path="url(#a)"/></svg>'
        )
        assert str(Gallery()(picture, 'a "caption"')) == (
            '<svg role="img" aria-label="a &#34;caption&#34;" '
            'style="max-width:10pt;fill:currentColor;stroke-linejoin:round;stroke-linecap:butt">'
            '<rect id="f0-a" fill="currentColor"/><text x="1">a &lt; b</text><g clip-path="url(#f0-a)"/></svg>'
        )

    def test_shared_outlines_stand_once(self) -> None:
        gallery, picture = Gallery(), svg(drawing, 1.0, 2.0)
        alone = len(gallery(picture)) + len(gallery.outlines())
        outlines = len(gallery.outlines())
        gallery(picture)
        assert len(gallery.outlines()) == outlines and alone < len(picture)

    def test_what_is_no_picture_is_refused(self) -> None:
        with pytest.raises(ValueError, match="expected an SVG"):
            Gallery()("plain text")

    def test_the_same_figure_gives_the_same_text(self) -> None:
        assert svg(drawing, 1.0, 2.0) == svg(drawing, 1.0, 2.0)
        with pytest.raises(TypeError, match="returns a matplotlib Figure"):
            svg(lambda: None)
