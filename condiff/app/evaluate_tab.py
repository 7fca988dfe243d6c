"""The tab Evaluate."""

from typing import Any

import gradio as gr

from condiff.app.evaluate import evaluations, flagged, folder_of, missing, numbers_of, page_of, remarks
from condiff.app.models import Loaded
from condiff.app.show import events, notes, one_line_errors, pictures, table
from condiff.errors import InputError
from condiff.evaluation.sets import POOLED
from condiff.evaluation.table import COLUMNS, score_rows
from condiff.export.folder import given_evaluation

WARNING = "The page holds held-out and training images, which may be of patients: it is shown only when you open it."
FLAGGED = "Samples that are nearer to a training image than any held-out image is. Only the samples are shown."


def evaluate_tab(loaded: Loaded, page: gr.Blocks) -> None:
    """Adds the numbers of an evaluation, its page on request, and the samples that may be copies."""
    checkpoint, spec, own = loaded.model.checkpoint, loaded.model.spec, [*loaded.model.contrasts]
    contrasts = own if len(own) == 1 else [POOLED, *own]
    try:
        names = evaluations(checkpoint.path)
    except InputError as error:  # a link out of the run; the other tabs need no evaluation
        gr.HTML(notes([str(error)]), elem_classes="note", elem_id="evaluate-missing")
        return
    if not names:
        given = given_evaluation(checkpoint)
        if given is None:
            gr.Markdown(missing(checkpoint.path), elem_id="evaluate-missing")
        else:  # of a model folder
            gr.HTML(notes(remarks(given)), elem_classes="note", elem_id="evaluate-summary")
            choice = gr.Dropdown(contrasts, value=contrasts[0], label="Contrast", elem_id="evaluate-contrast")
            scores = gr.HTML(table(COLUMNS, score_rows(given, contrasts[0])), elem_id="evaluate-table")
            choice.input(lambda contrast: table(COLUMNS, score_rows(given, contrast)), choice, scores, **events("choices"))
        return
    with gr.Row():
        name = gr.Dropdown(names, value=names[0], label="Evaluation", scale=3, elem_id="evaluate-name")
        contrast = gr.Dropdown(contrasts, value=contrasts[0], label="Contrast", elem_id="evaluate-contrast")
    summary = gr.HTML(elem_classes="note", elem_id="evaluate-summary")
    with gr.Accordion("Measures: value ± half of the 95 % interval", open=True):
        measures = gr.HTML(elem_id="evaluate-table")
    with gr.Accordion("Samples that may be copies", open=True):
        copies = gr.HTML(elem_id="evaluate-copies")
    gr.Markdown(WARNING)
    open_page = gr.Button("Open the page with real images", elem_id="evaluate-open")
    picture = gr.Image(visible=False, label="evaluation.png", buttons=["fullscreen"], format="png", elem_id="evaluate-page")

    @one_line_errors
    def numbers(name: str, contrast: str) -> Any:
        folder = folder_of(checkpoint.path, name)
        content = numbers_of(folder)
        samples = flagged(folder, content, spec)
        copies = notes([FLAGGED]) + pictures(samples) if samples else notes(["No sample is flagged."])
        return notes(remarks(content)), table(COLUMNS, score_rows(content, contrast)), copies, gr.Image(None, visible=False)

    @one_line_errors
    def opened(name: str) -> Any:
        return gr.Image(page_of(folder_of(checkpoint.path, name)), visible=True)

    shown: Any = {"inputs": [name, contrast], "outputs": [summary, measures, copies, picture], **events("choices")}
    gr.on([page.load, name.input, contrast.input], numbers, **shown)
    open_page.click(opened, name, picture, **events("choices"))
