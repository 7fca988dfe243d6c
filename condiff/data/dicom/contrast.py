"""The contrast of a series, from its description and its acquisition parameters."""

import re
from collections.abc import Mapping

WORDS = {  # contrast -> words of a description; the first that fits counts
    "FLAIR": r"flair|tirm|dark.?fluid",
    "T2w": r"t2(?!\d\d)",  # not the number T20391
    "T1w": r"t1(?!\d\d)|mp2?rage|spgr|bravo|\btfe\b|vibe",
}
AGENT = r"post(?!er|.?fossa|.?op)|gad|\bgd|\+ ?c\b|\bce\b|contrast|\bkm\b"
DENIED = r"(?:\bw/?o|\bwithout|\bohne|\bnon?|\bpre)\b.?(?:contrast|gad|gd\b|km\b|ce\b|c\b)"
NO_AGENT = rf"{DENIED}|\bpre\b(?!.?op)|\bprecontrast|\bnativ|\bw/?o$"
STAR = r"t2 ?\*|t2.?star|t2.*(?:\bgre\b|ffe|fl2d|ha?emo|\bmedic\b|\bmerge\b)"
OTHER = "|".join([
    STAR, r"swi|\bswan\b|dwi|diff|adc|trace|\bdti|tensor|perf|asl|bold|fmri|\bepi(?!l)|tof|angio|\bmr[av]\b|veno|\bcow\b|fa\b",
    r"maps?\b|mapp|mapit|\bsub\b|subtract|ha?emo|t1.images|rho\b|scout|\bloc(?:ali[sz]er|ator)?\b|survey|calib|stir",
])  # fmt: skip
LEAST_TI = 1500.0  # ms; a shorter inversion nulls fat or shapes the contrast, not the fluid
LEAST_T2 = 50.0  # ms; a shorter echo of a series "PD/T2" is the proton density


def contrast_of(description: str, parameters: Mapping[str, float], agent: bool) -> str:
    """T1w, T2w or FLAIR, with "ce" in front if a contrast agent was given; empty if neither words nor parameters tell.

    Without words: long TE and TI is FLAIR, long TE alone T2, short TE with short TR or an inversion T1. Empty, too, where the
    words deny an agent that the header names.
    """
    text = description.lower().replace("_", " ")
    if re.search(OTHER, text):
        return ""
    name = next((name for name, words in WORDS.items() if re.search(words, text)), "") or _by_parameters(parameters)
    if name == "FLAIR" and re.search(r"t1", text):  # an inversion for the contrast, not against the fluid
        name = "T1w"
    is_short = {"FLAIR": parameters.get("ti", LEAST_TI) < LEAST_TI, "T2w": parameters.get("te", LEAST_T2) < LEAST_T2}
    if is_short.get(name):
        return ""
    is_denied = bool(re.search(NO_AGENT, text))
    if agent and is_denied:
        return ""
    is_enhanced = agent or (not is_denied and bool(re.search(AGENT, text)))
    return f"ce{name}" if name and is_enhanced else name


def _by_parameters(parameters: Mapping[str, float]) -> str:
    tr, te, ti = parameters.get("tr"), parameters.get("te"), parameters.get("ti")
    if tr is None or te is None:
        return ""
    if te >= 60:
        return "FLAIR" if ti is not None and ti >= LEAST_TI else "T2w" if tr >= 2000 else ""
    if te <= 30 and (300 <= tr <= 1000 or (ti is not None and 300 <= ti <= 1400)):
        return "T1w"
    return ""
