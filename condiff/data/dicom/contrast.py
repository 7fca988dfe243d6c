"""The contrast of a series, from its description and its acquisition parameters."""

import re
from collections.abc import Mapping

WORDS = {  # contrast -> words of a description; the first that fits counts
    "FLAIR": r"flair|tirm|dark.?fluid",
    "T2w": r"t2",
    "T1w": r"t1|mp2?rage|spgr|bravo|\btfe\b|vibe",
}
AGENT = r"post(?!er|.?fossa|.?op)|gad|\bgd|\+ ?c\b|\bce\b|contrast|\bkm\b"
NO_AGENT = r"\bw/?o\b|\bwithout\b|\bohne\b|\bnativ|\bpre(?:\b|.?contrast|.?gad)|\bnon?\b.?(?:contrast|gad|gd|km|ce\b|enh)"
STAR = r"t2 ?\*|t2.?star|t2.*(?:\bgre\b|ffe|fl2d|ha?emo|\bmedic\b|\bmerge\b)"
OTHER = (
    rf"{STAR}|swi|dwi|diff|adc|trace|\bdti|tensor|perf|asl|bold|fmri|\bepi|tof|angio|map|fa\b|\bsub\b|subtract|ha?emo|t1.images"
)
LEAST_T2 = 50.0  # ms; a shorter echo of a series "PD/T2" is the proton density


def contrast_of(description: str, parameters: Mapping[str, float], agent: bool) -> str:
    """T1w, T2w or FLAIR, with "ce" in front if a contrast agent was given; empty if neither words nor parameters tell.

    Without words: long TE and TI is FLAIR, long TE alone T2, short TE with short TR or an inversion T1.
    """
    text = description.lower().replace("_", " ")
    if re.search(OTHER, text):
        return ""
    name = next((name for name, words in WORDS.items() if re.search(words, text)), "") or _by_parameters(parameters)
    if name == "FLAIR" and re.search(r"t1", text):  # an inversion for the contrast, not against the fluid
        name = "T1w"
    if name == "T2w" and parameters.get("te", LEAST_T2) < LEAST_T2:
        return ""
    is_enhanced = not re.search(NO_AGENT, text) and (agent or bool(re.search(AGENT, text)))
    return f"ce{name}" if name and is_enhanced else name


def _by_parameters(parameters: Mapping[str, float]) -> str:
    tr, te, ti = parameters.get("tr"), parameters.get("te"), parameters.get("ti")
    if tr is None or te is None:
        return ""
    if te >= 60:
        return "FLAIR" if ti is not None and ti >= 1500 else "T2w" if tr >= 2000 else ""
    if te <= 30 and (tr <= 1000 or (ti is not None and 300 <= ti <= 1400)):
        return "T1w"
    return ""
