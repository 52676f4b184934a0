"""How the app looks: Gradio's theme in teal and stone, and our stylesheet; no other file names a colour.

System fonts only, so that the app is the same without a network. `style.css` holds the rules for our own markup and
for the few places where Gradio's is restyled; its colours are variables with a light and a dark value.
"""

from pathlib import Path

import gradio as gr

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "Noto Sans Mono", "DejaVu Sans Mono", "monospace")

SETTINGS: dict[str, tuple[str, str | None]] = {  # Gradio's name of it: in light, in dark (None: the same word holds)
    "body_background_fill": ("*neutral_100", "*neutral_950"),
    "body_text_color": ("*neutral_900", "*neutral_100"),
    "body_text_color_subdued": ("*neutral_500", "*neutral_400"),
    "background_fill_primary": ("white", "*neutral_900"),
    "background_fill_secondary": ("*neutral_50", "*neutral_900"),
    "border_color_primary": ("*neutral_200", "*neutral_800"),
    "block_background_fill": ("transparent", "transparent"),
    "block_border_width": ("0px", "0px"),
    "block_padding": ("0px", None),
    "block_shadow": ("none", "none"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_label_border_width": ("0px", "0px"),
    "block_label_text_color": ("*neutral_700", "*neutral_300"),
    "block_title_text_color": ("*neutral_700", "*neutral_300"),
    "block_title_text_weight": ("500", None),
    "block_info_text_color": ("*neutral_500", "*neutral_400"),
    "block_info_text_size": ("12.5px", None),
    "input_background_fill": ("white", "*neutral_950"),
    "input_border_color": ("*neutral_300", "*neutral_700"),
    "input_border_color_focus": ("*primary_600", "*primary_400"),
    "input_border_width": ("1px", "1px"),
    "input_padding": ("8px 11px", None),
    "input_shadow": ("none", "none"),
    "input_shadow_focus": ("0 0 0 2px *primary_200", "0 0 0 2px *primary_900"),
    "input_placeholder_color": ("*neutral_400", "*neutral_500"),
    "slider_color": ("*primary_600", "*primary_500"),
    "button_primary_background_fill": ("*primary_700", "*primary_600"),
    "button_primary_background_fill_hover": ("*primary_800", "*primary_500"),
    "button_primary_text_color": ("white", "white"),
    "button_primary_border_color": ("transparent", None),
    "button_secondary_background_fill": ("white", "*neutral_800"),
    "button_secondary_background_fill_hover": ("*neutral_100", "*neutral_700"),
    "button_secondary_border_color": ("*neutral_300", "*neutral_700"),
    "button_secondary_text_color": ("*neutral_900", "*neutral_100"),
    "button_cancel_background_fill": ("transparent", "transparent"),
    "button_cancel_border_color": ("*neutral_300", "*neutral_700"),
    "button_cancel_text_color": ("#b91c1c", "#fca5a5"),
    "button_large_text_weight": ("500", None),
    "button_large_padding": ("8px 16px", None),
    "button_large_text_size": ("14px", None),
    "button_small_text_size": ("13px", None),
    "button_border_width": ("1px", None),
    "link_text_color": ("*primary_700", "*primary_300"),
    "link_text_color_hover": ("*primary_800", "*primary_200"),
    "link_text_color_visited": ("*primary_700", "*primary_300"),
    "checkbox_background_color_selected": ("*primary_700", "*primary_600"),
    "checkbox_border_color": ("*neutral_400", "*neutral_600"),
    "checkbox_label_background_fill": ("transparent", "transparent"),
    "checkbox_label_background_fill_selected": ("*primary_50", "*primary_950"),
    "checkbox_label_border_width": ("1px", None),
    "checkbox_label_border_color": ("*neutral_300", "*neutral_700"),
    "checkbox_label_text_color_selected": ("*neutral_900", "*neutral_100"),
    "layout_gap": ("14px", None),
    "form_gap_width": ("0px", None),
    "section_header_text_size": ("15px", None),
}

# A click on anything with data-copy copies it. A number typed beside a slider stays within it, and an empty field is
# the number before: Gradio would refuse either, and then move the slider without an event that plan and recipe follow.
HEAD = """
<meta name="referrer" content="no-referrer">
<script>
document.addEventListener('click', (event) => {
  const source = event.target.closest('[data-copy]');
  if (!source) { return; }
  const done = () => { source.classList.add('m-copied'); setTimeout(() => source.classList.remove('m-copied'), 1200); };
  if (navigator.clipboard) { navigator.clipboard.writeText(source.dataset.copy).then(done, () => {}); }
});
const sliderOf = (field) => field.type === 'number' && field.closest('.block')?.querySelector('input[type=range]');
document.addEventListener('input', (event) => {
  const typed = event.target, value = typed.valueAsNumber;
  if (!sliderOf(typed)) { return; }
  if (isNaN(value)) { event.stopImmediatePropagation(); return; }
  const within = Math.min(Math.max(value, Math.min(typed.min, 0)), typed.max);
  if (within !== value) { typed.value = within; }
}, true);
document.addEventListener('blur', (event) => {
  const slider = sliderOf(event.target);
  if (slider && event.target.value === '') { event.target.value = slider.value; }
}, true);
</script>
"""


def stylesheet() -> str:
    """The rules of all pages, and after them those of the Merge page."""
    return "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("style.css", "merge.css"))


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
    light = {name: value for name, (value, _) in SETTINGS.items()}
    dark = {f"{name}_dark": value for name, (_, value) in SETTINGS.items() if value is not None}
    return base.set(**light, **dark)
