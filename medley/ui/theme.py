"""How the app looks: Gradio's theme in teal and stone, and our stylesheet; no other file names a colour.

System fonts only, so that the app is the same without a network. `style.css` holds the rules for our own markup and
for the few places where Gradio's is restyled; its colours are variables with a light and a dark value.
"""

from pathlib import Path

import gradio as gr

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "Noto Sans Mono", "DejaVu Sans Mono", "monospace")

# A click on anything with data-copy copies it; a fold or a tab never loses the page's place.
HEAD = """
<meta name="referrer" content="no-referrer">
<script>
document.addEventListener('click', (event) => {
  const source = event.target.closest('[data-copy]');
  if (!source) { return; }
  const done = () => { source.classList.add('m-copied'); setTimeout(() => source.classList.remove('m-copied'), 1200); };
  if (navigator.clipboard) { navigator.clipboard.writeText(source.dataset.copy).then(done, () => {}); }
});
</script>
"""


def stylesheet() -> str:
    """The text of style.css."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The Gradio theme: flat, one-pixel borders, medium corners, teal for what is to be done next."""
    base = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
        font=SANS,
        font_mono=MONO,
    )
    return base.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_900",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_border_width_dark="0px",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_300",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_info_text_size="12.5px",
        input_background_fill="white",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_padding="8px 11px",
        input_shadow="none",
        input_shadow_dark="none",
        input_shadow_focus="0 0 0 2px *primary_200",
        input_shadow_focus_dark="0 0 0 2px *primary_900",
        input_placeholder_color="*neutral_400",
        input_placeholder_color_dark="*neutral_500",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_primary_border_color="transparent",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_secondary_text_color="*neutral_900",
        button_secondary_text_color_dark="*neutral_100",
        button_cancel_background_fill="transparent",
        button_cancel_background_fill_dark="transparent",
        button_cancel_border_color="*neutral_300",
        button_cancel_border_color_dark="*neutral_700",
        button_cancel_text_color="#b91c1c",
        button_cancel_text_color_dark="#fca5a5",
        button_large_text_weight="500",
        button_large_padding="8px 16px",
        button_large_text_size="14px",
        button_small_text_size="13px",
        button_border_width="1px",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_800",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_700",
        link_text_color_visited_dark="*primary_300",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_600",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_600",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_selected="*primary_50",
        checkbox_label_background_fill_selected_dark="*primary_950",
        checkbox_label_border_width="1px",
        checkbox_label_border_color="*neutral_300",
        checkbox_label_border_color_dark="*neutral_700",
        checkbox_label_text_color_selected="*neutral_900",
        checkbox_label_text_color_selected_dark="*neutral_100",
        layout_gap="14px",
        form_gap_width="0px",
        section_header_text_size="15px",
    )
