"""Plain text of docstrings and of options as reStructuredText."""

import re

MARKUP = re.compile(r"(\*\*[^*\s][^*]*\*\*|``[^`]+``|`[^`]+`)")


def prose(text: str) -> str:
    """Text in which nothing is markup but code and strong, set off so that letters may follow these."""
    result = ""
    for i, part in enumerate(MARKUP.split(text)):
        if i % 2 == 0:
            result += re.sub(r"([\\*_|`])", r"\\\1", part)
        else:
            result += rf"\ {part}\ " if part.startswith(("**", "``")) else rf"\ `{part}`\ "
    return result
