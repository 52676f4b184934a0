"""Answers to what a user changes must arrive in the order of the changes, or an old one is what stays on the page.

Gradio runs events of different listeners side by side; only those of one concurrency group run one after the other.
"""

import gradio as gr
import pytest

from medley.ui.app import build_app


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    return build_app(tmp_path_factory.mktemp("home"))


def test_no_slider_has_a_button_that_moves_it_in_silence(demo: gr.Blocks) -> None:
    """Gradio's reset button changes the number that is shown without an event: plan and recipe would not follow."""
    sliders = [block for block in demo.blocks.values() if isinstance(block, gr.Slider)]
    assert len(sliders) > 20
    assert [slider.label for slider in sliders if slider.buttons != []] == []


@pytest.mark.parametrize(
    "shown", ["train-plan", "train-recipe", "merge-findings", "merge-recipe", "merge-pictures", "merge-spectrum"]
)
def test_what_several_changes_draw_is_drawn_in_their_order(demo: gr.Blocks, shown: str) -> None:
    target = next(block for block in demo.blocks.values() if getattr(block, "elem_id", None) == shown)
    drawn_by = [
        event
        for event in demo.fns.values()
        if target in event.outputs and not any(trigger == "load" for _, trigger in event.targets)
    ]
    assert len(drawn_by) >= 2
    assert len({event.concurrency_id for event in drawn_by}) == 1
