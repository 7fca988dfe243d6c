"""The tab Generate."""

from pathlib import Path
from typing import Any

import gradio as gr

from condiff.app.folder import new_folder
from condiff.app.generate import (
    MOST,
    OF_RUN,
    TITLES,
    UNITS,
    Generator,
    Settings,
    known,
    middle,
    parameters_of,
    save,
    save_animation,
    shared,
    spans,
    step_of,
)
from condiff.app.models import Loaded
from condiff.app.show import animation, events, one_line_errors, pictures
from condiff.configuration import choices
from condiff.images import Images

HELP = "Move a slider: the seed stays, so one head changes its contrast. A quick image is shown until you let go."


def generate_tab(loaded: Loaded, folder: Path, page: gr.Blocks) -> None:
    """Adds the controls, the images and the downloads; the first image is drawn when the page opens."""
    generator, model = Generator(loaded), loaded.model
    contrasts, names = model.contrasts, parameters_of(model)
    first = contrasts[0] if contrasts else ""
    sampler = generator.default_sampler()
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            contrast = gr.Dropdown(
                [*contrasts], value=first or None, label="Contrast", visible=bool(contrasts), elem_id="generate-contrast"
            )
            ends = model.spec.slice_ends
            sliders = {("", name): _slider(name, spans(model, first)[name], ends) for name in names if shared(model, name)}
            columns = []
            for owner in contrasts:  # sliders of its own, whose ranges never change: gradio checks values against them
                with gr.Column(visible=owner == first) as column:
                    of = spans(model, owner)
                    own = [name for name in names if name in of and of[name][0] < of[name][1] and not shared(model, name)]
                    sliders |= {(owner, name): _slider(name, of[name], ends) for name in own}
                columns.append(column)
            with gr.Row():
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90, elem_id="generate-seed")
                n = gr.Slider(1, MOST, 1, step=1, label="Images", min_width=120)
            with gr.Accordion("Sampler", open=False):
                guidance = gr.Slider(
                    0, max(5, loaded.scale), loaded.scale, step=0.1, label="Guidance scale (1: none)", visible=bool(contrasts)
                )
                sampler_name = gr.Dropdown([OF_RUN, *choices("sampler")], value=sampler, label="Sampler")
                steps = gr.Slider(1, 100, generator.default_steps(sampler), step=1, label="Steps")
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", elem_id="generate-run")
                watch = gr.Button("Watch it denoise", elem_id="generate-watch")
        with gr.Column(scale=3, min_width=320):
            gr.Markdown(HELP, visible=bool(names))
            shown = gr.HTML(elem_id="generate-images")
            files = gr.Button("Make files to download", elem_id="generate-save")
            downloads = gr.File(label="Files", visible=False, interactive=False, elem_id="generate-files")

    def settings_of(contrast: str, seed: int, n: int, guidance: float, sampler: str, steps: int, *values: float) -> Settings:
        given = {name: value for (owner, name), value in zip(sliders, values, strict=True) if owner in ("", contrast)}
        return Settings(contrast, known(model, contrast, given), guidance, sampler, steps, seed, n)

    @one_line_errors
    def full(*values: Any) -> Any:
        return captioned(generator.images(settings_of(*values))), gr.File(None, visible=False)

    @one_line_errors
    def preview(*values: Any) -> str:
        return captioned(generator.preview(settings_of(*values)))

    @one_line_errors
    def animate(*values: Any) -> Any:
        path = save_animation(generator.denoising(settings_of(*values)), new_folder(folder))
        return animation("from noise to image", path), gr.File([str(path)], visible=True)

    @one_line_errors
    def write(*values: Any) -> Any:
        return gr.File(save(generator.images(settings_of(*values)), new_folder(folder)), visible=True)

    @one_line_errors
    def of_contrast(contrast: str, *values: Any) -> Any:
        return [*(gr.Column(visible=owner == contrast) for owner in contrasts), *full(contrast, *values)]

    inputs = [contrast, seed, n, guidance, sampler_name, steps, *sliders.values()]
    latest: Any = {"inputs": inputs, "trigger_mode": "always_last", **events()}  # requests in between are dropped
    moving = {**latest, "outputs": shown, "show_progress": "hidden"}
    done = {**latest, "outputs": [shown, downloads], "show_progress": "minimal"}
    for slider in [*sliders.values(), guidance]:
        slider.input(preview, **moving)
        slider.release(full, **done)
    contrast.input(of_contrast, **done | {"outputs": [*columns, shown, downloads]})
    sampler_name.input(generator.default_steps, sampler_name, steps, **events("sliders")).then(full, **done)
    gr.on([steps.release, n.release, seed.submit, generate.click, page.load], full, **done)
    watch.click(animate, inputs, [shown, downloads], **events())
    files.click(write, inputs, downloads, **events())


def captioned(images: Images) -> str:
    """Returns the pictures of images, each with its contrast and seed."""
    titles = [f"{contrast}, seed {seed}" for contrast, seed in zip(images.contrasts, images.seeds, strict=True)]
    return pictures([*zip(titles, images.magnitude, strict=True)])


def _slider(name: str, span: tuple[float, float], ends: tuple[str, str]) -> gr.Slider:
    """A slider of an acquisition parameter over a range; ``ends``: where the first and the last slice lie."""
    unit = UNITS.get(name, f"0: {ends[0]}, 1: {ends[1]}")
    label = f"{TITLES[name]} ({unit})"
    return gr.Slider(*span, middle(*span), step=step_of(*span), label=label, elem_id=f"generate-{name}")
