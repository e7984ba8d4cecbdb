"""The contraction table of the official VQA evaluation, from the spellings that it restores.

A spelling is restored from itself with exactly one of its apostrophes left out. `dont` becomes `don't`, and both
`couldnt've` and `couldn'tve` become `couldn't've`. `couldntve` lacks two and stays. The official table follows this
rule in all entries but these:

- `somebody'd` becomes `somebodyd`, the wrong way round (and `somebodyd` stays).
- `let's` and `she's` become themselves, so `lets` and `shes` stay.
- `Im`, `Ive`, `Id've`, `I'dve` have a capital letter, but words are lower-cased before they are looked up: `im` stays.

Entries of the last two kinds change nothing and are left out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

_RESTORED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _with_one_apostrophe_left_out(word: str) -> Iterator[str]:
    for place, letter in enumerate(word):
        if letter == "'":
            yield word[:place] + word[place + 1 :]


CONTRACTIONS: Mapping[str, str] = MappingProxyType(
    {short: word for word in _RESTORED.split() for short in _with_one_apostrophe_left_out(word)}
    | {"somebody'd": "somebodyd"}
)
"""Lower-case word as it may stand in an answer -> the word that the official evaluation compares."""
