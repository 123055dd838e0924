"""Pictures of the figures: well-formed, with every point and label inside."""

import re
from xml.etree import ElementTree

import pytest

from benchmarks.plots import HEIGHT, WIDE, WIDTH, chart_svg, ratios_svg, step_of
from benchmarks.report import Chart, Line, Row, point, row

SVG = "{http://www.w3.org/2000/svg}"


def chart(*, is_x_log: bool = True) -> Chart:
    lines = (
        Line("a & b", tuple(point(x, [y, y + 1]) for x, y in ((15, 4.0), (100, 8.0), (10_000, 2.0)))),
        Line("others", (point(15, [1.0]), point(10_000, [90.0]))),
    )
    return Chart("tickers", "Cost < time", "tickers", "µs", lines, is_x_log)


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("is_x_log", [True, False])
def test_chart_has_every_point_inside_the_picture(is_x_log: bool) -> None:
    root = ElementTree.fromstring(chart_svg(chart(is_x_log=is_x_log)))
    ways = [element.attrib["points"] for element in root.iter(f"{SVG}polyline")]
    points = [tuple(map(float, pair.split(","))) for way in ways for pair in way.split()]
    assert len(points) == 5
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in points)


def test_higher_values_are_drawn_higher_and_greater_places_further_right() -> None:
    root = ElementTree.fromstring(chart_svg(chart()))
    way = next(root.iter(f"{SVG}polyline")).attrib["points"]
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, pair.split(","))) for pair in way.split())
    assert x0 < x1 < x2
    assert y1 < y0 < y2


def test_chart_names_title_axis_unit_and_lines() -> None:
    shown = texts(ElementTree.fromstring(chart_svg(chart())))
    assert {"Cost < time", "tickers", "µs", "a & b", "others", "15", "100", "10,000", "0"} <= set(shown)


def test_pictures_bring_colours_for_dark_pages_and_a_ground_of_their_own() -> None:
    for text in (chart_svg(chart()), ratios_svg([Row("a", 1, "s", against="b", against_measured=2)])):
        assert "prefers-color-scheme:dark" in text
        assert '<rect class="ground"' in text


def test_chart_of_zeros_can_be_drawn() -> None:
    flat = Chart("flat", "Flat", "x", "s", (Line("a", (point(1, [0.0]),)),))
    ElementTree.fromstring(chart_svg(flat))


def test_each_comparison_has_a_bar_and_its_spread_and_each_wanted_ratio_a_mark() -> None:
    rows = [
        Row("alone", 5, "s"),
        row("a", "s", [4], against="b", against_samples=[2], wanted_ratio=3),
        row("c", "s", [4, 4, 4], against="d", against_samples=[8, 10, 5]),
    ]
    text = ratios_svg(rows)
    assert len(re.findall(r'<rect class="f\d"', text)) == text.count('class="half"') == 2
    assert text.count('class="want"') == 1
    assert {"2.00 ×", "0.50 ×", "beside b", "beside d", "1 ×"} <= set(texts(ElementTree.fromstring(text)))


def test_bar_tells_by_its_colour_whether_its_ratio_is_as_wanted() -> None:
    def colour(wanted: float | None) -> str:
        compared = row("a", "s", [4], against="b", against_samples=[2], wanted_ratio=wanted)
        return str(re.findall(r'<rect class="(f\d)"', ratios_svg([compared]))[0])

    assert len({colour(None), colour(1.5), colour(3)}) == 3


def test_greatest_and_least_ratio_lie_inside_the_picture() -> None:
    rows = [row("a", "s", [value], against="b", against_samples=[100]) for value in (1, 100, 100_000)]
    for rect in ElementTree.fromstring(ratios_svg(rows)).iter(f"{SVG}rect"):
        assert 0 <= float(rect.attrib["x"]) <= float(rect.attrib["x"]) + float(rect.attrib["width"]) <= WIDE


def test_nothing_compared_is_said() -> None:
    assert "nothing was compared" in texts(ElementTree.fromstring(ratios_svg([Row("alone", 5, "s")])))


@pytest.mark.parametrize(("most", "step"), [(0.9, 0.2), (1.0, 0.2), (7.0, 2.0), (10.0, 2.0), (140_000.0, 25_000.0), (0.0, 1.0)])
def test_grid_lines_lie_at_round_distances(most: float, step: float) -> None:
    assert step_of(most) == pytest.approx(step)
